//! What ends a task, or the worker, before its time: a limit of time, somebody who does not want the result, a limit of memory.
//!
//! To end a task is to end its process. Before, what stands behind it is taken back, and the worker gets nothing more: so
//! no other task can begin there, and none that is innocent ends with it. The process is asked first, and killed after
//! [`GRACE`].

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::process::Signal;
use tercet_shm::now_ns;

use crate::colleague::Colleague;
use crate::desk::{Desk, Order};

/// How long a worker has to tidy up.
const GRACE: Duration = Duration::from_millis(100);

/// What a task may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
    /// How often it may be tried again if its worker dies.
    pub(crate) retries: u32,
}

impl Limits {
    pub(crate) fn of(timeout_s: Option<f64>, retries: u32) -> PyResult<Self> {
        let timeout = timeout_s.map(Duration::try_from_secs_f64).transpose();
        Ok(Self { timeout: timeout.map_err(|error| PyValueError::new_err(error.to_string()))?, retries })
    }
}

/// That a worker is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doom {
    since: Instant,
    pub(crate) cause: Cause,
    is_killed: bool,
}

/// Why its task is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// It took longer than this.
    Time(Duration),
    /// Nobody wants the result.
    Cancelled,
}

/// What came of the wish to end a task.
pub(crate) enum Aborted {
    /// Its process ends.
    Ending,
    /// It had not begun, and will not. To drop it may run Python, which must not happen under the lock.
    Taken(#[expect(dead_code, reason = "it is there to be dropped")] Order),
    /// It is done.
    TooLate,
}

impl Desk {
    /// Ends what has gone beyond its limits.
    pub(crate) fn enforce(&mut self) {
        if !self.has_limits {
            return;
        }
        let now = now_ns();
        for name in self.colleagues.keys().copied().collect::<Vec<_>>() {
            let Some(colleague) = self.colleagues.get_mut(&name) else { continue };
            match &mut colleague.doom {
                Some(doom) if !doom.is_killed && doom.since.elapsed() >= GRACE => {
                    doom.is_killed = true;
                    colleague.kill();
                }
                Some(_) => {}
                None => {
                    let Some(held) = colleague.end.watch.held() else { continue };
                    let number = held.task.get();
                    let timeout = self.fleet.sent(name, number).and_then(|task| task.job.limits.timeout);
                    let spent = Duration::from_nanos(now.saturating_sub(held.began_ns));
                    if let Some(timeout) = timeout.filter(|timeout| *timeout <= spent) {
                        self.doom(name, number, Cause::Time(timeout));
                    }
                }
            }
        }
    }

    /// When the next limit will be reached, at the earliest.
    pub(crate) fn next_limit(&self) -> Option<Instant> {
        let now = Instant::now();
        let clock = now_ns();
        let limit = |(name, colleague): (&u32, &Colleague)| {
            if let Some(doom) = &colleague.doom {
                return (!doom.is_killed).then(|| doom.since + GRACE);
            }
            let held = colleague.end.watch.held();
            let task = held.and_then(|held| self.fleet.sent(*name, held.task.get()));
            let spent = held.filter(|_| task.is_some()).map_or(0, |held| clock.saturating_sub(held.began_ns));
            // What it has not begun yet cannot reach its limit before that.
            let timeout = task.or_else(|| self.fleet.first_sent(*name))?.job.limits.timeout?;
            now.checked_add(timeout.saturating_sub(Duration::from_nanos(spent)))
        };
        self.colleagues.iter().filter_map(limit).min()
    }

    /// Ends the process that runs a task. False if it has not begun it, or has done it: then nothing else ends either.
    pub(crate) fn doom(&mut self, name: u32, number: u64, cause: Cause) -> bool {
        let (Some(colleague), Some(last)) = (self.colleagues.get_mut(&name), self.fleet.last_sent(name)) else {
            return false;
        };
        let claimed = colleague.take_back(last.number);
        self.fleet.recall(name, claimed);
        if claimed != number || colleague.doom.is_some() {
            return false;
        }
        self.fleet.retire(name);
        self.has_limits = true;
        colleague.doom = Some(Doom { since: Instant::now(), cause, is_killed: false });
        colleague.send_signal(Signal::TERM);
        true
    }

    /// Ends a task, whether it runs or waits.
    pub(crate) fn abort(&mut self, is_it: impl Fn(&Order) -> bool) -> Aborted {
        if let Some((name, number)) = self.fleet.find_sent(&is_it) {
            if self.doom(name, number, Cause::Cancelled) {
                return Aborted::Ending;
            }
        }
        self.fleet.take_waiting(is_it).map_or(Aborted::TooLate, Aborted::Taken)
    }

    /// Has workers leave that have grown too large.
    pub(crate) fn weigh(&mut self, most_bytes: u64) {
        for (name, colleague) in &mut self.colleagues {
            if std::mem::take(&mut colleague.is_to_be_weighed) && private_bytes(colleague.pid()) > most_bytes {
                self.fleet.retire(*name);
            }
        }
    }
}

impl Colleague {
    /// Says again what could not be said before it was known which process it is: a worker may begin before that.
    pub(crate) fn remind(&self) {
        if let Some(doom) = &self.doom {
            self.send_signal(if doom.is_killed { Signal::KILL } else { Signal::TERM });
        }
    }
}

/// The memory of a process that it shares with nobody; 0 if that cannot be told.
pub(crate) fn private_bytes(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = text.split(' ').skip(1).map_while(|word| word.parse::<u64>().ok());
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}
