//! Values that are nothing but themselves: they become bytes without a line of Python.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyNone, PyString, PyTuple};

use crate::call;
use crate::names;

/// What is longer than this may have to go another way than by the ring.
const LONG: usize = 32 << 10;

/// Whether a value is a number, a text or bytes of moderate length, a truth value or nothing; no object of a subclass.
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return text.len().is_ok_and(|length| length <= LONG / 4);
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return bytes.as_bytes().len() <= LONG;
    }
    value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyNone>()
}

/// The bytes of a value, or of a tuple of values, that are plain.
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let dumps = names::dumps(py)?;
    let protocol = 5_i32.into_pyobject(py)?;
    let args = [value.as_ptr(), protocol.as_ptr()];
    // SAFETY: the GIL is held; two live objects are passed, and no names. What is plain runs no code of Python.
    let made = unsafe { ffi::PyObject_Vectorcall(dumps.as_ptr(), args.as_ptr(), 2, std::ptr::null_mut()) };
    // SAFETY: the call returns a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    Ok(made.cast_into()?)
}

/// What bytes stand for. That may run code of Python.
pub(crate) fn loads<'py>(bytes: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
    call::call_one(&names::loads(bytes.py())?, bytes)
}

/// The bytes of arguments, if all of them are plain.
pub(crate) fn dump_args<'py>(args: &Bound<'py, PyTuple>) -> Option<PyResult<Bound<'py, PyBytes>>> {
    let is_short = args.len() <= 16;
    (is_short && args.iter_borrowed().all(|arg| is_plain(&arg))).then(|| dumps(args))
}
