//! Which thread owns the GIL of one process over time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use tercet_model::ProcessProfile;

use super::axis::Tick;
use crate::figure;

/// How many shades tell neighbours apart.
const SHADES: usize = 4;

/// A stretch narrower than this, in per cent of the strip, has no label.
const LABELLED: f64 = 4.5;

/// The strip of one process.
#[derive(Serialize)]
pub(super) struct Strip {
    /// Entries, and so the width of the picture in its own units.
    length: usize,
    owners: Vec<Owner>,
    labels: Vec<Tick>,
    held: String,
    summary: String,
}

/// All the stretches of one thread.
#[derive(Serialize)]
struct Owner {
    shade: usize,
    path: String,
    title: String,
}

/// A stretch in which one thread owns the GIL.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    tid: u32,
    start: usize,
    length: usize,
}

impl Strip {
    /// The strip, its threads named by `numbers`; `None` when the GIL was never seen held.
    pub(super) fn of(process: &ProcessProfile, numbers: &BTreeMap<u32, usize>) -> Option<Self> {
        let stretches = stretches(&process.gil_timeline);
        if stretches.is_empty() {
            return None;
        }
        let length = process.gil_timeline.len();
        let mut owners = owners(&stretches, length, numbers);
        owners.sort_by_key(|(entries, _)| Reverse(*entries));
        let held: usize = stretches.iter().map(|stretch| stretch.length).sum();
        let told: Vec<_> = owners.iter().take(4).map(|(_, owner)| owner.title.clone()).collect();
        Some(Self {
            length,
            labels: labels(&stretches, length, numbers),
            held: format!("held {}", figure::whole_percent(held as f64 / length as f64)),
            summary: told.join(", "),
            owners: owners.into_iter().map(|(_, owner)| owner).collect(),
        })
    }
}

/// Where in its lane a thread owns the GIL, as a path.
pub(super) fn owned_by(tid: u32, timeline: &[Option<u32>]) -> String {
    let own = stretches(timeline).into_iter().filter(|stretch| stretch.tid == tid);
    own.fold(String::new(), |path, stretch| with_stretch(path, stretch, 0, 2))
}

fn owners(stretches: &[Stretch], length: usize, numbers: &BTreeMap<u32, usize>) -> Vec<(usize, Owner)> {
    let mut by_thread: BTreeMap<u32, (usize, String)> = BTreeMap::new();
    for &stretch in stretches {
        let (entries, path) = by_thread.entry(stretch.tid).or_default();
        *entries += stretch.length;
        *path = with_stretch(std::mem::take(path), stretch, 0, 10);
    }
    let owner = |(tid, (entries, path)): (u32, (usize, String))| {
        let part = figure::whole_percent(entries as f64 / length as f64);
        let title = format!("{} {part}", name(tid, numbers));
        let shade = numbers.get(&tid).map_or(0, |number| number % SHADES);
        (entries, Owner { shade, path, title })
    };
    by_thread.into_iter().map(owner).collect()
}

fn labels(stretches: &[Stretch], length: usize, numbers: &BTreeMap<u32, usize>) -> Vec<Tick> {
    let percent = |entries: usize| entries as f64 / length as f64 * 100.0;
    let wide = stretches.iter().filter(|stretch| percent(stretch.length) >= LABELLED);
    wide.filter_map(|stretch| {
        let number = numbers.get(&stretch.tid)?;
        let middle = percent(stretch.start) + percent(stretch.length) / 2.0;
        Some(Tick::new(middle, number.to_string()))
    })
    .collect()
}

fn name(tid: u32, numbers: &BTreeMap<u32, usize>) -> String {
    numbers.get(&tid).map_or_else(|| format!("tid {tid}"), |number| format!("thread {number}"))
}

/// Adds a rectangle for a stretch to a path.
fn with_stretch(mut path: String, stretch: Stretch, top: u32, bottom: u32) -> String {
    let Stretch { start, length, .. } = stretch;
    // Writing to a `String` does not fail.
    let _ = write!(path, "M{start} {top}h{length}V{bottom}h-{length}z");
    path
}

/// The stretches of equal owners.
fn stretches(timeline: &[Option<u32>]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (start, tid) in timeline.iter().enumerate().filter_map(|(at, tid)| Some((at, (*tid)?))) {
        match stretches.last_mut() {
            Some(last) if last.tid == tid && last.start + last.length == start => last.length += 1,
            _ => stretches.push(Stretch { tid, start, length: 1 }),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_owner_make_a_stretch() {
        let timeline = [Some(7), Some(7), None, Some(7), Some(8)];
        let stretch = |tid, start, length| Stretch { tid, start, length };
        assert_eq!(stretches(&timeline), [stretch(7, 0, 2), stretch(7, 3, 1), stretch(8, 4, 1)]);
        assert_eq!(owned_by(7, &timeline), "M0 0h2V2h-2zM3 0h1V2h-1z");
    }

    #[test]
    fn a_gil_that_nobody_held_has_no_strip() {
        let process = ProcessProfile { gil_timeline: vec![None; 5], ..ProcessProfile::default() };
        assert!(Strip::of(&process, &BTreeMap::new()).is_none());
    }
}
