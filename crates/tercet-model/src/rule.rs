//! The rules for a watched program, in the order in which they are asked.
//!
//! Faults come before models: no model helps a program whose lock, collector or event loop is the
//! matter. Then what the program already has, its pool or its loop, and last the plain question which
//! model fits. The thresholds were set on programs with known bottlenecks, which the tests keep.

use crate::facts::{Facts, MOST_THREADS};
use crate::finding::{Finding, Gain, percent};
use crate::{Line, Model, PoolKind, Remedy, Wait};

type Rule = fn(&Facts<'_>) -> Option<Finding>;

/// The rules in order.
const RULES: [Rule; 19] = [
    imports,
    too_short,
    unreadable,
    gil_held,
    blocked_loop,
    garbage,
    busy_wait,
    polling,
    lock,
    exchange,
    sync,
    far_limit,
    pace,
    gil_fight,
    too_many_threads,
    all_cores_busy,
    event_loop,
    pool,
    one_child,
];

/// Every rule that holds, the deciding one first; never empty.
pub(crate) fn all_that_hold(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found: Vec<_> = RULES.iter().filter_map(|rule| rule(facts)).collect();
    if found.is_empty() {
        found.push(best_model(facts));
    }
    found
}

fn imports(facts: &Facts<'_>) -> Option<Finding> {
    let phases = &facts.profile.phases;
    let whole_s = phases.imports_s + phases.pool_start_s + phases.body_s + phases.exit_s;
    let share = phases.imports_s / whole_s.max(1e-9);
    (share > 0.5 && phases.imports_s > 0.5).then(|| {
        let at = facts.at(|line| line.kind.is_cpu());
        let text = format!("importing takes {} of the run{at}: import less, or later", percent(share));
        Finding::new(Remedy::FixImports, text)
            .gain(Gain::of_removing(share))
            .firm(0.9)
            .because(share, format!("{:.2} s of {whole_s:.2} s pass before the work begins", phases.imports_s))
    })
}

fn too_short(facts: &Facts<'_>) -> Option<Finding> {
    facts.is_blind().then(|| {
        let seen = facts.profile.samples;
        let text = "the program is over too soon to say anything: run it on more work";
        Finding::new(Remedy::CannotTell, text)
            .firm(0.5)
            .because(1.0, format!("only {seen} looks at the part that repeats; {} are needed", crate::FEWEST_SAMPLES))
    })
}

fn unreadable(facts: &Facts<'_>) -> Option<Finding> {
    let unknown = facts.profile.symptoms.unknown_share;
    (unknown > 0.5).then(|| {
        Finding::new(Remedy::CannotTell, "most of what the program does could not be read")
            .firm(0.3)
            .because(unknown, format!("{} of the time fits no kind of wait", percent(unknown)))
    })
}

fn gil_held(facts: &Facts<'_>) -> Option<Finding> {
    let held = facts.work().gil_held;
    (held > 0.2).then(|| {
        let at = facts.at(|line| line.kind == Wait::GilHeld);
        let most = facts.thread_pool().map_or(facts.whole_cores() * 2, |pool| pool.workers.max(2));
        let prediction = facts.size(Model::Processes, most.min(MOST_THREADS));
        let text = format!("native code waits while it holds the GIL{at}, so no thread can run: use processes, or have it release the GIL");
        Finding::new(Remedy::Multiprocessing, text)
            .workers(prediction.workers)
            .gain(prediction)
            .because(held, format!("{} of the time the GIL is held by a thread that waits", percent(held)))
    })
}

fn blocked_loop(facts: &Facts<'_>) -> Option<Finding> {
    let (waits, computes) = (facts.profile.symptoms.loop_waits_share, facts.profile.symptoms.loop_computes_share);
    (waits + computes > 0.2).then(|| {
        let blocks = |line: &Line| line.in_loop && line.kind != Wait::LoopIdle && line.kind != Wait::GilWait;
        let at = facts.at(blocks);
        let (text, model) = if waits >= computes {
            (format!("the event loop stands still in a blocking call{at}: await it, or hand it to a thread (`asyncio.to_thread`)"), Model::Threads)
        } else {
            (format!("the event loop stands still while a coroutine computes{at}: hand that to a process (`run_in_executor`)"), Model::Processes)
        };
        let most = if model == Model::Threads { facts.most_workers(MOST_THREADS) } else { facts.whole_cores() };
        Finding::new(Remedy::FixBlockingCall, text)
            .gain(facts.size(model, most))
            .because(waits, format!("the loop's thread waits elsewhere {} of the time", percent(waits)))
            .because(computes, format!("callbacks compute for more than 50 ms, {} of the time", percent(computes)))
            .dropping_trifles()
    })
}

fn garbage(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.profile.symptoms.gc_share / (1.0 - facts.share(Wait::Runnable)).max(0.1);
    (share > 0.4).then(|| {
        let at = facts.at(|line| line.kind == Wait::Gc);
        let text = format!("the garbage collector takes {} of the time{at}: collect less often (`gc.freeze`, `gc.set_threshold`), or make fewer objects", percent(share));
        Finding::new(Remedy::FixGc, text)
            .gain(Gain::of_removing(share))
            .because(share, format!("the collector runs {} of the time", percent(share)))
    })
}

fn busy_wait(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.profile.symptoms.spin_share;
    (share > 0.3).then(|| {
        let at = facts.at(|line| line.kind.is_cpu() || line.kind == Wait::GilWait);
        let text =
            format!("a thread turns in a loop until something changes{at}: wait for an event or a condition instead");
        Finding::new(Remedy::FixBusyWait, text)
            .firm(0.9)
            .because(share, format!("{} of the time goes to a loop that only asks again", percent(share)))
    })
}

fn polling(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.profile.symptoms.poll_share;
    (share > 0.3).then(|| {
        let computes = facts.work().gil + facts.work().nogil > 0.4;
        let at = facts.at(|line| if computes { line.kind.is_cpu() } else { line.kind == Wait::Sleep });
        let text = format!(
            "a thread asks again and again instead of waiting{at}: give the call a time-out, or wait for an event"
        );
        Finding::new(Remedy::FixPolling, text)
            .firm(0.9)
            .because(share, format!("{} of the time goes to asking without waiting", percent(share)))
    })
}

fn lock(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.lock_share();
    let fought = facts.profile.symptoms.lock_share;
    let is_lock = share > 0.5 || (fought > 0.5 && share > 0.3);
    (is_lock && facts.work().gil < 0.6).then(|| {
        let at = facts.at(|line| line.kind.is_lock());
        let holders = (facts.work().wait + facts.work().gil + facts.work().nogil).max(0.1);
        let waiting = facts.work().lock;
        let text = format!("threads wait for one lock{at} while its holder waits or works: take that out of the lock");
        let speedup = ((holders + waiting) / holders).max(1.0);
        let floor = facts.work().gil.max((facts.work().gil + facts.work().nogil) / facts.cores());
        let bound = (floor > 1e-3).then(|| (1.0 / floor).max(1.0));
        Finding::new(Remedy::FixLock, text)
            .gain(Gain { speedup: speedup.min(bound.unwrap_or(f64::INFINITY)), bound })
            .because(share, format!("{} of the time of all threads goes to waiting for locks", percent(share)))
            .because(
                fought,
                format!("{} of the time at most one thread gets on while others wait for locks", percent(fought)),
            )
            .dropping_trifles()
    })
}

fn exchange(facts: &Facts<'_>) -> Option<Finding> {
    const LARGE_MESSAGE: f64 = 32_768.0;
    let traffic = &facts.profile.traffic;
    (traffic.busy_share > 0.4 && facts.process_pool().is_some()).then(|| {
        let size = traffic.bytes / traffic.messages.max(1.0);
        let share = percent(traffic.busy_share);
        let (remedy, text) = if size >= LARGE_MESSAGE {
            (Remedy::SharedMemory, format!("moving data between processes takes {share} of the work: share it (`multiprocessing.shared_memory`), or use threads"))
        } else {
            (Remedy::Batch, format!("handing over takes {share} of the work: hand over more at a time (`chunksize=`, fewer and larger messages)"))
        };
        Finding::new(remedy, text)
            .gain(Gain::of_removing(traffic.busy_share))
            .firm(0.9)
            .because(traffic.busy_share, format!("{share} of the busy time pickles, unpickles, reads and writes pipes"))
            .because(0.3, format!("{:.1} MB in messages of {:.1} KB", traffic.bytes / 1e6, size / 1e3))
    })
}

fn sync(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.profile.symptoms.sync_share;
    (share > 0.4 && facts.work().gil < 0.5).then(|| {
        let at = facts.at(|line| line.kind == Wait::Disk);
        let text =
            format!("each record waits until it is safe on the disk{at}: put many into one `fsync` or one transaction");
        Finding::new(Remedy::Batch, text).firm(0.9).because(
            share,
            format!("{} of the time goes to `fsync`, which ends at one door, the journal", percent(share)),
        )
    })
}

fn far_limit(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.profile.symptoms.far_limit_share;
    (share > 0.5).then(|| {
        let text =
            "the waits end one by one at a fixed pace, whatever the number of workers: the limit is on the far side";
        Finding::new(Remedy::Nothing, text)
            .gain(Gain { speedup: 1.0, bound: None })
            .firm(0.7)
            .because(share, format!("{} of the time several workers wait and are let go one by one", percent(share)))
    })
}

fn pace(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.profile.symptoms.pace_share;
    (share > 0.5).then(|| {
        let at = facts.at(|line| line.kind == Wait::Sleep);
        let text =
            format!("the program keeps time by the clock{at}: a wait that is the purpose must not be overlapped");
        Finding::new(Remedy::CannotTell, text)
            .firm(0.8)
            .because(share, format!("{} of the time is sleep that ends at a fixed beat", percent(share)))
    })
}

fn gil_fight(facts: &Facts<'_>) -> Option<Finding> {
    let work = facts.work();
    let fights = work.gil_wait > 0.25 && work.gil_serial > 0.4 && facts.machine().has_gil;
    (fights && facts.whole_cores() > 1).then(|| {
        let at = facts.at(|line| matches!(line.kind, Wait::CpuGil | Wait::GilWait));
        let prediction = facts.size(Model::Processes, facts.whole_cores());
        let text = format!("threads take turns at the GIL for Python code{at}: use processes instead of threads");
        Finding::new(Remedy::Multiprocessing, text)
            .workers(prediction.workers)
            .gain(prediction)
            .because(
                work.gil_serial,
                format!(
                    "the GIL is held by running code {} of the time, which bounds threads at {:.1}x",
                    percent(work.gil_serial),
                    1.0 / work.gil_serial
                ),
            )
            .because(0.8, format!("{:.1} threads wait for the GIL on average", work.gil_wait))
    })
}

fn too_many_threads(facts: &Facts<'_>) -> Option<Finding> {
    let pool = facts.thread_pool()?;
    let queued = facts.share(Wait::Runnable) + facts.share(Wait::GilWait);
    let is_crowd = pool.busy > 4.0 * facts.cores() && facts.work().wait < 0.2 * pool.busy;
    (is_crowd && queued > 0.4).then(|| {
        let text = format!(
            "{} threads share {} processors and only queue for them: as many threads as processors do",
            pool.workers,
            facts.whole_cores()
        );
        Finding::new(Remedy::FewerThreads, text)
            .workers(facts.whole_cores())
            .gain(Gain { speedup: 1.0, bound: None })
            .because(
                queued,
                format!("{} of the time of all threads is queueing for a processor or the GIL", percent(queued)),
            )
    })
}

fn all_cores_busy(facts: &Facts<'_>) -> Option<Finding> {
    let wanted = facts.work().cpu + facts.work().queue_delay;
    (wanted > 0.85 * facts.cores()).then(|| {
        let text = "every processor is at work: only less work, or more processors, would be faster";
        Finding::new(Remedy::Nothing, text).gain(Gain { speedup: 1.0, bound: None }).because(
            (wanted / facts.cores()).min(1.0),
            format!("{wanted:.1} of {:.0} processors are wanted on average", facts.cores()),
        )
    })
}

fn event_loop(facts: &Facts<'_>) -> Option<Finding> {
    let found = facts.profile.event_loop.as_ref()?;
    if facts.thread_pool().is_some_and(|pool| pool.busy > 1.5) && facts.work().wait > 1.5 {
        // The waits pass in the threads of an executor, and it is their number that counts.
        return None;
    }
    if found.idle_share + found.busy_share < 0.5 {
        return None;
    }
    let flight = found.in_flight.unwrap_or(0.0);
    if flight >= 3.0 {
        let text = format!("the event loop already overlaps {flight:.0} waits at a time: leave it as it is");
        return Some(
            Finding::new(Remedy::Nothing, text)
                .gain(Gain { speedup: 1.0, bound: None })
                .firm(0.9)
                .because(0.9, format!("{flight:.0} connections are open at a time on average"))
                .because(found.idle_share, format!("the loop is idle {} of the time", percent(found.idle_share))),
        );
    }
    (found.idle_share > 0.5).then(|| {
        let prediction = facts.size(Model::EventLoop, facts.most_workers(1_000));
        let text = "coroutines are awaited one after another: start them together (`asyncio.gather`, `TaskGroup`)";
        Finding::new(Remedy::Asyncio, text)
            .workers(prediction.workers)
            .gain(prediction)
            .firm(if found.in_flight.is_some_and(|flight| flight >= 0.5) { 0.9 } else { 0.6 })
            .because(
                found.idle_share,
                format!("the event loop has nothing ready {} of the time", percent(found.idle_share)),
            )
            .because(0.5, format!("{flight:.1} connections are open at a time on average"))
    })
}

fn pool(facts: &Facts<'_>) -> Option<Finding> {
    let pool = facts.profile.pool.as_ref()?;
    let work = facts.work();
    match pool.kind {
        PoolKind::Processes if work.wait > work.gil + work.nogil => Some(threads_for_waits(facts)),
        PoolKind::Processes
            if f64::from(pool.workers) < facts.cores().floor() && pool.busy > 0.7 * f64::from(pool.workers) =>
        {
            let cores = facts.whole_cores();
            let gain = facts.cores() / f64::from(pool.workers);
            let text = format!("{} of {cores} processors have a worker: give the pool one for each", pool.workers);
            Some(
                Finding::new(Remedy::MoreProcesses, text)
                    .workers(cores)
                    .gain(Gain { speedup: gain, bound: Some(gain) })
                    .because(0.9, format!("{:.1} of {} workers compute on average", pool.busy, pool.workers)),
            )
        }
        PoolKind::Threads if work.wait > 1.5 && work.wait > 2.0 * (work.gil + work.nogil) => Some(waiting_pool(facts)),
        _ => None,
    }
}

/// The program only waits for one other, which does the work.
fn one_child(facts: &Facts<'_>) -> Option<Finding> {
    let share = facts.share(Wait::Child);
    let is_one = facts.profile.tasks.count.is_some_and(|count| count < 2.0);
    (share > 0.8 && is_one).then(|| {
        let at = facts.at(|line| line.kind == Wait::Child);
        let text =
            format!("it only waits for one child program{at}, which does the work: ask the same of that program");
        Finding::new(Remedy::Nothing, text)
            .gain(Gain { speedup: 1.0, bound: Some(1.0) })
            .firm(0.7)
            .because(share, format!("{} of the time is waiting for one child", percent(share)))
    })
}

/// A thread pool whose workers wait: too small when tasks queue for it, else as good as it gets.
fn waiting_pool(facts: &Facts<'_>) -> Finding {
    let pool = facts.profile.pool.unwrap_or(crate::Pool {
        kind: PoolKind::Threads,
        workers: 1,
        busy: 1.0,
        tasks_per_worker: 0.0,
        backlog: None,
    });
    let is_short = match pool.backlog {
        Some(backlog) => backlog > 0.5 * f64::from(pool.workers),
        None => pool.workers < 16 && pool.tasks_per_worker > 4.0,
    };
    let waits =
        format!("{:.1} of {} threads wait for {} at a time", facts.work().wait, pool.workers, facts.waited_for());
    if !is_short {
        let queue = if pool.backlog.is_some() { ", and hardly a task queues for them" } else { "" };
        let text = format!("{waits}{queue}: leave it as it is");
        return Finding::new(Remedy::Nothing, text)
            .gain(Gain { speedup: 1.0, bound: None })
            .firm(if pool.backlog.is_some() { 0.9 } else { 0.6 })
            .because(0.9, waits);
    }
    let prediction = facts.size(Model::Threads, facts.most_workers(MOST_THREADS));
    let text = format!(
        "all {} threads of the pool wait for {} while tasks queue: give it more",
        pool.workers,
        facts.waited_for()
    );
    let finding =
        Finding::new(Remedy::MoreThreads, text).workers(prediction.workers).gain(prediction).because(0.9, waits);
    match pool.backlog {
        Some(backlog) => finding.because(0.8, format!("{backlog:.0} tasks wait in the queue on average")),
        None => finding.firm(0.6),
    }
}

fn threads_for_waits(facts: &Facts<'_>) -> Finding {
    let prediction = facts.size(Model::Threads, facts.most_workers(MOST_THREADS));
    let at = facts.at(|line| line.kind.is_overlappable());
    let (share, all) = (percent(facts.waited_share()), facts.wait_share());
    let text = format!("it waits for {} {share} of the time{at}: overlap the waits in threads", facts.waited_for());
    Finding::new(Remedy::Threading, text)
        .workers(prediction.workers)
        .gain(prediction)
        .because(all, format!("{} of the time is waiting that can overlap", percent(all)))
}

/// The plain question: which model gains most.
fn best_model(facts: &Facts<'_>) -> Finding {
    let work = facts.work();
    let computes = work.gil + work.nogil;
    let cores = facts.whole_cores();
    let threads = facts.size(Model::Threads, facts.most_workers(MOST_THREADS));
    let processes = facts.size(Model::Processes, cores);
    if work.wait > 0.2 && work.gil > 0.2 && cores > 1 {
        let hybrid = facts.size(Model::Processes, facts.most_workers(cores * 16));
        if hybrid.speedup > 1.25 * threads.speedup.max(processes.speedup) {
            return mixed(facts, hybrid);
        }
    }
    let finding = if work.wait >= computes {
        threads_for_waits(facts)
    } else if work.nogil >= work.gil || (threads.speedup >= 0.95 * processes.speedup) {
        native_in_threads(facts)
    } else {
        computing_in_processes(facts)
    };
    let gain = finding.gain.map_or(1.0, |gain| gain.speedup);
    if gain >= 1.15 { finding } else { nothing_to_gain(facts, gain) }
}

fn mixed(facts: &Facts<'_>, prediction: crate::Prediction) -> Finding {
    let work = facts.work();
    let text = format!(
        "each task waits {} and computes in Python {} of its time: use processes, each with several threads",
        percent(work.wait),
        percent(work.gil)
    );
    Finding::new(Remedy::Hybrid, text)
        .workers(prediction.workers)
        .gain(prediction)
        .because(
            work.gil,
            format!(
                "Python code holds the GIL {} of the time, which bounds threads at {:.1}x",
                percent(work.gil),
                1.0 / work.gil.max(0.01)
            ),
        )
        .because(work.wait, format!("{} of the time is waiting for {}", percent(work.wait), facts.waited_for()))
}

fn native_in_threads(facts: &Facts<'_>) -> Finding {
    let prediction = facts.size(Model::Threads, facts.whole_cores());
    let share = facts.work().nogil;
    let at = facts.at(|line| line.kind == Wait::CpuNogil);
    let text = format!(
        "native code computes without the GIL {} of the time{at}: threads can share it, as many as processors",
        percent(share)
    );
    Finding::new(Remedy::Threading, text)
        .workers(prediction.workers)
        .gain(prediction)
        .because(share, format!("{} of the time a processor is used without the GIL", percent(share)))
}

fn computing_in_processes(facts: &Facts<'_>) -> Finding {
    let prediction = facts.size(Model::Processes, facts.whole_cores());
    let share = facts.work().gil_serial;
    let at = facts.at(|line| line.kind == Wait::CpuGil);
    let text = format!(
        "Python code computes with the GIL {} of the time{at}: share the work out to processes",
        percent(share)
    );
    Finding::new(Remedy::Multiprocessing, text).workers(prediction.workers).gain(prediction).because(
        share,
        format!(
            "the GIL is held by running code {} of the time, which bounds threads at {:.1}x",
            percent(share),
            1.0 / share.max(0.01)
        ),
    )
}

fn nothing_to_gain(facts: &Facts<'_>, gain: f64) -> Finding {
    let text = "no model of concurrency gains enough to be worth it: leave it as it is";
    Finding::new(Remedy::Nothing, text)
        .gain(Gain { speedup: gain.max(1.0), bound: None })
        .firm(0.7)
        .because(0.5, format!("the best model is predicted to give {gain:.2}x on {:.0} processors", facts.cores()))
}

impl Finding {
    /// Leaves out reasons that say nothing.
    fn dropping_trifles(mut self) -> Self {
        self.reasons.retain(|reason| reason.weight >= 0.01);
        self
    }
}
