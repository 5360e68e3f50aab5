//! Memory of handles that are gone, for the next ones.
//!
//! A loop makes and drops handles by the thousand each turn. Where all of them go at once, CPython's allocator gives whole arenas back to
//! the system and takes them again in the next turn: a page fault for every sixteen handles, which is a tenth of the time of
//! `call_soon` (`./x bench loop --only call_soon_batch threadsafe_burst`). So the memory of a bounded number is kept.
//!
//! Without the GIL the collector looks at freed memory in ways of its own, and nothing is kept.

use std::cell::UnsafeCell;

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::Raw;

/// So many are kept: about a megabyte.
const MOST: usize = if cfg!(Py_GIL_DISABLED) { 0 } else { 8192 };

/// Instances of one class that nobody has, untracked and with nothing in them.
pub(super) struct Spares(UnsafeCell<Vec<Raw>>);

// SAFETY: it is touched by threads that hold the GIL, and in no touch does Python run. Without a GIL nothing is ever put in.
unsafe impl Sync for Spares {}

impl Spares {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(Vec::new()))
    }

    /// Memory for an instance, which is as good as new: all but its head is to be written.
    pub(super) fn make(&self, py: Python<'_>, class: *mut ffi::PyTypeObject) -> PyResult<Raw> {
        // SAFETY: the caller is attached, as its token says, so nobody else touches the list.
        let spare = unsafe { (*self.0.get()).pop() };
        // SAFETY: what is in the list has the size and the head of an instance of the class; the class is a live one.
        let object = unsafe {
            match spare {
                Some(object) => ffi::PyObject_Init(object, class),
                None => ffi::PyObject_GC_New::<ffi::PyObject>(class),
            }
        };
        if object.is_null() { Err(PyErr::fetch(py)) } else { Ok(object) }
    }

    /// Takes the memory of an instance, or says that there is enough.
    ///
    /// # Safety
    /// Nobody has the instance any more. It is one of the class that `make` is called with, untracked, and empty; the caller is
    /// attached.
    #[must_use]
    pub(super) unsafe fn keep(&self, object: Raw) -> bool {
        // SAFETY: the caller is attached, so nobody else touches the list.
        let spares = unsafe { &mut *self.0.get() };
        if spares.len() >= MOST {
            return false;
        }
        spares.push(object);
        // SAFETY: an instance of a class that was made at run time owns a reference to it, which the next one takes anew.
        unsafe { ffi::Py_DECREF(ffi::Py_TYPE(object).cast()) };
        true
    }
}
