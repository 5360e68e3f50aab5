//! Every rule on the profile it is for, and on the one beside it that it must leave alone.
//!
//! The figures are those of watched programs (`tests/corpus`), rounded.

use proptest::prelude::*;
use tercet_model::{
    EventLoop, Machine, Model, Phases, Pool, PoolKind, Profile, Remedy, Shares, Source, Symptoms, Tasks, Traffic, Wait,
    Work, decide,
};

/// A run of two seconds on two cores, in which nothing has been seen yet.
fn run() -> Profile {
    Profile {
        samples: 200,
        wall_s: 2.2,
        phases: Phases { imports_s: 0.1, body_s: 2.0, exit_s: 0.1, ..Phases::default() },
        machine: Machine { cores: 2.0, ..Machine::default() },
        ..Profile::default()
    }
}

fn shares(kinds: &[(Wait, f64)]) -> Shares {
    kinds.iter().copied().collect::<Shares>().normalised()
}

/// One thread that waits, `count` times.
fn waiting(kind: Wait, count: f64) -> Profile {
    Profile {
        shares: shares(&[(kind, 1.0)]),
        work: Work { wait: 0.98, gil: 0.02, gil_serial: 0.02, cpu: 0.02, ..Work::default() },
        tasks: Tasks { count: Some(count), ..Tasks::default() },
        ..run()
    }
}

fn computing() -> Profile {
    Profile {
        shares: shares(&[(Wait::CpuGil, 1.0)]),
        work: Work { gil: 1.0, gil_serial: 1.0, cpu: 1.0, ..Work::default() },
        ..run()
    }
}

fn native() -> Profile {
    Profile {
        shares: shares(&[(Wait::CpuNogil, 1.0)]),
        work: Work { nogil: 1.0, cpu: 1.0, ..Work::default() },
        ..run()
    }
}

fn pool(kind: PoolKind, workers: u32, busy: f64) -> Pool {
    Pool { kind, workers, busy, tasks_per_worker: 8.0, backlog: Some(0.0) }
}

fn thread_pool(workers: u32, backlog: f64) -> Profile {
    let busy = f64::from(workers);
    let mut profile = waiting(Wait::Network, 40.0);
    profile.work.wait = busy;
    profile.pool = Some(Pool { backlog: Some(backlog), ..pool(PoolKind::Threads, workers, busy) });
    profile
}

fn with(mut profile: Profile, change: impl FnOnce(&mut Profile)) -> Profile {
    change(&mut profile);
    profile
}

fn symptom(change: impl FnOnce(&mut Symptoms)) -> Profile {
    with(computing(), |profile| change(&mut profile.symptoms))
}

#[test]
fn each_rule_knows_its_program() {
    let fight = with(computing(), |p| p.work.gil_wait = 2.0);
    let held = with(run(), |p| p.work = Work { gil_held: 1.0, gil_wait: 2.2, ..Work::default() });
    let mixed = with(waiting(Wait::Network, 20.0), |p| {
        p.shares = shares(&[(Wait::Network, 0.5), (Wait::CpuGil, 0.5)]);
        p.work = Work { wait: 0.5, gil: 0.5, gil_serial: 0.5, cpu: 0.5, ..Work::default() };
    });
    let locked = with(run(), |p| {
        p.shares = shares(&[(Wait::Lock, 0.8), (Wait::Network, 0.2)]);
        p.work = Work { wait: 1.0, lock: 5.8, ..Work::default() };
        p.symptoms.lock_share = 0.9;
    });
    let crowd = with(native(), |p| {
        p.shares = shares(&[(Wait::Runnable, 0.8), (Wait::CpuNogil, 0.2)]);
        p.work = Work { nogil: 2.0, cpu: 2.0, queue_delay: 30.0, ..Work::default() };
        p.pool = Some(pool(PoolKind::Threads, 53, 37.0));
    });
    let full = with(computing(), |p| {
        p.work = Work { gil: 1.9, gil_serial: 0.95, cpu: 1.9, ..Work::default() };
        p.pool = Some(pool(PoolKind::Processes, 2, 1.9));
    });
    let exchange = |bytes: f64| {
        with(computing(), |p| {
            p.pool = Some(pool(PoolKind::Processes, 2, 1.3));
            p.traffic = Traffic { bytes, messages: 5_000.0, busy_share: 0.8 };
        })
    };
    let event_loop = |in_flight: f64| {
        with(waiting(Wait::LoopIdle, 20.0), |p| {
            p.event_loop = Some(EventLoop { idle_share: 0.9, busy_share: 0.05, in_flight: Some(in_flight) });
        })
    };
    let table: Vec<(&str, Profile, Remedy)> = vec![
        ("downloads in a row", waiting(Wait::Network, 10.0), Remedy::Threading),
        ("sleeps in a row", waiting(Wait::Sleep, 20.0), Remedy::Threading),
        ("children in a row", waiting(Wait::Child, 10.0), Remedy::Threading),
        ("plain loops", computing(), Remedy::Multiprocessing),
        ("compression", native(), Remedy::Threading),
        ("threads fight for the GIL", fight, Remedy::Multiprocessing),
        ("C code waits with the GIL", held, Remedy::Multiprocessing),
        ("half waiting, half computing", mixed, Remedy::Hybrid),
        ("one lock", locked, Remedy::FixLock),
        ("sixty threads hash", crowd, Remedy::FewerThreads),
        ("every core busy", full, Remedy::Nothing),
        (
            "one worker process",
            with(computing(), |p| p.pool = Some(pool(PoolKind::Processes, 1, 1.0))),
            Remedy::MoreProcesses,
        ),
        ("large pickles", exchange(1e9), Remedy::SharedMemory),
        ("tiny tasks", exchange(3e6), Remedy::Batch),
        ("a pool that is too small", thread_pool(2, 20.0), Remedy::MoreThreads),
        ("a pool that is just right", thread_pool(10, 0.0), Remedy::Nothing),
        ("coroutines awaited in turn", event_loop(1.0), Remedy::Asyncio),
        ("coroutines gathered", event_loop(50.0), Remedy::Nothing),
        ("the loop waits elsewhere", symptom(|s| s.loop_waits_share = 0.9), Remedy::FixBlockingCall),
        ("the loop computes", symptom(|s| s.loop_computes_share = 0.9), Remedy::FixBlockingCall),
        ("the collector", symptom(|s| s.gc_share = 0.6), Remedy::FixGc),
        ("a spin", symptom(|s| s.spin_share = 0.5), Remedy::FixBusyWait),
        ("a poll", symptom(|s| s.poll_share = 0.5), Remedy::FixPolling),
        ("fsync", with(waiting(Wait::Disk, 90.0), |p| p.symptoms.sync_share = 0.9), Remedy::Batch),
        ("a far side at its limit", with(thread_pool(8, 20.0), |p| p.symptoms.far_limit_share = 0.9), Remedy::Nothing),
        ("a clock-keeper", with(waiting(Wait::Sleep, 20.0), |p| p.symptoms.pace_share = 1.0), Remedy::CannotTell),
        ("imports", with(computing(), |p| p.phases.imports_s = 9.0), Remedy::FixImports),
        ("over at once", with(computing(), |p| p.samples = 3), Remedy::CannotTell),
        ("unreadable", with(run(), |p| p.symptoms.unknown_share = 0.9), Remedy::CannotTell),
        ("one core", with(computing(), |p| p.machine.cores = 1.0), Remedy::Nothing),
    ];
    for (name, profile, remedy) in table {
        let verdict = decide(&profile);
        assert_eq!(verdict.remedy, remedy, "{name}: {}", verdict.sentence);
        assert!(!verdict.sentence.is_empty() && !verdict.reasons.is_empty(), "{name} has no words");
    }
}

#[test]
fn every_remedy_of_the_vocabulary_can_be_the_verdict_of_some_rule() {
    let source = [include_str!("../src/rule.rs"), include_str!("../src/choice.rs")].concat();
    for remedy in Remedy::ALL {
        assert!(source.contains(&format!("Remedy::{remedy:?}")), "no rule ever says `{}`", remedy.name());
    }
}

#[test]
fn a_share_just_below_its_threshold_is_left_alone() {
    let below = [
        symptom(|s| s.gc_share = 0.39),
        symptom(|s| s.spin_share = 0.29),
        symptom(|s| s.poll_share = 0.29),
        symptom(|s| s.loop_waits_share = 0.19),
        with(computing(), |p| p.work.gil_held = 0.19),
    ];
    for profile in below {
        assert_eq!(decide(&profile).remedy, Remedy::Multiprocessing);
    }
}

#[test]
fn ten_waits_ask_for_ten_workers_and_promise_no_more() {
    let verdict = decide(&waiting(Wait::Network, 10.0));
    assert_eq!(verdict.workers, Some(10));
    let speedup = verdict.speedup.unwrap();
    assert!((8.0..=10.0).contains(&speedup), "{speedup}");
}

/// A task of a map, timed alone: `wall_s` long, its time shared out as given, `count` of them left.
fn task(gil: f64, nogil: f64, wait: f64, wall_s: f64, count: f64) -> Profile {
    Profile {
        source: Source::Probe,
        samples: 3,
        phases: Phases { body_s: wall_s * count, ..Phases::default() },
        work: Work { gil, nogil, wait, gil_serial: gil, ..Work::default() },
        tasks: Tasks { count: Some(count), wall_s: Some(wall_s), is_portable: Some(true), ..Tasks::default() },
        ..run()
    }
}

#[test]
fn a_map_gets_the_engine_its_tasks_ask_for() {
    let table = [
        ("waits", task(0.02, 0.0, 0.98, 0.025, 60.0), Remedy::Threading),
        ("bytecode", task(1.0, 0.0, 0.0, 0.03, 100.0), Remedy::Multiprocessing),
        ("native code", task(0.02, 0.98, 0.0, 0.05, 12.0), Remedy::Threading),
        ("half and half", task(0.5, 0.0, 0.5, 0.024, 60.0), Remedy::Hybrid),
        ("additions", task(1.0, 0.0, 0.0, 1e-7, 50_000.0), Remedy::Nothing),
        ("coroutines", with(task(0.1, 0.0, 0.9, 0.02, 300.0), |p| p.tasks.is_coroutine = true), Remedy::Asyncio),
        (
            "bytecode that must stay",
            with(task(1.0, 0.0, 0.0, 0.03, 100.0), |p| p.tasks.is_portable = Some(false)),
            Remedy::Nothing,
        ),
        ("dear to send", with(task(1.0, 0.0, 0.0, 0.01, 100.0), |p| p.tasks.pickle_s = 0.05), Remedy::Nothing),
    ];
    for (name, profile, remedy) in table {
        let verdict = decide(&profile);
        assert_eq!(verdict.remedy, remedy, "{name}: {}", verdict.sentence);
    }
}

#[test]
fn on_a_free_threaded_interpreter_a_map_computes_in_threads() {
    let profile = with(task(1.0, 0.0, 0.0, 0.03, 100.0), |p| p.machine.has_gil = false);
    assert_eq!(decide(&profile).remedy, Remedy::Threading);
}

prop_compose! {
    fn any_profile()(
        amounts in prop::array::uniform9(0.0..3.0_f64),
        signs in prop::array::uniform9(0.0..1.0_f64),
        samples in 0_u64..500, body_s in 0.01..60.0_f64, imports_s in 0.0..5.0_f64,
        count in prop::option::of(1.0..5_000.0_f64), cores in 1.0..64.0_f64, wall_s in 1e-6..1.0_f64,
        is_probe: bool, is_coroutine: bool, is_portable in prop::option::of(any::<bool>()), pools in 0_u32..40, is_process: bool,
    ) -> Profile {
        let [gil, nogil, child_cpu, wait, lock, gil_wait, gil_held, queue_delay, cpu] = amounts;
        let [spin, poll, loop_waits, loop_computes, pace, far, sync, gc, fought] = signs;
        let kinds = Wait::ALL.into_iter().zip(amounts.into_iter().cycle());
        let kind = if is_process { PoolKind::Processes } else { PoolKind::Threads };
        Profile {
            source: if is_probe { Source::Probe } else { Source::Sampler },
            samples,
            phases: Phases { imports_s, body_s, ..Phases::default() },
            shares: kinds.collect::<Shares>().normalised(),
            work: Work { gil, nogil, child_cpu, wait, lock, gil_wait, gil_held, queue_delay, cpu, gil_serial: gil.min(1.0) },
            tasks: Tasks { count, wall_s: Some(wall_s), is_coroutine, is_portable, ..Tasks::default() },
            symptoms: Symptoms {
                spin_share: spin, poll_share: poll, loop_waits_share: loop_waits, loop_computes_share: loop_computes,
                pace_share: pace, far_limit_share: far, sync_share: sync, gc_share: gc, lock_share: fought, unknown_share: 0.0,
            },
            pool: (pools > 0).then_some(Pool { kind, workers: pools, busy: wait + gil, tasks_per_worker: 3.0, backlog: None }),
            machine: Machine { cores, ..Machine::default() },
            ..run()
        }
    }
}

proptest! {
    #[test]
    fn any_profile_gets_one_sane_verdict(profile in any_profile()) {
        let verdict = decide(&profile);
        prop_assert_eq!(&verdict, &decide(&profile.clone()));
        prop_assert!((0.0..=1.0).contains(&verdict.confidence));
        prop_assert!(!verdict.sentence.is_empty());
        prop_assert!(!verdict.reasons.is_empty());
        if let Some(speedup) = verdict.speedup {
            prop_assert!(speedup > 0.0 && speedup.is_finite());
            prop_assert!(verdict.bound.is_none_or(|bound| speedup <= bound));
        }
        for prediction in &verdict.predictions {
            prop_assert!(prediction.bound.is_none_or(|bound| prediction.speedup <= bound));
        }
        let weights: Vec<f64> = verdict.reasons.iter().map(|reason| reason.weight).collect();
        prop_assert!(weights.windows(2).all(|pair| pair[0] >= pair[1]));
        if let Some(workers) = verdict.workers {
            prop_assert!(workers >= 1);
        }
    }

    #[test]
    fn more_cores_never_make_processes_slower(profile in any_profile(), more in 0.0..64.0_f64) {
        let richer = with(profile.clone(), |p| p.machine.cores += more);
        for workers in [1, 2, 8, 100] {
            let (few, many) = (tercet_model::predict(&profile, Model::Processes, workers), tercet_model::predict(&richer, Model::Processes, workers));
            prop_assert!(many.speedup >= few.speedup - 1e-9);
        }
    }
}
