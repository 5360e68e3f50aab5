//! The text: what it says, how wide it is, and that no name steers the terminal.

use proptest::prelude::*;
use tercet_report::Style;
use unicode_width::UnicodeWidthStr;

mod samples;

const PLAIN: Style = Style { width: 80, colour: false, unicode: true };

/// To renew: `cargo run -p tercet-report --example sample_report fixed text > crates/tercet-report/tests/expected/fixed.txt`,
/// and with `ascii` and `blocked text 40` for the other two.
#[test]
fn the_text_is_as_expected() {
    let fixed = samples::named("fixed").unwrap();
    assert_eq!(fixed.report().text(&PLAIN), include_str!("expected/fixed.txt"));
    let ascii = Style { unicode: false, ..PLAIN };
    assert_eq!(fixed.report().text(&ascii), include_str!("expected/fixed.ascii.txt"));
    let blocked = samples::named("blocked").unwrap();
    let narrow = Style { width: 40, ..PLAIN };
    assert_eq!(blocked.report().text(&narrow), include_str!("expected/blocked.narrow.txt"));
}

#[test]
fn colour_adds_codes_and_nothing_else() {
    for sample in samples::all() {
        let coloured = sample.report().text(&Style { colour: true, ..PLAIN });
        assert!(coloured.contains("\x1b["));
        assert_eq!(without_codes(&coloured), sample.report().text(&PLAIN));
    }
}

#[test]
fn without_unicode_the_text_is_ascii() {
    for sample in samples::all() {
        assert!(sample.report().text(&Style { unicode: false, ..PLAIN }).is_ascii());
    }
}

#[test]
fn at_most_twelve_lines_are_shown_and_the_rest_is_counted() {
    let text = samples::named("many").unwrap().report().text(&PLAIN);
    assert_eq!(text.matches("Handler.respond").count(), 12);
    assert!(text.contains("and 48 more lines"), "{text}");
}

#[test]
fn a_line_in_the_event_loop_is_flagged_at_any_width() {
    let sample = samples::named("blocked").unwrap();
    for width in 40..130 {
        let text = sample.report().text(&Style { width, ..PLAIN });
        assert_eq!(text.matches("in the event loop").count(), 2, "{text}");
    }
}

#[test]
fn figures_that_are_not_finite_are_dashes() {
    let mut sample = samples::named("crawl").unwrap();
    sample.profile.wall_s = f64::NAN;
    sample.profile.phases.body_s = f64::INFINITY;
    sample.profile.lines[0].share = f64::NAN;
    sample.verdict.predictions[0].speedup = f64::NAN;
    let text = sample.report().text(&PLAIN);
    assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
}

#[test]
fn every_sample_fits_at_every_width() {
    for sample in samples::all() {
        for width in 0..140 {
            assert_fits(&sample.report().text(&Style { width, ..PLAIN }), width.max(Style::NARROWEST));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_name_makes_a_line_too_wide_or_steers_the_terminal(
        names in prop::collection::vec(any::<String>(), 1..10),
        width in 40_usize..200, colour: bool, unicode: bool,
    ) {
        check(&names, Style { width, colour, unicode });
    }

    #[test]
    fn nor_does_a_very_long_one(
        names in prop::collection::vec("[a-z/\u{301}下\u{1f468}\u{200d}\\x1b\\n]{0,10000}", 1..4),
        width in 40_usize..200, colour: bool, unicode: bool,
    ) {
        check(&names, Style { width, colour, unicode });
    }
}

fn check(names: &[String], style: Style) {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let text = samples::hostile(&names).report().text(&style);
    let bare = if style.colour { without_codes(&text) } else { text };
    assert_fits(&bare, style.width);
    assert!(!bare.chars().any(|character| character.is_control() && character != '\n'), "{bare:?}");
    assert!(style.unicode || bare.is_ascii());
}

#[track_caller]
fn assert_fits(text: &str, width: usize) {
    for line in text.lines() {
        assert!(line.width() <= width, "{} columns instead of {width}: {line:?}", line.width());
        assert_eq!(line, line.trim_end_matches(' '));
    }
}

/// The text without its colour codes; other escapes stay.
fn without_codes(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut bare = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|character: char| !character.is_ascii_digit() && character != ';').unwrap_or(0);
        match &piece[end..].strip_prefix('m') {
            Some(rest) => bare.push_str(rest),
            None => bare.extend(["\x1b[", piece]),
        }
    }
    bare
}
