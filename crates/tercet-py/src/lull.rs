//! A rest of the garbage collector, while something large is unpickled.
//!
//! The collector looks at young objects again and again as more are made, and at all objects of the program each time their number
//! has grown by a quarter. While a large pickle is read nearly all of them are new and none is garbage: the looks find nothing,
//! and take as long as the reading or several times that (`records` of `benches/processes.py`). From Python 3.12 on the collector
//! looks only between two instructions of Python, so there a lull matters where the pickle calls Python.
//!
//! The first look after a lull has all that is new before it. For tuples of numbers and texts alone, which early looks take off
//! the collector's list while they are few, that costs more than it saves: some 6 % of `objects`.
//!
//! Guarantees
//! ----------
//! - A program that has switched the collector off finds it off. One that has it on finds it on when no lull is left, whatever was
//!   raised; in a fork at once.
//! - What became garbage meanwhile is found by the next look.
//!
//! All of this happens with the GIL, which is what the count needs. Code of the pickle that lets another thread run lets that
//! thread see a collector at rest; should it switch the collector off for good just then, that is undone. That is the price.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

/// How many lulls there are, of those that found the collector on or joined one that had.
static LULLS: AtomicUsize = AtomicUsize::new(0);

/// As long as there is one, the collector rests.
pub(crate) struct Lull<'py> {
    counts: bool,
    _py: Python<'py>,
}

impl<'py> Lull<'py> {
    pub(crate) fn begin(py: Python<'py>) -> Self {
        let joins = LULLS.load(Ordering::Relaxed) > 0;
        // SAFETY: the GIL is held; it sets a flag and tells what it was.
        let was_on = unsafe { ffi::PyGC_Disable() } != 0;
        let counts = joins || was_on;
        LULLS.fetch_add(usize::from(counts), Ordering::Relaxed);
        Self { counts, _py: py }
    }
}

impl Drop for Lull<'_> {
    fn drop(&mut self) {
        // In a fork that was made during a lull, none is left to end.
        let left = LULLS.load(Ordering::Relaxed);
        if self.counts && left > 0 {
            LULLS.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                wake();
            }
        }
    }
}

/// Called in a process that was just copied: the threads that would end its lulls stayed behind.
#[pyfunction]
pub(crate) fn has_forked() {
    if LULLS.swap(0, Ordering::Relaxed) > 0 {
        wake();
    }
}

fn wake() {
    // SAFETY: the GIL is held, by a lull or by the caller in Python; it sets a flag.
    unsafe { ffi::PyGC_Enable() };
}
