//! A profile, with the questions that rules ask of it.

use crate::decide::FEWEST_SAMPLES;
use crate::{Line, Machine, Model, Pool, PoolKind, Prediction, Profile, Source, Wait, Work, predict};

/// A profile under examination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'p> {
    pub(crate) profile: &'p Profile,
}

/// Most threads that are recommended: beyond this an event loop carries the waits better.
pub(crate) const MOST_THREADS: u32 = 64;

impl<'p> Facts<'p> {
    pub(crate) fn of(profile: &'p Profile) -> Self {
        Self { profile }
    }

    pub(crate) fn work(&self) -> &'p Work {
        &self.profile.work
    }

    pub(crate) fn machine(&self) -> &'p Machine {
        &self.profile.machine
    }

    pub(crate) fn cores(&self) -> f64 {
        self.profile.machine.cores.max(1.0)
    }

    pub(crate) fn whole_cores(&self) -> u32 {
        self.cores().floor().max(1.0) as u32
    }

    pub(crate) fn share(&self, kind: Wait) -> f64 {
        self.profile.shares[kind]
    }

    /// Too little was seen for any word about the repeating part.
    pub(crate) fn is_blind(&self) -> bool {
        self.profile.source == Source::Sampler && self.profile.samples < FEWEST_SAMPLES
    }

    /// Share of time in locks that are fought over.
    pub(crate) fn lock_share(&self) -> f64 {
        self.share(Wait::Lock) + self.share(Wait::ProcessLock)
    }

    /// Share of time in waits that could overlap.
    pub(crate) fn wait_share(&self) -> f64 {
        self.profile.shares.sum(Wait::is_overlappable)
    }

    /// Processors that the program would keep busy if it had them: used, and waited for.
    pub(crate) fn demand(&self) -> f64 {
        self.work().cpu + self.work().queue_delay + self.work().child_cpu
    }

    pub(crate) fn thread_pool(&self) -> Option<&'p Pool> {
        self.profile.pool.as_ref().filter(|pool| pool.kind == PoolKind::Threads)
    }

    pub(crate) fn process_pool(&self) -> Option<&'p Pool> {
        self.profile.pool.as_ref().filter(|pool| pool.kind == PoolKind::Processes)
    }

    /// Most workers worth naming: no more than there are tasks.
    pub(crate) fn most_workers(&self, most: u32) -> u32 {
        self.profile.tasks.count.map_or(most, |count| (count as u32).clamp(1, most))
    }

    pub(crate) fn predict(&self, model: Model, workers: u32) -> Prediction {
        predict(self.profile, model, workers)
    }

    /// The smallest number of workers that gives nearly as much as the best up to `most`.
    pub(crate) fn size(&self, model: Model, most: u32) -> Prediction {
        let all: Vec<_> = (1..=most.max(1)).map(|workers| self.predict(model, workers)).collect();
        let best = all.iter().map(|prediction| prediction.speedup).fold(0.0, f64::max);
        let enough = all.iter().find(|prediction| prediction.speedup >= 0.97 * best);
        enough.copied().unwrap_or_else(|| self.predict(model, 1))
    }

    /// How far the measurement itself can be believed.
    pub(crate) fn certainty(&self) -> f64 {
        if self.profile.source == Source::Probe {
            return (0.6 + 0.1 * self.profile.samples as f64).min(0.95);
        }
        let length = (self.profile.samples as f64 / 100.0).clamp(0.1, 1.0).sqrt();
        let known = 1.0 - self.profile.symptoms.unknown_share;
        let quiet = 1.0 - 0.5 * (self.work().queue_delay / self.demand().max(1e-9)).clamp(0.0, 1.0);
        length * known * quiet
    }

    /// The line with most of the time among those that `fits` accepts, as ` at file:line (function)`.
    pub(crate) fn at(&self, fits: impl Fn(&Line) -> bool) -> String {
        let line = self.profile.lines.iter().filter(|line| line.line > 0).find(|line| fits(line));
        line.map_or_else(String::new, |line| {
            let file = line.file.rsplit('/').next().unwrap_or(&line.file);
            format!(" at {file}:{} ({})", line.line, line.function)
        })
    }

    /// The kind of wait that takes most of the time, and its share.
    fn longest_wait(&self) -> Option<(Wait, f64)> {
        self.profile.shares.ranked().into_iter().find(|(kind, _)| kind.is_overlappable())
    }

    /// The share of what most of the waiting is for.
    pub(crate) fn waited_share(&self) -> f64 {
        self.longest_wait().map_or(0.0, |(_, share)| share)
    }

    /// What most of the waiting is for, in words.
    pub(crate) fn waited_for(&self) -> &'static str {
        match self.longest_wait().map(|(kind, _)| kind) {
            Some(Wait::Network) => "the network",
            Some(Wait::Disk) => "the disk",
            Some(Wait::Pipe) => "a pipe",
            Some(Wait::Child) => "child processes",
            Some(Wait::Sleep) => "a clock",
            Some(Wait::LoopIdle) => "answers to its event loop",
            _ => "something outside",
        }
    }
}
