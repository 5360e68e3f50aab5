//! Figures as people read them, and as programs do.

use serde::{Serialize, Serializer};

/// A figure rounded to so many decimals in JSON; `null` when it is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure<const DECIMALS: i32>(f64);

/// A share, 0 to 1.
pub(crate) type Share = Figure<4>;
/// A time in seconds.
pub(crate) type Seconds = Figure<6>;
/// A factor, a mean number, a rate.
pub(crate) type Amount = Figure<3>;

impl<const DECIMALS: i32> Figure<DECIMALS> {
    /// The figure of a plain number.
    pub(crate) const fn of(number: f64) -> Self {
        Self(number)
    }
}

impl<const DECIMALS: i32> Serialize for Figure<DECIMALS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scale = 10_f64.powi(DECIMALS);
        let rounded = (self.0 * scale).round() / scale;
        match (self.0.is_finite(), rounded.is_finite()) {
            (false, _) => serializer.serialize_none(),
            // A figure too large to scale has no decimals to round.
            (true, false) => serializer.serialize_f64(self.0),
            // Adding zero turns a minus zero into a plain one.
            (true, true) => serializer.serialize_f64(rounded + 0.0),
        }
    }
}

/// What stands where there is no figure.
pub(crate) const NONE: &str = "-";

/// A share in per cent, with one decimal.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        figure if !figure.is_finite() => NONE.to_owned(),
        figure if figure > 0.0 && figure < 0.05 => "<0.1%".to_owned(),
        figure => format!("{:.1}%", figure + 0.0),
    }
}

/// A share in per cent without decimals, for running text.
pub(crate) fn whole_percent(share: f64) -> String {
    match share * 100.0 {
        figure if !figure.is_finite() => NONE.to_owned(),
        figure if figure > 0.0 && figure < 0.5 => "<1%".to_owned(),
        figure => format!("{:.0}%", figure + 0.0),
    }
}

/// A time in the unit that suits it, with about three digits.
pub(crate) fn seconds(time: f64) -> String {
    match time {
        _ if !time.is_finite() => NONE.to_owned(),
        _ if time <= 0.0 => "0 s".to_owned(),
        _ if time < 0.000_999_5 => format!("{:.0} us", time * 1e6),
        _ if time < 0.9995 => format!("{:.0} ms", time * 1e3),
        _ if time < 9.995 => format!("{time:.2} s"),
        _ if time < 99.95 => format!("{time:.1} s"),
        _ if time < 599.5 => format!("{time:.0} s"),
        _ if time < 35_970.0 => parted(time, 60.0, "min", "s"),
        _ => parted(time / 60.0, 60.0, "h", "min"),
    }
}

fn parted(amount: f64, in_one: f64, large: &str, small: &str) -> String {
    let amount = amount.round();
    format!("{:.0} {large} {:.0} {small}", (amount / in_one).floor(), amount % in_one)
}

/// A speed-up, such as `1.08x`, `9.2x`, `64x`.
pub(crate) fn times(factor: f64) -> String {
    match factor {
        _ if !factor.is_finite() => NONE.to_owned(),
        _ if factor < 1.995 => format!("{factor:.2}x"),
        _ if factor < 9.95 => format!("{factor:.1}x"),
        _ if factor < 1e6 => format!("{factor:.0}x"),
        _ => format!("{factor:.0e}x"),
    }
}

/// A mean number of things at once, such as `0.4` or `12`.
pub(crate) fn mean(number: f64) -> String {
    match number {
        _ if !number.is_finite() => NONE.to_owned(),
        _ if number < 9.95 && (number - number.round()).abs() > 0.05 => format!("{number:.1}"),
        _ => format!("{:.0}", number + 0.0),
    }
}

/// A count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut parted = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            parted.push(',');
        }
        parted.push(digit);
    }
    parted
}

/// An amount of data in decimal units.
pub(crate) fn bytes(amount: f64) -> String {
    if !amount.is_finite() {
        return NONE.to_owned();
    }
    let mut amount = amount.max(0.0);
    for unit in ["B", "kB", "MB", "GB"] {
        if amount < 999.5 {
            let decimals = usize::from(unit != "B" && amount < 99.95);
            return format!("{amount:.decimals$} {unit}");
        }
        amount /= 1000.0;
    }
    format!("{amount:.1} TB")
}

/// A number with its noun in the singular or the plural.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_length_read_well() {
        let read: Vec<_> =
            [0.0, 4e-6, 0.0123, 0.9996, 9.0, 12.34, 250.0, 754.2, 7530.0, 40_000.0].into_iter().map(seconds).collect();
        let expected = [
            "0 s",
            "4 us",
            "12 ms",
            "1.00 s",
            "9.00 s",
            "12.3 s",
            "250 s",
            "12 min 34 s",
            "125 min 30 s",
            "11 h 7 min",
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn shares_never_round_to_nothing_while_they_are_something() {
        assert_eq!(percent(0.0001), "<0.1%");
        assert_eq!(percent(0.0), "0.0%");
        assert_eq!(percent(-0.0), "0.0%");
        assert_eq!(percent(1.0), "100.0%");
        assert_eq!(whole_percent(0.004), "<1%");
    }

    #[test]
    fn speed_ups_have_the_digits_that_matter() {
        let read: Vec<_> = [1.0, 1.154, 3.94, 9.96, 63.7].into_iter().map(times).collect();
        assert_eq!(read, ["1.00x", "1.15x", "3.9x", "10x", "64x"]);
    }

    #[test]
    fn counts_and_data_are_grouped() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(bytes(504_000_000.0), "504 MB");
        assert_eq!(bytes(1536.0), "1.5 kB");
        assert_eq!(counted(1, "thread", "threads"), "1 thread");
    }

    #[test]
    fn what_is_not_finite_is_no_figure() {
        for words in [percent, whole_percent, seconds, times, mean, bytes] {
            assert_eq!(words(f64::NAN), "-");
            assert_eq!(words(f64::INFINITY), "-");
        }
        assert_eq!(serde_json::to_string(&Share::of(f64::NAN)).unwrap(), "null");
    }

    #[test]
    fn json_figures_are_rounded() {
        assert_eq!(serde_json::to_string(&Figure::<4>(0.123_456)).unwrap(), "0.1235");
        assert_eq!(serde_json::to_string(&Figure::<6>(37e-6)).unwrap(), "0.000037");
        assert_eq!(serde_json::to_string(&Figure::<4>(-1e-9)).unwrap(), "0.0");
        let largest = serde_json::to_string(&Figure::<4>(f64::MAX)).unwrap();
        assert_eq!(largest.parse(), Ok(f64::MAX));
    }
}
