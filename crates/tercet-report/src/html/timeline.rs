//! What each thread did over time: one lane per thread, one group per process.

use std::collections::BTreeMap;

use serde::Serialize;
use tercet_model::{ProcessProfile, Profile, ThreadProfile, Wait};

use super::axis::{self, Tick};
use super::lane::Lane;
use super::palette;
use super::strip::Strip;
use super::words::short;

/// How many lanes are seen before the reader asks for more.
const SHOWN: usize = 32;

/// So many lanes are shown whatever their threads do.
const FEW: usize = 12;

/// A thread that is busy for less than this share of the busiest one's time came and went.
const BRIEF: f64 = 0.02;

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

#[cfg(test)]
mod tests {
    use super::*;

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
