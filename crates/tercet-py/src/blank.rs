//! `bytes` objects that are filled in after they were made: without the GIL, and in memory that comes in large pages.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::door::Door;

/// To fill this much takes long enough to let other threads run.
const LONG: usize = 1 << 20;
/// Memory for this much and more is new to the process, and is asked for in large pages.
const HUGE: usize = 4 << 20;
const PAGE: usize = 4096;

/// A `bytes` object with this content.
pub(crate) fn bytes_of<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if content.len() < LONG {
        return Ok(PyBytes::new(py, content));
    }
    filled(py, content.len(), |room| {
        py.outside(|| room.copy_from_slice(content));
        Ok(())
    })
}

/// A `bytes` object of this length, which is filled before anybody else has it.
pub(crate) fn filled(
    py: Python<'_>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    let Ok(size) = ffi::Py_ssize_t::try_from(length) else {
        return Err(pyo3::exceptions::PyMemoryError::new_err(()));
    };
    // SAFETY: the GIL is held; without bytes to copy it makes room for so many.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
    // SAFETY: it is a new reference to a `bytes`, or null with an error set.
    let made: Bound<'_, PyBytes> = unsafe { Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked() };
    // SAFETY: nobody else has the object yet, which outlives the room, and it has so many bytes; they need not be read before
    // they are written.
    let room = unsafe { std::slice::from_raw_parts_mut(ffi::PyBytes_AsString(made.as_ptr()).cast::<u8>(), length) };
    if length >= HUGE {
        ask_for_large_pages(room);
    }
    fill(room)?;
    Ok(made)
}

/// Has the kernel use large pages: the first touch of small ones takes several times as long as the copy (`large` of
/// `benches/processes.py`). numpy asks for the same for its arrays. It is advice: what the kernel makes of it is its own affair.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(room: &mut [u8]) {
    let aside = room.as_ptr().align_offset(PAGE);
    let Some(whole) = room.get_mut(aside..) else { return };
    let length = whole.len() / PAGE * PAGE;
    // SAFETY: whole pages of memory that is ours; the advice changes nothing that lies there.
    let _ = unsafe { rustix::mm::madvise(whole.as_mut_ptr().cast(), length, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: &mut [u8]) {}
