//! Looking at a thread of this very process, from a native thread that never takes the GIL.
//!
//! The same reader that watches other programs tells a map what its first tasks wait on: whether
//! processor time holds the GIL or releases it is seen, not guessed from the difference of two clocks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tercet_model::{Shares, Wait};

use crate::error::Result;
use crate::process::Process;

/// What was seen of a thread since the watch over it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// How many looks there were.
    pub samples: u64,
    /// How the looks divide among kinds. Sums to one when there are any.
    pub shares: Shares,
    /// Wall time since the watch began.
    pub wall_s: f64,
    /// Processor time of the thread since then, by the kernel's clock.
    pub cpu_s: f64,
    /// Time ready to run without a processor, as far as the looks know it.
    pub queue_delay_s: f64,
}

/// A native thread that looks at one thread of this process at a time.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    owner: u32,
    worker: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    target: Option<Target>,
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    tid: u32,
    began: Instant,
    cpu_at_start_s: f64,
    weights: Shares,
    samples: u64,
    queue_delay_ns: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Starts the native thread, which sleeps until there is something to watch.
    ///
    /// # Errors
    ///
    /// When this process holds no interpreter that can be read.
    pub fn new(hz: f64) -> Result<Self> {
        let owner = std::process::id();
        // The thread makes its own: what a `Process` holds is counted without locks.
        Process::of_self().map(drop)?;
        let shared = Arc::new(Shared::default());
        let period = Duration::from_secs_f64(1.0 / hz.clamp(1.0, 10_000.0));
        let theirs = Arc::clone(&shared);
        let worker = thread::Builder::new()
            .name("tercet-probe".to_owned())
            .spawn(move || {
                if let Ok(mut process) = Process::of_self() {
                    look_on(&theirs, &mut process, period);
                }
            })
            .ok();
        Ok(Self { shared, owner, worker })
    }

    /// Forgets what was seen and watches the thread with the kernel's number `tid`.
    pub fn watch(&self, tid: u32) {
        let target = Target {
            tid,
            began: Instant::now(),
            cpu_at_start_s: thread_cpu_s(tid).unwrap_or(0.0),
            weights: Shares::default(),
            samples: 0,
            queue_delay_ns: 0,
        };
        self.shared.lock().target = Some(target);
        self.shared.changed.notify_all();
    }

    /// What was seen since [`Probe::watch`]; all zero before it.
    pub fn read(&self) -> Reading {
        let Some(target) = self.shared.lock().target else { return Reading::default() };
        let cpu_s = thread_cpu_s(target.tid).map_or(0.0, |now| (now - target.cpu_at_start_s).max(0.0));
        Reading {
            samples: target.samples,
            shares: target.weights.normalised(),
            wall_s: target.began.elapsed().as_secs_f64(),
            cpu_s,
            queue_delay_s: target.queue_delay_ns as f64 / 1e9,
        }
    }

    /// Stops looking; the native thread sleeps again.
    pub fn rest(&self) {
        self.shared.lock().target = None;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        // A forked child has the handle but not the thread.
        if let Some(worker) = self.worker.take().filter(|_| self.owner == std::process::id()) {
            let _ = worker.join();
        }
    }
}

fn look_on(shared: &Shared, process: &mut Process, period: Duration) {
    let mut state = shared.lock();
    while !state.is_over {
        let Some(target) = state.target else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        let sight = process.look_at_one(target.tid);
        state = shared.lock();
        if let (Some(sight), Some(now)) = (sight, state.target.as_mut()) {
            if now.tid == target.tid && now.began == target.began {
                now.samples += 1;
                now.queue_delay_ns += sight.delay_ns;
                let (running, queueing) = sight.split();
                now.weights.add(sight.kind, running);
                now.weights.add(Wait::Runnable, queueing);
            }
        }
        state = shared.changed.wait_timeout(state, period).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Processor time of a thread of this process, by its own clock.
fn thread_cpu_s(tid: u32) -> Option<f64> {
    // The kernel's encoding of a thread's processor clock: the complement of its number, and two
    // low fields that say "of a thread" and "by the scheduler".
    let clock = (!(tid as libc::clockid_t) << 3) | 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec; a wrong clock is refused.
    let done = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (done == 0).then(|| time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}
