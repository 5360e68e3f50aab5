//! Kinds, lines, threads and processes in the object.

#![allow(clippy::struct_field_names, reason = "fields are keys, and a line has the key `line`")]

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tercet_model::{Shares, Wait};

use crate::figure::{Seconds, Share};
use crate::words;

/// A share for each kind that occurs, the largest first.
pub(super) struct Kinds(pub(super) Shares);

impl Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, share) in self.0.ranked() {
            map.serialize_entry(kind.name(), &Share::of(share))?;
        }
        map.end()
    }
}

/// A line that waits or computes.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    file: &'a str,
    line: u32,
    function: &'a str,
    kind: &'static str,
    share: Share,
    origin: &'static str,
    in_loop: bool,
    count: u64,
    target: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn of(line: &'a tercet_model::Line) -> Self {
        Self {
            file: &line.file,
            line: line.line,
            function: &line.function,
            kind: line.kind.name(),
            share: Share::of(line.share),
            origin: words::origin_name(line.origin),
            in_loop: line.in_loop,
            count: line.count,
            target: &line.target,
        }
    }
}

/// A thread.
#[derive(Serialize)]
pub(super) struct Thread<'a> {
    pid: u32,
    tid: u32,
    name: &'a str,
    samples: u64,
    shares: Kinds,
    cpu_s: Seconds,
    queue_delay_s: Seconds,
    is_loop: bool,
    timeline: Vec<Stretch<&'static str>>,
}

impl<'a> Thread<'a> {
    pub(super) fn of(thread: &'a tercet_model::ThreadProfile) -> Self {
        Self {
            pid: thread.pid,
            tid: thread.tid,
            name: &thread.name,
            samples: thread.samples,
            shares: Kinds(thread.shares),
            cpu_s: Seconds::of(thread.cpu_s),
            queue_delay_s: Seconds::of(thread.queue_delay_s),
            is_loop: thread.is_loop,
            timeline: stretches(thread.timeline.iter().map(|kind| kind.map(Wait::name))),
        }
    }
}

/// A process.
#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    parent: u32,
    command: &'a str,
    python: &'a str,
    cpu_s: Seconds,
    read_bytes: u64,
    written_bytes: u64,
    gil_switches: u64,
    gil_timeline: Vec<Stretch<u32>>,
}

impl<'a> Process<'a> {
    pub(super) fn of(process: &'a tercet_model::ProcessProfile) -> Self {
        Self {
            pid: process.pid,
            parent: process.parent,
            command: &process.command,
            python: &process.python,
            cpu_s: Seconds::of(process.cpu_s),
            read_bytes: process.read_bytes,
            written_bytes: process.written_bytes,
            gil_switches: process.gil_switches,
            gil_timeline: stretches(process.gil_timeline.iter().copied()),
        }
    }
}

/// What holds, and for how many entries of a timeline: `["network", 12]`.
type Stretch<T> = (Option<T>, usize);

/// A timeline with its runs of equal entries taken together.
fn stretches<T: PartialEq>(entries: impl Iterator<Item = Option<T>>) -> Vec<Stretch<T>> {
    let mut stretches: Vec<Stretch<T>> = Vec::new();
    for entry in entries {
        match stretches.last_mut() {
            Some((last, length)) if *last == entry => *length += 1,
            _ => stretches.push((entry, 1)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_entries_of_a_timeline_are_taken_together() {
        let entries = [Some(1), Some(1), None, Some(2), Some(1)];
        let expected = [(Some(1), 2), (None, 1), (Some(2), 1), (Some(1), 1)];
        assert_eq!(stretches(entries.into_iter()), expected);
        assert!(stretches(std::iter::empty::<Option<u32>>()).is_empty());
    }
}
