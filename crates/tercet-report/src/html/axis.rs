//! Scales of the pictures: positions in per cent, and where the ticks stand.

use serde::Serialize;

use crate::figure;

/// A tick with its label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tick {
    /// Position in per cent.
    at: String,
    label: String,
}

impl Tick {
    /// A tick at `at` per cent.
    pub(super) fn new(at: f64, label: impl Into<String>) -> Self {
        Self { at: position(at), label: label.into() }
    }
}

/// A number for a style or a path: two decimals at most, always finite.
pub(super) fn position(at: f64) -> String {
    let at = if at.is_finite() { at } else { 0.0 };
    let text = format!("{:.2}", at + 0.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A scale on which every doubling takes the same room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Doublings {
    low: f64,
    high: f64,
}

impl Doublings {
    /// A scale from `low` to `high`, both above zero.
    pub(super) fn new(low: f64, high: f64) -> Self {
        Self { low: low.log2(), high: high.log2() }
    }

    /// The position of a value in per cent from the low end, kept on the scale.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.max(f64::MIN_POSITIVE).log2();
        ((value - self.low) / (self.high - self.low) * 100.0).clamp(0.0, 100.0)
    }

    /// The powers of two on the scale, thinned out to at most `most`.
    pub(super) fn powers(&self, most: u32) -> Vec<f64> {
        let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
        let number = u32::try_from(last - first + 1).unwrap_or(0);
        let step = i32::try_from(number.div_ceil(most.max(1))).unwrap_or(i32::MAX).max(1);
        // Counted from one, so that one is always among them.
        (first..=last).filter(|power| power % step == 0).map(|power| 2.0_f64.powi(power)).collect()
    }
}

/// Round times between nothing and `end`, about six of them.
pub(super) fn times(end: f64) -> Vec<Tick> {
    if !(end.is_finite() && end > 0.0) {
        return Vec::new();
    }
    let step = round_step(end / 6.0);
    let number = (end / step + 1e-9) as u32;
    let ticks = (0..=number).map(|index| f64::from(index) * step);
    ticks.map(|time| Tick::new(time / end * 100.0, clock(time, step))).collect()
}

/// The smallest round step that is no smaller than `least`.
fn round_step(least: f64) -> f64 {
    const LONG: [f64; 10] = [10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
    if least > 5.0 {
        let hours = (least / 3600.0).ceil() * 3600.0;
        return LONG.into_iter().find(|&step| step >= least).unwrap_or(hours);
    }
    let unit = 10.0_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * unit).find(|&step| step >= least).unwrap_or(unit)
}

/// A time on the axis, in the unit of the step.
fn clock(time: f64, step: f64) -> String {
    if time == 0.0 {
        return "0".to_owned();
    }
    if step >= 3600.0 {
        return format!("{:.0} h", time / 3600.0);
    }
    if step >= 60.0 {
        return format!("{:.0} min", time / 60.0);
    }
    if step >= 1.0 {
        return format!("{time:.0} s");
    }
    if time >= 1.0 {
        let decimals = (-step.log10()).ceil().clamp(1.0, 6.0) as usize;
        return format!("{time:.decimals$} s");
    }
    figure::seconds(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doublings_take_the_same_room() {
        let scale = Doublings::new(1.0, 16.0);
        assert_eq!([1.0, 2.0, 4.0, 16.0, 99.0].map(|n| scale.at(n)), [0.0, 25.0, 50.0, 100.0, 100.0]);
        assert_eq!(scale.powers(9), [1.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(Doublings::new(0.5, 1024.0).powers(6), [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]);
    }

    #[test]
    fn times_are_round() {
        let labels = |end| times(end).into_iter().map(|tick| tick.label).collect::<Vec<_>>();
        assert_eq!(labels(12.4), ["0", "5 s", "10 s"]);
        assert_eq!(labels(60.0), ["0", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]);
        assert_eq!(labels(2.31), ["0", "500 ms", "1.0 s", "1.5 s", "2.0 s"]);
        assert_eq!(labels(7512.0), ["0", "30 min", "60 min", "90 min", "120 min"]);
        assert_eq!(labels(0.011), ["0", "2 ms", "4 ms", "6 ms", "8 ms", "10 ms"]);
        assert!(labels(f64::NAN).is_empty());
    }

    #[test]
    fn positions_are_short_and_finite() {
        assert_eq!(position(12.3456), "12.35");
        assert_eq!(position(50.0), "50");
        assert_eq!(position(f64::NAN), "0");
        assert_eq!(position(100.0), "100");
    }
}
