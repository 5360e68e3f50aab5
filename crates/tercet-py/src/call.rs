//! Calling what a user has written, in a thread that may not outlive the interpreter.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

// The same functions as in `pyo3::ffi`, but unwinding may pass through: see `Hang`.
unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        kwargs: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn Py_DecRef(object: *mut ffi::PyObject);
    fn PyObject_CallOneArg(callable: *mut ffi::PyObject, argument: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// Stops the thread for good when it is unwound from outside.
///
/// A thread that is still in a task when the interpreter ends is ended by CPython (before 3.14) with `pthread_exit`,
/// which unwinds its stack. Rust's frames must not be unwound by anything but a panic: the process would abort. The
/// process is about to end, so the thread waits for that.
struct Hang;

impl Drop for Hang {
    fn drop(&mut self) {
        // A panic of our own goes on its way.
        while !std::thread::panicking() {
            std::thread::park();
        }
    }
}

/// Lets go of objects, which may be the end of them and run their finalizers.
pub(crate) fn release<'py>(objects: impl IntoIterator<Item = Bound<'py, PyAny>>) {
    for object in objects {
        let object = object.into_ptr();
        let hang = Hang;
        // SAFETY: the GIL is held, as the lifetime says, and the reference was owned.
        unsafe { Py_DecRef(object) };
        std::mem::forget(hang);
    }
}

/// Does what may run code of Python, such as drawing from an iterator.
pub(crate) fn guarded<R>(work: impl FnOnce() -> R) -> R {
    let hang = Hang;
    let result = work();
    std::mem::forget(hang);
    result
}

/// Calls a function as Python does.
pub(crate) fn call<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kwargs = kwargs.map_or(std::ptr::null_mut(), Bound::as_ptr);
    let hang = Hang;
    // SAFETY: the GIL is held, as the lifetime says, and all three pointers are to live objects of the right type.
    let result = unsafe { PyObject_Call(function.as_ptr(), args.as_ptr(), kwargs) };
    std::mem::forget(hang);
    // SAFETY: the call returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), result) }
}

/// Calls a function with one argument.
pub(crate) fn call_one<'py>(function: &Bound<'py, PyAny>, argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let hang = Hang;
    // SAFETY: the GIL is held, as the lifetime says, and both pointers are to live objects.
    let result = unsafe { PyObject_CallOneArg(function.as_ptr(), argument.as_ptr()) };
    std::mem::forget(hang);
    // SAFETY: the call returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), result) }
}
