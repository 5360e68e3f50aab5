//! From looks to a profile: each tick is folded into the program's own view.
//!
//! A tick asks one question: is anyone making progress, and on what? Threads that wait for work, or
//! for one another, have no say while anyone else does something. The tick's length is divided among
//! the others. What counts for the predicted speed-up is kept beside it: how many threads compute,
//! wait and queue at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use tercet_model::{Phases, Shares, Wait, Work};

use crate::digest::LineKey;
use crate::process::Part;
use crate::thread::Sight;
use crate::timeline::{Clock, Timeline};

/// One thread in one tick.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) part: Part,
    pub(crate) sight: &'a Sight,
}

/// One tick of the whole program.
#[derive(Debug, Default)]
pub(crate) struct Tick<'a> {
    pub(crate) looks: Vec<Look<'a>>,
    /// Who held the GIL of each process.
    pub(crate) holders: Vec<(u32, u32)>,
    /// Processors that child programs used since the last tick, in nanoseconds.
    pub(crate) child_cpu_ns: u64,
    /// Whether the main interpreter has been set up, and is on its way out.
    pub(crate) has_started: bool,
    pub(crate) is_finalizing: bool,
    /// Whether the main module has ended and only what is registered for the way out runs.
    pub(crate) is_leaving: bool,
    /// The main thread of the program.
    pub(crate) main: Option<(u32, u32)>,
}

/// What is known of one line.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineSum {
    pub(crate) shares: Shares,
    /// Separate waits, and how many of the looks saw one.
    pub(crate) waits: u64,
    pub(crate) wait_looks: u64,
    pub(crate) wait_s: f64,
    pub(crate) system_s: f64,
    pub(crate) targets: BTreeMap<String, f64>,
    /// Seconds in waits, summed over threads: more than the line's share when several wait at once.
    pub(crate) thread_wait_s: f64,
    /// Seconds in which a thread computed here, or waited for the GIL to, summed over threads.
    pub(crate) thread_cpu_s: f64,
    pub(crate) ends: Ends,
    /// Times between the deadlines of sleeps that follow one another in a thread, in nanoseconds.
    pub(crate) beats_ns: Vec<u64>,
}

/// When waits end, as the intervals between the ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    last_s: Option<f64>,
    count: f64,
    sum: f64,
    squares: f64,
}

impl Ends {
    fn add(&mut self, now_s: f64) {
        if let Some(interval) = self.last_s.replace(now_s).map(|last| now_s - last) {
            self.count += 1.0;
            self.sum += interval;
            self.squares += interval * interval;
        }
    }

    /// Whether there are enough, and they are as regular as one server with a queue makes them.
    /// Independent waits end in bursts or at random, with a coefficient of variation of about one.
    pub(crate) fn is_regular(&self) -> bool {
        let mean = self.sum / self.count.max(1.0);
        let variance = (self.squares / self.count.max(1.0) - mean * mean).max(0.0);
        self.count >= 10.0 && variance.sqrt() < 0.45 * mean
    }
}

/// Beats kept for a line.
const MOST_BEATS: usize = 64;

/// What is known of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadSum {
    pub(crate) shares: Shares,
    pub(crate) samples: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) delay_ns: u64,
    pub(crate) waits: u64,
    pub(crate) busy_s: f64,
    pub(crate) is_worker: bool,
    pub(crate) timeline: Timeline<Wait>,
}

/// How long the event loop was seen in each condition, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoopSum {
    pub(crate) idle_s: f64,
    pub(crate) busy_s: f64,
    pub(crate) waits_s: f64,
    pub(crate) computes_s: f64,
    pub(crate) in_flight: f64,
    pub(crate) in_flight_s: f64,
}

/// A callback that computes: its frame, since when, and whether it has been charged.
#[derive(Clone, Copy, Debug)]
struct Running {
    callback: u64,
    since_s: f64,
    charged_s: f64,
}

/// Everything gathered so far.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) clock: Clock,
    pub(crate) now_s: f64,
    pub(crate) phases: Phases,
    pub(crate) samples: u64,
    pub(crate) shares: Shares,
    /// Thread-seconds of each sort of work; divided by the length of the body at the end.
    pub(crate) work: Work,
    pub(crate) gil_s: HashMap<u32, f64>,
    pub(crate) lines: HashMap<LineKey, LineSum>,
    pub(crate) import_lines: HashMap<LineKey, LineSum>,
    pub(crate) threads: BTreeMap<(u32, u32), ThreadSum>,
    pub(crate) holders: BTreeMap<u32, Timeline<u32>>,
    pub(crate) exchange_s: f64,
    pub(crate) busy_s: f64,
    pub(crate) fought_lock_s: f64,
    pub(crate) event_loop: LoopSum,
    pub(crate) worker_processes: HashSet<u32>,
    /// Tasks in the queue of the program's thread pool, times seconds, and those seconds.
    pub(crate) backlog: (f64, f64),
    running: HashMap<(u32, u32), Running>,
    /// The line on which a thread waited at the last look.
    waiting: HashMap<(u32, u32), LineKey>,
    deadlines: HashMap<(u32, u32), u64>,
    has_body: bool,
}

/// A callback that computes for longer than this keeps the loop from everything else.
const BLOCKING_S: f64 = 0.05;

impl Fold {
    /// Sets the clock of a fold that begins after the watch has.
    pub(crate) fn start_at(&mut self, now_s: f64) {
        self.now_s = now_s;
        self.clock.reach(now_s);
    }

    /// Adds one tick that stands for the `length_s` seconds since the last.
    pub(crate) fn add(&mut self, tick: &Tick<'_>, length_s: f64) {
        self.now_s += length_s;
        let doublings = self.clock.reach(self.now_s);
        if doublings > 0 {
            self.threads.values_mut().for_each(|thread| thread.timeline.fold(doublings));
            self.holders.values_mut().for_each(|holder| holder.fold(doublings));
        }
        self.draw(tick, length_s);
        let active = active(tick);
        match self.phase(tick, &active) {
            Phase::Imports => {
                self.phases.imports_s += length_s;
                let weight = length_s / active.len().max(1) as f64;
                for look in &active {
                    add_line(&mut self.import_lines, look.sight, weight);
                }
            }
            Phase::PoolStart => self.phases.pool_start_s += length_s,
            Phase::Exit => self.phases.exit_s += length_s,
            Phase::Body => {
                self.has_body = true;
                self.phases.body_s += length_s;
                self.samples += 1;
                self.add_body(tick, &active, length_s);
            }
        }
    }

    fn draw(&mut self, tick: &Tick<'_>, length_s: f64) {
        let bucket = self.clock.bucket(self.now_s);
        for look in &tick.looks {
            let thread = self.threads.entry((look.pid, look.tid)).or_default();
            thread.timeline.add(bucket, look.sight.kind, length_s);
        }
        for &(pid, tid) in &tick.holders {
            self.holders.entry(pid).or_default().add(bucket, tid, length_s);
        }
    }

    fn phase(&self, tick: &Tick<'_>, active: &[&Look<'_>]) -> Phase {
        let main = tick.looks.iter().find(|look| Some((look.pid, look.tid)) == tick.main);
        let is_bare = tick.is_leaving || main.is_none_or(|look| look.sight.digest.line.is_none());
        if !tick.has_started || (is_bare && !self.has_body) {
            return Phase::Imports;
        }
        let works = |look: &&&Look<'_>| {
            let is_leaving = tick.is_leaving && Some((look.pid, look.tid)) == tick.main;
            let has_frames = look.sight.is_python && look.sight.digest.line.is_some();
            has_frames && !look.sight.digest.is_exiting && !is_leaving
        };
        if tick.is_finalizing || (is_bare && active.iter().filter(works).count() == 0) {
            return Phase::Exit;
        }
        let imports = |look: &&Look<'_>| look.sight.digest.is_importing;
        match main {
            _ if active.is_empty() || !active.iter().all(imports) => Phase::Body,
            Some(main) if main.sight.is_idle => Phase::PoolStart,
            _ => Phase::Imports,
        }
    }

    fn add_body(&mut self, tick: &Tick<'_>, active: &[&Look<'_>], length_s: f64) {
        self.add_threads(tick, length_s);
        self.add_waits(tick, length_s);
        self.add_loops(tick, length_s);
        let voters: Vec<&Look<'_>> = if active.is_empty() { idle(tick) } else { active.to_vec() };
        let weight = length_s / voters.len().max(1) as f64;
        if voters.is_empty() {
            self.shares.add(Wait::Other, length_s);
        }
        for look in &voters {
            let (running, queueing) = look.sight.split();
            self.shares.add(look.sight.kind, weight * running);
            self.shares.add(Wait::Runnable, weight * queueing);
            add_line(&mut self.lines, look.sight, weight);
            self.busy_s += weight;
            if look.sight.digest.is_exchanging {
                self.exchange_s += weight;
            }
        }
        self.add_work(tick, active, length_s);
        if is_fought_over(active) {
            self.fought_lock_s += length_s;
        }
    }

    fn add_threads(&mut self, tick: &Tick<'_>, length_s: f64) {
        for look in &tick.looks {
            let sight = look.sight;
            let (running, queueing) = sight.split();
            let thread = self.threads.entry((look.pid, look.tid)).or_default();
            thread.samples += 1;
            thread.shares.add(sight.kind, length_s * running);
            thread.shares.add(Wait::Runnable, length_s * queueing);
            thread.cpu_ns += sight.cpu_ns;
            thread.delay_ns += sight.delay_ns;
            let is_wait = sight.kind.is_overlappable() && !sight.is_idle;
            thread.waits += u64::from(is_wait && !sight.is_same_wait);
            thread.is_worker |= sight.digest.is_worker_thread && look.part == Part::Main;
            if !sight.is_idle {
                thread.busy_s += length_s;
            }
            let computes = sight.kind.is_cpu() || sight.kind == Wait::GilWait;
            if let Some(line) = sight.digest.line.as_ref().filter(|_| computes && look.part != Part::External) {
                self.lines.entry(line.clone()).or_default().thread_cpu_s += length_s;
            }
            self.work.cpu += sight.cpu_ns as f64 / 1e9;
            self.work.queue_delay += sight.delay_ns as f64 / 1e9;
            if look.part == Part::Worker && sight.digest.is_worker_process {
                self.worker_processes.insert(look.pid);
            }
        }
    }

    fn add_waits(&mut self, tick: &Tick<'_>, length_s: f64) {
        let own = tick.looks.iter().filter(|look| look.part != Part::External);
        let backlog = own.filter_map(|look| look.sight.backlog).max();
        if let Some(backlog) = backlog {
            self.backlog.0 += backlog as f64 * length_s;
            self.backlog.1 += length_s;
        }
        for look in tick.looks.iter().filter(|look| look.part != Part::External) {
            let (key, sight) = ((look.pid, look.tid), look.sight);
            let is_wait = sight.kind.is_overlappable() && !sight.is_idle;
            if is_wait && sight.is_same_wait {
                if let Some(line) = self.waiting.get(&key).and_then(|line| self.lines.get_mut(line)) {
                    line.thread_wait_s += length_s;
                }
                continue;
            }
            if let Some(line) = self.waiting.remove(&key).and_then(|line| self.lines.get_mut(&line)) {
                line.ends.add(self.now_s);
            }
            let Some(line) = sight.digest.line.as_ref().filter(|_| is_wait) else { continue };
            self.waiting.insert(key, line.clone());
            let beat = sight.deadline_ns.and_then(|now| now.checked_sub(self.deadlines.insert(key, now)?));
            let line = self.lines.entry(line.clone()).or_default();
            line.thread_wait_s += length_s;
            if line.beats_ns.len() < MOST_BEATS {
                line.beats_ns.extend(beat);
            }
        }
    }

    fn add_loops(&mut self, tick: &Tick<'_>, length_s: f64) {
        for look in tick.looks.iter().filter(|look| look.part != Part::External) {
            let sight = look.sight;
            let key = (look.pid, look.tid);
            if sight.kind == Wait::LoopIdle && !sight.is_idle {
                self.event_loop.idle_s += length_s;
                self.running.remove(&key);
                continue;
            }
            if !sight.digest.has_loop {
                continue;
            }
            self.event_loop.busy_s += length_s;
            let Some(callback) = sight.digest.callback else {
                self.running.remove(&key);
                continue;
            };
            match sight.kind {
                Wait::GilWait | Wait::Other => {}
                kind if kind.is_cpu() => self.event_loop.computes_s += self.computed(key, callback, length_s),
                _ => self.event_loop.waits_s += length_s,
            }
        }
    }

    /// How much to charge a callback that computes: nothing until it has blocked the loop for
    /// [`BLOCKING_S`], then all of it.
    fn computed(&mut self, key: (u32, u32), callback: u64, length_s: f64) -> f64 {
        let since_s = self.now_s - length_s;
        let fresh = Running { callback, since_s, charged_s: 0.0 };
        let running = self.running.entry(key).or_insert(fresh);
        if running.callback != callback {
            *running = fresh;
        }
        let computed_s = self.now_s - running.since_s;
        if computed_s < BLOCKING_S {
            return 0.0;
        }
        let charge = computed_s - running.charged_s;
        running.charged_s = computed_s;
        charge
    }

    fn add_work(&mut self, tick: &Tick<'_>, active: &[&Look<'_>], length_s: f64) {
        let mut with_gil = HashSet::new();
        let work = &mut self.work;
        for look in active {
            match look.sight.kind {
                Wait::CpuGil | Wait::Gc => drop(with_gil.insert(look.pid)),
                Wait::CpuNogil => work.nogil += length_s * look.sight.split().0,
                Wait::GilWait => work.gil_wait += length_s,
                Wait::GilHeld => work.gil_held += length_s,
                kind if kind.is_lock() => work.lock += length_s,
                kind if kind.is_overlappable() => work.wait += length_s,
                _ => {}
            }
        }
        work.gil += with_gil.len() as f64 * length_s;
        for pid in with_gil {
            *self.gil_s.entry(pid).or_default() += length_s;
        }
        if active.iter().any(|look| look.sight.kind == Wait::Child) {
            work.child_cpu += (tick.child_cpu_ns as f64 / 1e9).min(length_s * 64.0);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Imports,
    PoolStart,
    Body,
    Exit,
}

/// Threads that have a say. Workers that are still importing have none beside those that work. An idle
/// event loop has one only when nobody else does anything: the
/// loop of a server waits for the program, not the program for it.
fn active<'t>(tick: &'t Tick<'_>) -> Vec<&'t Look<'t>> {
    let counts = |look: &&Look<'_>| matches!(look.part, Part::Main | Part::Worker) && !look.sight.is_idle;
    let all: Vec<_> = tick.looks.iter().filter(counts).collect();
    let is_starting = |look: &Look<'_>| look.part == Part::Worker && look.sight.digest.is_importing;
    let all = without(all, is_starting);
    without(all, |look| look.sight.kind == Wait::LoopIdle)
}

/// The looks that are not `odd`; all of them when there are no others.
fn without<'t>(looks: Vec<&'t Look<'t>>, odd: impl Fn(&Look<'_>) -> bool) -> Vec<&'t Look<'t>> {
    let others: Vec<_> = looks.iter().copied().filter(|look| !odd(look)).collect();
    if others.is_empty() { looks } else { others }
}

/// When nobody does anything, what the program's own threads wait for.
fn idle<'t>(tick: &'t Tick<'_>) -> Vec<&'t Look<'t>> {
    let own = |look: &&Look<'_>| matches!(look.part, Part::Main | Part::Worker) && look.sight.is_python;
    tick.looks.iter().filter(own).collect()
}

/// Whether threads wait for locks while at most one of the others gets on.
fn is_fought_over(active: &[&Look<'_>]) -> bool {
    let waiting = active.iter().filter(|look| look.sight.kind.is_lock()).count();
    waiting >= 1 && active.len() - waiting <= 1
}

fn add_line(lines: &mut HashMap<LineKey, LineSum>, sight: &Sight, weight: f64) {
    let Some(key) = &sight.digest.line else { return };
    if !lines.contains_key(key) {
        lines.insert(key.clone(), LineSum::default());
    }
    let Some(line) = lines.get_mut(key) else { return };
    let (running, queueing) = sight.split();
    line.shares.add(sight.kind, weight * running);
    line.shares.add(Wait::Runnable, weight * queueing);
    line.system_s += weight * sight.system_share;
    if sight.kind.is_overlappable() {
        line.waits += u64::from(!sight.is_same_wait);
        line.wait_looks += 1;
        line.wait_s += weight;
    }
    if !sight.target.is_empty() {
        *line.targets.entry(sight.target.to_string()).or_default() += weight;
    }
}
