//! Reading from pipes and writing to them.
//!
//! What is read goes through the loop's buffer and becomes bytes of just that size. What is written is written at once; what the system
//! does not take waits in the outbox until the pipe can be written to.
//!
//! Rules of re-entrance: the outbox is entered to push, to write, and to take out what is written. None of that calls Python.

use std::io;

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView};

use super::channel::{self, Kind, Line, Plan, flag};
use super::channel_face::{self as face, line_methods};
use super::core::LoopCore;
use super::errand::Errand;
use super::kind;
use super::object::{Raw, call_method0, call_method1, os_error};
use super::outbox::{Outbox, Piece, VECTOR};
use super::transport::{Transport, none, truth};
use super::turn::Turn;
use super::writing::piece_of;

/// Makes a transport for the end of a pipe, or for what can be used as one.
pub(super) fn make<'py>(
    owner: &Bound<'py, LoopCore>,
    kind: Kind,
    file: Bound<'py, PyAny>,
    protocol: Bound<'py, PyAny>,
    waiter: Option<Bound<'py, PyAny>>,
    given: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let fd = super::watch::descriptor(&file)?;
    let extra = given.map_or_else(|| Ok(PyDict::new(py)), pyo3::types::PyDictMethods::copy)?;
    extra.set_item("pipe", &file)?;
    let sort = sort_of(py, fd)?;
    if ![libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR].contains(&sort) {
        return Err(PyValueError::new_err(match kind {
            Kind::ReadPipe => "Pipe transport is for pipes/sockets only.",
            _ => "Pipe transport is only for pipes, sockets and character devices",
        }));
    }
    no_blocking(py, fd)?;
    let flags = if sort == libc::S_IFCHR { 0 } else { flag::SEES_PEER };
    channel::make(Plan { owner, kind, fd, flags, file, protocol, address: None, waiter, extra })
}

fn sort_of(py: Python<'_>, fd: i32) -> PyResult<libc::mode_t> {
    // SAFETY: all zeros is a valid status, and there is room for it.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::fstat(fd, &raw mut status) } < 0 {
        return Err(os_error(py, &io::Error::last_os_error()));
    }
    Ok(status.st_mode & libc::S_IFMT)
}

fn no_blocking(py: Python<'_>, fd: i32) -> PyResult<()> {
    let mut yes: libc::c_int = 1;
    // SAFETY: the pointer is to a number of that size.
    if unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut yes) } < 0 {
        return Err(os_error(py, &io::Error::last_os_error()));
    }
    Ok(())
}

/// What a system call has counted. `None` is for later.
fn counted(count: isize) -> io::Result<Option<usize>> {
    if count >= 0 {
        return Ok(Some(count as usize));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

/// The pipe can be read from.
pub(super) fn readable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    let py = turn.py;
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(py, object) };
    if !line.is_reading() || line.channel.flags.has(flag::LOST) {
        return Ok(());
    }
    turn.enter(line.channel.context.raw())?;
    let fd = line.channel.fd.get();
    let (start, count) = turn.core.with_buffer(|buffer| {
        let start = buffer.as_mut_ptr();
        // SAFETY: the buffer has so much room.
        (start, unsafe { libc::read(fd, start.cast(), buffer.len()) })
    });
    match counted(count) {
        Ok(None) => Ok(()),
        Ok(Some(0)) => end(&line),
        Ok(Some(count)) => {
            // SAFETY: the buffer stays where it is, and making bytes runs nothing that could read into it.
            let data = PyBytes::new(py, unsafe { std::slice::from_raw_parts(start, count) });
            match call_method1(&line.protocol(), intern!(py, "data_received").as_any(), data.as_any()) {
                Ok(_) => Ok(()),
                Err(error) => line.complain(turn, error, "data_received"),
            }
        }
        Err(error) => {
            turn.leave();
            line.fail(os_error(py, &error), "Fatal read error on pipe transport")
        }
    }
}

/// Nobody writes any more.
fn end(line: &Line<'_>) -> PyResult<()> {
    line.debug("%r was closed by peer")?;
    line.channel.flags.mark(flag::CLOSING);
    line.owner()?.get().soon(Errand::new(line.object.clone(), tell_end));
    line.lose(None)
}

fn tell_end(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(turn.py, object) };
    turn.enter(line.channel.context.raw())?;
    match call_method0(&line.protocol(), intern!(turn.py, "eof_received").as_any()) {
        Ok(_) => Ok(()),
        Err(error) => line.complain(turn, error, "eof_received"),
    }
}

/// Nobody reads any more.
pub(super) fn peer_is_gone(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    turn.leave();
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(turn.py, object) };
    line.debug("%r was closed by peer")?;
    if line.channel.is_all_sent() {
        return line.force_close(None);
    }
    let error = PyBrokenPipeError::new_err(()).into_value(turn.py).into_bound(turn.py).into_any();
    line.force_close(Some(&error))
}

/// Writes once. `None` is for later.
fn write_out(fd: i32, outbox: &Outbox) -> io::Result<Option<usize>> {
    let mut vector = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; VECTOR];
    let count = outbox.vector(&mut vector);
    // SAFETY: the vector has so many parts, and the outbox owns their bytes.
    counted(unsafe { libc::writev(fd, vector.as_ptr(), count as libc::c_int) })
}

/// Writes as much as the system takes. Returns whether that was possible.
fn flush(line: &Line<'_>) -> PyResult<bool> {
    let channel = line.channel;
    line.owner()?.get().has_spoken();
    let written = channel
        .outbox
        .with(|outbox| write_out(channel.fd.get(), outbox).map(|count| count.map(|count| outbox.take(count))));
    match written {
        Ok(gone) => {
            drop(gone);
            Ok(true)
        }
        Err(error) => {
            channel.lost_count.set(channel.lost_count.get() + 1);
            line.fail(os_error(line.py, &error), "Fatal write error on pipe transport")?;
            Ok(false)
        }
    }
}

/// `write(data)`.
fn write_data<'py>(line: &Line<'py>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    if !(data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>())
    {
        return Err(PyAssertionError::new_err(data.repr()?.to_string()));
    }
    let Some(piece) = piece_of(data)? else { return Ok(()) };
    put(line, vec![piece])
}

fn put(line: &Line<'_>, pieces: Vec<Piece>) -> PyResult<()> {
    let channel = line.channel;
    if channel.lost_count.get() > 0 || channel.flags.has(flag::CLOSING) {
        return line.is_too_late("_warn_of_lost_pipe_writes");
    }
    let was_empty = channel.outbox.with(|outbox| {
        let was_empty = outbox.is_empty();
        for piece in pieces {
            outbox.push(piece);
        }
        was_empty
    });
    if was_empty && !flush(line)? {
        return Ok(());
    }
    if !channel.outbox.with(|outbox| outbox.is_empty()) {
        line.wait_until_writable(writable)?;
    }
    line.maybe_pause()
}

/// The pipe can be written to again.
fn writable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(turn.py, object) };
    turn.enter(line.channel.context.raw())?;
    if line.channel.flags.has(flag::LOST) || !flush(&line)? {
        return Ok(());
    }
    if line.channel.outbox.with(|outbox| outbox.is_empty()) {
        // It may write again.
        line.maybe_resume()?;
        if line.channel.outbox.with(|outbox| outbox.is_empty()) && line.channel.flags.has(flag::BLOCKED) {
            return line.emptied();
        }
    }
    Ok(())
}

line_methods! {
    write(line, data) {
        write_data(&line, &data)?;
        Ok(none(line.py))
    }
    write_lines(line, list) {
        // What is written to a pipe at once stays together.
        let all = PyBytes::new(line.py, b"").call_method1("join", (list,))?;
        write_data(&line, &all)?;
        Ok(none(line.py))
    }
    write_eof(line) {
        line.close()?;
        Ok(none(line.py))
    }
    can_write_eof(line) { Ok(truth(line.py, true)) }
}

pub(super) fn read_methods() -> Vec<ffi::PyMethodDef> {
    face::reading_methods()
}

pub(super) fn write_methods() -> Vec<ffi::PyMethodDef> {
    let doc = c"See `asyncio.WriteTransport`.";
    let mut methods = face::writing_methods();
    methods.extend([
        kind::method1(c"write", write, doc),
        kind::method1(c"writelines", write_lines, doc),
        kind::method0(c"write_eof", write_eof, doc),
        kind::method0(c"can_write_eof", can_write_eof, doc),
    ]);
    methods
}
