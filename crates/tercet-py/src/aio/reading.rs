//! Reads of a transport: one for each time that its socket is ready.
//!
//! What is read goes through the loop's buffer and becomes bytes of just that size: an object of the size of the buffer that is shrunk
//! afterwards costs more than the rest of the message. Where the last read brought much, the copy would cost more, and the next goes
//! straight into an object. A buffered protocol gets it where it wants it.
//!
//! Rules of re-entrance: the buffer of the loop is out of its place only while the system writes to it. A buffer of the protocol's
//! is held during the system call alone. After each method of the protocol the transport may be anything.

use std::io;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::core::{BUFFER, LoopCore};
use super::flow;
use super::object::{Raw, call_method0, call_method1, ends_the_loop, os_error};
use super::stream::{Wire, flag};
use super::tls;
use super::turn::Turn;

/// What a read comes to.
enum Read<T> {
    Data(T),
    End,
    /// Not yet.
    Nothing,
    Error(PyErr),
}

/// Receives into memory that nobody else touches.
pub(super) fn receive(fd: i32, place: *mut u8, len: usize) -> io::Result<Option<usize>> {
    // SAFETY: the caller has so much room there.
    let count = unsafe { libc::recv(fd, place.cast(), len, 0) };
    if count >= 0 {
        return Ok(Some(count as usize));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

impl LoopCore {
    /// Does something with the buffer that reads go through. `act` calls no Python.
    pub(super) fn with_buffer<R>(&self, act: impl FnOnce(&mut [u8]) -> R) -> R {
        self.buffer.with(|buffer| act(buffer.get_or_insert_with(|| vec![0; BUFFER].into_boxed_slice())))
    }
}

unsafe extern "C" {
    // CPython documents it, PyO3 leaves it out.
    fn _PyBytes_Resize(object: *mut Raw, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// From so much on, the next read goes straight into an object (`./x bench loop --only echo_16k echo_100k`).
const MUCH: usize = 8 * 1024;
/// The size of that object. The allocator would ask the system for one that is larger, each time anew.
const ROOM: usize = 120 * 1024;

fn read_bytes<'py>(wire: &Wire<'py>, core: &LoopCore) -> Read<Bound<'py, PyBytes>> {
    let latest = &wire.stream.latest_bytes;
    let read = if latest.get() as usize >= MUCH {
        read_straight(wire)
    } else {
        // SAFETY: making bytes runs nothing that could read another message.
        read_once(wire, core, |start, count| PyBytes::new(wire.py, unsafe { std::slice::from_raw_parts(start, count) }))
    };
    if let Read::Data(data) = &read {
        latest.set(data.as_bytes().len() as u32);
    }
    read
}

/// Reads into bytes that are cut to what has come.
fn read_straight<'py>(wire: &Wire<'py>) -> Read<Bound<'py, PyBytes>> {
    match received_bytes(wire.py, ROOM, |start| receive(wire.stream.fd.get(), start, ROOM)) {
        Ok(Some(data)) if data.as_bytes().is_empty() => Read::End,
        Ok(Some(data)) => Read::Data(data),
        Ok(None) => Read::Nothing,
        Err(error) => Read::Error(error),
    }
}

/// Makes bytes with room for so many, has them written to, and cuts them to as many as that says.
fn received_bytes(
    py: Python<'_>,
    room: usize,
    write: impl FnOnce(*mut u8) -> io::Result<Option<usize>>,
) -> PyResult<Option<Bound<'_, PyBytes>>> {
    // SAFETY: the object is new and nobody else's; its memory, which is not written to yet, is only given to the system to write to.
    let mut object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), room as isize) };
    if object.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: it is a bytes object.
    let count = write(unsafe { ffi::PyBytes_AsString(object) }.cast());
    let Ok(Some(count)) = count else {
        // SAFETY: it is ours.
        unsafe { ffi::Py_DECREF(object) };
        return count.map(|_| None).map_err(|error| os_error(py, &error));
    };
    // SAFETY: it is ours alone; where it cannot be cut it is gone, and null.
    unsafe {
        if count < room && _PyBytes_Resize(&raw mut object, count as isize) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Some(Bound::from_owned_ptr(py, object).cast_into_unchecked()))
    }
}

/// Reads through the loop's buffer, and does something with what has come: it is there until somebody else reads.
fn read_once<T>(wire: &Wire<'_>, core: &LoopCore, act: impl FnOnce(*const u8, usize) -> T) -> Read<T> {
    let fd = wire.stream.fd.get();
    let received = core.with_buffer(|buffer| {
        receive(fd, buffer.as_mut_ptr(), buffer.len()).map(|count| count.map(|count| (buffer.as_ptr(), count)))
    });
    match received {
        Ok(Some((_, 0))) => Read::End,
        Ok(Some((start, count))) => Read::Data(act(start, count)),
        Ok(None) => Read::Nothing,
        Err(error) => Read::Error(os_error(wire.py, &error)),
    }
}

/// Memory of a Python object that may be written to.
pub(super) struct Memory(pub(super) ffi::Py_buffer);

impl Memory {
    /// # Errors
    /// The object has no such memory.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::view(object, ffi::PyBUF_WRITABLE)
    }

    pub(super) fn view(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        let mut view = ffi::Py_buffer::new();
        // SAFETY: the object lives, and the view is ours.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut view, flags) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self(view))
    }
}

impl Memory {
    pub(super) fn len(&self) -> usize {
        self.0.len as usize
    }

    /// The bytes.
    ///
    /// # Safety
    /// Nobody writes to them as long as they are borrowed.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the view is held, and as asked for above.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the view was filled above; whoever has it is attached.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) };
    }
}

/// The socket can be read from.
pub(super) fn readable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the transport.
    let wire = unsafe { Wire::of(turn.py, object) };
    if wire.stream.is_lost() {
        return Ok(());
    }
    if let Err(error) = turn.enter(wire.stream.context.raw()) {
        return wire.fail(error, "Fatal read error on socket transport");
    }
    match () {
        () if wire.stream.flags.has(flag::SECURE) => read_secure(turn, &wire),
        () if wire.stream.flags.has(flag::BUFFERED) => read_into(turn, &wire),
        () => read(turn, &wire),
    }
}

/// Reads for TLS, which takes what has come out of the loop's buffer.
fn read_secure(turn: &Turn<'_>, wire: &Wire<'_>) -> PyResult<()> {
    let fd = wire.stream.fd.get();
    let received = turn.core.with_buffer(|buffer| {
        let start = buffer.as_mut_ptr();
        receive(fd, start, buffer.len()).map(|count| (start, count))
    });
    match received {
        Ok((_, None)) => Ok(()),
        Ok((_, Some(0))) => end(turn, wire),
        Ok((start, Some(count))) => {
            let protocol = wire.stream.protocol.or_none(wire.py);
            match tls::received(&protocol, start, count) {
                Ok(()) => Ok(()),
                Err(error) => fail(turn, wire, error, "Fatal error: protocol.buffer_updated() call failed."),
            }
        }
        Err(error) => fail(turn, wire, os_error(wire.py, &error), "Fatal read error on socket transport"),
    }
}

fn read(turn: &Turn<'_>, wire: &Wire<'_>) -> PyResult<()> {
    if !wire.stream.feed.is_empty() {
        return read_for_reader(turn, wire);
    }
    let protocol = wire.stream.protocol.or_none(wire.py);
    match read_bytes(wire, turn.core) {
        Read::Data(data) => {
            let result = call_method1(&protocol, intern!(wire.py, "data_received").as_any(), data.as_any());
            finish(turn, wire, result, "Fatal error: protocol.data_received() call failed.")
        }
        Read::End => end(turn, wire),
        Read::Nothing => Ok(()),
        Read::Error(error) => fail(turn, wire, error, "Fatal read error on socket transport"),
    }
}

/// Reads what goes to a reader of a stream, without an object in between.
fn read_for_reader(turn: &Turn<'_>, wire: &Wire<'_>) -> PyResult<()> {
    let outcome = read_once(wire, turn.core, |start, count| {
        // SAFETY: a reader copies what it is fed before it calls anybody.
        let data = unsafe { std::slice::from_raw_parts(start, count) };
        flow::receive(wire.py, &wire.stream.feed, &wire.stream.reader, data)
    });
    match outcome {
        Read::Data(Ok(())) | Read::Nothing => Ok(()),
        Read::Data(Err(error)) => fail(turn, wire, error, "Fatal error: protocol.data_received() call failed."),
        Read::End => end(turn, wire),
        Read::Error(error) => fail(turn, wire, error, "Fatal read error on socket transport"),
    }
}

fn read_into(turn: &Turn<'_>, wire: &Wire<'_>) -> PyResult<()> {
    let py = wire.py;
    let protocol = wire.stream.protocol.or_none(py);
    let buffer = match buffer_of(&protocol) {
        Ok(buffer) => buffer,
        Err(error) => return fail(turn, wire, error, "Fatal error: protocol.get_buffer() call failed."),
    };
    // `get_buffer` may have closed the transport.
    let fd = wire.stream.fd.get();
    let received = Memory::of(&buffer).map(|memory| receive(fd, memory.0.buf.cast(), memory.0.len as usize));
    let received = received.and_then(|received| received.map_err(|error| os_error(py, &error)));
    drop(buffer);
    match received {
        Ok(None) => Ok(()),
        Ok(Some(0)) => end(turn, wire),
        Ok(Some(count)) => {
            let count = count.into_pyobject(py)?;
            let result = call_method1(&protocol, intern!(py, "buffer_updated").as_any(), count.as_any());
            finish(turn, wire, result, "Fatal error: protocol.buffer_updated() call failed.")
        }
        Err(error) => fail(turn, wire, error, "Fatal read error on socket transport"),
    }
}

fn buffer_of<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = protocol.py();
    let hint = (-1_i32).into_pyobject(py)?;
    let buffer = call_method1(protocol, intern!(py, "get_buffer").as_any(), hint.as_any())?;
    if buffer.len()? == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    Ok(buffer)
}

/// The peer has nothing more to say.
fn end(turn: &Turn<'_>, wire: &Wire<'_>) -> PyResult<()> {
    if turn.core.is_debugging() {
        turn.owner.call_method1("_debug_log", ("%r received EOF", &wire.object))?;
    }
    let protocol = wire.stream.protocol.or_none(wire.py);
    let answer = call_method0(&protocol, intern!(wire.py, "eof_received").as_any()).and_then(|keep| keep.is_truthy());
    match answer {
        // What is still to be sent is sent.
        Ok(true) => wire.unwatch(tercet_reactor::Direction::Read),
        Ok(false) => wire.close(),
        Err(error) => fail(turn, wire, error, "Fatal error: protocol.eof_received() call failed."),
    }
}

fn finish(turn: &Turn<'_>, wire: &Wire<'_>, result: PyResult<Bound<'_, PyAny>>, message: &str) -> PyResult<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => fail(turn, wire, error, message),
    }
}

fn fail(turn: &Turn<'_>, wire: &Wire<'_>, error: PyErr, message: &str) -> PyResult<()> {
    if ends_the_loop(wire.py, &error) {
        return Err(error);
    }
    turn.leave();
    wire.fail(error, message)
}
