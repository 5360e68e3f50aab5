//! The table of lines.

use serde::Serialize;
use tercet_model::{Origin, Profile};

use super::axis::position;
use super::palette;
use super::words::short;
use crate::place::{self, Places};
use crate::{figure, words};

/// How many lines are seen before the reader asks for more.
const SHOWN: usize = 12;

/// The most lines a page has.
const MOST: usize = 200;

/// The lines that wait or compute.
#[derive(Serialize)]
pub(super) struct Lines {
    home: Option<String>,
    shown: Vec<Line>,
    hidden: Vec<Line>,
    left_out: usize,
}

/// One line.
#[derive(Serialize)]
struct Line {
    percent: String,
    length: String,
    class: String,
    texture: &'static str,
    label: &'static str,
    file: String,
    number: String,
    function: String,
    path: String,
    origin: &'static str,
    is_own: bool,
    in_loop: bool,
    waits: String,
    target: String,
}

impl Lines {
    /// The lines, the largest first, each with whose it is.
    pub(super) fn of(profile: &Profile) -> Self {
        let places = Places::of(&profile.lines);
        let mut lines: Vec<_> = profile.lines.iter().collect();
        lines.sort_by(|a, b| b.share.total_cmp(&a.share));
        let largest = lines.first().map_or(1.0, |line| line.share);
        let left_out = lines.len().saturating_sub(MOST);
        lines.truncate(MOST);
        let mut shown: Vec<_> = lines.into_iter().map(|line| Line::of(line, &places, largest)).collect();
        let hidden = shown.split_off(shown.len().min(SHOWN));
        Self { home: places.home().map(|home| short(&home)), shown, hidden, left_out }
    }
}

impl Line {
    fn of(line: &tercet_model::Line, places: &Places, largest: f64) -> Self {
        let waits = figure::counted(line.count, "wait", "waits");
        Self {
            percent: figure::percent(line.share),
            length: position((line.share / largest * 100.0).clamp(0.0, 100.0)),
            class: palette::class(line.kind),
            texture: palette::of(line.kind).texture,
            label: line.kind.label(),
            file: short(&places.file(line)),
            number: place::number(line),
            function: short(&line.function),
            path: short(&line.file),
            origin: words::origin(line.origin),
            is_own: line.origin == Origin::Own,
            in_loop: line.in_loop,
            waits: if line.count > 0 && !line.kind.is_cpu() { waits } else { String::new() },
            target: short(&line.target),
        }
    }
}
