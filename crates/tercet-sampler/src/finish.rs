//! From what a watch has gathered to the profile that the decision reads.

use std::collections::HashMap;

use tercet_model::{
    EventLoop, Line, Pool, PoolKind, ProcessProfile, Profile, Shares, Source, Symptoms, Tasks, ThreadProfile, Traffic,
    Unreadable, Wait,
};

use crate::blocked::SYNC;
use crate::digest::LineKey;
use crate::error::Error;
use crate::fold::{Fold, LineSum};
use crate::process::{Part, Process};
use crate::sampler::Sampler;
use crate::symptom::{Sources, Turn};

/// Lines kept in a profile.
const MOST_LINES: usize = 100;
/// Threads kept in a profile.
const MOST_THREADS: usize = 512;
/// A wait shorter than this may have been missed between looks, so such waits are not counted.
const SHORTEST_COUNTED_S: f64 = 0.02;
/// A sleep up to this length, again and again inside a `while` loop, is asking, not resting.
const LONGEST_ASKING_SLEEP_S: f64 = 0.025;

/// The profile of a watch that has ended.
pub(crate) fn profile(sampler: Sampler) -> Profile {
    let wall_s = sampler.fold.now_s;
    let mut processes: Vec<Process> = sampler.processes.into_values().chain(sampler.ended).collect();
    processes.sort_by_key(|process| process.pid);
    let own = sampler.fold;
    let child = sampler.child.map(|(_, fold)| fold).filter(|child| only_waits(&own, child, &processes));
    let buckets = own.clock.bucket(own.now_s) + 1;
    let threads = threads(&own, &processes);
    let described = processes.iter().map(|process| describe(process, &own, buckets)).collect();
    let mut fold = child.unwrap_or(own);
    let body_s = fold.phases.body_s.max(1e-9);
    let work = settled(&mut fold, body_s);
    let mut profile = Profile {
        source: Source::Sampler,
        samples: fold.samples,
        wall_s,
        phases: fold.phases,
        shares: fold.shares.normalised(),
        work,
        tasks: Tasks { count: count(&fold), ..Tasks::default() },
        traffic: traffic(&processes, &fold),
        symptoms: symptoms(&fold, body_s),
        pool: pool(&fold, &processes, body_s),
        event_loop: event_loop(&fold, body_s),
        threads,
        processes: described,
        lines: lines(&fold),
        machine: sampler.machine,
        unreadable: processes.iter().filter_map(unreadable).chain(processes.iter().filter_map(crowded)).collect(),
    };
    profile.unreadable.extend(sampler.unreadable);
    profile
}

/// Whether the program only waits for one child, so that the answer is to be found in that.
fn only_waits(own: &Fold, child: &Fold, processes: &[Process]) -> bool {
    const ENOUGH: u64 = 50;
    let children = processes.iter().filter(|process| process.part == Part::External && process.version.is_some());
    let waits = own.shares.normalised()[Wait::Child] > 0.8 && count(own).is_some_and(|count| count < 2.0);
    waits && child.samples >= ENOUGH && children.count() == 1
}

fn scaled(fold: &Fold, body_s: f64) -> tercet_model::Work {
    let mut work = fold.work;
    for amount in [
        &mut work.gil,
        &mut work.nogil,
        &mut work.child_cpu,
        &mut work.wait,
        &mut work.lock,
        &mut work.gil_wait,
        &mut work.gil_held,
        &mut work.queue_delay,
        &mut work.cpu,
    ] {
        *amount /= body_s;
    }
    work.gil_serial = fold.gil_s.values().copied().fold(0.0, f64::max) / body_s;
    work
}

/// The work once the counters have had their say; the shares follow.
///
/// A thread that wakes up to wait for the GIL again is *running* without it for a moment, and for a
/// long moment when processors are scarce. While threads fight for the GIL no more can have computed
/// without it than the processor time that is left when those with it have had theirs.
fn settled(fold: &mut Fold, body_s: f64) -> tercet_model::Work {
    let mut work = scaled(fold, body_s);
    if work.gil_wait > 0.1 && work.nogil > 0.0 {
        let possible = (work.cpu - work.gil).clamp(0.0, work.nogil);
        let excess = 1.0 - possible / work.nogil;
        work.gil_wait += work.nogil - possible;
        work.nogil = possible;
        let all = std::iter::once(&mut fold.shares);
        let lines = fold.lines.values_mut().map(|line| &mut line.shares);
        let threads = fold.threads.values_mut().map(|thread| &mut thread.shares);
        for shares in all.chain(lines).chain(threads) {
            let moved = shares[Wait::CpuNogil] * excess;
            shares[Wait::CpuNogil] -= moved;
            shares[Wait::GilWait] += moved;
        }
    }
    work
}

/// How many separate waits were seen on the line that waits most; nothing when they are too short
/// to be told apart.
fn count(fold: &Fold) -> Option<f64> {
    let waiting = fold.lines.values().filter(|line| line.wait_s > 0.0);
    let longest = waiting.max_by(|a, b| a.wait_s.total_cmp(&b.wait_s))?;
    // A wait that began before the repeating part is one too.
    let waits = longest.waits.max(1) as f64;
    (longest.wait_s / waits >= SHORTEST_COUNTED_S).then_some(waits)
}

fn traffic(processes: &[Process], fold: &Fold) -> Traffic {
    let workers = || processes.iter().filter(|process| fold.worker_processes.contains(&process.pid));
    let all = workers().chain(processes.iter().filter(|p| p.part == Part::Main));
    if workers().next().is_none() {
        return Traffic::default();
    }
    Traffic {
        bytes: all.map(|process| process.transfer.written_bytes as f64).sum(),
        messages: workers().map(|process| process.transfer.reads as f64).sum(),
        busy_share: if fold.busy_s > 0.0 { fold.exchange_s / fold.busy_s } else { 0.0 },
    }
}

fn symptoms(fold: &Fold, body_s: f64) -> Symptoms {
    let (spin_s, poll_s) = turns(fold);
    let total_s: f64 = fold.lines.values().map(|line| line.shares.total()).sum();
    let share = |holds: &dyn Fn(&LineKey, &LineSum) -> f64| {
        let part: f64 = fold.lines.iter().map(|(key, line)| holds(key, line)).sum();
        if total_s > 0.0 { (part / total_s).min(1.0) } else { 0.0 }
    };
    let kernel = |line: &LineSum| line.shares.sum(|kind| matches!(kind, Wait::CpuNogil | Wait::Runnable));
    Symptoms {
        spin_share: (spin_s / body_s).min(1.0),
        poll_share: (poll_s / body_s).min(1.0),
        loop_waits_share: (fold.event_loop.waits_s / body_s
            + share(&|key, line| if key.in_loop && line.shares[Wait::Disk] > 0.0 { kernel(line) } else { 0.0 }))
        .min(1.0),
        loop_computes_share: (fold.event_loop.computes_s / body_s).min(1.0),
        pace_share: share(&|_, line| if is_beaten(line) { line.shares[Wait::Sleep] } else { 0.0 }),
        far_limit_share: share(&|_, line| if is_limited(line, body_s) { line.wait_s } else { 0.0 }),
        sync_share: share(&|_, line| {
            if line.targets.contains_key(SYNC) { line.shares[Wait::Disk] + kernel(line) } else { 0.0 }
        }),
        gc_share: fold.shares.normalised()[Wait::Gc],
        lock_share: (fold.fought_lock_s / body_s).min(1.0),
        unknown_share: fold.shares.normalised()[Wait::Other],
    }
}

/// Whether the sleeps on a line end at a beat that the work between them does not shift: the program
/// works out how long to sleep, to keep time. A plain `sleep(x)` ends later by every wake-up before it.
fn is_beaten(line: &LineSum) -> bool {
    const STEADY_NS: u64 = 4_000;
    let mut beats = line.beats_ns.clone();
    if beats.len() < 6 {
        return false;
    }
    beats.sort_unstable();
    let median = beats[beats.len() / 2];
    let mut off: Vec<u64> = beats.iter().map(|beat| beat.abs_diff(median)).collect();
    off.sort_unstable();
    off[off.len() / 2] < STEADY_NS
}

/// Whether several workers wait on a line and are let go one by one.
fn is_limited(line: &LineSum, body_s: f64) -> bool {
    line.thread_wait_s > 3.0 * body_s && line.ends.is_regular()
}

/// Seconds spent turning in loops that only ask again, and in loops that ask without waiting.
fn turns(fold: &Fold) -> (f64, f64) {
    // Naps beside a thread that computes cost nothing worth a word.
    let is_computing = fold.work.gil > 0.6 * fold.phases.body_s;
    let mut sources = Sources::default();
    let (mut spin_s, mut poll_s) = (0.0, 0.0);
    for (function, lines) in by_function(fold) {
        let cpu = |line: &LineSum| line.thread_cpu_s;
        let total: f64 = lines.iter().map(|(_, line)| cpu(line)).sum();
        let (mut turning, mut asking, mut system) = (0.0, 0.0, 0.0);
        for (key, line) in lines {
            let turn = sources.turn(function.0, key.line);
            match turn {
                Turn::Spin => turning += cpu(line),
                Turn::Ask => asking += cpu(line),
                Turn::While | Turn::None => {}
            }
            system += line.system_s;
            let mean_s = line.wait_s / line.waits.max(1) as f64;
            let sleeps = line.shares[Wait::Sleep];
            if sleeps > 0.0
                && !is_computing
                && mean_s < LONGEST_ASKING_SLEEP_S
                && matches!(turn, Turn::While | Turn::Ask)
            {
                poll_s += sleeps;
            }
        }
        if total <= 0.0 {
            continue;
        }
        if turning > 0.85 * total {
            spin_s += total;
        } else if asking > 0.5 * total || (asking > 0.1 * total && system > 0.2 * total) {
            poll_s += total;
        } else if turning + asking > 0.85 * total {
            spin_s += total;
        }
    }
    (spin_s, poll_s)
}

type Function<'a> = (&'a str, &'a str);

fn by_function(fold: &Fold) -> HashMap<Function<'_>, Vec<(&LineKey, &LineSum)>> {
    let mut functions: HashMap<Function<'_>, Vec<_>> = HashMap::new();
    for (key, line) in &fold.lines {
        functions.entry((&key.file, &key.function)).or_default().push((key, line));
    }
    functions
}

fn pool(fold: &Fold, processes: &[Process], body_s: f64) -> Option<Pool> {
    let of = |process: &Process| {
        fold.threads.iter().filter(|((pid, _), _)| *pid == process.pid).map(|(_, sum)| sum.busy_s).fold(0.0, f64::max)
    };
    let workers: Vec<f64> =
        processes.iter().filter(|process| fold.worker_processes.contains(&process.pid)).map(of).collect();
    if !workers.is_empty() {
        return Some(Pool {
            kind: PoolKind::Processes,
            workers: workers.len() as u32,
            busy: workers.iter().sum::<f64>() / body_s,
            tasks_per_worker: 0.0,
            backlog: None,
        });
    }
    let threads: Vec<_> = fold.threads.values().filter(|thread| thread.is_worker && thread.samples > 1).collect();
    let concurrent = peak(&threads, fold);
    (concurrent > 0).then(|| Pool {
        kind: PoolKind::Threads,
        workers: concurrent,
        busy: threads.iter().map(|thread| thread.busy_s).sum::<f64>() / body_s,
        tasks_per_worker: threads.iter().map(|thread| thread.waits as f64).sum::<f64>() / threads.len() as f64,
        backlog: (fold.backlog.1 > 0.0).then(|| fold.backlog.0 / fold.backlog.1),
    })
}

/// The largest number of these threads alive at once, by the buckets of their timelines.
fn peak(threads: &[&crate::fold::ThreadSum], fold: &Fold) -> u32 {
    let buckets = fold.clock.bucket(fold.now_s) + 1;
    let mut alive = vec![0_u32; buckets];
    for thread in threads {
        for (count, kind) in alive.iter_mut().zip(thread.timeline.ruling(buckets)) {
            *count += u32::from(kind.is_some());
        }
    }
    alive.into_iter().max().unwrap_or(0)
}

fn event_loop(fold: &Fold, body_s: f64) -> Option<EventLoop> {
    let sum = fold.event_loop;
    let is_loop = fold.lines.keys().any(|key| key.in_loop) || sum.busy_s > 0.0 || sum.idle_s > 0.5 * body_s;
    is_loop.then(|| EventLoop {
        idle_share: (sum.idle_s / body_s).min(1.0),
        busy_share: (sum.busy_s / body_s).min(1.0),
        in_flight: (sum.in_flight_s > 0.0).then(|| sum.in_flight / sum.in_flight_s),
    })
}

fn threads(fold: &Fold, processes: &[Process]) -> Vec<ThreadProfile> {
    let buckets = fold.clock.bucket(fold.now_s) + 1;
    let named: HashMap<(u32, u32), (&str, bool)> = processes
        .iter()
        .flat_map(|p| {
            let living = p.threads.values().map(|t| (t.tid, t.name.as_str(), t.is_loop));
            let gone = p.gone.iter().map(|t| (t.tid, t.name.as_str(), t.is_loop));
            living.chain(gone).map(|(tid, name, is_loop)| ((p.pid, tid), (name, is_loop)))
        })
        .collect();
    let mut found: Vec<ThreadProfile> = fold
        .threads
        .iter()
        .filter(|(_, sum)| sum.samples > 0)
        .map(|(key @ (pid, tid), sum)| ThreadProfile {
            pid: *pid,
            tid: *tid,
            name: named.get(key).map_or_else(String::new, |(name, _)| (*name).to_owned()),
            samples: sum.samples,
            shares: sum.shares.normalised(),
            cpu_s: sum.cpu_ns as f64 / 1e9,
            queue_delay_s: sum.delay_ns as f64 / 1e9,
            is_loop: named.get(key).is_some_and(|(_, is_loop)| *is_loop),
            timeline: sum.timeline.ruling(buckets),
        })
        .collect();
    found.truncate(MOST_THREADS);
    found
}

fn lines(fold: &Fold) -> Vec<Line> {
    let body: f64 = fold.lines.values().map(|line| line.shares.total()).sum();
    let imports: f64 = fold.import_lines.values().map(|line| line.shares.total()).sum();
    let (source, total) = if imports > body { (&fold.import_lines, imports) } else { (&fold.lines, body) };
    let mut found: Vec<Line> =
        source.iter().flat_map(|(key, sum)| of_line(key, sum, total)).filter(|line| line.share >= 0.001).collect();
    found.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| (&a.file, a.line).cmp(&(&b.file, b.line))));
    found.truncate(MOST_LINES);
    found
}

/// A line has one entry for each kind of moment that is a tenth of it or more.
fn of_line<'a>(key: &'a LineKey, sum: &'a LineSum, total: f64) -> impl Iterator<Item = Line> + 'a {
    let whole = sum.shares.total();
    let target = sum.targets.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(name, _)| name.clone());
    let kept: Shares = sum.shares.iter().filter(|(_, amount)| *amount >= 0.1 * whole).collect();
    let scale = if kept.total() > 0.0 { whole / kept.total() } else { 0.0 };
    kept.ranked().into_iter().map(move |(kind, amount)| Line {
        file: key.file.to_string(),
        line: key.line,
        function: key.function.to_string(),
        kind,
        share: if total > 0.0 { amount * scale / total } else { 0.0 },
        origin: key.origin,
        in_loop: key.in_loop,
        count: if kind.is_overlappable() { sum.waits } else { 0 },
        target: if kind.is_overlappable() { target.clone().unwrap_or_default() } else { String::new() },
    })
}

fn describe(process: &Process, fold: &Fold, buckets: usize) -> ProcessProfile {
    ProcessProfile {
        pid: process.pid,
        parent: process.parent,
        command: process.command_line(),
        python: process.version.map(|version| version.to_string()).unwrap_or_default(),
        cpu_s: process.cpu_ns() as f64 / 1e9,
        read_bytes: process.transfer.read_bytes,
        written_bytes: process.transfer.written_bytes,
        gil_switches: process.gil_switches,
        gil_timeline: fold.holders.get(&process.pid).map(|line| line.ruling(buckets)).unwrap_or_default(),
    }
}

fn crowded(process: &Process) -> Option<Unreadable> {
    process.is_crowded.then(|| Unreadable {
        what: format!("some threads of process {} ({})", process.pid, process.command),
        why: "too many open files".to_owned(),
        hint: "allow more with `ulimit -n`: a watch needs three for each thread".to_owned(),
    })
}

fn unreadable(process: &Process) -> Option<Unreadable> {
    let trouble = process.trouble.as_ref()?;
    let hint = match trouble {
        Error::Permission { .. } => "run `tercet` as the user that the process belongs to, or as root",
        Error::Version { .. } => "use Python 3.10 to 3.15",
        Error::FreeThreaded { .. } => "use a build with the GIL",
        _ => return None,
    };
    Some(Unreadable {
        what: format!("process {} ({})", process.pid, process.command),
        why: trouble.to_string(),
        hint: hint.to_owned(),
    })
}
