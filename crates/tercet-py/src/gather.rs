//! Waiting for many futures at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PySet;
use pyo3::{PyTraverseError, PyVisit};
use tercet_sched::{Interest, Latch, Tally};

use crate::future::Future;
use crate::pause::{self, Deadline};
use crate::pool;
use crate::waits::{Blocked, Wanted};
use crate::worker;

/// When a wait for many is over.
#[derive(Clone, Copy, PartialEq)]
enum When {
    First,
    FirstException,
    All,
}

impl When {
    fn named(name: &Bound<'_, PyAny>) -> PyResult<Self> {
        match name.extract::<String>().as_deref() {
            Ok("FIRST_COMPLETED") => Ok(Self::First),
            Ok("FIRST_EXCEPTION") => Ok(Self::FirstException),
            Ok("ALL_COMPLETED") => Ok(Self::All),
            _ => Err(PyValueError::new_err(format!("Invalid return condition: {}", name.repr()?))),
        }
    }
}

/// Wait for futures and return the set of those that are settled and the set of the others.
#[pyfunction]
#[pyo3(signature = (futures, timeout, return_when))]
pub(crate) fn wait<'py>(
    py: Python<'py>,
    futures: Vec<Bound<'py, Future>>,
    timeout: Option<&Bound<'py, PyAny>>,
    return_when: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PySet>, Bound<'py, PySet>)> {
    let deadline = Deadline::of(timeout)?;
    if let Some(pending) = unsettled(&futures) {
        let is_met = |future: &Bound<'_, Future>| is_settled(future);
        let known = if return_when.eq("FIRST_COMPLETED")? {
            futures.iter().any(is_met)
        } else if return_when.eq("FIRST_EXCEPTION")? {
            futures.iter().any(|future| is_settled(future) && future.get().has_failed())
        } else {
            false
        };
        if !known {
            sleep_through(py, &pending, deadline, When::named(return_when)?)?;
        }
    }
    let (done, rest): (Vec<_>, Vec<_>) = futures.into_iter().partition(is_settled);
    Ok((PySet::new(py, done)?, PySet::new(py, rest)?))
}

fn is_settled(future: &Bound<'_, Future>) -> bool {
    future.get().promise.state().is_settled()
}

fn unsettled<'py>(futures: &[Bound<'py, Future>]) -> Option<Vec<Bound<'py, Future>>> {
    let pending: Vec<_> = futures.iter().filter(|future| !is_settled(future)).cloned().collect();
    (!pending.is_empty()).then_some(pending)
}

fn sleep_through(py: Python<'_>, pending: &[Bound<'_, Future>], deadline: Deadline, when: When) -> PyResult<()> {
    // Where the end of one may be enough, another may wait for what the caller does next: only if there is no choice,
    // the caller can do the work itself. The others are put in front, for whoever works in its place.
    if deadline.is_never() && (when == When::All || pending.len() == 1) {
        for future in pending {
            worker::run_in_place(future);
        }
    }
    hasten(pending);
    let Some(pending) = unsettled(pending) else { return Ok(()) };
    for future in &pending {
        pool::check_origin(py, future.get().origin())?;
    }
    let latch = Latch::new(if when == When::First { 1 } else { pending.len() });
    let interest = if when == When::FirstException { Interest::Failure } else { Interest::Settled };
    for future in &pending {
        if !future.get().promise.lock().watch(&latch, interest) {
            let failed = when == When::FirstException && future.get().has_failed();
            drop(if failed { latch.open() } else { latch.arrive() });
        }
    }
    let blocked = Blocked::begin(py, Wanted::of(&pending));
    let slept = pause::sleep(py, deadline, |until| latch.sleep(until)).map(drop);
    drop(blocked);
    for future in &pending {
        future.get().promise.lock().forget(&latch);
    }
    slept
}

/// Lets those who work in the place of this worker begin with what it waits for.
fn hasten(futures: &[Bound<'_, Future>]) {
    futures.iter().rev().for_each(worker::hasten);
}

/// Futures in the order in which they are settled.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Completions {
    tally: Arc<Tally>,
    deadline: Deadline,
    total: usize,
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    futures: Vec<Option<Py<Future>>>,
    /// Places of futures that were taken.
    free: Vec<usize>,
    ready: VecDeque<usize>,
    unsettled: usize,
    has_slept: bool,
    /// In which process all futures were seen to be its own.
    vetted_in: Option<u32>,
}

impl Completions {
    fn state(&self) -> PyResult<MutexGuard<'_, Waiting>> {
        self.state.try_lock().map_err(|_| PyValueError::new_err("generator already executing"))
    }

    fn sleep(&self, py: Python<'_>, state: &mut Waiting) -> PyResult<()> {
        if !std::mem::replace(&mut state.has_slept, true) {
            let pending: Vec<_> = state.futures.iter().flatten().map(|future| future.bind(py).clone()).collect();
            hasten(&pending);
        }
        let futures = || state.futures.iter().flatten();
        if self.deadline.is_never() && state.unsettled == 1 {
            for future in futures() {
                if worker::run_in_place(future.bind(py)) {
                    return Ok(());
                }
            }
        }
        if self.deadline.is_over() {
            let words = format!("{} (of {}) futures unfinished", state.unsettled, self.total);
            return Err(PyTimeoutError::new_err(words));
        }
        if state.vetted_in != Some(pool::generation()) {
            for future in futures() {
                pool::check_origin(py, future.get().origin())?;
            }
        }
        // Only the wait of a worker is of interest to others. There may be very many futures, and as many waits.
        let _blocked = worker::here().map(|_| {
            let pending: Vec<_> = futures().map(|future| future.bind(py).clone()).collect();
            Blocked::begin(py, Wanted::of(&pending))
        });
        state.vetted_in = Some(pool::generation());
        pause::sleep(py, self.deadline, |until| self.tally.sleep(until)).map(drop)
    }
}

#[pymethods]
impl Completions {
    #[new]
    #[pyo3(signature = (futures, timeout))]
    fn new(futures: Vec<Py<Future>>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let (tally, deadline) = (Tally::new(), Deadline::of(timeout)?);
        let ready: VecDeque<usize> = futures
            .iter()
            .enumerate()
            .filter(|(number, future)| !future.get().promise.lock().count(&tally, *number))
            .map(|(number, _)| number)
            .collect();
        let (total, unsettled) = (futures.len(), futures.len() - ready.len());
        let futures = futures.into_iter().map(Some).collect();
        let state = Waiting { futures, free: Vec::new(), ready, unsettled, has_slept: false, vetted_in: None };
        Ok(Self { tally, deadline, total, state: Mutex::new(state) })
    }

    /// Expect one more future.
    fn add(&self, py: Python<'_>, future: Py<Future>) -> PyResult<()> {
        let mut state = self.state()?;
        if pool::check_origin(py, future.get().origin()).is_err() {
            state.vetted_in = None;
        }
        let number = state.free.pop().unwrap_or(state.futures.len());
        if future.get().promise.lock().count(&self.tally, number) {
            state.unsettled += 1;
        } else {
            state.ready.push_back(number);
        }
        if number == state.futures.len() {
            state.futures.push(Some(future));
        } else {
            state.futures[number] = Some(future);
        }
        Ok(())
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<Future>>> {
        let mut state = self.state()?;
        while state.ready.is_empty() {
            if state.unsettled == 0 {
                return Ok(None);
            }
            let settled = self.tally.take();
            if settled.is_empty() {
                self.sleep(py, &mut state)?;
            }
            state.unsettled -= settled.len();
            state.ready.extend(settled);
        }
        let Some(number) = state.ready.pop_front() else { return Ok(None) };
        state.free.push(number);
        Ok(state.futures[number].take())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        state.futures.iter().flatten().try_for_each(|future| visit.call(future))
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        let Ok(state) = self.state.get_mut() else { return };
        for future in state.futures.iter().flatten() {
            future.get().promise.lock().uncount(&self.tally);
        }
    }
}
