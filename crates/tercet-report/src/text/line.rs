//! The table of lines that wait or compute.

use tercet_model::{Line, Origin, Profile};

use super::glyph;
use super::paper::{Paint, Paper, Span, left, painted, plain, right};
use crate::place::{self, Places};
use crate::{figure, name, words};

/// How many lines are shown.
const MOST: usize = 12;

/// Below how many columns a line takes two rows.
const NARROW: usize = 64;

/// From how many columns on there is room for counts and targets.
const ROOMY: usize = 100;

/// Columns before the place: indent, share, fill, kind.
const BEFORE: usize = BEFORE_NARROW + 2 + 12 + 2;

/// Columns before the fill: indent, share.
const BEFORE_NARROW: usize = 2 + 6 + 2;

/// Columns after the place, where there is room.
const AFTER: usize = 34;

/// Said of a line that runs in an event loop.
const IN_LOOP: &str = "  in the event loop";

/// Writes the largest lines, the user's own first.
pub(super) fn write(paper: &mut Paper, profile: &Profile) {
    if profile.lines.is_empty() {
        return;
    }
    let lines = chosen(&profile.lines);
    let places = Places::of(&profile.lines);
    write_heading(paper, &places);
    let mixed = lines.iter().any(|line| line.origin != lines[0].origin);
    let mut above: Option<Origin> = None;
    for line in &lines {
        if mixed && above != Some(line.origin) {
            paper.row(&[painted(format!("  {}", words::origin(line.origin)), Paint::Faint)]);
            above = Some(line.origin);
        }
        write_line(paper, line, &places);
    }
    let rest = (profile.lines.len() - lines.len()) as u64;
    if rest > 0 {
        let number = figure::counted(rest, "more line", "more lines");
        paper.row(&[painted(format!("  and {number}"), Paint::Faint)]);
    }
}

fn write_heading(paper: &mut Paper, places: &Places) {
    paper.heading("Lines that wait or compute");
    if let Some(home) = places.home() {
        let room = paper.columns() - 5;
        let home = name::shorten_middle(&paper.shown(&home), room, paper.gap());
        paper.row(&[painted(format!("  in {home}"), Paint::Faint)]);
    }
}

/// The lines with the largest shares, grouped by whose they are.
fn chosen(lines: &[Line]) -> Vec<&Line> {
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by(|a, b| b.share.total_cmp(&a.share));
    lines.truncate(MOST);
    lines.sort_by_key(|line| line.origin);
    lines
}

fn write_line(paper: &mut Paper, line: &Line, places: &Places) {
    if paper.columns() < NARROW {
        write_narrow(paper, line, places);
    } else {
        write_wide(paper, line, places);
    }
}

/// What happens there on one row, the place below.
fn write_narrow(paper: &mut Paper, line: &Line, places: &Places) {
    let mut spans = measure(paper, line, 0);
    spans.push(painted(flag(line), Paint::Alert));
    paper.row(&spans);
    let indent = " ".repeat(BEFORE_NARROW);
    let place = place(paper, line, places, paper.columns() - BEFORE_NARROW);
    paper.row(&[plain(indent), plain(place)]);
}

/// All on one row.
fn write_wide(paper: &mut Paper, line: &Line, places: &Places) {
    let after = if paper.columns() >= ROOMY { AFTER } else { 0 };
    let room = paper.columns() - BEFORE - after;
    let flag = flag(line);
    let place = place(paper, line, places, room - flag.len());
    let used = name::width(&place) + flag.len();
    let mut spans = measure(paper, line, 12);
    spans.extend([plain("  "), plain(place), painted(flag, Paint::Alert)]);
    if after > 0 {
        spans.push(plain(" ".repeat(room.saturating_sub(used))));
        spans.push(waits(paper, line));
    }
    paper.row(&spans);
}

/// The share and the kind of a line.
fn measure(paper: &Paper, line: &Line, columns: usize) -> Vec<Span> {
    vec![
        painted(format!("  {}  ", right(&figure::percent(line.share), 6)), Paint::Strong),
        painted(glyph::fill(line.kind, paper).to_string(), glyph::paint(line.kind)),
        plain(format!(" {}", left(line.kind.name(), columns))),
    ]
}

const fn flag(line: &Line) -> &'static str {
    if line.in_loop { IN_LOOP } else { "" }
}

fn place(paper: &Paper, line: &Line, places: &Places, room: usize) -> String {
    let file = paper.shown(&places.file(line));
    let function = paper.shown(&line.function);
    place::fitted(&file, &place::number(line), &function, room, paper.gap())
}

/// How often it waits and for what.
fn waits(paper: &Paper, line: &Line) -> Span {
    let mut text = String::new();
    if line.count > 0 {
        text.push_str(&figure::counted(line.count, "wait", "waits"));
    }
    if !line.target.is_empty() {
        let target = name::shorten_middle(&paper.shown(&line.target), 16, paper.gap());
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(&target);
    }
    painted(format!("  {}", right(&text, AFTER - 2)), Paint::Faint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tercet_model::Wait;

    fn line(share: f64, origin: Origin) -> Line {
        Line {
            file: "a.py".into(),
            line: 1,
            function: "f".into(),
            kind: Wait::Network,
            share,
            origin,
            in_loop: false,
            count: 1,
            target: String::new(),
        }
    }

    #[test]
    fn the_largest_are_chosen_and_the_users_own_come_first() {
        let mut lines: Vec<_> = (0..20).map(|i| line(f64::from(i) / 1000.0, Origin::Own)).collect();
        lines.push(line(0.5, Origin::StandardLibrary));
        let chosen = chosen(&lines);
        assert_eq!(chosen.len(), MOST);
        assert_eq!(chosen[0].share, 0.019);
        assert_eq!(chosen[MOST - 1].origin, Origin::StandardLibrary);
    }
}
