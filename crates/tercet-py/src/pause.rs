//! Waiting without the GIL, with a way out.

use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use tercet_sched::{Interest, Latch, Slept};
use tercet_shm::Woken;

use crate::door::Door;
use crate::future::Future;
use crate::names;
use crate::pool;
use crate::waits::{Blocked, Wanted};
use crate::worker;

/// Between looking after signals and falling asleep, one may arrive and wake nobody. So the main thread looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When to give up; `None` for never.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    /// So many seconds from now, as `timeout=` gives them.
    pub(crate) fn of(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(timeout) = timeout else { return Ok(Self::NEVER) };
        let seconds: f64 = timeout.extract()?;
        if seconds.is_nan() {
            return Err(PyValueError::new_err("Invalid value NaN (not a number)"));
        }
        let left = Duration::try_from_secs_f64(seconds.max(0.0)).ok();
        Ok(Self(left.and_then(|left| Instant::now().checked_add(left))))
    }

    pub(crate) fn is_never(self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }

    fn left_s(self) -> Option<f64> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    fn next_look(self) -> Option<Instant> {
        if !is_main_thread() {
            return self.0;
        }
        let look = Instant::now() + LOOK_AGAIN;
        Some(self.0.map_or(look, |at| at.min(look)))
    }
}

/// Sleeps until `nap` says that it is open. False if the time is up first.
///
/// # Errors
/// What a signal handler raises: Ctrl-C.
pub(crate) fn sleep(
    py: Python<'_>,
    deadline: Deadline,
    nap: impl Fn(Option<Instant>) -> Slept + Send + Sync,
) -> PyResult<bool> {
    loop {
        let until = deadline.next_look();
        if py.outside(|| nap(until)) == Slept::Open {
            return Ok(true);
        }
        py.check_signals()?;
        if deadline.is_over() {
            return Ok(false);
        }
    }
}

/// Sleeps once, for what another process does. False if the time is up: then the caller looks a last time.
///
/// # Errors
/// What a signal handler raises: Ctrl-C.
pub(crate) fn doze(
    py: Python<'_>,
    deadline: Deadline,
    nap: impl Fn(Option<Instant>) -> Woken + Send + Sync,
) -> PyResult<bool> {
    let until = deadline.next_look();
    py.outside(|| nap(until));
    py.check_signals()?;
    Ok(!deadline.is_over())
}

/// Waits until a future is done.
///
/// # Errors
/// `TimeoutError`; what a signal handler raises; `BrokenThreadPool` if it cannot end in this process.
pub(crate) fn until_done(slf: &Bound<'_, Future>, deadline: Deadline) -> PyResult<()> {
    let py = slf.py();
    let future = slf.get();
    while !future.promise.state().is_done() {
        pool::check_origin(py, future.origin())?;
        if deadline.is_never() && worker::run_in_place(slf) {
            continue;
        }
        if let Some(condition) = future.exposed(py) {
            let _blocked = Blocked::begin(py, Wanted::of([slf]));
            crate::call::guarded(|| behind_condition(slf, condition.bind(py), deadline))?;
        } else {
            let latch = Latch::new(1);
            if !future.promise.lock().watch(&latch, Interest::Done) {
                continue;
            }
            let blocked = Blocked::begin(py, Wanted::of([slf]));
            let slept = sleep(py, deadline, |until| latch.sleep(until));
            drop(blocked);
            if !matches!(slept, Ok(true)) {
                future.promise.lock().forget(&latch);
            }
            slept?;
        }
        if deadline.is_over() && !future.promise.state().is_done() {
            return Err(PyTimeoutError::new_err(()));
        }
    }
    Ok(())
}

/// Waits as the standard library does, for an exposed future.
fn behind_condition(slf: &Bound<'_, Future>, condition: &Bound<'_, PyAny>, deadline: Deadline) -> PyResult<()> {
    condition.call_method0("acquire")?;
    let waited = if slf.get().promise.state().is_done() {
        Ok(())
    } else {
        condition.call_method1("wait", (deadline.left_s(),)).map(drop)
    };
    condition.call_method0("release")?;
    waited
}

/// The error for a future that waits in a process to which its pool did not come along.
pub(crate) fn left_behind(py: Python<'_>) -> PyErr {
    let words = "the task stayed in the process that forked this one: submit it again here";
    names::error(names::broken_thread_pool(py), Some(words.to_owned()))
}

/// Whether this is the thread that signals are handled in.
fn is_main_thread() -> bool {
    #[cfg(target_os = "linux")]
    {
        thread_local! {
            static IS_MAIN: bool = rustix::thread::gettid() == rustix::process::getpid();
        }
        IS_MAIN.with(|is_main| *is_main)
    }
    #[cfg(not(target_os = "linux"))]
    true
}
