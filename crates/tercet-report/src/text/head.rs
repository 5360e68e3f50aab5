//! The top of the page: what was watched, and the verdict.

use tercet_model::Verdict;

use super::paper::{Paint, Paper, painted, plain};
use crate::{Report, figure, name, words};

/// What the first line begins with.
const NAME: &str = "tercet ";

/// Writes the top of the page.
pub(super) fn write(paper: &mut Paper, report: &Report<'_>) {
    write_subject(paper, report);
    paper.blank();
    paper.paragraph("  ", &words::sentence(&report.verdict.sentence), Paint::Strong);
    paper.paragraph("  ", &numbers(report.verdict), Paint::Plain);
}

/// `tercet app.py - Python 3.12.1, 12.4 s`, on two lines where one is too narrow.
fn write_subject(paper: &mut Paper, report: &Report<'_>) {
    let program = paper.shown(&report.subject.program);
    let about = about(paper, report);
    let dash = paper.pick(" \u{2013} ", " - ");
    let room = paper.columns() - NAME.len();
    let mut row = vec![painted(NAME, Paint::Faint)];
    if name::width(&program) + name::width(dash) + name::width(&about) <= room {
        row.extend([painted(program, Paint::Strong), painted(dash, Paint::Faint), plain(about)]);
        paper.row(&row);
    } else {
        let program = name::shorten_middle(&program, room, paper.gap());
        row.push(painted(program, Paint::Strong));
        paper.row(&row);
        let about = name::shorten_middle(&about, room, paper.gap());
        paper.row(&[plain(" ".repeat(NAME.len())), plain(about)]);
    }
}

/// The interpreter and for how long it was watched.
fn about(paper: &Paper, report: &Report<'_>) -> String {
    let Report { subject, profile, .. } = *report;
    let version = paper.shown(&subject.python);
    let python = if version.is_empty() { version } else { format!("Python {version}, ") };
    let watched = if subject.attached { " watched" } else { "" };
    format!("{python}{}{watched}", figure::seconds(profile.wall_s))
}

/// The remedy by its name, the workers, the gain with its limit, and how sure that is.
fn numbers(verdict: &Verdict) -> String {
    let mut numbers = vec![verdict.remedy.name().to_owned()];
    if let Some(number) = verdict.workers {
        numbers.push(words::workers(words::model_of(verdict.remedy), number));
    }
    numbers.extend(words::gain(verdict));
    let confidence = words::confidence(verdict.confidence);
    format!("{}; confidence: {confidence}", numbers.join(", "))
}
