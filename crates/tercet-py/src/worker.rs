//! The thread that runs tasks.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tercet_sched::{Job, Next, Wakes, Worker};

use crate::call;
use crate::door::Door;
use crate::future::Future;
use crate::names;
use crate::pool::{self, Pool};
use crate::spread::Spread;
use crate::waits;

/// How long a worker keeps the GIL over tasks that never give it up: the interpreter's own default.
const TURN: Duration = Duration::from_millis(5);
/// How deep tasks run inside tasks that wait for them. Beyond, another thread takes them.
const DEEPEST: usize = 32;

/// What workers take from the queue.
pub(crate) enum Task {
    Call(Call),
    Spread(Arc<Spread>),
}

/// One call and its future.
pub(crate) struct Call {
    pub(crate) future: Py<Future>,
    pub(crate) function: Py<PyAny>,
    pub(crate) args: Py<PyTuple>,
    pub(crate) kwargs: Option<Py<PyDict>>,
    pub(crate) context: Option<Py<PyAny>>,
}

impl Job for Task {
    fn share(&mut self) -> Option<Self> {
        match self {
            Self::Call(_) => None,
            Self::Spread(spread) => spread.has_more().then(|| Self::Spread(Arc::clone(spread))),
        }
    }
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Which worker a thread is.
#[derive(Clone)]
pub(crate) struct Here {
    pub(crate) pool: Arc<Pool>,
    /// Its line in the queue.
    pub(crate) home: usize,
    /// Its number among the workers of all pools.
    pub(crate) number: u64,
}

/// Which worker this thread is.
pub(crate) fn here() -> Option<Here> {
    HERE.with_borrow(Clone::clone)
}

/// Whether this thread is a worker of a pool.
pub(crate) fn is_here(pool: &Arc<Pool>) -> bool {
    HERE.with_borrow(|here| here.as_ref().is_some_and(|here| Arc::ptr_eq(&here.pool, pool)))
}

/// The number of the worker that this thread is; 0 for none.
fn number_here() -> u64 {
    HERE.with_borrow(|here| here.as_ref().map_or(0, |here| here.number))
}

/// What a [`Work`] begins with.
const MARK: u64 = u64::from_ne_bytes(*b"tercet/1");

/// What a thread of a pool runs.
///
/// Who looks from outside finds it in the second variable of the thread's outermost function, and in it, behind the mark,
/// where the number of waiting tasks stands: `tercet-sampler/src/python.rs` knows that.
#[pyclass(module = "tercet._tercet", frozen)]
#[repr(C)]
pub(crate) struct Work {
    mark: u64,
    waiting: usize,
    pool: Arc<Pool>,
}

impl Work {
    pub(crate) fn of(pool: Arc<Pool>) -> Self {
        Self { mark: MARK, waiting: Arc::as_ptr(&pool.waiting).addr(), pool }
    }
}

#[pymethods]
impl Work {
    /// Run tasks until there is no more need of this thread; return whether the pool goes on without it.
    fn __call__(&self, py: Python<'_>, initializer: Option<Bound<'_, PyAny>>, initargs: Bound<'_, PyTuple>) -> bool {
        let mut worker = self.pool.crew.join();
        if let Some(Err(error)) = initializer.map(|initializer| call::call(&initializer, &initargs, None)) {
            names::complain(py, "critical", "Exception in initializer:", None, &error);
            self.pool.breaks(py);
            self.pool.obey(py, self.pool.crew.leave(&mut worker));
            return false;
        }
        drop(initargs);
        call::guarded(|| self.serve(py, worker))
    }
}

impl Work {
    fn serve(&self, py: Python<'_>, mut worker: Worker) -> bool {
        let generation = pool::generation();
        let (pool, home) = (Arc::clone(&self.pool), worker.home());
        HERE.set(Some(Here { pool, home, number: waits::next_worker() }));
        let mut turn = Turn { began: Instant::now(), wakes: Wakes::new() };
        let left_early = loop {
            if generation != pool::generation() {
                break true;
            }
            match self.pool.crew.next(&mut worker) {
                Next::Job(task, duty) => {
                    self.pool.has_taken(&task);
                    self.pool.obey(py, duty);
                    task.run(py, &mut turn);
                }
                Next::Rest => {
                    let until = self.pool.idle_timeout.map(|left| Instant::now() + left);
                    // The waiters are woken when the GIL is free: before, they would only wait for it.
                    let mut wakes = std::mem::take(&mut turn.wakes);
                    let goes_on = loop {
                        // Asleep it holds no lock, so that a fork by another thread leaves none held in the child.
                        let slept = py.outside(|| {
                            wakes.clear();
                            worker.nap(until)
                        });
                        if let Some(goes_on) = self.pool.crew.rise(&mut worker, slept, until) {
                            break goes_on;
                        }
                    };
                    if !goes_on {
                        break true;
                    }
                    turn.began = Instant::now();
                }
                Next::Leave(duty) => {
                    self.pool.obey(py, duty);
                    break !self.pool.crew.is_closed();
                }
            }
        };
        HERE.set(None);
        left_early
    }
}

/// What a worker has in hand while it holds the GIL.
struct Turn {
    began: Instant,
    /// Who waits for what was just finished.
    wakes: Wakes,
}

impl Turn {
    /// Before a task: those who wait for the last one are not to wait for this one as well.
    fn begin_task(&mut self) {
        self.wakes.clear();
    }

    /// After a task: the GIL goes to whoever wants it, if none of Python's own code has offered it.
    fn end_task(&mut self, py: Python<'_>) {
        if self.began.elapsed() > TURN {
            let wakes = std::mem::take(&mut self.wakes);
            py.outside(|| drop(wakes));
            self.began = Instant::now();
        }
    }
}

impl Task {
    fn run(self, py: Python<'_>, turn: &mut Turn) {
        match self {
            Self::Call(call) => {
                turn.begin_task();
                turn.wakes = call.run(py);
                turn.end_task(py);
            }
            Self::Spread(spread) => {
                while let Some((index, item)) = spread.claim() {
                    turn.begin_task();
                    turn.wakes.extend(spread.run(py, index, item));
                    turn.end_task(py);
                }
            }
        }
    }
}

impl Call {
    /// Runs the task, unless it was cancelled. The wakes are for the caller to send.
    fn run(self, py: Python<'_>) -> Wakes {
        let future = self.future.bind(py);
        match Future::start(future) {
            Ok(true) => future.get().runs_in(number_here()),
            Ok(false) => return Wakes::new(),
            Err(error) => {
                names::complain(py, "critical", "Exception in worker", None, &error);
                return Wakes::new();
            }
        }
        let (args, kwargs) = (self.args.into_bound(py), self.kwargs.map(|kwargs| kwargs.into_bound(py)));
        let result = call_in(py, self.context, self.function.into_bound(py), args, kwargs);
        let outcome = outcome_of(py, result);
        // The arguments are gone by now: nothing of the task but its outcome outlives it.
        Future::finish(future, outcome.into()).unwrap_or_else(|error| {
            names::complain(py, "critical", "Exception in worker", None, &error);
            Wakes::new()
        })
    }
}

/// Calls a function, in a context if there is one.
pub(crate) fn call_in<'py>(
    py: Python<'py>,
    context: Option<Py<PyAny>>,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(context) = context else {
        let result = call::call(&function, &args, kwargs.as_ref());
        call::release([function, args.into_any()].into_iter().chain(kwargs.map(Bound::into_any)));
        return result;
    };
    let run = context.bind(py).getattr("run")?;
    let all: Vec<_> = std::iter::once(function).chain(args).collect();
    let all = PyTuple::new(py, all)?;
    let result = call::call(&run, &all, kwargs.as_ref());
    call::release([run, all.into_any()].into_iter().chain(kwargs.map(Bound::into_any)));
    result
}

/// What a call came to: its value, or its exception.
pub(crate) type Ended = Result<Py<PyAny>, Py<PyAny>>;

/// What a call came to.
pub(crate) fn outcome_of(py: Python<'_>, result: PyResult<Bound<'_, PyAny>>) -> Ended {
    match result {
        Ok(value) => Ok(value.unbind()),
        Err(error) => Err(error.into_value(py).into_any()),
    }
}

/// Runs the task of a future here and now, if this is a worker of its pool and nobody has begun it.
pub(crate) fn run_in_place(slf: &Bound<'_, Future>) -> bool {
    let future = slf.get();
    let Some(Here { pool, .. }) = future.ticket().and_then(|_| here()) else { return false };
    if future.origin() != pool.origin() {
        return false;
    }
    let Some(_deeper) = Deeper::begin() else { return false };
    let is_meant = |task: &Task| matches!(task, Task::Call(call) if call.future.is(slf));
    let task = future.ticket().and_then(|ticket| pool.crew.take(ticket, is_meant));
    let Some(task) = task else { return false };
    pool.has_taken(&task);
    let Task::Call(call) = task else { return false };
    drop(call.run(slf.py()));
    true
}

/// Puts the task of a future in front of the others, if this is a worker of its pool and nobody has begun it.
pub(crate) fn hasten(slf: &Bound<'_, Future>) {
    let future = slf.get();
    let Some((ticket, Here { pool, .. })) = future.ticket().zip(here()) else { return };
    if future.origin() == pool.origin() {
        let is_meant = |task: &Task| matches!(task, Task::Call(call) if call.future.is(slf));
        if let Some(ticket) = pool.crew.hasten(ticket, is_meant) {
            future.stands_at(ticket);
        }
    }
}

/// One more task inside a task.
pub(crate) struct Deeper(());

impl Deeper {
    pub(crate) fn begin() -> Option<Self> {
        (DEPTH.get() < DEEPEST).then(|| {
            DEPTH.set(DEPTH.get() + 1);
            Self(())
        })
    }
}

impl Drop for Deeper {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
