//! Sending and receiving datagrams.
//!
//! What is received goes through the loop's buffer and becomes bytes of just that size. An address that was seen lately is the same object
//! again, and is not taken apart when something is sent there. `sendto` sends at once; what the system does not take waits in a queue.
//!
//! One datagram is received for each event, as long as there was no second one the last times: to ask and hear that there is none costs a
//! system call. Where there are more, up to [`BURST`] are received before others have their turn.
//!
//! Rules of re-entrance: the queue and the table of addresses are entered to look something up, to send, and to move things in or
//! out. None of that calls Python, and nothing of Python's is dropped meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView};

use super::address::Address;
use super::channel::{self, Kind, Line, Plan, flag};
use super::channel_face as face;
use super::core::LoopCore;
use super::kind;
use super::object::{Raw, call_method1, ends_the_loop, os_error};
use super::reading::Memory;
use super::schedule::Named;
use super::transport::{Transport, none};
use super::turn::Turn;
use crate::door::called;

/// How many datagrams are received in one go.
const BURST: u32 = 16;
/// After so many events with one datagram each it is looked whether there is a second one.
const LOOK_AGAIN: u8 = 16;
/// How many addresses are kept.
const KNOWN: usize = 16;
/// What the header of a datagram counts for in flow control, since 3.13.
const HEADER: usize = 8;

/// Whether empty datagrams are sent and headers counted: since 3.13. Relaxed: it is set once, while a lock is held that every reader
/// has held since.
static COUNTS_HEADERS: AtomicBool = AtomicBool::new(false);

/// An address, as the system and as Python have it.
struct Known {
    address: Address,
    object: Py<PyAny>,
}

struct Datagram {
    data: Py<PyBytes>,
    address: Option<Py<PyAny>>,
}

/// What is to be sent, and the addresses that were seen lately.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Datagram>,
    len: usize,
    known: Vec<Option<Known>>,
    /// How many events in a row have brought one datagram.
    singles: u8,
    /// The family of the socket's addresses.
    family: i32,
}

impl Queue {
    /// How much is to be sent, as flow control counts.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn place(&mut self, address: &Address) -> &mut Option<Known> {
        if self.known.is_empty() {
            self.known.resize_with(KNOWN, || None);
        }
        &mut self.known[address.hash() % KNOWN]
    }

    /// The object that an address was last told as.
    fn recall(&mut self, py: Python<'_>, address: &Address) -> Option<Py<PyAny>> {
        let known = self.place(address).as_ref().filter(|known| known.address.is(address))?;
        Some(known.object.clone_ref(py))
    }

    /// Keeps an address, and returns what it replaces, for the caller to drop.
    #[must_use]
    fn keep(&mut self, known: Known) -> Option<Known> {
        let place = self.place(&known.address);
        place.replace(known)
    }

    /// The address that an object stands for, if it is the very object that was seen lately.
    fn of_object(&self, object: Raw) -> Option<&Address> {
        self.known.iter().flatten().find(|known| known.object.as_ptr() == object).map(|known| &known.address)
    }

    fn push(&mut self, datagram: Datagram, len: usize) {
        self.len += len;
        self.waiting.push_back(datagram);
    }
}

fn size_of_entry(data: &Bound<'_, PyBytes>) -> usize {
    data.as_bytes().len() + if COUNTS_HEADERS.load(Ordering::Relaxed) { HEADER } else { 0 }
}

/// Makes a transport for a socket of datagrams.
pub(super) fn make<'py>(
    owner: &Bound<'py, LoopCore>,
    socket: Bound<'py, PyAny>,
    protocol: Bound<'py, PyAny>,
    address: Option<Bound<'py, PyAny>>,
    waiter: Option<Bound<'py, PyAny>>,
    given: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    COUNTS_HEADERS.store(py.version_info() >= (3, 13), Ordering::Relaxed);
    let fd = super::watch::descriptor(&socket)?;
    let extra = given.map_or_else(|| Ok(PyDict::new(py)), pyo3::types::PyDictMethods::copy)?;
    extra.set_item("socket", py.import("asyncio.trsock")?.getattr("TransportSocket")?.call1((&socket,))?)?;
    extra.set_item("sockname", name_of(&socket, "getsockname")?)?;
    if !extra.contains("peername")? {
        extra.set_item("peername", name_of(&socket, "getpeername")?)?;
    }
    let is_connected = extra.get_item("peername")?.is_some_and(|peer| peer.is_truthy().unwrap_or(false));
    let address = match address {
        Some(address) if address.is_truthy()? => Some(address),
        _ => None,
    };
    let flags = if is_connected { flag::CONNECTED } else { 0 };
    let family = socket.getattr("family")?.extract::<i32>()?;
    let plan = Plan { owner, kind: Kind::Datagram, fd, flags, file: socket, protocol, address, waiter, extra };
    let transport = channel::make(plan)?;
    // SAFETY: it was made in the line before.
    unsafe { Line::of(py, transport.as_ptr()) }.channel.queue.with(|queue| queue.family = family);
    Ok(transport)
}

fn name_of<'py>(socket: &Bound<'py, PyAny>, method: &str) -> PyResult<Bound<'py, PyAny>> {
    match socket.call_method0(method) {
        Err(error) if error.is_instance_of::<PyOSError>(socket.py()) => Ok(none(socket.py())),
        result => result,
    }
}

/// The socket can be received from.
pub(super) fn readable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(turn.py, object) };
    turn.enter(line.channel.context.raw())?;
    let looks_on = line.channel.queue.with(|queue| queue.singles < 2 || queue.singles >= LOOK_AGAIN);
    let most = if looks_on { BURST } else { 1 };
    let mut count = 0;
    while count < most && line.is_reading() && !line.channel.flags.has(flag::LOST) && receive(turn, &line)? {
        count += 1;
    }
    line.channel.queue.with(|queue| {
        queue.singles = match count {
            2.. => 0,
            _ if queue.singles >= LOOK_AGAIN => 2,
            _ => queue.singles + 1,
        };
    });
    Ok(())
}

/// Receives a datagram. Returns whether there was any.
fn receive(turn: &Turn<'_>, line: &Line<'_>) -> PyResult<bool> {
    let py = line.py;
    let fd = line.channel.fd.get();
    let mut address = Address::default();
    let (storage, address_len) = address.parts();
    let (start, count) = turn.core.with_buffer(|buffer| {
        let start = buffer.as_mut_ptr();
        // SAFETY: the buffer has so much room, and there is room for any address.
        let count = unsafe { libc::recvfrom(fd, start.cast(), buffer.len(), libc::MSG_DONTWAIT, storage, address_len) };
        (start, count)
    });
    if count < 0 {
        let error = io::Error::last_os_error();
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            return Ok(false);
        }
        let told = tell_error(line, &os_error(py, &error));
        return told.or_else(|error| line.complain(turn, error, "error_received")).map(|()| false);
    }
    // SAFETY: the buffer stays where it is, and making bytes runs nothing that could receive another datagram.
    let data = PyBytes::new(py, unsafe { std::slice::from_raw_parts(start, count as usize) });
    let from = known(line, &address)?;
    match datagram_received(line, &data, &from) {
        Ok(_) => Ok(true),
        Err(error) => line.complain(turn, error, "datagram_received").map(|()| true),
    }
}

fn datagram_received<'py>(
    line: &Line<'py>,
    data: &Bound<'py, PyBytes>,
    from: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let protocol = line.protocol();
    let arguments = [protocol.as_ptr(), data.as_ptr(), from.as_ptr()];
    let name = intern!(line.py, "datagram_received").as_ptr();
    // SAFETY: all are live objects; the flag is not set, so nothing before the first is touched.
    unsafe {
        let result = ffi::PyObject_VectorcallMethod(name, arguments.as_ptr(), arguments.len(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(line.py, result)
    }
}

/// An address as Python has it: the object of the last time, if there is one.
fn known<'py>(line: &Line<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
    let py = line.py;
    if address.is_unnamed() {
        return Ok(none(py));
    }
    if let Some(object) = line.channel.queue.with(|queue| queue.recall(py, address)) {
        return Ok(object.into_bound(py));
    }
    let object = address.to_python(py)?;
    keep(line, *address, &object);
    Ok(object)
}

fn keep(line: &Line<'_>, address: Address, object: &Bound<'_, PyAny>) {
    let known = Known { address, object: object.clone().unbind() };
    let old = line.channel.queue.with(|queue| queue.keep(known));
    drop(old);
}

fn tell_error(line: &Line<'_>, error: &PyErr) -> PyResult<()> {
    let error = error.value(line.py);
    call_method1(&line.protocol(), intern!(line.py, "error_received").as_any(), error.as_any()).map(drop)
}

/// What sending comes to.
enum Sent {
    Gone,
    /// The system takes no more at the moment.
    Later,
}

fn send(fd: i32, data: &[u8], address: Option<&Address>) -> io::Result<Sent> {
    let (name, len) = address.map_or((std::ptr::null(), 0), Address::span);
    // SAFETY: the data and the address are borrowed for the call.
    let sent = unsafe {
        libc::sendto(fd, data.as_ptr().cast(), data.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL, name, len)
    };
    if sent >= 0 {
        return Ok(Sent::Gone);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Sent::Later),
        _ => Err(error),
    }
}

/// Sends a datagram, to an address unless the socket has a peer.
fn send_one(line: &Line<'_>, data: &Bound<'_, PyAny>, address: &Bound<'_, PyAny>) -> PyResult<Sent> {
    let py = line.py;
    let fd = line.channel.fd.get();
    let memory;
    let bytes = if let Ok(bytes) = data.cast::<PyBytes>() {
        bytes.as_bytes()
    } else {
        memory = Memory::view(data, ffi::PyBUF_SIMPLE)?;
        // SAFETY: the view is held until this function is left; one thread sends for a transport.
        unsafe { memory.bytes() }
    };
    if line.channel.flags.has(flag::CONNECTED) {
        return send(fd, bytes, None).map_err(|error| os_error(py, &error));
    }
    let sent =
        line.channel.queue.with(|queue| queue.of_object(address.as_ptr()).map(|known| send(fd, bytes, Some(known))));
    if let Some(sent) = sent {
        return sent.map_err(|error| os_error(py, &error));
    }
    if let Some(native) = Address::from_python(line.channel.queue.with(|queue| queue.family), address) {
        keep(line, native, address);
        return send(fd, bytes, Some(&native)).map_err(|error| os_error(py, &error));
    }
    send_by_python(line, data, address)
}

/// Lets the socket object find out what an address means, which may take a resolver, and complain of it.
fn send_by_python(line: &Line<'_>, data: &Bound<'_, PyAny>, address: &Bound<'_, PyAny>) -> PyResult<Sent> {
    let py = line.py;
    match line.channel.file.or_none(py).call_method1(intern!(py, "sendto"), (data, address)) {
        Ok(_) => Ok(Sent::Gone),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            Ok(Sent::Later)
        }
        Err(error) => Err(error),
    }
}

/// Sends, and says whether it is gone. Errors of the system's are for the protocol, others end the transport.
fn try_to_send(line: &Line<'_>, data: &Bound<'_, PyAny>, address: &Bound<'_, PyAny>) -> PyResult<Option<Sent>> {
    line.owner()?.get().has_spoken();
    match send_one(line, data, address) {
        Ok(sent) => Ok(Some(sent)),
        Err(error) if error.is_instance_of::<PyOSError>(line.py) => tell_error(line, &error).map(|()| None),
        Err(error) if ends_the_loop(line.py, &error) => Err(error),
        Err(error) => line.fail(error, "Fatal write error on datagram transport").map(|()| None),
    }
}

/// `sendto(data, addr)`.
fn send_to<'py>(line: &Line<'py>, data: &Bound<'py, PyAny>, address: Bound<'py, PyAny>) -> PyResult<()> {
    let py = line.py;
    if !(data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>())
    {
        let class = data.get_type().name()?.repr()?;
        return Err(PyTypeError::new_err(format!("data argument must be a bytes-like object, not {class}")));
    }
    if !COUNTS_HEADERS.load(Ordering::Relaxed) && !data.is_truthy()? {
        return Ok(());
    }
    let channel = line.channel;
    let mut address = address;
    if let Some(only) = channel.address.get(py) {
        if !(address.is_none() || address.is(&only) || address.eq(&only)?) {
            return Err(PyValueError::new_err(format!("Invalid address: must be None or {}", only.str()?)));
        }
        address = only;
    }
    if channel.fd.get() < 0 || (channel.lost_count.get() > 0 && !channel.address.is_empty()) {
        return line.is_too_late("_warn_of_lost_writes");
    }
    if channel.queue.with(|queue| queue.is_empty()) {
        match try_to_send(line, data, &address)? {
            Some(Sent::Later) => line.wait_until_writable(writable)?,
            _ => return Ok(()),
        }
    }
    enqueue(line, data, &address)?;
    line.maybe_pause()
}

fn enqueue<'py>(line: &Line<'py>, data: &Bound<'py, PyAny>, address: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = line.py;
    let bytes = match data.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        Err(_) => py.get_type::<PyBytes>().call1((data,))?.cast_into()?,
    };
    let len = size_of_entry(&bytes);
    let address = (!address.is_none()).then(|| address.clone().unbind());
    line.channel.queue.with(|queue| queue.push(Datagram { data: bytes.unbind(), address }, len));
    Ok(())
}

/// The socket can be sent to again.
fn writable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(turn.py, object) };
    turn.enter(line.channel.context.raw())?;
    while let Some(datagram) = line.channel.queue.with(|queue| queue.waiting.pop_front()) {
        let data = datagram.data.bind(turn.py);
        let len = size_of_entry(data);
        line.channel.queue.with(|queue| queue.len = queue.len.saturating_sub(len));
        let address = datagram.address.as_ref().map_or_else(|| none(turn.py), |address| address.bind(turn.py).clone());
        match try_to_send(&line, data.as_any(), &address) {
            Ok(Some(Sent::Gone)) => {}
            Ok(Some(Sent::Later)) => {
                line.channel.queue.with(|queue| {
                    queue.len += len;
                    queue.waiting.push_front(datagram);
                });
                break;
            }
            // Others have their turn; the socket is still writable.
            Ok(None) => return Ok(()),
            Err(error) => return line.complain(turn, error, "error_received"),
        }
    }
    // It may send again.
    line.maybe_resume()?;
    let is_done = line.channel.queue.with(|queue| queue.is_empty());
    if is_done && line.channel.flags.has(flag::BLOCKED) { line.emptied() } else { Ok(()) }
}

unsafe extern "C" fn sendto(object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
    // SAFETY: CPython calls it, with the arguments as they are.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let line = Line::of(py, object);
            let [data, address] = Named::of(py, "sendto", ["data", "addr"], args, count, keywords)?;
            let Some(data) = data else {
                return Err(PyTypeError::new_err("sendto() missing 1 required positional argument: 'data'"));
            };
            send_to(&line, &data, address.unwrap_or_else(|| none(py)))?;
            Ok(none(py).into_ptr())
        })
    }
}

pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    let mut methods = face::reading_methods();
    methods.extend(face::writing_methods());
    methods.push(kind::method_fast(c"sendto", sendto, c"sendto($self, /, data, addr=None)\n--\n\nSend a datagram."));
    methods
}
