//! What `reader.read()` returns: an object that is awaited as a coroutine is.
//!
//! Life cycle
//! ----------
//! 1. *Fresh*: nothing has happened. Who never awaits it is warned, as of a coroutine.
//! 2. The first `send` begins the deed (`fetch`). If it can be done at once it returns, and there was no future and no frame.
//! 3. *Waiting*: `send` and `throw` go to the iterator of the future of the reader. When that ends, the reader waits for nobody any
//!    more, and the deed goes on.
//! 4. *Elsewhere*: a coroutine of asyncio's does it, for what is rare; `send` and `throw` go there.
//! 5. *Done*: whoever sends once more gets the error of a coroutine.
//!
//! The class has `send`, `throw`, `close` and `__await__`, so it is a `collections.abc.Coroutine`, and tasks take it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::super::kind;
use super::super::object::{Raw, Slot};
use super::face::inbox_of;
use super::fetch::{Deed, Next};
use super::inbox::Inbox;
use crate::door::called;

// Relaxed: set once, before any loop is made, while the import lock is held that every reader has held since.
static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Running,
    Waiting,
    Elsewhere,
    Done,
}

/// A call of a method that is awaited.
#[repr(C)]
pub(super) struct Call {
    head: ffi::PyObject,
    /// The reader or writer.
    pub(super) subject: Slot,
    pub(super) argument: Slot,
    /// What the reader consists of, once it was asked for.
    inbox: Slot,
    /// What `send` goes to.
    inner: Slot,
    pub(super) deed: Cell<Deed>,
    state: Cell<State>,
    /// Up to where a separator was looked for in vain.
    pub(super) searched: Cell<usize>,
}

/// What a send comes to.
enum Sent<'py> {
    Yields(Bound<'py, PyAny>),
    Returns(Bound<'py, PyAny>),
}

/// What is sent.
enum Message<'a, 'py> {
    Value(Raw),
    Error(&'a Bound<'py, PyTuple>),
}

/// Makes the type; once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let methods = vec![
        kind::method1(c"send", send, c"Go on with a value."),
        ffi::PyMethodDef { ml_flags: ffi::METH_VARARGS, ..kind::method0(c"throw", throw, c"Go on with an exception.") },
        kind::method0(c"close", close, c"End it where it stands."),
    ];
    let attributes = vec![kind::getter(c"__name__", get_name), kind::getter(c"__qualname__", get_qualname)];
    let mut slots = [
        kind::slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        kind::slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        kind::slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        kind::slot(ffi::Py_tp_clear, clear as *mut c_void),
        kind::slot(ffi::Py_tp_repr, repr as *mut c_void),
        kind::slot(ffi::Py_am_await, await_it as *mut c_void),
        kind::slot(ffi::Py_am_send, send_to as *mut c_void),
        kind::slot(ffi::Py_tp_iternext, next as *mut c_void),
        kind::slot(ffi::Py_tp_methods, kind::leak(methods, ffi::PyMethodDef::zeroed())),
        kind::slot(ffi::Py_tp_getset, kind::leak(attributes, kind::NO_MEMBER)),
        kind::slot(0, std::ptr::null_mut()),
    ];
    let base = py.get_type::<PyAny>();
    let class = kind::make(py, c"tercet._tercet.StreamCall", base.as_any(), size_of::<Call>(), &mut slots)?;
    CLASS.store(class.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

/// Makes a call, which does nothing yet.
pub(super) fn make<'py>(subject: &Bound<'py, PyAny>, deed: Deed, argument: Raw) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the type was made before; the fields are written before anybody sees the instance. The argument lives or is null.
    unsafe {
        let object = ffi::PyType_GenericAlloc(CLASS.load(Ordering::Relaxed), 0);
        let object = Bound::from_owned_ptr_or_err(subject.py(), object)?;
        let call = object.as_ptr().cast::<Call>();
        (&raw mut (*call).subject).write(Slot::of(subject.clone().into_ptr()));
        (&raw mut (*call).argument).write(Slot::of(ffi::Py_XNewRef(argument)));
        (&raw mut (*call).inbox).write(Slot::empty());
        (&raw mut (*call).inner).write(Slot::empty());
        (&raw mut (*call).deed).write(Cell::new(deed));
        (&raw mut (*call).state).write(Cell::new(State::Fresh));
        (&raw mut (*call).searched).write(Cell::new(0));
        Ok(object)
    }
}

impl Call {
    /// # Safety
    /// The object is one that [`make`] made, and lives as long as the result is used.
    unsafe fn of<'a>(object: Raw) -> &'a Self {
        // SAFETY: as asked for above.
        unsafe { &*object.cast::<Self>() }
    }

    fn slots(&self) -> [&Slot; 4] {
        [&self.subject, &self.argument, &self.inbox, &self.inner]
    }

    /// What the reader consists of.
    pub(super) fn inbox<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Inbox>> {
        if let Some(inbox) = self.inbox.get(py) {
            return Ok(inbox.cast_into()?);
        }
        let inbox = inbox_of(&self.subject.or_none(py))?;
        self.inbox.set(inbox.as_any());
        Ok(inbox)
    }

    fn drive<'py>(&self, py: Python<'py>, message: &Message<'_, 'py>) -> PyResult<Sent<'py>> {
        let state = self.state.replace(State::Running);
        let result = match state {
            State::Fresh => self.begin(py, message),
            State::Waiting | State::Elsewhere => self.pass_on(py, state, message),
            State::Running => Err(PyValueError::new_err("coroutine already executing")),
            State::Done => Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine")),
        };
        if state == State::Running {
            return result;
        }
        if !matches!(result, Ok(Sent::Yields(_))) {
            self.state.set(State::Done);
        }
        result
    }

    fn begin<'py>(&self, py: Python<'py>, message: &Message<'_, 'py>) -> PyResult<Sent<'py>> {
        match message {
            Message::Error(thrown) => Err(error_of(thrown)),
            // SAFETY: what is sent is a live object.
            Message::Value(value) if unsafe { ffi::Py_IsNone(*value) } == 0 => {
                Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine"))
            }
            Message::Value(_) => self.go_on(py, Next::of(self, py, true)?),
        }
    }

    /// Waits or returns, as the deed says.
    fn go_on<'py>(&self, py: Python<'py>, mut next: Next<'py>) -> PyResult<Sent<'py>> {
        loop {
            let (inner, state) = match next {
                Next::Done(value) => return Ok(Sent::Returns(value)),
                Next::Wait(future) => (awaited(&future)?, State::Waiting),
                Next::Elsewhere(coroutine) => (coroutine, State::Elsewhere),
            };
            self.inner.set(&inner);
            let sent = send_on(py, &inner, py.None().as_ptr());
            match self.after(py, state, sent)? {
                Ok(sent) => return Ok(sent),
                Err(then) => next = then,
            }
        }
    }

    /// Sends to what is waited for.
    fn pass_on<'py>(&self, py: Python<'py>, state: State, message: &Message<'_, 'py>) -> PyResult<Sent<'py>> {
        let inner = self.inner.or_none(py);
        let sent = match message {
            Message::Value(value) => send_on(py, &inner, *value),
            Message::Error(thrown) => match inner.call_method1(intern!(py, "throw"), *thrown) {
                Ok(value) => Ok(Sent::Yields(value)),
                Err(error) => returned(py, error).map(Sent::Returns),
            },
        };
        match self.after(py, state, sent)? {
            Ok(sent) => Ok(sent),
            Err(next) => self.go_on(py, next),
        }
    }

    /// Something came back from what is waited for: either that is the answer, or the deed goes on.
    fn after<'py>(
        &self,
        py: Python<'py>,
        state: State,
        sent: PyResult<Sent<'py>>,
    ) -> PyResult<Result<Sent<'py>, Next<'py>>> {
        if let Ok(Sent::Yields(value)) = sent {
            self.state.set(state);
            return Ok(Ok(Sent::Yields(value)));
        }
        self.inner.clear();
        if state == State::Elsewhere {
            return sent.map(Ok);
        }
        self.wait_no_more(py);
        sent?;
        Next::of(self, py, false).map(Err)
    }

    /// The reader waits for nobody any more.
    fn wait_no_more(&self, py: Python<'_>) {
        if let Ok(inbox) = self.inbox(py) {
            inbox.get().waiter.clear();
        }
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state.replace(State::Done);
        match state {
            State::Running => {
                self.state.set(State::Running);
                return Err(PyValueError::new_err("coroutine already executing"));
            }
            State::Waiting => self.wait_no_more(py),
            State::Fresh | State::Elsewhere | State::Done => {}
        }
        let Some(inner) = self.inner.take(py) else { return Ok(()) };
        inner.call_method0(intern!(py, "close")).map(drop)
    }
}

/// The iterator of something that is awaited.
fn awaited<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    // SAFETY: the object lives, and so does its type; the slots of a finished type do not change.
    unsafe {
        let slots = (*ffi::Py_TYPE(future.as_ptr())).tp_as_async;
        if let Some(am_await) = slots.as_ref().and_then(|slots| slots.am_await) {
            return Bound::from_owned_ptr_or_err(py, am_await(future.as_ptr()));
        }
    }
    future.call_method0(intern!(py, "__await__"))
}

fn send_on<'py>(py: Python<'py>, inner: &Bound<'py, PyAny>, value: Raw) -> PyResult<Sent<'py>> {
    let mut result = std::ptr::null_mut();
    // SAFETY: both objects live, and there is a place for the result, which is ours.
    unsafe {
        match ffi::PyIter_Send(inner.as_ptr(), value, &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Ok(Sent::Yields(Bound::from_owned_ptr(py, result))),
            ffi::PySendResult::PYGEN_RETURN => Ok(Sent::Returns(Bound::from_owned_ptr(py, result))),
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        }
    }
}

/// What an iterator returns that ends, or its error.
fn returned(py: Python<'_>, error: PyErr) -> PyResult<Bound<'_, PyAny>> {
    if !error.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) {
        return Err(error);
    }
    error.value(py).getattr(intern!(py, "value"))
}

/// The exception that `throw` was called with: an exception, or a class with a value and a traceback.
fn error_of(thrown: &Bound<'_, PyTuple>) -> PyErr {
    let made = || -> PyResult<Bound<'_, PyAny>> {
        let what = thrown.get_item(0)?;
        let value = thrown.get_item(1).ok().filter(|value| !value.is_none());
        let error = match value {
            _ if !what.is_instance_of::<pyo3::types::PyType>() => what,
            Some(value) if value.is_instance(&what)? => value,
            Some(value) => what.call1((value,))?,
            None => what.call0()?,
        };
        if !error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            let class = error.get_type().name()?;
            let words = format!("exceptions must be classes or instances deriving from BaseException, not {class}");
            return Err(PyTypeError::new_err(words));
        }
        if let Some(trace) = thrown.get_item(2).ok().filter(|trace| !trace.is_none()) {
            error.setattr("__traceback__", trace)?;
        }
        Ok(error)
    };
    made().map_or_else(|error| error, PyErr::from_value)
}

// --- what CPython calls ---------------------------------------------------------------------------------------

unsafe extern "C" fn await_it(object: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        if matches!(Call::of(object).state.get(), State::Waiting | State::Elsewhere) {
            ffi::PyErr_SetString(ffi::PyExc_RuntimeError, c"coroutine is being awaited already".as_ptr());
            return std::ptr::null_mut();
        }
        ffi::Py_NewRef(object)
    }
}

unsafe extern "C" fn send_to(object: Raw, value: Raw, result: *mut Raw) -> ffi::PySendResult {
    // SAFETY: CPython calls it, with an instance of the type, a live value and a place for the result.
    unsafe {
        *result = std::ptr::null_mut();
        let call = Call::of(object);
        called(ffi::PySendResult::PYGEN_ERROR, |py| {
            let sent = call.drive(py, &Message::Value(value))?;
            let (sort, value) = match sent {
                Sent::Yields(value) => (ffi::PySendResult::PYGEN_NEXT, value),
                Sent::Returns(value) => (ffi::PySendResult::PYGEN_RETURN, value),
            };
            *result = value.into_ptr();
            Ok(sort)
        })
    }
}

/// What iterators and `send` do with a value that is returned: it is the value of a `StopIteration`.
fn stop(value: &Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    let made = py.get_type::<pyo3::exceptions::PyStopIteration>().call1((value,));
    made.map_or_else(|error| error, PyErr::from_value)
}

fn shown(sent: Sent<'_>) -> PyResult<Raw> {
    match sent {
        Sent::Yields(value) => Ok(value.into_ptr()),
        Sent::Returns(value) => Err(stop(&value)),
    }
}

unsafe extern "C" fn next(object: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        let call = Call::of(object);
        called(std::ptr::null_mut(), |py| {
            match call.drive(py, &Message::Value(py.None().as_ptr()))? {
                // An iterator that ends without a word returns None.
                Sent::Returns(value) if value.is_none() => Ok(std::ptr::null_mut()),
                Sent::Returns(value) if value.is_instance_of::<pyo3::types::PyBytes>() => {
                    ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr());
                    Ok(std::ptr::null_mut())
                }
                sent => shown(sent),
            }
        })
    }
}

unsafe extern "C" fn send(object: Raw, value: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type and a live value.
    unsafe {
        let call = Call::of(object);
        called(std::ptr::null_mut(), |py| shown(call.drive(py, &Message::Value(value))?))
    }
}

unsafe extern "C" fn throw(object: Raw, thrown: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type and a tuple.
    unsafe {
        let call = Call::of(object);
        called(std::ptr::null_mut(), |py| {
            let thrown = Bound::from_borrowed_ptr(py, thrown).cast_into::<PyTuple>()?;
            if thrown.is_empty() {
                return Err(PyTypeError::new_err("throw expected at least 1 argument, got 0"));
            }
            shown(call.drive(py, &Message::Error(&thrown))?)
        })
    }
}

unsafe extern "C" fn close(object: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        let call = Call::of(object);
        called(std::ptr::null_mut(), |py| call.end(py).map(|()| py.None().into_ptr()))
    }
}

unsafe extern "C" fn get_name(object: Raw, _: *mut c_void) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        let name = Call::of(object).deed.get().name();
        called(std::ptr::null_mut(), |py| Ok(name.rsplit('.').next().into_pyobject(py)?.into_ptr()))
    }
}

unsafe extern "C" fn get_qualname(object: Raw, _: *mut c_void) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        let name = Call::of(object).deed.get().name();
        called(std::ptr::null_mut(), |py| Ok(name.into_pyobject(py)?.into_ptr()))
    }
}

unsafe extern "C" fn repr(object: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        let name = Call::of(object).deed.get().name();
        called(std::ptr::null_mut(), |py| {
            Ok(format!("<coroutine object {name} at {object:p}>").into_pyobject(py)?.into_ptr())
        })
    }
}

/// Warns of a call that nobody awaited.
unsafe extern "C" fn finalize(object: Raw) {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        let call = Call::of(object);
        kind::finalize(object, |py| {
            if call.state.get() == State::Fresh {
                let words = format!("coroutine '{}' was never awaited", call.deed.get().name());
                let category = py.get_type::<pyo3::exceptions::PyRuntimeWarning>();
                if let Err(error) = PyErr::warn(py, &category, &std::ffi::CString::new(words)?, 1) {
                    error.write_unraisable(py, None);
                }
            }
            call.end(py)
        });
    }
}

unsafe extern "C" fn dealloc(object: Raw) {
    // SAFETY: CPython calls it once, when nobody has the object any more; a finalizer may bring it back.
    unsafe {
        let call = Call::of(object);
        if call.state.get() != State::Done && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        call.slots().into_iter().for_each(Slot::clear);
        kind::free(object);
    }
}

unsafe extern "C" fn traverse(object: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type.
    unsafe { kind::traverse(object, Call::of(object).slots(), visit, arg) }
}

unsafe extern "C" fn clear(object: Raw) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type that is garbage and finalized.
    unsafe { Call::of(object).slots() }.into_iter().for_each(Slot::clear);
    0
}
