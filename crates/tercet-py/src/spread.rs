//! A function spread over many items: what `map` runs on.
//!
//! A future for each item would cost more than most items do. So the items stand in one line of slots; workers claim
//! the next one and put the outcome back in its place, and the iterator takes outcomes from the front.
//!
//! Life cycle of a slot
//! --------------------
//! `Item` (drawn) -> `Running` (claimed) -> `Done` (an outcome) -> taken from the front. Closing the iterator, or an error
//! that it has raised, drops the items that nobody has claimed and the outcomes that nobody has taken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use tercet_sched::{Latch, Wake};

use crate::call;
use crate::names;
use crate::pause::{self, Deadline};
use crate::pool::{self, Pool, ThreadPool};
use crate::waits::{Blocked, Wanted};
use crate::worker::{self, Deeper, Ended, Task};

/// A function and the items it is called with.
pub(crate) struct Spread {
    function: Py<PyAny>,
    context: Option<Py<PyAny>>,
    /// Whether an item is a tuple of arguments.
    unpacks: bool,
    /// How many tasks of the pool wait; those in `line` are counted there.
    waiting: Arc<AtomicUsize>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: usize,
    /// The number of the next item to be claimed.
    next: usize,
    /// Whether a task in the queue leads here.
    is_queued: bool,
    is_over: bool,
    waiter: Option<Arc<Latch>>,
}

enum Slot {
    Item(Py<PyAny>),
    Running,
    Done(Ended),
}

/// What stands at the front.
enum Front {
    Done(Ended),
    Waiting(Arc<Latch>),
    Unclaimed,
    Empty,
}

impl Spread {
    pub(crate) fn new(
        context: Option<Py<PyAny>>,
        function: Py<PyAny>,
        unpacks: bool,
        waiting: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        Arc::new(Self { function, context, unpacks, waiting, line: Mutex::default() })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the task that leads here is to stay in the queue, for another worker.
    pub(crate) fn has_more(&self) -> bool {
        let mut line = self.line();
        line.is_queued = line.unclaimed() > 1;
        line.is_queued
    }

    /// Whether there are items that nobody has claimed.
    pub(crate) fn has_unclaimed(&self) -> bool {
        self.line().unclaimed() > 0
    }

    /// Takes the next item.
    pub(crate) fn claim(&self) -> Option<(usize, Py<PyAny>)> {
        let mut line = self.line();
        let (number, place) = (line.next, line.next - line.first);
        let slot = line.slots.get_mut(place)?;
        let Slot::Item(item) = std::mem::replace(slot, Slot::Running) else { unreachable!("claimed twice") };
        line.next += 1;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some((number, item))
    }

    /// Runs the function with an item and puts the outcome in its place.
    pub(crate) fn run(&self, py: Python<'_>, number: usize, item: Py<PyAny>) -> Option<Wake> {
        let outcome = worker::outcome_of(py, self.call(py, item));
        let mut line = self.line();
        if line.is_over {
            drop(line);
            drop(outcome);
            return None;
        }
        let place = number - line.first;
        line.slots[place] = Slot::Done(outcome);
        if place == 0 { line.waiter.take().and_then(|latch| latch.arrive()) } else { None }
    }

    fn call<'py>(&self, py: Python<'py>, item: Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let function = self.function.bind(py);
        let item = item.into_bound(py);
        let Some(context) = &self.context else {
            return if self.unpacks {
                call::call(function, item.cast::<PyTuple>()?, None)
            } else {
                call::call_one(function, &item)
            };
        };
        let context = context.bind(py).call_method0("copy")?.unbind();
        let args = if self.unpacks { item.cast_into::<PyTuple>()? } else { PyTuple::new(py, [item])? };
        worker::call_in(py, Some(context), function.clone(), args, None)
    }

    /// Adds an item. True if a task is wanted that leads here.
    fn push(&self, item: Py<PyAny>) -> bool {
        let mut line = self.line();
        line.slots.push_back(Slot::Item(item));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        !std::mem::replace(&mut line.is_queued, true)
    }

    /// Takes the outcome at the front; where there is none yet, leaves a latch or offers to run the item in place.
    fn front(&self, may_run: bool) -> Front {
        let mut line = self.line();
        match line.slots.front() {
            None => Front::Empty,
            Some(Slot::Item(_)) if may_run => Front::Unclaimed,
            Some(Slot::Item(_) | Slot::Running) => {
                let latch = Latch::new(1);
                line.waiter = Some(Arc::clone(&latch));
                Front::Waiting(latch)
            }
            Some(Slot::Done(_)) => {
                line.first += 1;
                match line.slots.pop_front() {
                    Some(Slot::Done(outcome)) => Front::Done(outcome),
                    _ => Front::Empty,
                }
            }
        }
    }

    /// Drops what nobody has claimed or taken.
    fn close(&self) {
        let mut line = self.line();
        line.is_over = true;
        self.waiting.fetch_sub(line.unclaimed(), Ordering::Relaxed);
        line.first = line.next;
        line.waiter = None;
        let slots = std::mem::take(&mut line.slots);
        drop(line);
        drop(slots);
    }

    /// Ends what nobody has claimed with an error.
    pub(crate) fn fail(&self, py: Python<'_>, error: &PyErr) {
        let mut line = self.line();
        let mut dropped = Vec::new();
        let begin = line.next - line.first;
        for slot in line.slots.iter_mut().skip(begin) {
            let outcome = Err(error.clone_ref(py).into_value(py).into_any());
            dropped.push(std::mem::replace(slot, Slot::Done(outcome)));
        }
        line.next += dropped.len();
        self.waiting.fetch_sub(dropped.len(), Ordering::Relaxed);
        // The task that led here was taken out of the queue.
        line.is_queued = false;
        let wake = line.waiter.take().and_then(|latch| latch.arrive());
        drop(line);
        drop((wake, dropped));
    }

    /// Cancels what nobody has claimed.
    pub(crate) fn cancel(&self, py: Python<'_>) {
        self.fail(py, &names::error(names::cancelled_error(py), None));
    }
}

impl Line {
    fn unclaimed(&self) -> usize {
        (self.first + self.slots.len()).saturating_sub(self.next)
    }
}

/// The results of a map, in order.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct MapIterator {
    spread: Arc<Spread>,
    pool: Arc<Pool>,
    deadline: Deadline,
    /// The pool and the process in which it began.
    origin: u64,
    state: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Where further items come from, one for each result that is taken, and the executor that is to run them.
    source: Option<(Py<PyIterator>, Py<ThreadPool>)>,
    has_begun: bool,
    is_over: bool,
}

impl MapIterator {
    /// Draws items, all or as many as the buffer holds, and has them run.
    pub(crate) fn begin(
        executor: &Bound<'_, ThreadPool>,
        spread: Arc<Spread>,
        items: &Bound<'_, PyAny>,
        deadline: Deadline,
        buffersize: Option<usize>,
        is_at_hand: bool,
    ) -> PyResult<Self> {
        let py = items.py();
        let pool = executor.get().pool()?;
        let mut source = items.try_iter()?;
        let origin = pool.origin();
        let iterator = Self { spread, pool: Arc::clone(pool), deadline, origin, state: Mutex::default() };
        if is_at_hand && buffersize.is_none() {
            let mut count = 0;
            for item in source {
                iterator.spread.push(item?.unbind());
                count += 1;
            }
            if count > 0 {
                pool.submit(py, Task::Spread(Arc::clone(&iterator.spread)), count)?;
            }
            return Ok(iterator);
        }
        let mut left = buffersize.unwrap_or(usize::MAX);
        while left > 0 && iterator.draw(&mut source)? {
            left -= 1;
        }
        if left == 0 {
            iterator.progress()?.source = Some((source.unbind(), executor.clone().unbind()));
        }
        Ok(iterator)
    }

    /// Draws one item and has it run. False if there is none.
    fn draw(&self, source: &mut Bound<'_, PyIterator>) -> PyResult<bool> {
        let py = source.py();
        let Some(item) = call::guarded(|| source.next()) else { return Ok(false) };
        if self.spread.push(item?.unbind()) {
            self.pool.submit(py, Task::Spread(Arc::clone(&self.spread)), 1)?;
        }
        Ok(true)
    }

    fn progress(&self) -> PyResult<MutexGuard<'_, Progress>> {
        self.state.try_lock().map_err(|_| PyValueError::new_err("generator already executing"))
    }

    /// Takes the next outcome, waiting for it if need be.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Ended>> {
        // Only where its workers run: the initializer of the pool may have set something up for the function.
        let mut may_run = self.deadline.is_never() && worker::is_here(&self.pool);
        loop {
            match self.spread.front(may_run) {
                Front::Done(outcome) => return Ok(Some(outcome)),
                Front::Empty => return Ok(None),
                Front::Waiting(latch) => {
                    pool::check_origin(py, self.origin)?;
                    self.sleep(py, &latch)?;
                }
                Front::Unclaimed => {
                    // A worker waits for what nobody has begun: it does it itself.
                    let deeper = Deeper::begin();
                    match deeper.as_ref().and_then(|_| self.spread.claim()) {
                        Some((number, item)) => drop(self.spread.run(py, number, item)),
                        None => may_run = false,
                    }
                }
            }
        }
    }

    fn sleep(&self, py: Python<'_>, latch: &Arc<Latch>) -> PyResult<()> {
        let blocked = Blocked::begin(py, Wanted::Results(Arc::clone(&self.spread), Arc::clone(&self.pool)));
        let slept = pause::sleep(py, self.deadline, |until| latch.sleep(until));
        drop(blocked);
        if slept? { Ok(()) } else { Err(PyTimeoutError::new_err(())) }
    }
}

/// An iterator that raised `StopIteration` would seem to be at its end.
fn as_generators_raise(error: PyErr, py: Python<'_>) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let plain = PyRuntimeError::new_err("generator raised StopIteration");
    plain.set_cause(py, Some(error));
    plain
}

#[pymethods]
impl MapIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let mut progress = self.progress()?;
        if progress.is_over {
            return Ok(None);
        }
        progress.has_begun = true;
        let taken = progress.source.take().map_or(Ok(()), |(source, executor)| {
            let mut source = source.into_bound(py);
            if self.draw(&mut source)? {
                progress.source = Some((source.unbind(), executor));
            }
            Ok(())
        });
        match taken.and_then(|()| self.take(py)) {
            Ok(Some(Ok(value))) => Ok(Some(value)),
            Ok(Some(Err(error))) => {
                progress.is_over = true;
                self.spread.close();
                Err(as_generators_raise(names::raised(error.into_bound(py)), py))
            }
            Ok(None) => {
                progress.is_over = true;
                Ok(None)
            }
            Err(error) => {
                progress.is_over = true;
                self.spread.close();
                Err(error)
            }
        }
    }

    /// Cancel what has not begun; there are no more results.
    fn close(&self) -> PyResult<()> {
        let mut progress = self.progress()?;
        progress.is_over = true;
        let source = progress.source.take();
        drop(progress);
        drop(source);
        self.spread.close();
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(progress) = self.state.try_lock() else { return Ok(()) };
        if let Some((source, executor)) = &progress.source {
            visit.call(source)?;
            visit.call(executor)?;
        }
        // Workers hold it too while there is anything to do: then it is reachable.
        if Arc::strong_count(&self.spread) > 1 {
            return Ok(());
        }
        visit.call(&self.spread.function)?;
        visit.call(&self.spread.context)?;
        let Ok(line) = self.spread.line.try_lock() else { return Ok(()) };
        for slot in &line.slots {
            match slot {
                Slot::Item(held) | Slot::Done(Ok(held) | Err(held)) => visit.call(held)?,
                Slot::Running => {}
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let source = self.state.try_lock().ok().and_then(|mut progress| progress.source.take());
        drop(source);
        self.spread.close();
    }
}

impl Drop for MapIterator {
    fn drop(&mut self) {
        let has_begun = self.state.get_mut().is_ok_and(|progress| progress.has_begun);
        // Results that nobody has ever asked for are computed all the same: `map` is eager.
        if has_begun {
            self.spread.close();
        }
    }
}
