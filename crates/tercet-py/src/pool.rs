//! A pool of threads, as Python holds it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use tercet_sched::{Call as Duty, Crew};

use crate::future::{Future, Outcome};
use crate::names;
use crate::pause;
use crate::spread::{MapIterator, Spread};
use crate::waits;
use crate::worker::{self, Call, Task, Work};

/// All pools of this process, to be closed when the interpreter ends.
static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());
static LAST_NUMBER: AtomicU32 = AtomicU32::new(0);
/// How many forks lie between this process and the first.
static GENERATION: AtomicU32 = AtomicU32::new(0);
static IS_EXITING: AtomicBool = AtomicBool::new(false);

const BROKEN: &str = "A thread initializer failed, the thread pool is not usable anymore";

/// How many forks lie between this process and the first.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The mark of futures that processes finish.
pub(crate) const OF_PROCESSES: u64 = 1 << 63;

/// Refuses a future whose pool stayed in another process.
pub(crate) fn check_origin(py: Python<'_>, origin: u64) -> PyResult<()> {
    let is_here = origin == 0 || origin & u64::from(u32::MAX) == u64::from(generation());
    if is_here { Ok(()) } else { Err(pause::left_behind(py)) }
}

/// What an executor has inside; a subclass may not have called `__init__`.
pub(crate) fn opened<T>(inside: &OnceLock<T>) -> PyResult<&T> {
    inside.get().ok_or_else(|| PyRuntimeError::new_err("the executor was not initialized: call `super().__init__()`"))
}

/// What a pool says that takes no more tasks.
pub(crate) fn shut_down() -> PyErr {
    PyRuntimeError::new_err("cannot schedule new futures after shutdown")
}

/// What `_broken` is: why no task is taken any more, or `False`.
pub(crate) fn broken<'py>(py: Python<'py>, why: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    match why {
        Some(words) => Ok(words.into_pyobject(py)?.into_any()),
        None => Ok(PyBool::new(py, false).to_owned().into_any()),
    }
}

/// What the workers of a pool share.
pub(crate) struct Pool {
    pub(crate) crew: Crew<Task>,
    /// How many tasks wait, each item of a `map` counted. A [`Work`] says where it stands, for who looks from outside.
    pub(crate) waiting: Arc<AtomicUsize>,
    number: u32,
    is_broken: AtomicBool,
    is_daemon: bool,
    copies_context: bool,
    pub(crate) idle_timeout: Option<Duration>,
    /// Called with a `Work`: starts a thread that calls it.
    hirer: Py<PyAny>,
}

impl Pool {
    /// What its futures carry.
    pub(crate) fn origin(&self) -> u64 {
        u64::from(self.number) << 32 | u64::from(generation())
    }

    /// Wakes and hires; a thread that the system does not grant is done without, as long as there is another.
    pub(crate) fn obey(self: &Arc<Self>, py: Python<'_>, duty: Duty) {
        if let Err(error) = self.try_obey(py, duty) {
            error.write_unraisable(py, None);
        }
    }

    fn try_obey(self: &Arc<Self>, py: Python<'_>, duty: Duty) -> PyResult<()> {
        drop(duty.wakes);
        let mut refused = Ok(());
        for _ in 0..duty.hire {
            let hired = Py::new(py, Work::of(Arc::clone(self)))
                .and_then(|work| crate::call::call_one(self.hirer.bind(py), work.bind(py).as_any()));
            match hired {
                Ok(_) => {}
                // The thread runs: it was the wait for it that was interrupted.
                Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => refused = Err(error),
                Err(error) => {
                    if self.crew.dismiss().live == 0 {
                        refused = Err(error);
                    }
                }
            }
        }
        refused
    }

    /// Ends what waits, because no worker can be set up.
    pub(crate) fn breaks(&self, py: Python<'_>) {
        self.is_broken.store(true, Ordering::SeqCst);
        for task in self.crew.drain() {
            self.has_taken(&task);
            task.fail(py, &names::error(names::broken_thread_pool(py), Some(BROKEN.to_owned())));
        }
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(names::error(names::broken_thread_pool(py), Some(BROKEN.to_owned())));
        }
        // Both may be true: a pool that was closed before says so.
        if self.crew.is_closed() && !IS_EXITING.load(Ordering::SeqCst) {
            return Err(shut_down());
        }
        if IS_EXITING.load(Ordering::SeqCst) {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after interpreter shutdown"));
        }
        Ok(())
    }

    pub(crate) fn context(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if !self.copies_context {
            return Ok(None);
        }
        Ok(Some(names::copy_context(py)?.call0()?.unbind()))
    }

    /// Adds a task that keeps so many workers busy.
    pub(crate) fn submit(self: &Arc<Self>, py: Python<'_>, task: Task, weight: usize) -> PyResult<()> {
        self.check(py)?;
        let home = worker::here().and_then(|here| Arc::ptr_eq(&here.pool, self).then_some(here.home));
        let future = match &task {
            Task::Call(call) => Some(call.future.clone_ref(py)),
            Task::Spread(_) => None,
        };
        self.waiting.fetch_add(usize::from(future.is_some()), Ordering::Relaxed);
        let Ok((ticket, duty)) = self.crew.submit(home, task, weight) else {
            self.waiting.fetch_sub(usize::from(future.is_some()), Ordering::Relaxed);
            return Err(shut_down());
        };
        if let Some(future) = future {
            future.get().stands_at(ticket);
        }
        if let Err(error) = self.try_obey(py, duty) {
            if self.crew.count().live == 0 {
                if let Some(task) = self.crew.take(ticket, |_| true) {
                    self.has_taken(&task);
                }
            }
            return Err(error);
        }
        Ok(())
    }

    /// A task has left the queue. The items of a map count themselves.
    pub(crate) fn has_taken(&self, task: &Task) {
        if matches!(task, Task::Call(_)) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn close(&self, py: Python<'_>, cancels: bool) -> PyResult<()> {
        drop(self.crew.close());
        if cancels {
            for task in self.crew.drain() {
                self.has_taken(&task);
                task.cancel(py)?;
            }
        }
        Ok(())
    }
}

impl Task {
    fn fail(self, py: Python<'_>, error: &PyErr) {
        match self {
            Self::Call(call) => {
                let outcome = Outcome::Error(error.clone_ref(py).into_value(py).into_any());
                if let Err(trouble) = Future::finish(call.future.bind(py), outcome) {
                    // It was cancelled while it waited, which is as good an end.
                    drop(trouble);
                }
            }
            Self::Spread(spread) => spread.fail(py, error),
        }
    }

    fn cancel(self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Call(call) => Future::cancel_for_good(call.future.bind(py)),
            Self::Spread(spread) => {
                spread.cancel(py);
                Ok(())
            }
        }
    }
}

/// The native half of `tercet.ThreadPoolExecutor`.
#[pyclass(module = "tercet._tercet", subclass, frozen)]
pub(crate) struct ThreadPool(OnceLock<Arc<Pool>>);

impl ThreadPool {
    pub(crate) fn pool(&self) -> PyResult<&Arc<Pool>> {
        opened(&self.0)
    }
}

#[pymethods]
impl ThreadPool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(OnceLock::new())
    }

    /// Set up the pool: the limit, how to start a thread, and the options.
    #[pyo3(signature = (limit, hirer, *, lines, idle_timeout, copies_context, is_daemon))]
    fn _open(
        &self,
        limit: usize,
        hirer: Py<PyAny>,
        lines: usize,
        idle_timeout: Option<f64>,
        copies_context: bool,
        is_daemon: bool,
    ) {
        let pool = Arc::new(Pool {
            crew: Crew::new(limit, lines),
            waiting: Arc::default(),
            number: LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1,
            is_broken: AtomicBool::new(false),
            is_daemon,
            copies_context,
            idle_timeout: idle_timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            hirer,
        });
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&pool));
        drop(pools);
        // A second `__init__` begins anew, as it does in the standard library, but not with other threads.
        let _ = self.0.set(pool);
    }

    /// Schedule `fn(*args, **kwargs)` and return a future for its outcome.
    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit(
        &self,
        r#fn: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Py<Future>> {
        let py = r#fn.py();
        let pool = self.pool()?;
        pool.check(py)?;
        let future = names::future_type(py)?.call0()?.cast_into::<Future>()?;
        future.get().belongs_to(pool.origin());
        let call = Call {
            future: future.clone().unbind(),
            function: r#fn.unbind(),
            args: args.unbind(),
            kwargs: kwargs.map(Bound::unbind),
            context: pool.context(py)?,
        };
        pool.submit(py, Task::Call(call), 1)?;
        Ok(future.unbind())
    }

    /// Call a function with each item of an iterator; with `is_spread` an item is a tuple of arguments.
    #[pyo3(signature = (function, items, timeout, buffersize, *, is_spread, is_at_hand))]
    fn _map(
        slf: &Bound<'_, Self>,
        function: Py<PyAny>,
        items: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        buffersize: Option<usize>,
        is_spread: bool,
        is_at_hand: bool,
    ) -> PyResult<MapIterator> {
        let pool = slf.get().pool()?;
        let deadline = pause::Deadline::of(timeout)?;
        let spread = Spread::new(pool.context(slf.py())?, function, is_spread, Arc::clone(&pool.waiting));
        MapIterator::begin(slf, spread, items, deadline, buffersize, is_at_hand)
    }

    /// Take no more tasks, and cancel those that wait if `cancels`.
    fn _close(&self, py: Python<'_>, cancels: bool) -> PyResult<()> {
        self.0.get().map_or(Ok(()), |pool| pool.close(py, cancels))
    }

    /// Change how many workers there may be.
    fn _resize(&self, py: Python<'_>, limit: usize) -> PyResult<()> {
        let pool = self.pool()?;
        pool.try_obey(py, pool.crew.resize(limit))
    }

    /// Return how many tasks wait.
    fn _waiting(&self) -> usize {
        self.0.get().map_or(0, |pool| pool.waiting.load(Ordering::Relaxed))
    }

    /// Return how many workers are alive, resting and waiting for other tasks.
    fn _count(&self) -> (usize, usize, usize) {
        let count = self.0.get().map(|pool| pool.crew.count());
        count.map_or((0, 0, 0), |count| (count.live, count.resting, count.blocked))
    }

    #[getter]
    fn _shutdown(&self) -> bool {
        self.0.get().is_some_and(|pool| pool.crew.is_closed())
    }

    #[getter]
    fn _broken<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let is_broken = self.0.get().is_some_and(|pool| pool.is_broken.load(Ordering::SeqCst));
        broken(py, is_broken.then_some(BROKEN))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.get() {
            // Nobody else holds it: no worker. Otherwise what it holds is reachable from a running thread.
            Some(pool) if Arc::strong_count(pool) == 1 => visit.call(&pool.hirer),
            _ => Ok(()),
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if let Some(pool) = self.0.get() {
            // What waits is done; then the workers leave.
            drop(pool.crew.close());
        }
    }
}

/// Close all pools, because the interpreter ends.
#[pyfunction]
pub(crate) fn close_all_pools(py: Python<'_>) -> PyResult<()> {
    IS_EXITING.store(true, Ordering::SeqCst);
    for pool in all_pools() {
        let is_daemon = pool.is_daemon;
        pool.close(py, is_daemon)?;
    }
    Ok(())
}

/// Forget, in a child process, the threads that stayed in its parent, and what waits for them.
#[pyfunction]
pub(crate) fn forget_threads() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    waits::forget();
    for pool in all_pools() {
        // They are the parent's. Here nothing of them is undone: an argument may be a file that is removed at its end.
        std::mem::forget(pool.crew.forget_all());
        pool.waiting.store(0, Ordering::Relaxed);
    }
}

/// The pool whose futures carry this, if it is still there.
pub(crate) fn numbered(origin: u64) -> Option<Arc<Pool>> {
    all_pools().into_iter().find(|pool| pool.origin() == origin)
}

fn all_pools() -> Vec<Arc<Pool>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}
