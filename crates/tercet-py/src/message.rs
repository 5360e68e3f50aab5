//! Messages over a pipe or a socket, framed as `multiprocessing.connection` does: a length, then the bytes.

use std::io::IoSlice;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::exceptions::{PyEOFError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;

use crate::blank;
use crate::door::Door;
use crate::view::View;

/// What is longer says so with a length of its own.
const LONG: usize = 0x7fff_ffff;

/// Send bytes as one message.
#[pyfunction]
pub(crate) fn send_message(py: Python<'_>, fd: RawFd, message: &Bound<'_, PyAny>) -> PyResult<()> {
    let view = View::of(message)?;
    let bytes = view.bytes();
    let mut head = Vec::with_capacity(12);
    if bytes.len() > LONG {
        head.extend((-1_i32).to_be_bytes());
        head.extend((bytes.len() as u64).to_be_bytes());
    } else {
        head.extend((bytes.len() as i32).to_be_bytes());
    }
    let all = head.len() + bytes.len();
    let mut sent = 0;
    while sent < all {
        let parts =
            [IoSlice::new(&head[sent.min(head.len())..]), IoSlice::new(&bytes[sent.saturating_sub(head.len())..])];
        match py.outside(|| rustix::io::writev(borrowed(fd), &parts)) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        if sent < all {
            // A signal may have ended a call that had sent a part.
            py.check_signals()?;
        }
    }
    Ok(())
}

/// Receive a message; `None` if it is longer than that.
#[pyfunction]
#[pyo3(signature = (fd, maxlength=None))]
pub(crate) fn receive_message(py: Python<'_>, fd: RawFd, maxlength: Option<usize>) -> PyResult<Option<Py<PyBytes>>> {
    let mut head = [0; 4];
    fill(py, fd, &mut head)?;
    let mut length = i64::from(i32::from_be_bytes(head)) as usize;
    if head == (-1_i32).to_be_bytes() {
        let mut long = [0; 8];
        fill(py, fd, &mut long)?;
        length = u64::from_be_bytes(long) as usize;
    }
    if maxlength.is_some_and(|most| length > most) {
        return Ok(None);
    }
    if isize::try_from(length).is_err() {
        return Err(PyOSError::new_err("bad message length"));
    }
    let made = blank::filled(py, length, |room| fill(py, fd, room))?;
    Ok(Some(made.unbind()))
}

/// Reads until there is no room left.
fn fill(py: Python<'_>, fd: RawFd, room: &mut [u8]) -> PyResult<()> {
    let mut filled = 0;
    while filled < room.len() {
        match py.outside(|| rustix::io::read(borrowed(fd), &mut room[filled..])) {
            Ok(0) if filled == 0 => return Err(PyEOFError::new_err(())),
            Ok(0) => return Err(PyOSError::new_err("got end of file during message")),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        if filled < room.len() {
            py.check_signals()?;
        }
    }
    Ok(())
}

fn borrowed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the caller's connection is open; if it is closed meanwhile by another thread, the system says so.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
