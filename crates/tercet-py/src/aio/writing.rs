//! Writes of a transport.
//!
//! `write` puts a piece into the outbox, and at the end of the turn one call sends what each transport has collected. It is sent at once
//! where that can be told from outside, or where it costs more to wait: when the loop does not run, when there is more than a
//! protocol may be asked to pause for or than fits into the caches, and before the transport is closed, half closed, asked how much is left, or lent to `sendfile`. So what can be
//! observed is what `asyncio` does, which sends at once always.
//!
//! What the system does not take waits in the outbox until the socket can be written to.
//!
//! Rules of re-entrance
//! --------------------
//! - The outbox is entered to push, to make the vector and send it, and to take out what is sent. None of that calls Python.
//! - `pause_writing` and `resume_writing` are called last: they may write, close, or ask how much there is.

use std::io;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use tercet_reactor::Direction;

use super::errand::Errand;
use super::object::{Raw, os_error};
use super::outbox::{Outbox, Piece, VECTOR};
use super::reading::Memory;
use super::stream::{Stream, Wire, flag};
use super::transport::Transport;
use super::turn::Turn;

/// So much is not kept until the end of the turn. What ten connections have been given would no longer be in the processor's
/// caches by then: an echo of 100 KiB on ten connections is half as fast (`./x bench loop --only echo_100k echo_16k`).
const AT_ONCE: usize = 16 * 1024;
/// From so many writes to a lost connection on, it is logged.
const WORTH_A_WARNING: u32 = 5;

/// Sends what all transports have collected.
pub(super) fn flush_all(turn: &Turn<'_>) -> PyResult<()> {
    let mut result = Ok(());
    if turn.core.unsent.with(|unsent| !unsent.is_empty()) {
        turn.core.has_spoken();
    }
    while let Some(transport) = turn.core.unsent.with(Vec::pop) {
        let wire = Wire::new(transport.bind(turn.py));
        wire.stream.flags.unmark(flag::UNSENT);
        if !wire.stream.flags.has(flag::BLOCKED) {
            let sent = wire.send();
            result = result.and(sent);
        }
    }
    result
}

/// Sends once: the first pieces of an outbox, and behind them what is in none where all pieces fit. `None` is for later.
fn send(fd: i32, outbox: &Outbox, behind: &[u8]) -> io::Result<Option<usize>> {
    let mut vector = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; VECTOR];
    let mut count = outbox.vector(&mut vector);
    if !behind.is_empty() && count < VECTOR {
        vector[count] = libc::iovec { iov_base: behind.as_ptr().cast_mut().cast(), iov_len: behind.len() };
        count += 1;
    }
    let sent = if count == 1 {
        // SAFETY: the outbox or the caller owns the bytes, and neither is touched meanwhile.
        unsafe { libc::send(fd, vector[0].iov_base, vector[0].iov_len, libc::MSG_NOSIGNAL) }
    } else {
        // SAFETY: all zeros is a valid message, of nothing to nobody.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vector.as_mut_ptr();
        message.msg_iovlen = count as _;
        // SAFETY: the vector has so many parts, and their bytes are owned as above.
        unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) }
    };
    if sent >= 0 {
        return Ok(Some(sent as usize));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

impl Stream {
    fn unsent_bytes(&self) -> usize {
        self.outbox.with(|outbox| outbox.len())
    }
}

impl<'py> Wire<'py> {
    /// Sends now what waits for the end of the turn.
    pub(super) fn flush(&self) -> PyResult<()> {
        if self.stream.flags.has(flag::BLOCKED) || self.stream.unsent_bytes() == 0 {
            return Ok(());
        }
        self.owner()?.get().has_spoken();
        self.send()
    }

    /// Sends as much as the system takes.
    fn send(&self) -> PyResult<()> {
        let stream = self.stream;
        loop {
            if stream.fd.get() < 0 || stream.unsent_bytes() == 0 {
                break;
            }
            let fd = stream.fd.get();
            let sent = stream.outbox.with(|outbox| {
                let was_all = outbox.pieces() <= VECTOR;
                send(fd, outbox, &[]).map(|sent| sent.map(|sent| (outbox.take(sent), was_all || sent == 0)))
            });
            match sent {
                Ok(Some((gone, was_all))) => {
                    drop_pieces(stream, gone);
                    // More than one vector: go on, unless the system has had enough.
                    if was_all {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let error = os_error(self.py, &error);
                    return self.fail_to_write(error);
                }
            }
        }
        if stream.unsent_bytes() > 0 { self.wait_until_writable() } else { Ok(()) }
    }

    fn wait_until_writable(&self) -> PyResult<()> {
        if !self.stream.flags.has(flag::BLOCKED) && !self.stream.is_lost() {
            self.stream.flags.mark(flag::BLOCKED);
            let errand = Errand::new(self.object.clone(), writable);
            let old = self.owner()?.get().watch(self.py, self.stream.fd.get(), Direction::Write, errand)?;
            drop(old);
        }
        Ok(())
    }

    fn fail_to_write(&self, error: PyErr) -> PyResult<()> {
        let unsent = self.stream.outbox.with(Outbox::clear);
        drop(unsent);
        if let Some(waiter) = self.stream.empty_waiter.get(self.py) {
            if !waiter.call_method0("done")?.is_truthy()? {
                waiter.call_method1("set_exception", (error.value(self.py),))?;
            }
        }
        self.fail(error, "Fatal write error on socket transport")
    }

    /// Whether anything may be written, as `asyncio` words it.
    fn check_writable(&self, name: &str) -> PyResult<()> {
        if self.stream.flags.has(flag::EOF) {
            return Err(PyRuntimeError::new_err(format!("Cannot call {name}() after write_eof()")));
        }
        if !self.stream.empty_waiter.is_empty() {
            return Err(PyRuntimeError::new_err(format!("unable to {name}; sendfile is in progress")));
        }
        Ok(())
    }

    /// Counts a write that comes too late. Returns whether it does.
    fn is_too_late(&self) -> PyResult<bool> {
        let count = self.stream.lost_count.get();
        if count == 0 {
            return Ok(false);
        }
        if count >= WORTH_A_WARNING {
            self.owner()?.call_method0("_warn_of_lost_writes")?;
        }
        self.stream.lost_count.set(count + 1);
        Ok(true)
    }

    /// `write(data)`.
    pub(super) fn write(&self, data: &Bound<'py, PyAny>) -> PyResult<()> {
        if !is_data(data) {
            let class = data.get_type().name()?;
            let words = format!("data argument must be a bytes-like object, not '{class}'");
            return Err(PyTypeError::new_err(words));
        }
        self.check_writable("write")?;
        if let Some(memory) = self.large_memory(data) {
            return if self.is_too_late()? { Ok(()) } else { self.write_through(memory) };
        }
        let piece = piece_of(data)?;
        let Some(piece) = piece else { return Ok(()) };
        if self.is_too_late()? {
            return Ok(());
        }
        self.stream.outbox.with(|outbox| outbox.push(piece));
        self.written()
    }

    /// The memory of data that would have to be copied to be kept, and is sent at once.
    fn large_memory(&self, data: &Bound<'py, PyAny>) -> Option<Memory> {
        if data.is_instance_of::<PyBytes>() || self.stream.flags.has(flag::BLOCKED) {
            return None;
        }
        // A view with gaps is none.
        let memory = Memory::view(data, ffi::PyBUF_SIMPLE).ok()?;
        let has_room = self.stream.outbox.with(|outbox| outbox.pieces() < VECTOR);
        (memory.len() >= AT_ONCE && has_room).then_some(memory)
    }

    /// Sends what there is and the memory behind it, and keeps a copy of what the system does not take.
    fn write_through(&self, memory: Memory) -> PyResult<()> {
        let stream = self.stream;
        let fd = stream.fd.get();
        self.owner()?.get().has_spoken();
        // SAFETY: the view is held, and no Python runs until it is sent or copied.
        let data = unsafe { memory.bytes() };
        let sent = stream.outbox.with(|outbox| {
            let sent = if fd < 0 { None } else { send(fd, outbox, data)? };
            let sent = sent.unwrap_or_default();
            let before = outbox.len();
            let gone = outbox.take(sent.min(before));
            let left = &data[sent.saturating_sub(before)..];
            if !left.is_empty() {
                outbox.push(Piece::Copied(left.into()));
            }
            Ok(gone)
        });
        drop(memory);
        match sent {
            Ok(gone) => drop_pieces(stream, gone),
            Err(error) => return self.fail_to_write(os_error(self.py, &error)),
        }
        if stream.unsent_bytes() > 0 {
            self.wait_until_writable()?;
        }
        self.maybe_pause()
    }

    /// `writelines(list)`.
    pub(super) fn write_lines(&self, list: &Bound<'py, PyAny>) -> PyResult<()> {
        let mut pieces = Vec::new();
        for data in list.try_iter()? {
            let data = data?;
            if let Some(piece) = piece_of(&data)? {
                pieces.push(piece);
            }
        }
        self.check_writable("writelines")?;
        if pieces.is_empty() || self.is_too_late()? {
            return Ok(());
        }
        self.stream.outbox.with(|outbox| pieces.into_iter().for_each(|piece| outbox.push(piece)));
        self.written()
    }

    /// Something was put into the outbox.
    fn written(&self) -> PyResult<()> {
        let stream = self.stream;
        if !stream.flags.has(flag::BLOCKED) {
            let owner = self.owner()?;
            let core = owner.get();
            let len = stream.unsent_bytes();
            if len >= AT_ONCE || len > stream.high.get() || !core.is_running() {
                core.has_spoken();
                self.send()?;
            } else if !stream.flags.has(flag::UNSENT) {
                stream.flags.mark(flag::UNSENT);
                core.unsent.with(|unsent| unsent.push(self.object.clone().unbind()));
                return Ok(());
            }
        }
        self.maybe_pause()
    }

    /// Asks the protocol to pause if there is too much.
    pub(super) fn maybe_pause(&self) -> PyResult<()> {
        if self.stream.unsent_bytes() <= self.stream.high.get() || self.stream.flags.has(flag::PROTOCOL_PAUSED) {
            return Ok(());
        }
        self.stream.flags.mark(flag::PROTOCOL_PAUSED);
        self.tell_protocol(intern!(self.py, "pause_writing").as_any(), "protocol.pause_writing() failed")
    }

    fn maybe_resume(&self) -> PyResult<()> {
        if !self.stream.flags.has(flag::PROTOCOL_PAUSED) || self.stream.unsent_bytes() > self.stream.low.get() {
            return Ok(());
        }
        self.stream.flags.unmark(flag::PROTOCOL_PAUSED);
        self.tell_protocol(intern!(self.py, "resume_writing").as_any(), "protocol.resume_writing() failed")
    }

    /// `write_eof()`.
    pub(super) fn write_eof(&self) -> PyResult<()> {
        if self.stream.flags.has(flag::CLOSING | flag::EOF) {
            return Ok(());
        }
        self.flush()?;
        self.stream.flags.mark(flag::EOF);
        if self.stream.unsent_bytes() == 0 { self.shut_down() } else { Ok(()) }
    }

    fn shut_down(&self) -> PyResult<()> {
        self.owner()?.get().has_spoken();
        // SAFETY: the call takes no pointer.
        if unsafe { libc::shutdown(self.stream.fd.get(), libc::SHUT_WR) } == 0 {
            return Ok(());
        }
        Err(os_error(self.py, &io::Error::last_os_error()))
    }

    /// How much is left when the system has taken what it takes.
    pub(super) fn unsent_bytes(&self) -> PyResult<usize> {
        self.flush()?;
        Ok(self.stream.unsent_bytes())
    }

    /// Everything that was left is sent.
    fn emptied(&self) -> PyResult<()> {
        let stream = self.stream;
        stream.flags.unmark(flag::BLOCKED);
        self.unwatch(Direction::Write)?;
        if let Some(waiter) = stream.empty_waiter.get(self.py) {
            if !waiter.call_method0("done")?.is_truthy()? {
                waiter.call_method1("set_result", (self.py.None(),))?;
            }
        }
        if stream.flags.has(flag::CLOSING) {
            return self.lose_now();
        }
        if stream.flags.has(flag::EOF) { self.shut_down() } else { Ok(()) }
    }
}

fn drop_pieces(stream: &Stream, mut gone: Vec<Piece>) {
    gone.clear();
    stream.outbox.with(|outbox| outbox.reuse(gone));
}

fn is_data(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>()
}

/// What is kept of data; nothing if it is empty.
pub(super) fn piece_of(data: &Bound<'_, PyAny>) -> PyResult<Option<Piece>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok((!bytes.as_bytes().is_empty()).then(|| Piece::Held(bytes.clone().unbind())));
    }
    let mut view = ffi::Py_buffer::new();
    // SAFETY: the object lives and the view is ours.
    if unsafe { ffi::PyObject_GetBuffer(data.as_ptr(), &raw mut view, ffi::PyBUF_SIMPLE) } < 0 {
        // A view with gaps has no simple buffer; its bytes are asked for.
        let error = PyErr::fetch(data.py());
        let Ok(bytes) = data.call_method0("tobytes") else { return Err(error) };
        return piece_of(&bytes);
    }
    // SAFETY: the view was filled, and is released right after the copy.
    let copy = unsafe {
        let copy = if view.len == 0 {
            None
        } else {
            Some(std::slice::from_raw_parts(view.buf.cast::<u8>(), view.len as usize).into())
        };
        ffi::PyBuffer_Release(&raw mut view);
        copy
    };
    Ok(copy.map(Piece::Copied))
}

/// The socket can be written to again.
fn writable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the transport.
    let wire = unsafe { Wire::of(turn.py, object) };
    if wire.stream.is_lost() {
        return Ok(());
    }
    turn.enter(wire.stream.context.raw())?;
    wire.send()?;
    if wire.stream.is_lost() {
        return Ok(());
    }
    // It may write again.
    wire.maybe_resume()?;
    if wire.stream.unsent_bytes() == 0 && wire.stream.flags.has(flag::BLOCKED) { wire.emptied() } else { Ok(()) }
}
