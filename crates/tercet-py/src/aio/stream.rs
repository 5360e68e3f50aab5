//! The transport of TCP and Unix sockets.
//!
//! Life cycle
//! ----------
//! 1. [`make`]: the transport exists, its descriptor is known to the loop, and `start` is in the ready queue.
//! 2. `start`: `connection_made`, then reading begins, then whoever waits for the transport is told.
//! 3. Reads come from the turn (`reading`), writes are collected and sent at its end (`writing`).
//! 4. `close` ends reading, and when everything is sent `lost` enters the ready queue; `abort` and fatal errors do not wait for that.
//! 5. `lost`: `connection_lost`, then the descriptor is closed, and the protocol and the server are let go of.
//!
//! While it reads or waits to write, the loop owns the transport. Otherwise its users do, and when the last one lets go of it open,
//! it warns and closes the socket.
//!
//! Rules of re-entrance
//! --------------------
//! - A method of the protocol may do anything to the transport. `lost_count` and the flags are read again after each call.
//! - `connection_lost` is called exactly once: whoever raises `lost_count` from 0 puts `lost` into the queue.
//! - The outbox is entered only to move pieces in or out (`writing`).

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use pyo3::exceptions::PyConnectionError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tercet_reactor::Direction;

use super::address::Address;
use super::core::LoopCore;
use super::errand::Errand;
use super::object::{Flags, Own, Raw, Slot, call_method0, call_method1, ends_the_loop};
use super::outbox::Outbox;
use super::transport::Transport;
use super::turn::Turn;
use super::{flow, kind, methods, reading, tls};

// Relaxed: all are set once, while a lock is held that every reader has held since.
static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
static OFFSET: AtomicUsize = AtomicUsize::new(0);
/// Whether servers want to know which transport they are told about: since 3.13.
static SERVERS_KNOW_CLIENTS: AtomicBool = AtomicBool::new(false);

/// Above so many bytes a protocol is asked to pause.
const HIGH_WATER: usize = 64 * 1024;

/// What can be true of a transport.
pub(super) mod flag {
    pub(in crate::aio) const BUFFERED: u16 = 1;
    pub(in crate::aio) const PAUSED: u16 = 2;
    pub(in crate::aio) const CLOSING: u16 = 4;
    pub(in crate::aio) const EOF: u16 = 8;
    pub(in crate::aio) const PROTOCOL_PAUSED: u16 = 16;
    /// It stands in the loop's list of those with something to send.
    pub(in crate::aio) const UNSENT: u16 = 32;
    /// It waits until the system takes more.
    pub(in crate::aio) const BLOCKED: u16 = 64;
    pub(in crate::aio) const STARTED: u16 = 128;
    /// The protocol is the native half of TLS, and takes what is read as it is.
    pub(in crate::aio) const SECURE: u16 = 256;
}

/// The fields of a transport.
#[repr(C)]
pub(super) struct Stream {
    pub(super) owner: Slot,
    pub(super) protocol: Slot,
    pub(super) context: Slot,
    /// Where data go that are for a reader of ours, and the protocol's weak reference to it.
    pub(super) feed: Slot,
    pub(super) reader: Slot,
    pub(super) server: Slot,
    /// The socket as Python has it, once anybody has asked for it. Then it owns the descriptor.
    pub(super) socket: Slot,
    pub(super) extra: Slot,
    pub(super) waiter: Slot,
    /// Who waits for everything to be sent before a file is.
    pub(super) empty_waiter: Slot,
    /// What `connection_lost` is to be told.
    error: Slot,
    /// Attributes that others give it.
    dict: Slot,
    /// -1 once it is closed.
    pub(super) fd: Cell<i32>,
    pub(super) flags: Flags,
    pub(super) lost_count: Cell<u32>,
    /// How much the latest read brought.
    pub(super) latest_bytes: Cell<u32>,
    pub(super) high: Cell<usize>,
    pub(super) low: Cell<usize>,
    pub(super) outbox: Own<Outbox>,
}

/// Makes the type; once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let transports = py.import("asyncio.transports")?;
    // `loop.sendfile` asks for this one where it has to fall back.
    let base = transports.getattr("_FlowControlMixin").or_else(|_| transports.getattr("Transport"))?;
    let offset = kind::offset_behind(&base)?;
    OFFSET.store(offset, Ordering::Relaxed);
    let mut slots = vec![
        kind::slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        kind::slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        kind::slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        kind::slot(ffi::Py_tp_clear, clear as *mut c_void),
        kind::slot(ffi::Py_tp_repr, methods::repr as *mut c_void),
        kind::slot(ffi::Py_tp_methods, kind::leak(methods::methods(), ffi::PyMethodDef::zeroed())),
        kind::slot(ffi::Py_tp_getset, kind::leak(methods::attributes(), kind::NO_MEMBER)),
    ];
    // The place of weak references is behind the fields.
    let weak_references = offset + size_of::<Stream>();
    let places = kind::places(weak_references, offset + offset_of!(Stream, dict));
    slots.push(kind::slot(ffi::Py_tp_members, places));
    slots.push(kind::slot(0, std::ptr::null_mut()));
    let size = weak_references + size_of::<Raw>();
    let class = kind::make(py, c"tercet._tercet.StreamTransport", &base, size, &mut slots)?;
    let modes = py.import("asyncio.constants")?.getattr("_SendfileMode")?;
    class.setattr("_sendfile_compatible", modes.getattr("TRY_NATIVE")?)?;
    class.setattr("_start_tls_compatible", true)?;
    class.setattr("max_size", super::core::BUFFER)?;
    SERVERS_KNOW_CLIENTS.store(py.version_info() >= (3, 13), Ordering::Relaxed);
    CLASS.store(class.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

/// Whether it is a transport of ours.
pub(super) fn is_ours(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object lives.
    unsafe { ffi::Py_TYPE(object.as_ptr()) == CLASS.load(Ordering::Relaxed) }
}

/// What a transport is made of.
pub(super) struct Plan<'a, 'py> {
    pub(super) owner: &'a Bound<'py, LoopCore>,
    pub(super) fd: i32,
    pub(super) socket: Option<Bound<'py, PyAny>>,
    pub(super) protocol: Bound<'py, PyAny>,
    pub(super) waiter: Option<Bound<'py, PyAny>>,
    pub(super) extra: Option<Bound<'py, PyAny>>,
    pub(super) server: Option<Bound<'py, PyAny>>,
}

/// Makes a transport. It starts in the next turn.
pub(super) fn make<'py>(plan: Plan<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = plan.owner.py();
    let core = plan.owner.get();
    let is_known = plan.socket.is_some();
    let (object, stream) = allocate(py)?;
    stream.fd.set(plan.fd);
    stream.owner.set(plan.owner.as_any());
    stream.high.set(HIGH_WATER);
    stream.low.set(HIGH_WATER / 4);
    // SAFETY: the current context can be copied wherever Python runs.
    stream.context.fill(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? });
    for (slot, value) in [
        (&stream.socket, plan.socket),
        (&stream.waiter, plan.waiter),
        (&stream.extra, plan.extra),
        (&stream.server, plan.server),
    ] {
        if let Some(value) = value.filter(|value| !value.is_none()) {
            slot.fill(value);
        }
    }
    let wire = Wire::new(&object);
    if let Err(error) = wire.prepare(&plan.protocol, is_known) {
        // The descriptor stays the caller's.
        stream.fd.set(-1);
        return Err(error);
    }
    core.set_transport(plan.fd, object.as_ptr());
    core.soon(Errand::new(object.clone(), start));
    Ok(object)
}

fn allocate<'a>(py: Python<'_>) -> PyResult<(Bound<'_, PyAny>, &'a Stream)> {
    // SAFETY: the type is made before any loop is; nobody has seen the instance, and its fields are written before anybody does.
    unsafe {
        let object = ffi::PyType_GenericAlloc(CLASS.load(Ordering::Relaxed), 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let place = object.as_ptr().byte_add(OFFSET.load(Ordering::Relaxed)).cast::<Stream>();
        let empty = || Slot::empty();
        place.write(Stream {
            owner: empty(),
            protocol: empty(),
            context: empty(),
            feed: empty(),
            reader: empty(),
            server: empty(),
            socket: empty(),
            extra: empty(),
            waiter: empty(),
            empty_waiter: empty(),
            error: empty(),
            dict: empty(),
            fd: Cell::new(-1),
            flags: Flags::new(0),
            lost_count: Cell::new(0),
            latest_bytes: Cell::new(0),
            high: Cell::new(0),
            low: Cell::new(0),
            outbox: Own::new(Outbox::default()),
        });
        Ok((object, &*place))
    }
}

impl Stream {
    /// The fields of a transport of ours.
    ///
    /// # Safety
    /// The object is one that [`make`] made, and lives as long as the result is used.
    pub(super) unsafe fn of<'a>(object: Raw) -> &'a Self {
        // SAFETY: the fields lie there in every instance.
        unsafe { &*object.byte_add(OFFSET.load(Ordering::Relaxed)).cast::<Self>() }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost_count.get() != 0
    }

    fn all(&self) -> [&Slot; 12] {
        let Self {
            owner,
            protocol,
            context,
            feed,
            reader,
            server,
            socket,
            extra,
            waiter,
            empty_waiter,
            error,
            dict,
            ..
        } = self;
        [owner, protocol, context, feed, reader, server, socket, extra, waiter, empty_waiter, error, dict]
    }
}

/// The transport of ours that an object is, if it is one.
pub(super) fn as_wire<'py>(object: &Bound<'py, PyAny>) -> Option<Wire<'py>> {
    (object.get_type_ptr() == CLASS.load(Ordering::Relaxed)).then(|| Wire::new(object))
}

/// A transport that somebody acts upon, and owns meanwhile.
pub(super) struct Wire<'py> {
    pub(super) py: Python<'py>,
    pub(super) object: Bound<'py, PyAny>,
    pub(super) stream: &'py Stream,
}

impl<'py> Transport<'py> for Wire<'py> {
    fn object(&self) -> &Bound<'py, PyAny> {
        &self.object
    }

    fn owner(&self) -> PyResult<Bound<'py, LoopCore>> {
        Ok(self.stream.owner.or_none(self.py).cast_into::<LoopCore>()?)
    }

    fn protocol(&self) -> Bound<'py, PyAny> {
        self.stream.protocol.or_none(self.py)
    }
}

impl<'py> Wire<'py> {
    pub(super) fn new(object: &Bound<'py, PyAny>) -> Self {
        // SAFETY: only transports of ours come here, and this one is owned for as long as the fields are used.
        Self { py: object.py(), object: object.clone(), stream: unsafe { Stream::of(object.as_ptr()) } }
    }

    /// # Safety
    /// The object is a transport of ours and lives.
    pub(super) unsafe fn of(py: Python<'py>, object: Raw) -> Self {
        // SAFETY: as asked for above.
        Self::new(&unsafe { Bound::from_borrowed_ptr(py, object) })
    }

    fn prepare(&self, protocol: &Bound<'py, PyAny>, is_known: bool) -> PyResult<()> {
        self.set_protocol(protocol)?;
        if is_known {
            // It may be gone when it is asked for.
            self.note_address(intern!(self.py, "sockname").as_any(), false)?;
            self.note_address(intern!(self.py, "peername").as_any(), true)?;
        }
        self.tell_server(intern!(self.py, "_attach"))
    }

    pub(super) fn set_protocol(&self, protocol: &Bound<'py, PyAny>) -> PyResult<()> {
        flow::adopt(protocol)?;
        let class = buffered_protocol(self.py)?;
        if protocol.is_instance(&class)? {
            self.stream.flags.mark(flag::BUFFERED);
        } else {
            self.stream.flags.unmark(flag::BUFFERED);
        }
        if tls::is_ours(protocol) {
            self.stream.flags.mark(flag::SECURE);
        } else {
            self.stream.flags.unmark(flag::SECURE);
        }
        self.stream.protocol.set(protocol);
        flow::find_reader(protocol, &self.stream.feed, &self.stream.reader);
        Ok(())
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.stream.flags.has(flag::CLOSING | flag::PAUSED)
    }

    /// Begins or goes on to read, unless it is paused or closing.
    pub(super) fn read_on(&self) -> PyResult<()> {
        if self.is_reading() && self.stream.flags.has(flag::STARTED) {
            let errand = Errand::new(self.object.clone(), reading::readable);
            let old = self.owner()?.get().watch(self.py, self.stream.fd.get(), Direction::Read, errand)?;
            drop(old);
        }
        Ok(())
    }

    /// Ends a watch of the descriptor.
    pub(super) fn unwatch(&self, direction: Direction) -> PyResult<()> {
        let old = self.owner()?.get().unwatch(self.stream.fd.get(), direction);
        drop(old);
        Ok(())
    }

    /// Ends the connection as soon as everything is sent.
    pub(super) fn close(&self) -> PyResult<()> {
        if self.stream.flags.has(flag::CLOSING) {
            return Ok(());
        }
        self.flush()?;
        // Sending may have failed, or a protocol may have closed it.
        if self.stream.flags.has(flag::CLOSING) {
            return Ok(());
        }
        self.stream.flags.mark(flag::CLOSING);
        self.unwatch(Direction::Read)?;
        if self.stream.outbox.with(|outbox| outbox.is_empty()) {
            self.lose(None)?;
        }
        Ok(())
    }

    /// Ends the connection now. What is not sent is lost.
    pub(super) fn force_close(&self, error: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        if self.stream.is_lost() {
            return Ok(());
        }
        let unsent = self.stream.outbox.with(Outbox::clear);
        drop(unsent);
        if self.stream.is_lost() {
            return Ok(());
        }
        self.stream.flags.mark(flag::CLOSING);
        self.unwatch(Direction::Read)?;
        self.lose(error)
    }

    /// Has `connection_lost` called in the next turn.
    fn lose(&self, error: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        self.stream.lost_count.set(self.stream.lost_count.get() + 1);
        if let Some(error) = error {
            self.stream.error.set(error);
        }
        self.stream.flags.unmark(flag::BLOCKED);
        self.unwatch(Direction::Write)?;
        self.owner()?.get().soon(Errand::new(self.object.clone(), lost));
        Ok(())
    }

    /// Everything is sent and the transport is closing: the connection is lost now.
    pub(super) fn lose_now(&self) -> PyResult<()> {
        self.lose(None)
    }

    /// Something went wrong that the connection does not survive. Errors of the system's are not for the exception handler.
    pub(super) fn fail(&self, error: PyErr, message: &str) -> PyResult<()> {
        if ends_the_loop(self.py, &error) {
            return Err(error);
        }
        let is_of_system = error.is_instance_of::<pyo3::exceptions::PyOSError>(self.py);
        let error = error.into_value(self.py).into_bound(self.py).into_any();
        let owner = self.owner()?;
        if is_of_system {
            if owner.get().is_debugging() {
                owner.call_method1("_debug_log", ("%r: %s", &self.object, message, &error))?;
            }
        } else {
            self.report(message, &error)?;
        }
        self.force_close(Some(&error))
    }

    /// The socket as Python has it.
    pub(super) fn python_socket(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(socket) = self.stream.socket.get(self.py) {
            return Ok(Some(socket));
        }
        let fd = self.stream.fd.get();
        if fd < 0 {
            return Ok(None);
        }
        let details = PyDict::new(self.py);
        details.set_item("fileno", fd)?;
        let socket = self.py.import("socket")?.getattr("socket")?.call((), Some(&details))?;
        socket.call_method1("setblocking", (false,))?;
        self.stream.socket.set(&socket);
        Ok(Some(socket))
    }

    /// What is known beside, as a dictionary that this transport keeps.
    pub(super) fn extra(&self) -> PyResult<Bound<'py, PyDict>> {
        if let Some(extra) = self.stream.extra.get(self.py) {
            return Ok(extra.cast_into()?);
        }
        let extra = PyDict::new(self.py);
        self.stream.extra.set(extra.as_any());
        Ok(extra)
    }

    /// Looks up an address while there is one.
    pub(super) fn note_address(&self, name: &Bound<'py, PyAny>, is_peer: bool) -> PyResult<()> {
        let extra = self.extra()?;
        let fd = self.stream.fd.get();
        if !extra.contains(name)? && fd >= 0 {
            let address = Address::of(fd, is_peer).map(|address| address.to_python(self.py)).transpose()?;
            extra.set_item(name, address)?;
        }
        Ok(())
    }

    fn tell_server(&self, method: &Bound<'py, pyo3::types::PyString>) -> PyResult<()> {
        let Some(server) = self.stream.server.get(self.py) else { return Ok(()) };
        if SERVERS_KNOW_CLIENTS.load(Ordering::Relaxed) {
            call_method1(&server, method, &self.object).map(drop)
        } else {
            call_method0(&server, method).map(drop)
        }
    }

    /// Closes the descriptor.
    fn hang_up(&self) -> PyResult<()> {
        let fd = self.stream.fd.replace(-1);
        if fd < 0 {
            return Ok(());
        }
        if let Ok(owner) = self.owner() {
            let core = owner.get();
            core.has_spoken();
            core.unwatch_all(fd);
            core.set_transport(fd, std::ptr::null_mut());
        }
        if let Some(socket) = self.stream.socket.take(self.py) {
            return socket.call_method0("close").map(drop);
        }
        // SAFETY: the descriptor is the transport's own.
        unsafe { libc::close(fd) };
        Ok(())
    }

    /// Keeps what may be asked for when the socket is closed.
    fn remember(&self) -> PyResult<()> {
        // SAFETY: the object lives. One reference is this one.
        if unsafe { ffi::Py_REFCNT(self.object.as_ptr()) } > 2 {
            self.note_address(intern!(self.py, "sockname").as_any(), false)?;
        }
        Ok(())
    }

    fn end(&self) -> PyResult<()> {
        self.remember()?;
        self.hang_up()?;
        self.stream.protocol.clear();
        self.stream.feed.clear();
        self.stream.reader.clear();
        let told = self.tell_server(intern!(self.py, "_detach"));
        self.stream.server.clear();
        if let Some(waiter) = self.stream.empty_waiter.get(self.py) {
            let words = PyConnectionError::new_err("Connection is closed by peer");
            if !waiter.call_method0("done")?.is_truthy()? {
                waiter.call_method1("set_exception", (words.into_value(self.py),))?;
            }
        }
        told
    }
}

/// The base class of protocols with a buffer of their own.
fn buffered_protocol(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    crate::names::buffered_protocol(py)
}

/// `connection_made`, then the first look at the socket, then whoever waits.
fn start(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    let py = turn.py;
    // SAFETY: the errand owns the transport.
    let wire = unsafe { Wire::of(py, object) };
    turn.enter(wire.stream.context.raw())?;
    let protocol = wire.stream.protocol.or_none(py);
    if let Err(error) = call_method1(&protocol, intern!(py, "connection_made").as_any(), &wire.object) {
        wire.complain(turn, error, "connection_made")?;
    }
    wire.stream.flags.mark(flag::STARTED);
    if let Err(error) = wire.read_on() {
        wire.fail(error, "Fatal read error on socket transport")?;
    }
    wire.tell_waiter(&wire.stream.waiter)
}

/// `connection_lost`, then the end.
fn lost(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    let py = turn.py;
    // SAFETY: the errand owns the transport.
    let wire = unsafe { Wire::of(py, object) };
    turn.enter(wire.stream.context.raw())?;
    let error = wire.stream.error.take(py).unwrap_or_else(|| py.None().into_bound(py));
    let protocol = wire.stream.protocol.or_none(py);
    let result = call_method1(&protocol, intern!(py, "connection_lost").as_any(), &error);
    let result = match result {
        Ok(_) => Ok(()),
        Err(error) => wire.complain(turn, error, "connection_lost"),
    };
    result.and(wire.end())
}

/// What the loop does when it is closed while something is unsent.
pub(super) fn forget_unsent(transport: &Bound<'_, PyAny>) {
    Wire::new(transport).stream.flags.unmark(flag::UNSENT);
}

// --- what CPython calls ---------------------------------------------------------------------------------------

/// Warns of a transport that nobody closed, and closes it.
unsafe extern "C" fn finalize(object: Raw) {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        kind::finalize(object, |py| {
            let wire = Wire::of(py, object);
            if wire.stream.fd.get() >= 0 {
                // This one keeps silent when the interpreter ends, when nothing can be imported any more.
                if ffi::PyErr_ResourceWarning(object, 1, c"unclosed transport %R".as_ptr(), object) < 0 {
                    PyErr::fetch(py).write_unraisable(py, Some(&wire.object));
                }
                wire.hang_up()?;
                // Since 3.13 a server knows its clients by weak references.
                let told = wire.tell_server(intern!(py, "_detach"));
                wire.stream.server.clear();
                told?;
            }
            Ok(())
        });
    }
}

unsafe extern "C" fn dealloc(object: Raw) {
    // SAFETY: CPython calls it once, when nobody has the object any more; a finalizer may bring it back.
    unsafe {
        if ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        kind::clear_weakrefs(object);
        let stream = Stream::of(object);
        stream.all().into_iter().for_each(Slot::clear);
        drop(stream.outbox.with(std::mem::take));
        kind::free(object);
    }
}

unsafe extern "C" fn traverse(object: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type.
    unsafe { kind::traverse(object, Stream::of(object).all(), visit, arg) }
}

unsafe extern "C" fn clear(object: Raw) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type that is garbage and finalized.
    unsafe {
        let stream = Stream::of(object);
        stream.all().into_iter().for_each(Slot::clear);
        drop(stream.outbox.with(Outbox::clear));
    }
    0
}
