//! Programs at the edges: many threads, many processes, nothing at all, hostile names.

use tercet_model::{
    Machine, Origin, Phases, PoolKind, Profile, Remedy, Tasks, ThreadProfile, Traffic, Verdict, Wait, Work,
};
use tercet_report::Subject;

use super::Sample;
use super::make::{by, line, pool_of, process, reasons, shares, subject, thread, verdict};

/// Two hundred threads, most of them idle.
pub fn many() -> Sample {
    let busy = [(Wait::Network, 0.7), (Wait::CpuGil, 0.1), (Wait::GilWait, 0.2)];
    let idle = [(Wait::Lock, 0.98), (Wait::Sleep, 0.02)];
    let threads: Vec<ThreadProfile> = (0..200)
        .map(|index: u32| {
            let kinds: &[_] = if index % 7 == 0 { &busy } else { &idle };
            let name = format!("ThreadPoolExecutor-0_{index}");
            thread(100, 100 + index, &name, index as usize / 2, kinds)
        })
        .collect();
    let lines = (0..60)
        .map(|number| {
            let share = 0.4 / f64::from(1 + number);
            let file = format!("/opt/service/handlers/module_{}.py", number % 9);
            line(&file, number * 7 + 1, "Handler.respond", Wait::ALL[number as usize % 15], share)
        })
        .collect();
    let profile = Profile {
        samples: 12_000,
        wall_s: 7_512.0,
        phases: Phases { imports_s: 3.0, body_s: 7_505.0, exit_s: 4.0, ..Phases::default() },
        shares: Wait::ALL.into_iter().map(|kind| (kind, 1.0 / 15.0)).collect(),
        work: Work { gil: 0.4, gil_wait: 3.0, wait: 21.0, gil_serial: 0.4, ..Work::default() },
        tasks: Tasks { count: Some(120_000.0), ..Tasks::default() },
        pool: Some(pool_of(PoolKind::Threads, 200, 28.6, 9.0)),
        processes: vec![process(100, 1, "python3 -m service", &threads)],
        threads,
        lines,
        machine: Machine { cores: 64.0, ..Machine::default() },
        ..Profile::default()
    };
    let mut verdict = verdict(
        &profile,
        Remedy::FewerThreads,
        Some(32),
        "use 32 threads instead of 200: seven in eight have never had a task",
    );
    verdict.confidence = 0.61;
    Sample { subject: subject("-m service"), profile, verdict }
}

/// A pool of sixteen processes that pickle.
pub fn pool() -> Sample {
    let kinds = [(Wait::Pipe, 0.46), (Wait::CpuGil, 0.31), (Wait::ProcessLock, 0.23)];
    let mut threads = vec![thread(50, 50, "python3", 0, &[(Wait::Pipe, 0.6), (Wait::CpuGil, 0.4)])];
    threads.extend((51..67).map(|pid| thread(pid, pid, "python3", 12, &kinds)));
    let command = "python3 -c 'from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)'";
    let mut processes = vec![process(50, 1, "python3 resize.py", &threads)];
    processes.extend((51..67).map(|pid| process(pid, 50, command, &threads)));
    let profile = Profile {
        samples: 900,
        wall_s: 9.2,
        phases: Phases { imports_s: 0.3, pool_start_s: 0.5, body_s: 8.3, exit_s: 0.1 },
        shares: shares(&kinds),
        traffic: Traffic { bytes: 504e6, messages: 64_000.0, busy_share: 0.61 },
        pool: Some(pool_of(PoolKind::Processes, 16, 5.1, 4e3)),
        threads,
        processes,
        lines: vec![by(
            Origin::StandardLibrary,
            line("/usr/lib/python3.12/multiprocessing/connection.py", 395, "Connection._recv", Wait::Pipe, 0.46),
        )],
        machine: Machine { cores: 16.0, ..Machine::default() },
        ..Profile::default()
    };
    let mut verdict = verdict(
        &profile,
        Remedy::SharedMemory,
        None,
        "share the arrays instead of pickling them: 61% of all work is moving 504 MB through pipes",
    );
    verdict.predictions.clear();
    verdict.confidence = 0.74;
    Sample { subject: subject("resize.py"), profile, verdict }
}

/// Nothing was seen.
pub fn empty() -> Sample {
    let subject = Subject { program: "true.py".into(), hz: 100.0, ..Subject::default() };
    Sample {
        subject,
        profile: Profile::default(),
        verdict: unsure("there is nothing to tell from: the program ended at once"),
    }
}

/// One moment was seen.
pub fn one() -> Sample {
    let mut thread = thread(9, 9, "python3", 0, &[(Wait::CpuGil, 1.0)]);
    thread.samples = 1;
    thread.timeline = vec![Some(Wait::CpuGil)];
    let mut process = process(9, 1, "python3 hello.py", &[]);
    process.gil_timeline = vec![Some(9)];
    let profile = Profile {
        samples: 1,
        wall_s: 0.011,
        phases: Phases { imports_s: 0.001, body_s: 0.01, exit_s: 0.0, ..Phases::default() },
        shares: shares(&[(Wait::CpuGil, 1.0)]),
        threads: vec![thread],
        processes: vec![process],
        lines: vec![line("hello.py", 1, "<module>", Wait::CpuGil, 1.0)],
        ..Profile::default()
    };
    Sample { subject: subject("hello.py"), profile, verdict: unsure("one sample is too little to tell from") }
}

/// Everything the program can name is one of these names, in turn.
pub fn hostile(names: &[&str]) -> Sample {
    let mut turn = names.iter().cycle();
    let mut name = || (*turn.next().unwrap_or(&"")).to_owned();
    let mut sample = super::plain::crawl();
    let Sample { subject, profile, verdict } = &mut sample;
    subject.program = name();
    subject.python = name();
    subject.exit = Some(name());
    for thread in &mut profile.threads {
        thread.name = name();
    }
    for process in &mut profile.processes {
        process.command = name();
        process.python = name();
    }
    for (index, line) in profile.lines.iter_mut().enumerate() {
        line.file = name();
        line.function = name();
        line.target = name();
        line.in_loop = index % 2 == 0;
    }
    for thing in &mut profile.unreadable {
        (thing.what, thing.why, thing.hint) = (name(), name(), name());
    }
    verdict.sentence = name();
    for reason in &mut verdict.reasons {
        reason.text = name();
    }
    sample
}

fn unsure(sentence: &str) -> Verdict {
    Verdict {
        remedy: Remedy::CannotTell,
        workers: None,
        speedup: None,
        bound: None,
        confidence: 0.05,
        sentence: sentence.into(),
        reasons: reasons(&[(1.0, "fewer than 20 samples of the part that repeats")]),
        predictions: vec![],
    }
}
