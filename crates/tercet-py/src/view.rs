//! The bytes of any object that has some.

use pyo3::PyClass;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// A view of an object's bytes, in one run; given back when it is dropped.
pub(crate) struct View(Box<ffi::Py_buffer>);

// SAFETY: the bytes stay where they are until the view is given back, which is done with the GIL, in `Drop`.
unsafe impl Sync for View {}

impl View {
    /// A view for reading.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(object, ffi::PyBUF_SIMPLE)
    }

    fn with(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: the GIL is held, the object is alive and the view is there to be filled in.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } != 0 {
            return Err(PyErr::take(object.py()).unwrap_or_else(|| PyBufferError::new_err("there are no bytes")));
        }
        Ok(Self(view))
    }

    /// The bytes. Other threads of the program may write them meanwhile, as they may for any function that reads a buffer.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the exporter answers for so many bytes until the view is given back.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: views live on the stack of functions that Python calls, outside of the door: the GIL is held.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}

/// Fills in a view of memory that lives as long as the object.
///
/// # Safety
/// The interpreter passes the view; the bytes live as long as the object, and may be written if it is so said.
pub(crate) unsafe fn fill<T: PyClass>(
    slf: &Bound<'_, T>,
    view: *mut ffi::Py_buffer,
    flags: std::ffi::c_int,
    begin: *mut u8,
    len: usize,
) -> PyResult<()> {
    // SAFETY: the caller answers for the view and the bytes.
    let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), begin.cast(), len as ffi::Py_ssize_t, 0, flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
}
