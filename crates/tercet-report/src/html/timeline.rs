//! What each thread did over time: one lane per thread, one group per process.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use tercet_model::{ProcessProfile, Profile, Shares, ThreadProfile, Wait};

use super::axis::{self, Tick};
use super::palette;
use super::strip::{self, Strip};
use super::words::short;
use crate::figure;

/// How many lanes are seen before the reader asks for more.
const SHOWN: usize = 32;

/// So many lanes are shown whatever their threads do.
const FEW: usize = 12;

/// A thread that is busy for less than this share of the busiest one's time came and went.
const BRIEF: f64 = 0.02;

/// No look fell into this many entries or fewer: the thread did what it did before.
const GAP: usize = 2;

/// The height of a lane in its own units. The upper two show who owns the GIL.
const FLOOR: u32 = 20;

/// The lanes of all threads.
#[derive(Serialize)]
pub(super) struct Timeline {
    groups: Vec<Group>,
    ticks: Vec<Tick>,
    kinds: Vec<Key>,
    shows_gil: bool,
}

/// A colour of the lanes and what it stands for.
#[derive(Serialize)]
struct Key {
    class: String,
    label: &'static str,
}

/// The lanes of one process.
#[derive(Serialize)]
struct Group {
    pid: u32,
    command: String,
    strip: Option<Strip>,
    lanes: Vec<Lane>,
    hidden: Vec<Lane>,
}

/// One thread.
#[derive(Serialize)]
struct Lane {
    number: usize,
    name: String,
    title: String,
    is_loop: bool,
    length: usize,
    kinds: Vec<Kind>,
    owned: String,
    summary: String,
}

/// All the moments of one kind in a lane.
#[derive(Serialize)]
struct Kind {
    class: String,
    path: String,
    title: String,
}

impl Timeline {
    /// The lanes; `None` when no thread was seen.
    pub(super) fn of(profile: &Profile) -> Option<Self> {
        let mut by_process: BTreeMap<u32, Vec<&ThreadProfile>> = BTreeMap::new();
        for thread in &profile.threads {
            by_process.entry(thread.pid).or_default().push(thread);
        }
        if by_process.is_empty() {
            return None;
        }
        let mut room = SHOWN;
        let known = profile
            .processes
            .iter()
            .filter_map(|process| by_process.remove(&process.pid).map(|threads| (process.clone(), threads)));
        let mut seen: Vec<_> = known.collect();
        let unknown = |(pid, threads)| (ProcessProfile { pid, ..ProcessProfile::default() }, threads);
        seen.extend(by_process.into_iter().map(unknown));
        let groups: Vec<_> = seen.iter().map(|(process, threads)| Group::of(process, threads, &mut room)).collect();
        Some(Self {
            shows_gil: groups.iter().any(Group::shows_gil),
            groups,
            ticks: axis::times(profile.wall_s),
            kinds: keys(&profile.threads),
        })
    }
}

/// The kinds that any lane shows.
fn keys(threads: &[ThreadProfile]) -> Vec<Key> {
    let is_seen = |kind: &Wait| threads.iter().any(|thread| thread.timeline.contains(&Some(*kind)));
    let key = |kind: Wait| Key { class: palette::class(kind), label: kind.label() };
    Wait::ALL.into_iter().filter(is_seen).map(key).collect()
}

impl Group {
    fn of(process: &ProcessProfile, threads: &[&ThreadProfile], room: &mut usize) -> Self {
        let mut threads = threads.to_vec();
        // The main thread first, then as they were seen.
        threads.sort_by_key(|thread| thread.tid != thread.pid);
        let numbers = threads.iter().zip(1..).map(|(thread, number)| (thread.tid, number)).collect();
        let seen = busiest(&threads, (*room).max(1));
        let lane = |(index, thread): (usize, &&ThreadProfile)| Lane::of(thread, index + 1, process);
        let lanes_where = |is_seen| {
            let chosen = threads.iter().enumerate().filter(|(index, _)| seen[*index] == is_seen);
            chosen.map(lane).collect::<Vec<_>>()
        };
        let (lanes, hidden) = (lanes_where(true), lanes_where(false));
        *room = room.saturating_sub(lanes.len());
        // With a single thread its own lane says it all.
        let strip = (threads.len() > 1).then(|| Strip::of(process, &numbers)).flatten();
        Self { pid: process.pid, command: short(&process.command), strip, lanes, hidden }
    }

    fn shows_gil(&self) -> bool {
        self.strip.is_some() || self.lanes.iter().any(|lane| !lane.owned.is_empty())
    }
}

/// Which threads are seen at once: the first, and those that were busy for longest. Of many, those that came and went
/// unseen by most looks are not among them.
fn busiest(threads: &[&ThreadProfile], room: usize) -> Vec<bool> {
    let busy: Vec<f64> = threads.iter().map(|thread| busy_samples(thread)).collect();
    let least = busy.iter().copied().fold(0.0, f64::max) * BRIEF;
    let is_worth_it = |index: &usize| threads.len() <= FEW || busy[*index] > least;
    let mut order: Vec<usize> = (1..threads.len()).filter(is_worth_it).collect();
    order.sort_by(|&a, &b| busy[b].total_cmp(&busy[a]));
    let mut seen = vec![false; threads.len()];
    for index in std::iter::once(0).chain(order).take(room.min(threads.len())) {
        seen[index] = true;
    }
    seen
}

/// Looks at which a thread did something else than idle.
fn busy_samples(thread: &ThreadProfile) -> f64 {
    let idles = |kind: Wait| kind.is_lock() || matches!(kind, Wait::Sleep | Wait::LoopIdle);
    thread.samples as f64 * (1.0 - thread.shares.sum(idles))
}

impl Lane {
    fn of(thread: &ThreadProfile, number: usize, process: &ProcessProfile) -> Self {
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

    #[test]
    fn of_many_threads_those_that_came_and_went_are_hidden() {
        let thread = |tid, samples| ThreadProfile { pid: 1, tid, samples, ..ThreadProfile::default() };
        let mut threads = vec![thread(1, 10), thread(2, 900)];
        threads.extend((3..60).map(|tid| thread(tid, 1)));
        let profile = Profile { threads, ..Profile::default() };
        let timeline = Timeline::of(&profile).unwrap();
        assert_eq!(timeline.groups[0].lanes.len(), 2);
        assert_eq!(timeline.groups[0].hidden.len(), 57);
    }

    #[test]
    fn threads_of_a_process_nobody_listed_have_their_lanes() {
        let threads = vec![ThreadProfile { pid: 5, tid: 6, ..ThreadProfile::default() }];
        let timeline = Timeline::of(&Profile { threads, ..Profile::default() }).unwrap();
        assert_eq!(timeline.groups.len(), 1);
        assert_eq!(timeline.groups[0].lanes.len(), 1);
        assert!(Timeline::of(&Profile::default()).is_none());
    }
}
