//! What one thread did over time.

use std::fmt::Write as _;

use serde::Serialize;
use tercet_model::{ProcessProfile, Shares, ThreadProfile, Wait};

use super::words::short;
use super::{palette, strip};
use crate::figure;

/// No look fell into this many entries or fewer: the thread did what it did before.
const GAP: usize = 2;

/// The height of a lane in its own units. The upper two show who owns the GIL.
const FLOOR: u32 = 20;

/// One thread.
#[derive(Serialize)]
pub(super) struct Lane {
    number: usize,
    name: String,
    title: String,
    is_loop: bool,
    length: usize,
    kinds: Vec<Kind>,
    /// Where its thread owns the GIL, as a path.
    pub(super) owned: String,
    summary: String,
}

/// All the moments of one kind in a lane.
#[derive(Serialize)]
struct Kind {
    class: String,
    path: String,
    title: String,
}

impl Lane {
    /// The lane of a thread, which has a number within its process.
    pub(super) fn of(thread: &ThreadProfile, number: usize, process: &ProcessProfile) -> Self {
        let summary = summary(&thread.shares);
        Self {
            number,
            name: short(&thread.name),
            title: format!("thread {} of process {}", thread.tid, thread.pid),
            is_loop: thread.is_loop,
            length: thread.timeline.len().max(1),
            kinds: kinds(thread, &filled(&thread.timeline)),
            owned: strip::owned_by(thread.tid, &process.gil_timeline),
            summary,
        }
    }
}

/// The two kinds a thread spends most time with.
fn summary(shares: &Shares) -> String {
    let ranked = shares.ranked();
    let told: Vec<_> = ranked
        .iter()
        .take(2)
        .filter(|(_, share)| *share >= 0.005)
        .map(|(kind, share)| format!("{} {}", kind.name(), figure::whole_percent(*share)))
        .collect();
    told.join(", ")
}

/// The timeline without the short gaps that a slow look leaves.
fn filled(timeline: &[Option<Wait>]) -> Vec<Option<Wait>> {
    let mut filled = timeline.to_vec();
    let mut before: Option<usize> = None;
    for (index, _) in timeline.iter().enumerate().filter(|(_, kind)| kind.is_some()) {
        if let Some(last) = before.filter(|last| index - last <= GAP + 1) {
            filled[last + 1..index].fill(timeline[last]);
        }
        before = Some(index);
    }
    filled
}

/// A path for each kind that a lane shows.
fn kinds(thread: &ThreadProfile, timeline: &[Option<Wait>]) -> Vec<Kind> {
    let present = Wait::ALL.into_iter().filter(|kind| timeline.contains(&Some(*kind)));
    let kind = |kind: Wait| Kind {
        class: palette::class(kind),
        path: path(timeline, kind),
        title: format!("{} {}", kind.label(), figure::percent(thread.shares[kind])),
    };
    present.map(kind).collect()
}

/// Rectangles for the stretches of one kind, as tall as the thread is busy in them.
fn path(timeline: &[Option<Wait>], kind: Wait) -> String {
    let mut path = String::new();
    let mut start = 0;
    for run in timeline.chunk_by(|a, b| a == b) {
        let length = run.len();
        if run[0] == Some(kind) {
            let top = top(kind);
            // Writing to a `String` does not fail.
            let _ = write!(path, "M{start} {top}h{length}V{FLOOR}h-{length}z");
        }
        start += length;
    }
    path
}

/// Computing fills a lane, being held up fills most of it, waiting half, idling a line: so that a
/// lane reads without its colours.
const fn top(kind: Wait) -> u32 {
    match kind {
        Wait::CpuGil | Wait::CpuNogil | Wait::Gc => 4,
        Wait::Runnable | Wait::GilWait | Wait::GilHeld => 7,
        Wait::Lock | Wait::ProcessLock => 14,
        Wait::Network | Wait::Disk | Wait::Pipe | Wait::Child | Wait::Other => 11,
        Wait::Sleep | Wait::LoopIdle => 18,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_one_kind_become_one_path() {
        let (net, cpu) = (Some(Wait::Network), Some(Wait::CpuGil));
        let timeline = [net, net, None, cpu, net];
        assert_eq!(path(&timeline, Wait::Network), "M0 11h2V20h-2zM4 11h1V20h-1z");
        assert_eq!(path(&timeline, Wait::CpuGil), "M3 4h1V20h-1z");
        assert_eq!(path(&timeline, Wait::Disk), "");
    }

    #[test]
    fn short_gaps_are_filled_and_long_ones_are_not() {
        let (net, cpu) = (Some(Wait::Network), Some(Wait::CpuGil));
        let timeline = [None, net, None, None, cpu, None, None, None, net, None];
        let expected = [None, net, net, net, cpu, None, None, None, net, None];
        assert_eq!(filled(&timeline), expected);
    }
}
