//! The native future: what every engine completes.
//!
//! Life cycle
//! ----------
//! A future is a [`Promise`] that Python can hold. As long as nobody looks behind it, it lives without a lock of
//! Python's: workers finish it, and whoever waits sleeps on a latch.
//!
//! The standard library's `wait` and `as_completed`, and code that sets a result by hand, reach for `_condition` and
//! `_waiters`. From that moment on the future is *exposed*: every change is made while its condition is held, its
//! waiters are told, and `result` waits for the condition as well. That is slower and behaves to the letter.
//!
//! Guarantees
//! ----------
//! - Nothing of Python runs while the promise is locked.
//! - Callbacks are called once, in the order in which they were added, and are forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use tercet_sched::{Locked, Promise, State, Ticket, Wakes};

use crate::call;
use crate::freight::{Packed, Parcel};
use crate::names;
use crate::pause::{self, Deadline};
use crate::worker::Ended;

/// What a task came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Value(Py<PyAny>),
    Error(Py<PyAny>),
    /// Either, as it came from another process. It is unpacked when somebody asks for it.
    Packed(Arc<Packed>),
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        ended.map_or_else(Self::Error, Self::Value)
    }
}

impl Packed {
    /// # Errors
    /// Ctrl-C meanwhile. What else goes wrong is the outcome.
    fn unpack(self: &Arc<Self>, py: Python<'_>) -> PyResult<Outcome> {
        let unpacked = if self.has_failed {
            names::unpack_error(py).and_then(|unpack| call::guarded(|| unpack.call1((Parcel::new(Arc::clone(self)),))))
        } else {
            self.rebuild(py)
        };
        Ok(match unpacked.map(Bound::unbind) {
            Ok(error) if self.has_failed => Outcome::Error(error),
            Ok(value) => Outcome::Value(value),
            Err(error) if error.is_instance_of::<PyKeyboardInterrupt>(py) => return Err(error),
            Err(error) => Outcome::Error(error.into_value(py).into_any()),
        })
    }
}

/// What some futures have beside their state.
#[derive(Default)]
pub(crate) struct Beside {
    callbacks: Vec<Py<PyAny>>,
    /// Present if the future is exposed.
    condition: Option<Py<PyAny>>,
    waiters: Option<Py<PyList>>,
}

type Extra = Option<Box<Beside>>;
type LockedFuture<'a> = Locked<'a, Outcome, Extra>;

/// Whether it is done, whether it is cancelled, its result and its exception.
type Snapshot = (bool, bool, Option<Py<PyAny>>, Option<Py<PyAny>>);

/// What those who wait behind the condition are told, by which method.
#[derive(Clone, Copy, PartialEq)]
enum News {
    None,
    Result,
    Exception,
    Cancelled,
}

impl News {
    fn method(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Result => Some("add_result"),
            Self::Exception => Some("add_exception"),
            Self::Cancelled => Some("add_cancelled"),
        }
    }
}

/// The state of a task and its outcome. `tercet.Future` is the class to use.
#[pyclass(name = "Future", module = "tercet._tercet", subclass, frozen)]
pub(crate) struct Future {
    pub(crate) promise: Promise<Outcome, Extra>,
    /// The pool whose task this is, and the generation of the process in which it was submitted; 0 for none.
    origin: AtomicU64,
    ticket: AtomicU64,
}

/// In the place of the ticket stands the worker that runs the task; 0 for nobody.
const RUNS: u64 = 1 << 63;

/// Acts on a future and tells those who are to know.
///
/// `act` is called once, under the lock.
fn change<R>(slf: &Bound<'_, Future>, act: impl FnOnce(&mut LockedFuture<'_>) -> (News, R)) -> PyResult<R> {
    let py = slf.py();
    let future = slf.get();
    let condition = {
        let mut locked = future.promise.lock();
        match locked.as_ref().and_then(|beside| beside.condition.as_ref()) {
            None => return Ok(act(&mut locked).1),
            Some(condition) => condition.clone_ref(py).into_bound(py),
        }
    };
    call::guarded(|| {
        condition.call_method0("acquire")?;
        let (news, result) = act(&mut future.promise.lock());
        let told = Future::tell(slf, &condition, news);
        condition.call_method0("release")?;
        told?;
        Ok(result)
    })
}

impl Future {
    /// Says which pool's task it is, and where it stands in the queue.
    pub(crate) fn belongs_to(&self, origin: u64) {
        self.origin.store(origin, Ordering::Relaxed);
    }

    pub(crate) fn origin(&self) -> u64 {
        self.origin.load(Ordering::Relaxed)
    }

    pub(crate) fn stands_at(&self, ticket: Ticket) {
        self.ticket.store(ticket.number(), Ordering::Relaxed);
    }

    pub(crate) fn ticket(&self) -> Option<Ticket> {
        let number = self.ticket.load(Ordering::Relaxed);
        (number & RUNS == 0).then(|| Ticket::from_number(number))
    }

    /// Says which worker runs the task; 0 for none of a pool.
    pub(crate) fn runs_in(&self, worker: u64) {
        self.ticket.store(RUNS | worker, Ordering::Relaxed);
    }

    /// The worker that runs the task.
    pub(crate) fn runner(&self) -> Option<u64> {
        let worker = self.ticket.load(Ordering::Relaxed) & !RUNS;
        (worker != 0).then_some(worker)
    }

    /// Begins the task. False if it is not to run.
    pub(crate) fn start(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let started = change(slf, |locked| match locked.start() {
            Ok((true, _)) => (News::None, Ok((true, Wakes::new()))),
            Ok((false, wakes)) => (News::Cancelled, Ok((false, wakes))),
            Err(state) => (News::None, Err(state)),
        })?;
        match started {
            Ok((runs, _)) => Ok(runs),
            Err(state) => {
                let words = "Future %s in unexpected state: %s";
                names::logger(slf.py())?.call_method1("critical", (words, slf.as_ptr() as usize, name_of(state)))?;
                Err(PyRuntimeError::new_err("Future in unexpected state"))
            }
        }
    }

    /// Sets the outcome and calls the callbacks. The wakes are for the caller to send; with callbacks, which may take any
    /// time and wait for anybody, they are sent before.
    pub(crate) fn finish(slf: &Bound<'_, Self>, outcome: Outcome) -> PyResult<Wakes> {
        let has_failed = match &outcome {
            Outcome::Value(_) => false,
            Outcome::Error(_) => true,
            Outcome::Packed(packed) => packed.has_failed,
        };
        let news = if has_failed { News::Exception } else { News::Result };
        let finished = change(slf, |locked| match locked.finish(outcome, news == News::Exception) {
            Ok(wakes) => (news, Ok((wakes, take_callbacks(locked)))),
            Err(refused) => (News::None, Err(refused)),
        })?;
        match finished {
            Ok((wakes, callbacks)) if callbacks.is_empty() => Ok(wakes),
            Ok((wakes, callbacks)) => {
                if callbacks.is_empty() {
                    return Ok(wakes);
                }
                drop(wakes);
                call_back(slf, callbacks)?;
                Ok(Wakes::new())
            }
            Err((_, state)) => {
                let words = format!("{}: {}", name_of(state), slf.repr()?);
                Err(names::error(names::invalid_state_error(slf.py()), Some(words)))
            }
        }
    }

    /// Cancels a future whose task nobody will run, and has all who wait told.
    pub(crate) fn cancel_for_good(slf: &Bound<'_, Self>) -> PyResult<()> {
        // Through Python: a subclass may have its own.
        slf.call_method0("cancel")?;
        Self::start(slf).map(drop)
    }

    /// Cancels a future whose task is running and is being ended. False if it is done.
    pub(crate) fn abort(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let aborted = change(slf, |locked| {
            if locked.state().is_done() {
                return (News::None, None);
            }
            let wakes = locked.force(State::CancelledAndNotified);
            (News::Cancelled, Some((wakes, take_callbacks(locked))))
        })?;
        let Some((wakes, callbacks)) = aborted else { return Ok(false) };
        drop(wakes);
        call_back(slf, callbacks)?;
        Ok(true)
    }

    /// The lock, with an outcome that is unpacked: a leader may set a packed one at any moment, since it needs no GIL.
    fn unpacked(&self, py: Python<'_>) -> PyResult<LockedFuture<'_>> {
        loop {
            let locked = self.promise.lock();
            let Some(Outcome::Packed(packed)) = locked.outcome() else { return Ok(locked) };
            let packed = Arc::clone(packed);
            drop(locked);
            let unpacked = packed.unpack(py)?;
            let mut locked = self.promise.lock();
            // Another thread may have been faster: all get the same object.
            let is_first = matches!(locked.outcome(), Some(Outcome::Packed(_)));
            let old = if is_first { locked.replace_outcome(Some(unpacked)) } else { Some(unpacked) };
            drop(locked);
            drop(old);
        }
    }

    /// The outcome of a future that is done.
    fn outcome(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        let locked = match self.unpacked(py) {
            Ok(locked) => locked,
            Err(error) => return Some(Err(error)),
        };
        let state = locked.state();
        if state.is_cancelled() {
            drop(locked);
            return Some(Err(names::error(names::cancelled_error(py), None)));
        }
        if state != State::Finished {
            return None;
        }
        Some(match locked.outcome() {
            Some(Outcome::Value(value)) => Ok(value.clone_ref(py)),
            Some(Outcome::Error(error)) => {
                let error = error.clone_ref(py);
                drop(locked);
                Err(names::raised(error.into_bound(py)))
            }
            Some(Outcome::Packed(_)) | None => Ok(py.None()),
        })
    }

    /// Whether it has failed, if it is finished.
    pub(crate) fn has_failed(&self) -> bool {
        match self.promise.lock().outcome() {
            Some(Outcome::Error(_)) => true,
            Some(Outcome::Packed(packed)) => packed.has_failed,
            _ => false,
        }
    }

    /// The condition of an exposed future.
    pub(crate) fn exposed(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.promise.lock().as_ref()?.condition.as_ref().map(|condition| condition.clone_ref(py))
    }

    fn tell(slf: &Bound<'_, Self>, condition: &Bound<'_, PyAny>, news: News) -> PyResult<()> {
        let py = slf.py();
        if let Some(method) = news.method() {
            let waiters = {
                let locked = slf.get().promise.lock();
                locked.as_ref().and_then(|beside| beside.waiters.as_ref()).map(|list| list.clone_ref(py))
            };
            for waiter in waiters.iter().flat_map(|list| list.bind(py).iter()) {
                waiter.call_method1(method, (slf,))?;
            }
        }
        condition.call_method0("notify_all")?;
        Ok(())
    }
}

fn take_callbacks(locked: &mut LockedFuture<'_>) -> Vec<Py<PyAny>> {
    locked.as_mut().map(|beside| std::mem::take(&mut beside.callbacks)).unwrap_or_default()
}

/// Calls callbacks as the standard library does: an exception is logged, anything worse is raised.
fn call_back(slf: &Bound<'_, Future>, callbacks: Vec<Py<PyAny>>) -> PyResult<()> {
    let py = slf.py();
    for callback in callbacks {
        if let Err(error) = call::call_one(callback.bind(py), slf.as_any()) {
            if !error.is_instance_of::<pyo3::exceptions::PyException>(py) {
                return Err(error);
            }
            names::complain(py, "error", "exception calling callback for %r", Some(slf.as_any()), &error);
        }
    }
    Ok(())
}

/// The name of a state in the standard library.
fn name_of(state: State) -> &'static str {
    match state {
        State::Pending => "PENDING",
        State::Running => "RUNNING",
        State::Cancelled => "CANCELLED",
        State::CancelledAndNotified => "CANCELLED_AND_NOTIFIED",
        State::Finished => "FINISHED",
    }
}

fn state_named(name: &str) -> PyResult<State> {
    let all = [State::Pending, State::Running, State::Cancelled, State::CancelledAndNotified, State::Finished];
    all.into_iter()
        .find(|state| name_of(*state) == name)
        .ok_or_else(|| pyo3::exceptions::PyValueError::new_err(format!("no state of a future: {name}")))
}

#[pymethods]
impl Future {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { promise: Promise::new(None), origin: AtomicU64::new(0), ticket: AtomicU64::new(RUNS) }
    }

    // Without it, the initializer of `concurrent.futures.Future` would be found and make a lock.
    #[expect(clippy::unused_self, reason = "it is what Python calls")]
    fn __init__(&self) {}

    /// Return True if the future was cancelled.
    fn cancelled(&self) -> bool {
        self.promise.state().is_cancelled()
    }

    /// Return True if the task is being executed.
    fn running(&self) -> bool {
        self.promise.state() == State::Running
    }

    /// Return True if the future was cancelled or has an outcome.
    fn done(&self) -> bool {
        self.promise.state().is_done()
    }

    /// Cancel the future if it has not begun, and return whether it is cancelled.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let cancelled = change(slf, |locked| {
            (News::None, locked.cancel().map(|(is_news, wakes)| (is_news, wakes, take_callbacks(locked))))
        })?;
        let Some((is_news, wakes, callbacks)) = cancelled else { return Ok(false) };
        drop(wakes);
        if is_news {
            call_back(slf, callbacks)?;
        }
        Ok(true)
    }

    /// Return the result of the task, waiting for it if need be; raise what it raised.
    #[pyo3(signature = (timeout=None))]
    fn result(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let future = slf.get();
        if let Some(outcome) = future.outcome(py) {
            return outcome;
        }
        pause::until_done(slf, Deadline::of(timeout)?)?;
        future.outcome(py).unwrap_or_else(|| Ok(py.None()))
    }

    /// Return what the task raised, or None, waiting for it if need be.
    #[pyo3(signature = (timeout=None))]
    fn exception(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let future = slf.get();
        if !future.promise.state().is_done() {
            pause::until_done(slf, Deadline::of(timeout)?)?;
        }
        let locked = future.unpacked(py)?;
        if locked.state().is_cancelled() {
            drop(locked);
            return Err(names::error(names::cancelled_error(py), None));
        }
        Ok(match locked.outcome() {
            Some(Outcome::Error(error)) => Some(error.clone_ref(py)),
            _ => None,
        })
    }

    /// Call `fn` with this future once it is done; at once if it is.
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Py<PyAny>) -> PyResult<()> {
        let late = {
            let mut locked = slf.get().promise.lock();
            if locked.state().is_done() {
                Some(r#fn)
            } else {
                locked.get_or_insert_default().callbacks.push(r#fn);
                None
            }
        };
        let Some(callback) = late else { return Ok(()) };
        // An exception is logged whatever it is worth, as it would be at the end; what is worse is raised.
        call_back(slf, vec![callback])
    }

    /// Begin the task, or settle it if it was cancelled; return whether it is to run. For executors and tests.
    fn set_running_or_notify_cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::start(slf)
    }

    /// Set the result. For executors and tests.
    fn set_result(slf: &Bound<'_, Self>, result: Py<PyAny>) -> PyResult<()> {
        Self::finish(slf, Outcome::Value(result)).map(drop)
    }

    /// Set the exception. For executors and tests.
    fn set_exception(slf: &Bound<'_, Self>, exception: Py<PyAny>) -> PyResult<()> {
        let py = slf.py();
        let outcome = if exception.is_none(py) { Outcome::Value(exception) } else { Outcome::Error(exception) };
        Self::finish(slf, outcome).map(drop)
    }

    fn _get_snapshot(&self, py: Python<'_>) -> PyResult<Snapshot> {
        let locked = self.unpacked(py)?;
        let is_cancelled = locked.state().is_cancelled();
        if locked.state() != State::Finished {
            return Ok((is_cancelled, is_cancelled, None, None));
        }
        Ok(match locked.outcome() {
            Some(Outcome::Value(value)) => (true, false, Some(value.clone_ref(py)), None),
            Some(Outcome::Error(error)) => (true, false, None, Some(error.clone_ref(py))),
            Some(Outcome::Packed(_)) | None => (true, false, None, None),
        })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let future = slf.get();
        let (state, outcome) = {
            let locked = future.unpacked(py)?;
            let outcome = match locked.outcome() {
                Some(Outcome::Value(value)) => Some(("returned", value.clone_ref(py))),
                Some(Outcome::Error(error)) => Some(("raised", error.clone_ref(py))),
                Some(Outcome::Packed(_)) | None => None,
            };
            (locked.state(), outcome)
        };
        let what = match (state, outcome) {
            (State::Finished, Some((verb, value))) => format!(" {verb} {}", value.bind(py).get_type().name()?),
            (State::Finished, None) => " returned NoneType".to_owned(),
            _ => String::new(),
        };
        let state = match state {
            State::Pending => "pending",
            State::Running => "running",
            State::Cancelled | State::CancelledAndNotified => "cancelled",
            State::Finished => "finished",
        };
        Ok(format!("<{} at {:#x} state={state}{what}>", slf.get_type().name()?, slf.as_ptr() as usize))
    }

    // --- what the standard library and tests reach for ---

    #[getter]
    fn _state(&self) -> &'static str {
        name_of(self.promise.state())
    }

    #[setter(_state)]
    fn put_state(slf: &Bound<'_, Self>, name: &str) -> PyResult<()> {
        let state = state_named(name)?;
        drop(slf.get().promise.lock().force(state));
        Ok(())
    }

    #[getter]
    fn _result(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.unpacked(py)?.outcome() {
            Some(Outcome::Value(value)) => Some(value.clone_ref(py)),
            _ => None,
        })
    }

    #[setter(_result)]
    fn put_result(slf: &Bound<'_, Self>, value: Py<PyAny>) {
        let py = slf.py();
        let mut locked = slf.get().promise.lock();
        // A result of None is what a failed future has too.
        if !(value.is_none(py) && matches!(locked.outcome(), Some(Outcome::Error(_)))) {
            let old = locked.replace_outcome(Some(Outcome::Value(value)));
            drop(locked);
            drop(old);
        }
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.unpacked(py)?.outcome() {
            Some(Outcome::Error(error)) => Some(error.clone_ref(py)),
            _ => None,
        })
    }

    #[setter(_exception)]
    fn put_exception(slf: &Bound<'_, Self>, error: Option<Py<PyAny>>) {
        let mut locked = slf.get().promise.lock();
        let old = match error {
            Some(error) => locked.replace_outcome(Some(Outcome::Error(error))),
            None if matches!(locked.outcome(), Some(Outcome::Error(_))) => locked.replace_outcome(None),
            None => None,
        };
        drop(locked);
        drop(old);
    }

    #[getter]
    fn _done_callbacks(&self, py: Python<'_>) -> PyResult<Py<PyList>> {
        let callbacks: Vec<Py<PyAny>> = {
            let locked = self.promise.lock();
            locked.iter().flat_map(|beside| &beside.callbacks).map(|callback| callback.clone_ref(py)).collect()
        };
        Ok(PyList::new(py, callbacks)?.unbind())
    }

    /// The lock that guards the future from now on.
    #[getter]
    fn _condition(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(condition) = self.exposed(py) {
            return Ok(condition);
        }
        let made = names::condition(py)?.call0()?.unbind();
        let mut locked = self.promise.lock();
        let condition = locked.get_or_insert_default().condition.get_or_insert(made).clone_ref(py);
        let wakes = locked.nudge();
        drop(locked);
        drop(wakes);
        Ok(condition)
    }

    #[getter]
    fn _waiters(&self, py: Python<'_>) -> Py<PyList> {
        let made = PyList::empty(py).unbind();
        let mut locked = self.promise.lock();
        locked.get_or_insert_default().waiters.get_or_insert(made).clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Another thread is at it: what is held counts as reachable this time.
        let Some(locked) = self.promise.try_lock() else { return Ok(()) };
        match locked.outcome() {
            Some(Outcome::Value(held) | Outcome::Error(held)) => visit.call(held)?,
            Some(Outcome::Packed(_)) | None => {}
        }
        if let Some(beside) = locked.as_ref() {
            beside.callbacks.iter().try_for_each(|callback| visit.call(callback))?;
            visit.call(&beside.condition)?;
            visit.call(&beside.waiters)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let mut locked = self.promise.lock();
        let outcome = locked.replace_outcome(None);
        let beside = locked.take();
        drop(locked);
        drop((outcome, beside));
    }
}
