//! References in objects that are made by hand, and calls without tuples.
//!
//! The types of `asyncio` that programs ask for by `isinstance` have instances of their own layout, so ours are made with
//! `PyType_FromSpecWithBases`, and their fields lie behind those of the base. All fields are `Cell`s: methods call Python, and
//! Python calls back into the same object.

use std::cell::{Cell, UnsafeCell};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

/// A pointer to an object, borrowed or owned as the name of its place says.
pub(super) type Raw = *mut ffi::PyObject;

/// A field that owns an object, or is empty.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Slot(Cell<Raw>);

impl Slot {
    /// A field that is filled with an owned reference, or with null.
    pub(super) fn of(owned: Raw) -> Self {
        Self(Cell::new(owned))
    }

    pub(super) fn empty() -> Self {
        Self::of(std::ptr::null_mut())
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    /// The object, borrowed: it lives as long as nobody clears the field. Null where there is none.
    pub(super) fn raw(&self) -> Raw {
        self.0.get()
    }

    /// The object.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the field owns a live object or is null.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.0.get()) }
    }

    /// The object, or None.
    pub(super) fn or_none<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.get(py).unwrap_or_else(|| py.None().into_bound(py))
    }

    /// Empties the field.
    pub(super) fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let old = self.0.replace(std::ptr::null_mut());
        // SAFETY: the field owned the reference, which is now the caller's.
        unsafe { Bound::from_owned_ptr_or_opt(py, old) }
    }

    /// Fills the field. What was there is let go of afterwards.
    pub(super) fn set(&self, object: &Bound<'_, PyAny>) {
        self.fill(object.clone());
    }

    /// Fills the field with a reference that is given away.
    pub(super) fn fill(&self, object: Bound<'_, PyAny>) {
        let py = object.py();
        let old = self.0.replace(object.into_ptr());
        // SAFETY: the field owned the reference.
        drop(unsafe { Bound::from_owned_ptr_or_opt(py, old) });
    }

    /// Empties the field and lets go of what was there.
    pub(super) fn clear(&self) {
        let old = self.0.replace(std::ptr::null_mut());
        // SAFETY: the field owned the reference, and whoever has a `Slot` is attached.
        unsafe { ffi::Py_XDECREF(old) };
    }

    /// For the garbage collector, where `PyO3` asks.
    pub(super) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: an owned pointer that may be null has the layout of an optional reference, and nobody writes during the call.
        visit.call(unsafe { &*self.0.as_ptr().cast::<Option<Py<PyAny>>>() })
    }

    /// For the garbage collector.
    pub(super) fn visit(&self, visit: ffi::visitproc, arg: *mut std::ffi::c_void) -> i32 {
        let object = self.0.get();
        if object.is_null() {
            return 0;
        }
        // SAFETY: the collector gives a function that takes a live object and what it gave beside.
        unsafe { visit(object, arg) }
    }
}

/// What is true of an object: a bit for each statement.
pub(super) struct Flags(Cell<u16>);

impl Flags {
    pub(super) fn new(flags: u16) -> Self {
        Self(Cell::new(flags))
    }

    /// Whether any of these is true.
    pub(super) fn has(&self, flags: u16) -> bool {
        self.0.get() & flags != 0
    }

    pub(super) fn mark(&self, flags: u16) {
        self.0.set(self.0.get() | flags);
    }

    pub(super) fn unmark(&self, flags: u16) {
        self.0.set(self.0.get() & !flags);
    }

    /// Makes it true or not.
    pub(super) fn put(&self, flags: u16, value: bool) {
        if value { self.mark(flags) } else { self.unmark(flags) }
    }
}

/// State that one thread touches at a time, and only in pieces during which no Python runs.
///
/// The thread is the loop's, or any that holds the GIL where the loop does not run.
pub(super) struct Own<T> {
    state: UnsafeCell<T>,
    #[cfg(debug_assertions)]
    is_taken: Cell<bool>,
}

impl<T> Own<T> {
    pub(super) fn new(state: T) -> Self {
        Self {
            state: UnsafeCell::new(state),
            #[cfg(debug_assertions)]
            is_taken: Cell::new(false),
        }
    }

    /// Does something with the state. `act` calls no Python and drops no object of Python's.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.is_taken.replace(true), "state of the loop was entered twice");
        // SAFETY: one thread at a time, as the type says, and `act` does not come back here: it calls no Python.
        let result = act(unsafe { &mut *self.state.get() });
        #[cfg(debug_assertions)]
        self.is_taken.set(false);
        result
    }
}

/// Calls a method without arguments.
pub(super) fn call_method0<'py>(object: &Bound<'py, PyAny>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    call_method(object.py(), name.as_ptr(), [object.as_ptr()])
}

/// Calls a method with one argument.
pub(super) fn call_method1<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    call_method(object.py(), name.as_ptr(), [object.as_ptr(), argument.as_ptr()])
}

/// Calls a method of the first of `objects`, which live until the call is over, with the others. There is no tuple.
fn call_method<const N: usize>(py: Python<'_>, name: Raw, objects: [Raw; N]) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: all are live objects; the flag is not set, so nothing before the first is touched.
    unsafe {
        let result = ffi::PyObject_VectorcallMethod(name, objects.as_ptr(), N, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// Whether an error is not for exception handlers: it ends the loop.
pub(super) fn ends_the_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<pyo3::exceptions::PySystemExit>(py)
        || error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py)
}

/// The exception that stands for an error of the system's.
pub(super) fn os_error(py: Python<'_>, error: &std::io::Error) -> PyErr {
    let code = error.raw_os_error().unwrap_or_default();
    match code {
        0 => pyo3::exceptions::PyOSError::new_err(error.to_string()),
        _ => errno_error(py, code),
    }
}

/// The exception that stands for an error number.
pub(super) fn errno_error(py: Python<'_>, code: i32) -> PyErr {
    // SAFETY: the place of the number is this thread's, and the exception class lives for ever.
    unsafe {
        *libc::__errno_location() = code;
        ffi::PyErr_SetFromErrno(ffi::PyExc_OSError);
    }
    PyErr::fetch(py)
}
