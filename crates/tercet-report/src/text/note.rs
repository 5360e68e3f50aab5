//! Why, what could not be read, and how far the report can be trusted.

use tercet_model::{Profile, Verdict};

use super::paper::{Paint, Paper, painted};
use crate::{Report, figure, words};

/// How many things that could not be read are listed.
const MOST_UNREADABLE: usize = 8;

/// Writes the reasons, the weightiest first.
pub(super) fn write_reasons(paper: &mut Paper, verdict: &Verdict) {
    if verdict.reasons.is_empty() {
        return;
    }
    paper.heading("Why");
    let mut reasons: Vec<_> = verdict.reasons.iter().collect();
    reasons.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    for (index, reason) in reasons.iter().enumerate() {
        paper.paragraph(&format!("  {}. ", index + 1), &reason.text, Paint::Plain);
    }
}

/// Writes what could not be read and how to allow it.
pub(super) fn write_unreadable(paper: &mut Paper, profile: &Profile) {
    if profile.unreadable.is_empty() {
        return;
    }
    paper.heading("Could not be read");
    for thing in profile.unreadable.iter().take(MOST_UNREADABLE) {
        let separator = if thing.why.is_empty() { "" } else { ": " };
        let fact = format!("{}{separator}{}", thing.what, thing.why);
        paper.paragraph("  - ", &fact, Paint::Plain);
        if !thing.hint.is_empty() {
            paper.paragraph("    hint: ", &thing.hint, Paint::Plain);
        }
    }
    let rest = profile.unreadable.len().saturating_sub(MOST_UNREADABLE) as u64;
    if rest > 0 {
        paper.row(&[painted(format!("  and {} more", figure::count(rest)), Paint::Faint)]);
    }
}

/// Writes how the program ended and what the figures rest on.
pub(super) fn write_end(paper: &mut Paper, report: &Report<'_>) {
    let Report { subject, profile, verdict } = *report;
    paper.blank();
    match subject.unusual_exit() {
        Some(exit) => paper.paragraph("", &format!("The program ended: {exit}."), Paint::Plain),
        None if subject.attached => {
            paper.paragraph("", "The program was still running when the watch ended.", Paint::Plain);
        }
        None => {}
    }
    let samples = figure::counted(profile.samples, "sample", "samples");
    let basis = format!(
        "{} Hz, {samples}; tercet itself used {} of a core; confidence {} ({}).",
        figure::mean(subject.hz),
        figure::percent(subject.sampler_cpu_share),
        words::confidence(verdict.confidence),
        figure::whole_percent(verdict.confidence),
    );
    paper.paragraph("", &basis, Paint::Faint);
}
