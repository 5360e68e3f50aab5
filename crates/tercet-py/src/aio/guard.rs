//! Telling of a blocked loop: what the watching thread of `tercet-reactor` does where Python is needed.
//!
//! The thread enters the interpreter only when a loop is overdue. If the loop runs Python, it gets the GIL within a switch interval,
//! and finds the line that blocks. If native code keeps the GIL, it has to wait for it; when the loop has gone on by then, the line
//! is not known any more, and how long it took is.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use tercet_reactor::Pulse;
use tercet_reactor::guard::{self, Stay, Watch, Witness};

use super::core::{LoopCore, this_thread};
use crate::door::{Door, inside};

/// Nobody is told of less.
const LEAST: Duration = Duration::from_millis(10);

struct Sentry {
    owner: Py<LoopCore>,
    /// The thread that runs the loop.
    thread: usize,
}

impl Sentry {
    /// Enters the interpreter. The reference to the loop is given back there.
    fn tell(self: Arc<Self>, act: impl FnOnce(&Bound<'_, LoopCore>, usize) -> PyResult<()>) {
        inside(move |py| {
            let owner = self.owner.bind(py);
            if let Err(error) = act(owner, self.thread) {
                error.write_unraisable(py, Some(owner));
            }
            drop(self);
        });
    }
}

impl Witness for Sentry {
    fn is_blocked(self: Arc<Self>, stay: &Stay<'_>) {
        self.tell(|owner, thread| {
            let mut stack = None;
            if stay.is_on() {
                stack = Some(owner.call_method1("_stack_of", (thread,))?);
                // It may have gone on while that was taken.
                stack = stack.filter(|_| stay.is_on());
            }
            owner.call_method1("_tell_of_block", (thread, stay.lasts().as_secs_f64(), stack)).map(drop)
        });
    }

    fn goes_on(self: Arc<Self>, lasted: Duration) {
        self.tell(|owner, thread| owner.call_method1("_tell_of_end", (thread, lasted.as_secs_f64())).map(drop));
    }
}

/// Has the guard watch a loop that this thread is about to run.
pub(super) fn watch(owner: &Bound<'_, LoopCore>) -> Option<Watch> {
    let pulse = &owner.get().pulse;
    pulse.patience_ns()?;
    guard::watch(Arc::clone(pulse), Arc::new(Sentry { owner: owner.clone().unbind(), thread: this_thread() }))
}

pub(super) fn set_patience(pulse: &Pulse, seconds: Option<f64>) {
    let patience = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    pulse.set_patience(patience.and_then(|patience| u64::try_from(patience.max(LEAST).as_nanos()).ok()));
}

/// End the thread that watches loops, for good.
#[pyfunction]
pub(crate) fn close_guard(py: Python<'_>) {
    py.outside(guard::close);
}

/// Return whether the thread that watches loops runs.
#[pyfunction]
pub(crate) fn is_guarding() -> bool {
    guard::is_watching()
}
