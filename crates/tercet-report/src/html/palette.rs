//! One colour and one texture for each kind of wait, the same in every report.
//!
//! Kinds that belong together share a hue: computing is blue, the GIL is orange and red, locks are
//! violet, waits that overlap are green to brown, idling is grey. Within a hue and between hues that
//! colour-blind eyes confuse, the texture differs.

use std::fmt::Write as _;

use tercet_model::Wait;

/// How a kind is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    /// Its colour on light paper.
    light: &'static str,
    /// Its colour on dark paper.
    dark: &'static str,
    /// The class of its texture.
    pub(super) texture: &'static str,
}

const fn ink(light: &'static str, dark: &'static str, texture: &'static str) -> Ink {
    Ink { light, dark, texture }
}

/// How a kind is drawn.
pub(super) const fn of(kind: Wait) -> Ink {
    match kind {
        Wait::CpuGil => ink("#2f63ad", "#6f9fe6", "plain"),
        Wait::CpuNogil => ink("#2a8fa8", "#58bcd4", "rising"),
        Wait::Gc => ink("#5a61c4", "#959bf0", "dotted"),
        Wait::Runnable => ink("#a87b12", "#d9b04a", "upright"),
        Wait::GilWait => ink("#d2691a", "#f0934a", "falling"),
        Wait::GilHeld => ink("#b8371f", "#ee7159", "crossed"),
        Wait::Lock => ink("#80459f", "#bd87da", "level"),
        Wait::ProcessLock => ink("#a45bb0", "#d59ae0", "crossed"),
        Wait::Network => ink("#23875c", "#53bd8d", "plain"),
        Wait::Disk => ink("#76801c", "#b3bd55", "level"),
        Wait::Pipe => ink("#b8518d", "#e58dc0", "rising"),
        Wait::Child => ink("#86603a", "#c59d74", "upright"),
        Wait::Sleep => ink("#868b94", "#8b919b", "plain"),
        Wait::LoopIdle => ink("#868e9c", "#8f97a5", "dotted"),
        Wait::Other => ink("#6d6f75", "#a4a6ac", "falling"),
    }
}

/// The class that carries a kind's colour.
pub(super) fn class(kind: Wait) -> String {
    format!("k-{}", kind.name())
}

/// The style rules that set the colours.
pub(super) fn css() -> String {
    let rules = |colour: fn(Ink) -> &'static str| {
        Wait::ALL.iter().fold(String::new(), |mut css, &kind| {
            // Writing to a `String` does not fail.
            let _ = write!(css, ".{}{{--kind:{}}}", class(kind), colour(of(kind)));
            css
        })
    };
    format!("{}\n@media (prefers-color-scheme:dark){{{}}}\n", rules(|ink| ink.light), rules(|ink| ink.dark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(hex: &str) -> f64 {
        let value = f64::from(u8::from_str_radix(hex, 16).unwrap()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    }

    fn luminance(colour: &str) -> f64 {
        let part = |start: usize| channel(&colour[start..start + 2]);
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_kind_stands_out_from_the_paper() {
        for kind in Wait::ALL {
            let ink = of(kind);
            assert!(contrast(ink.light, "#fbfaf7") >= 3.0, "{kind:?} on light paper");
            assert!(contrast(ink.dark, "#191c20") >= 3.0, "{kind:?} on dark paper");
        }
    }

    #[test]
    fn no_two_kinds_look_the_same() {
        for (index, &one) in Wait::ALL.iter().enumerate() {
            for &other in &Wait::ALL[index + 1..] {
                assert_ne!(of(one).light, of(other).light);
                assert_ne!(of(one).dark, of(other).dark);
            }
        }
    }
}
