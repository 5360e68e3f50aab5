//! Programs as people write them.

use tercet_model::{
    EventLoop, Machine, Model, Origin, Phases, PoolKind, Prediction, Profile, Remedy, Symptoms, Tasks, Traffic,
    Unreadable, Wait, Work,
};
use tercet_report::Subject;

use super::Sample;
use super::make::{by, line, pool_of, process, reasons, shares, subject, thread, verdict};

/// A crawler with four threads that wait for the network, parse, write files, and fight for the GIL.
pub fn crawl() -> Sample {
    let worker = [
        (Wait::Network, 0.58),
        (Wait::CpuGil, 0.14),
        (Wait::GilWait, 0.09),
        (Wait::CpuNogil, 0.08),
        (Wait::Disk, 0.06),
        (Wait::Lock, 0.04),
        (Wait::Runnable, 0.01),
    ];
    let mut threads = vec![thread(4711, 4711, "python3", 0, &[(Wait::Lock, 0.9), (Wait::CpuGil, 0.1)])];
    for (index, tid) in (4712..4716).enumerate() {
        threads.push(thread(4711, tid, &format!("crawl-{index}"), 22 + 3 * index, &worker));
    }
    threads.push(thread(4720, 4720, "pdftotext", 60, &[(Wait::CpuNogil, 0.7), (Wait::Disk, 0.3)]));
    for entry in threads[0].timeline.iter_mut().take(22) {
        *entry = Some(Wait::CpuGil);
    }
    let mut processes = vec![
        process(4711, 4200, "python3 crawl.py --seeds seeds.txt --out pages/", &threads),
        process(4720, 4711, "pdftotext - -", &[]),
    ];
    processes[1].python.clear();
    processes[1].gil_timeline.clear();
    let home = "/home/ada/work/crawler";
    let site = "/home/ada/work/crawler/.venv/lib/python3.12/site-packages";
    let lines = vec![
        line(&format!("{home}/crawl.py"), 41, "fetch", Wait::Network, 0.512),
        line(&format!("{home}/crawl.py"), 58, "parse", Wait::CpuGil, 0.121),
        by(Origin::SitePackages, line(&format!("{site}/lxml/html/clean.py"), 310, "clean_html", Wait::CpuNogil, 0.082)),
        line(&format!("{home}/crawl.py"), 60, "parse", Wait::GilWait, 0.081),
        line(&format!("{home}/store/files.py"), 22, "Store.write", Wait::Disk, 0.058),
        line(&format!("{home}/store/files.py"), 17, "Store.write", Wait::Lock, 0.042),
        by(Origin::StandardLibrary, line("/usr/lib/python3.12/socket.py", 964, "getaddrinfo", Wait::Network, 0.038)),
        by(Origin::StandardLibrary, line("/usr/lib/python3.12/ssl.py", 1_045, "do_handshake", Wait::Network, 0.021)),
        line(&format!("{home}/crawl.py"), 12, "main", Wait::Runnable, 0.009),
    ];
    let profile = Profile {
        samples: 1_068,
        wall_s: 12.41,
        phases: Phases { imports_s: 1.18, body_s: 10.92, exit_s: 0.31, ..Phases::default() },
        shares: shares(&worker),
        work: Work { gil: 0.24, nogil: 0.16, wait: 2.9, gil_serial: 0.24, cpu: 0.4, ..Work::default() },
        tasks: Tasks { count: Some(512.0), wall_s: Some(0.071), ..Tasks::default() },
        traffic: Traffic::default(),
        symptoms: Symptoms { unknown_share: 0.01, ..Symptoms::default() },
        threads,
        processes,
        lines,
        machine: Machine { cores: 2.0, ..Machine::default() },
        unreadable: vec![Unreadable {
            what: "files and sockets of process 4720 (`pdftotext`)".into(),
            why: "permission denied".into(),
            hint: "run `sudo tercet why crawl.py`, or start both as the same user".into(),
        }],
        ..Profile::default()
    };
    let mut verdict = verdict(
        &profile,
        Remedy::MoreThreads,
        Some(16),
        "give the pool 16 threads instead of 4: all four wait for the network most of the time, and \
         the GIL is held for less than a quarter of it",
    );
    verdict.reasons = reasons(&[
        (0.9, "the 4 threads of the pool have a task for 98% of the time"),
        (0.7, "58% of the time is waiting for the network, which more threads overlap"),
        (0.3, "the GIL is held for 24% of the time, so threads give at most 4.2x"),
    ]);
    Sample { subject: subject("crawl.py"), profile, verdict }
}

/// The crawler with every optional fact and with figures that do not come from the model's formula, so that what is
/// expected of the reports does not change with it.
pub fn fixed() -> Sample {
    let mut sample = crawl();
    let Sample { profile, verdict, .. } = &mut sample;
    profile.pool = Some(pool_of(PoolKind::Threads, 4, 3.92, 128.0));
    profile.event_loop = Some(EventLoop { idle_share: 0.25, busy_share: 0.125, in_flight: Some(6.5) });
    profile.tasks.is_portable = Some(true);
    for thread in &mut profile.threads {
        thread.timeline = vec![None, Some(Wait::CpuGil), Some(Wait::Network), Some(Wait::Network)];
    }
    profile.processes[0].gil_timeline = vec![None, Some(4711), None, Some(4712)];
    verdict.predictions = [(Model::Threads, Some(4.2)), (Model::Processes, Some(5.0)), (Model::EventLoop, None)]
        .into_iter()
        .flat_map(|(model, bound)| [2, 4, 8, 16, 64].map(|workers| fixed_gain(model, workers, bound)))
        .collect();
    (verdict.speedup, verdict.bound) = (Some(3.36), Some(4.2));
    sample
}

fn fixed_gain(model: Model, workers: u32, bound: Option<f64>) -> Prediction {
    let number = f64::from(workers);
    let speedup = bound.map_or(number, |bound| bound * number / (number + bound - 1.0));
    Prediction { model, workers, speedup, bound }
}

/// Ten downloads, one after another.
pub fn downloads() -> Sample {
    let kinds = [(Wait::Network, 0.948), (Wait::CpuGil, 0.049), (Wait::CpuNogil, 0.003)];
    let threads = vec![thread(900, 900, "python3", 0, &kinds)];
    let profile = Profile {
        samples: 204,
        wall_s: 2.31,
        phases: Phases { imports_s: 0.22, body_s: 2.05, exit_s: 0.04, ..Phases::default() },
        shares: shares(&kinds),
        work: Work { gil: 0.049, nogil: 0.003, wait: 0.948, gil_serial: 0.049, cpu: 0.052, ..Work::default() },
        tasks: Tasks { count: Some(10.0), wall_s: Some(0.205), ..Tasks::default() },
        processes: vec![process(900, 1, "python3 examples/downloads.py", &threads)],
        threads,
        lines: vec![
            line("examples/downloads.py", 14, "fetch", Wait::Network, 0.948),
            line("examples/downloads.py", 15, "fetch", Wait::CpuGil, 0.031),
        ],
        machine: Machine { cores: 2.0, ..Machine::default() },
        ..Profile::default()
    };
    let mut verdict = verdict(
        &profile,
        Remedy::Threading,
        Some(10),
        "use 10 threads: 95% of the time is waiting for the network, one wait after another",
    );
    verdict.reasons = reasons(&[
        (0.9, "95% of the time is waiting for the network, and only one wait at a time"),
        (0.2, "10 separate waits were seen, so more than 10 workers have nothing to do"),
    ]);
    Sample { subject: subject("examples/downloads.py"), profile, verdict }
}

/// A server whose loop is blocked by a call that waits; still running when the watch ends.
pub fn blocked() -> Sample {
    let kinds = [(Wait::Network, 0.61), (Wait::LoopIdle, 0.27), (Wait::CpuGil, 0.09), (Wait::Gc, 0.03)];
    let threads = vec![
        thread(77, 77, "uvicorn", 0, &kinds),
        thread(77, 78, "asyncio_0", 100, &[(Wait::Lock, 0.97), (Wait::Disk, 0.03)]),
    ];
    let mut lines = vec![
        line("/srv/shop/prices.py", 88, "PriceList.refresh", Wait::Network, 0.61),
        line("/srv/shop/app.py", 30, "checkout", Wait::CpuGil, 0.07),
    ];
    for line in &mut lines {
        line.in_loop = true;
    }
    let profile = Profile {
        samples: 5_980,
        wall_s: 60.0,
        phases: Phases { imports_s: 0.0, body_s: 60.0, exit_s: 0.0, ..Phases::default() },
        shares: shares(&kinds),
        symptoms: Symptoms { loop_waits_share: 0.61, gc_share: 0.03, ..Symptoms::default() },
        event_loop: Some(EventLoop { idle_share: 0.27, busy_share: 0.73, in_flight: Some(41.3) }),
        processes: vec![process(77, 1, "uvicorn shop.app:app", &threads)],
        threads,
        lines,
        machine: Machine { cores: 8.0, ..Machine::default() },
        ..Profile::default()
    };
    let mut verdict = verdict(
        &profile,
        Remedy::FixBlockingCall,
        None,
        "take the call at `prices.py:88` out of the event loop: it blocks the loop for 61% of the time",
    );
    verdict.predictions.clear();
    verdict.reasons = reasons(&[(0.95, "the loop thread waits for the network outside the loop for 61% of the time")]);
    let subject = Subject { attached: true, exit: None, ..subject("uvicorn shop.app:app") };
    Sample { subject, profile, verdict }
}

/// Two threads of Python code.
pub fn burn() -> Sample {
    let kinds = [(Wait::CpuGil, 0.5), (Wait::GilWait, 0.34), (Wait::Runnable, 0.16)];
    let threads = vec![
        thread(31, 31, "python3", 0, &[(Wait::Lock, 1.0)]),
        thread(31, 32, "burn-0", 4, &kinds),
        thread(31, 33, "burn-1", 4, &kinds),
    ];
    let profile = Profile {
        samples: 480,
        wall_s: 4.9,
        phases: Phases { imports_s: 0.05, body_s: 4.8, exit_s: 0.05, ..Phases::default() },
        shares: shares(&kinds),
        work: Work { gil: 0.99, gil_wait: 0.96, gil_serial: 0.99, cpu: 1.0, ..Work::default() },
        processes: vec![process(31, 1, "python3 burn_cpu_threads.py", &threads)],
        threads,
        lines: vec![
            line("burn_cpu_threads.py", 9, "burn", Wait::CpuGil, 0.5),
            line("burn_cpu_threads.py", 9, "burn", Wait::GilWait, 0.34),
        ],
        machine: Machine { cores: 8.0, ..Machine::default() },
        ..Profile::default()
    };
    let mut verdict = verdict(
        &profile,
        Remedy::Multiprocessing,
        Some(8),
        "compute in 8 processes: two threads take turns at one GIL, so that together they are no faster than one",
    );
    verdict.reasons = reasons(&[
        (0.9, "some thread runs Python code with the GIL for 99% of the time"),
        (0.6, "the threads wait for the GIL for 34% of the time"),
    ]);
    let subject = Subject { exit: Some("killed by SIGTERM".into()), ..subject("burn_cpu_threads.py") };
    Sample { subject, profile, verdict }
}
