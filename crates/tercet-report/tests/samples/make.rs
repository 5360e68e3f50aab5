//! Small makers of facts.

use tercet_model::{
    Line, Model, Origin, Pool, PoolKind, Prediction, ProcessProfile, Profile, Reason, Remedy, Shares, ThreadProfile,
    Verdict, Wait, predict,
};
use tercet_report::Subject;

/// A sequence of numbers that is the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, from 0 to 1.
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }
}

/// Shares in these proportions.
pub fn shares(kinds: &[(Wait, f64)]) -> Shares {
    kinds.iter().copied().collect::<Shares>().normalised()
}

/// A timeline in about these proportions, with stretches rather than noise, `born` entries late.
pub fn lane(seed: u64, born: usize, kinds: &[(Wait, f64)]) -> Vec<Option<Wait>> {
    let mut dice = Dice::new(seed);
    let shares = shares(kinds);
    let mut now = kinds[0].0;
    let mut lane = vec![None; born];
    while lane.len() < 240 {
        if dice.roll() < 0.45 {
            let mut left = dice.roll();
            now = shares
                .iter()
                .find(|&(_, share)| {
                    left -= share;
                    left <= 0.0
                })
                .map_or(now, |(kind, _)| kind);
        }
        lane.push(Some(now));
    }
    lane
}

/// A thread with a timeline.
pub fn thread(pid: u32, tid: u32, name: &str, born: usize, kinds: &[(Wait, f64)]) -> ThreadProfile {
    let shares = shares(kinds);
    let cpu = shares[Wait::CpuGil] + shares[Wait::CpuNogil] + shares[Wait::Gc];
    ThreadProfile {
        pid,
        tid,
        name: name.into(),
        samples: 1240,
        shares,
        cpu_s: 12.4 * cpu,
        queue_delay_s: 12.4 * shares[Wait::Runnable],
        is_loop: shares[Wait::LoopIdle] > 0.0,
        timeline: lane(u64::from(tid), born, kinds),
    }
}

/// A process whose GIL is held by whichever of its threads runs with it.
pub fn process(pid: u32, parent: u32, command: &str, threads: &[ThreadProfile]) -> ProcessProfile {
    let holder = |entry: usize| {
        let holds = |thread: &&ThreadProfile| {
            let kind = thread.timeline.get(entry).copied().flatten();
            thread.pid == pid && matches!(kind, Some(Wait::CpuGil | Wait::GilHeld | Wait::Gc))
        };
        threads.iter().find(holds).map(|thread| thread.tid)
    };
    let own = threads.iter().filter(|thread| thread.pid == pid);
    ProcessProfile {
        pid,
        parent,
        command: command.into(),
        python: "3.12.1".into(),
        cpu_s: own.map(|thread| thread.cpu_s).sum(),
        read_bytes: 48_211_004,
        written_bytes: 1_204_991,
        gil_switches: 18_402,
        gil_timeline: (0..240).map(holder).collect(),
    }
}

/// A line of the user's own.
pub fn line(file: &str, number: u32, function: &str, kind: Wait, share: f64) -> Line {
    Line {
        file: file.into(),
        line: number,
        function: function.into(),
        kind,
        share,
        origin: Origin::Own,
        in_loop: false,
        count: (share * 1000.0) as u64,
        target: if kind == Wait::Network { "tcp".into() } else { String::new() },
    }
}

/// The same line of somebody else's.
pub fn by(origin: Origin, line: Line) -> Line {
    Line { origin, ..line }
}

/// A verdict with the predictions of the model.
pub fn verdict(profile: &Profile, remedy: Remedy, workers: Option<u32>, sentence: &str) -> Verdict {
    let mut sizes = vec![2, 4, 8, 16, 32, 64];
    sizes.extend(workers.filter(|workers| !sizes.contains(workers)));
    sizes.sort_unstable();
    let predictions: Vec<Prediction> = Model::ALL
        .into_iter()
        .flat_map(|model| sizes.iter().map(move |&size| (model, size)))
        .map(|(model, size)| predict(profile, model, size))
        .collect();
    let model = match remedy {
        Remedy::Multiprocessing | Remedy::MoreProcesses => Model::Processes,
        Remedy::Asyncio => Model::EventLoop,
        _ => Model::Threads,
    };
    let chosen = workers.map(|workers| predict(profile, model, workers));
    Verdict {
        remedy,
        workers,
        speedup: chosen.map(|chosen| chosen.speedup),
        bound: chosen.and_then(|chosen| chosen.bound),
        confidence: 0.86,
        sentence: sentence.into(),
        reasons: vec![],
        predictions,
    }
}

/// A pool whose queue was read to be empty.
pub fn pool_of(kind: PoolKind, workers: u32, busy: f64, tasks_per_worker: f64) -> Pool {
    Pool { kind, workers, busy, tasks_per_worker, backlog: Some(0.0) }
}

/// Reasons of falling weight.
pub fn reasons(texts: &[(f64, &str)]) -> Vec<Reason> {
    texts.iter().map(|&(weight, text)| Reason { weight, text: text.into() }).collect()
}

/// A program that was launched and ended well.
pub fn subject(program: &str) -> Subject {
    Subject {
        program: program.into(),
        python: "3.12.1".into(),
        attached: false,
        exit: Some("exit code 0".into()),
        hz: 100.0,
        sampler_cpu_share: 0.012,
    }
}
