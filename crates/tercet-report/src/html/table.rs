//! The tables of threads and of processes.

use serde::Serialize;
use tercet_model::{ProcessProfile, ThreadProfile};

use super::words::short;
use crate::figure;

/// The most rows a table has.
const MOST: usize = 500;

/// The rows of a table, and how many were too many.
#[derive(Serialize)]
pub(super) struct Table<R> {
    rows: Vec<R>,
    left_out: usize,
}

/// A row for a thread.
#[derive(Serialize)]
pub(super) struct Thread {
    name: String,
    pid: u32,
    tid: u32,
    is_loop: bool,
    kinds: String,
    cpu: String,
    delay: String,
    samples: String,
}

impl Thread {
    fn of(thread: &ThreadProfile) -> Self {
        let kinds: Vec<_> = thread
            .shares
            .ranked()
            .iter()
            .take(3)
            .map(|(kind, share)| format!("{} {}", kind.name(), figure::whole_percent(*share)))
            .collect();
        Self {
            name: short(&thread.name),
            pid: thread.pid,
            tid: thread.tid,
            is_loop: thread.is_loop,
            kinds: kinds.join(", "),
            cpu: figure::seconds(thread.cpu_s),
            delay: figure::seconds(thread.queue_delay_s),
            samples: figure::count(thread.samples),
        }
    }
}

/// A row for a process.
#[derive(Serialize)]
pub(super) struct Process {
    pid: u32,
    parent: u32,
    command: String,
    python: String,
    cpu: String,
    read: String,
    written: String,
    switches: String,
}

impl Process {
    fn of(process: &ProcessProfile) -> Self {
        Self {
            pid: process.pid,
            parent: process.parent,
            command: short(&process.command),
            python: short(&process.python),
            cpu: figure::seconds(process.cpu_s),
            read: figure::bytes(process.read_bytes as f64),
            written: figure::bytes(process.written_bytes as f64),
            switches: figure::count(process.gil_switches),
        }
    }
}

/// The table of threads.
pub(super) fn threads(threads: &[ThreadProfile]) -> Table<Thread> {
    table(threads, Thread::of)
}

/// The table of processes.
pub(super) fn processes(processes: &[ProcessProfile]) -> Table<Process> {
    table(processes, Process::of)
}

fn table<T, R>(things: &[T], row: fn(&T) -> R) -> Table<R> {
    Table { rows: things.iter().take(MOST).map(row).collect(), left_out: things.len().saturating_sub(MOST) }
}
