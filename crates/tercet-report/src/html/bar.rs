//! Where the time goes: the stacked bar with its legend, and the parts of the run.

use serde::Serialize;
use tercet_model::{Phases, Profile, Wait};

use super::axis::position;
use super::palette;
use crate::figure;

/// The stacked bar.
#[derive(Serialize)]
pub(super) struct Bar {
    segments: Vec<Segment>,
    body: String,
    summary: String,
}

/// A kind's part of the bar, and its row in the legend.
#[derive(Serialize)]
struct Segment {
    class: String,
    texture: &'static str,
    label: &'static str,
    name: &'static str,
    grow: String,
    percent: String,
    time: String,
}

impl Bar {
    /// The bar of the repeating part.
    pub(super) fn of(profile: &Profile) -> Self {
        let body_s = profile.phases.body_s;
        let kinds = profile.shares.ranked();
        let told: Vec<_> =
            kinds.iter().map(|(kind, share)| format!("{} {}", kind.label(), figure::percent(*share))).collect();
        let segments = kinds.iter().map(|&(kind, share)| Segment::of(kind, share, body_s));
        Self { segments: segments.collect(), body: figure::seconds(body_s), summary: told.join(", ") }
    }
}

impl Segment {
    fn of(kind: Wait, share: f64, body_s: f64) -> Self {
        Self {
            class: palette::class(kind),
            texture: palette::of(kind).texture,
            label: kind.label(),
            name: kind.name(),
            grow: position(share * 100.0),
            percent: figure::percent(share),
            time: figure::seconds(share * body_s),
        }
    }
}

/// The parts of the run.
#[derive(Serialize)]
pub(super) struct Parts {
    parts: Vec<Part>,
    wall: String,
}

/// One part of the run.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    title: &'static str,
    grow: String,
    time: String,
}

impl Parts {
    /// The parts in their order; those that took no time are left out.
    pub(super) fn of(phases: &Phases, wall_s: f64) -> Self {
        let parts = [
            ("imports", "imports", phases.imports_s),
            ("pool", "pool start", phases.pool_start_s),
            ("body", "repeating part", phases.body_s),
            ("exit", "exit", phases.exit_s),
        ];
        let whole: f64 = parts.iter().map(|(.., time)| time.max(0.0)).sum();
        let part = |(name, title, time): (&'static str, &'static str, f64)| Part {
            name,
            title,
            grow: position(time / whole * 100.0),
            time: figure::seconds(time),
        };
        let taken = parts.into_iter().filter(|(.., time)| *time > 0.0);
        Self { parts: taken.map(part).collect(), wall: figure::seconds(wall_s) }
    }
}
