//! Everything the templates place on the page.

use serde::Serialize;
use tercet_model::{Reason, Unreadable, Verdict};

use super::axis::position;
use super::bar::{Bar, Parts};
use super::chart::Chart;
use super::fact::{self, Fact};
use super::line::Lines;
use super::palette;
use super::table::{self, Process, Table, Thread};
use super::timeline::Timeline;
use super::words::{Piece, pieces, short};
use crate::{Report, figure, words};

/// The rules that do not depend on the palette.
const STYLE: &str = include_str!("../../templates/style.css");

/// The page.
#[derive(Serialize)]
pub(super) struct Page {
    css: String,
    program: String,
    python: String,
    wall: String,
    attached: bool,
    exit: Option<String>,
    verdict: Advice,
    bar: Bar,
    parts: Parts,
    chart: Option<Chart>,
    lines: Lines,
    timeline: Option<Timeline>,
    reasons: Vec<Weighed>,
    facts: Vec<Fact>,
    threads: Table<Thread>,
    processes: Table<Process>,
    unreadable: Vec<Missing>,
    samples: String,
    hz: String,
    sampler_cpu: String,
}

impl Page {
    /// The page of a report.
    pub(super) fn of(report: &Report<'_>) -> Self {
        let Report { subject, profile, verdict } = *report;
        Self {
            css: format!("{}{STYLE}", palette::css()),
            program: short(&subject.program),
            python: short(&subject.python),
            wall: figure::seconds(profile.wall_s),
            attached: subject.attached,
            exit: subject.unusual_exit().map(short),
            verdict: Advice::of(verdict),
            bar: Bar::of(profile),
            parts: Parts::of(&profile.phases, profile.wall_s),
            chart: Chart::of(profile, verdict),
            lines: Lines::of(profile),
            timeline: Timeline::of(profile),
            reasons: weighed(&verdict.reasons),
            facts: fact::measured(profile),
            threads: table::threads(&profile.threads),
            processes: table::processes(&profile.processes),
            unreadable: profile.unreadable.iter().map(Missing::of).collect(),
            samples: figure::counted(profile.samples, "sample", "samples"),
            hz: figure::mean(subject.hz),
            sampler_cpu: figure::percent(subject.sampler_cpu_share),
        }
    }
}

/// The verdict in words and figures.
#[derive(Serialize)]
struct Advice {
    sentence: Vec<Piece>,
    remedy: &'static str,
    gloss: &'static str,
    workers: Option<String>,
    gain: Option<String>,
    limit: Option<String>,
    confidence: &'static str,
    confidence_percent: String,
    confidence_length: String,
}

impl Advice {
    fn of(verdict: &Verdict) -> Self {
        let finite = |figure: Option<f64>| figure.filter(|figure| figure.is_finite());
        let model = words::model_of(verdict.remedy);
        Self {
            sentence: pieces(&words::sentence(&verdict.sentence)),
            remedy: verdict.remedy.name(),
            gloss: words::advice(verdict.remedy),
            workers: verdict.workers.map(|number| words::workers(model, number)),
            gain: finite(verdict.speedup).map(figure::times),
            limit: finite(verdict.bound).map(figure::times),
            confidence: words::confidence(verdict.confidence),
            confidence_percent: figure::whole_percent(verdict.confidence),
            confidence_length: position((verdict.confidence * 100.0).clamp(0.0, 100.0)),
        }
    }
}

/// A reason with its weight.
#[derive(Serialize)]
struct Weighed {
    text: Vec<Piece>,
    weight: String,
    length: String,
}

/// The reasons, the weightiest first.
fn weighed(reasons: &[Reason]) -> Vec<Weighed> {
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let weigh = |reason: &&Reason| Weighed {
        text: pieces(&reason.text),
        weight: figure::whole_percent(reason.weight),
        length: position((reason.weight * 100.0).clamp(0.0, 100.0)),
    };
    reasons.iter().map(weigh).collect()
}

/// Something that could not be read.
#[derive(Serialize)]
struct Missing {
    what: Vec<Piece>,
    why: Vec<Piece>,
    hint: Vec<Piece>,
}

impl Missing {
    fn of(thing: &Unreadable) -> Self {
        Self { what: pieces(&thing.what), why: pieces(&thing.why), hint: pieces(&thing.hint) }
    }
}
