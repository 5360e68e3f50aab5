//! The report as a page of text.
//!
//! The order is that of the questions: what should I do, where does the time go, on which lines,
//! what would I gain, why, and how far can I trust this.

mod gain;
mod glyph;
mod head;
mod line;
mod note;
mod paper;
mod wait;

use crate::{Report, Style};

/// The whole page.
pub(crate) fn render(report: &Report<'_>, style: Style) -> String {
    let mut paper = paper::Paper::new(style);
    head::write(&mut paper, report);
    wait::write(&mut paper, report.profile);
    line::write(&mut paper, report.profile);
    gain::write(&mut paper, report.verdict);
    note::write_reasons(&mut paper, report.verdict);
    note::write_unreadable(&mut paper, report.profile);
    note::write_end(&mut paper, report);
    paper.into_text()
}
