//! What the transports of datagrams and of pipes have in common.
//!
//! Life cycle
//! ----------
//! 1. [`make`]: the transport exists, and `start` is in the ready queue.
//! 2. `start`: `connection_made`, then reading begins, then whoever waits for the transport is told.
//! 3. What is read and written is told in `datagram` and in `pipe`.
//! 4. `close` ends reading, and when everything is sent `lost` enters the ready queue; `abort` and fatal errors do not wait for that.
//! 5. `lost`: `connection_lost`, then the socket or pipe is closed, and the protocol is let go of.
//!
//! While it reads or waits to write, the loop owns the transport. Otherwise its users do, and when the last one lets go of it open,
//! it warns and closes the descriptor.
//!
//! Rules of re-entrance
//! --------------------
//! - A method of the protocol may do anything to the transport. The flags are read again after each call.
//! - `connection_lost` is called exactly once: whoever sets `LOST` puts `lost` into the queue.
//! - What is to be sent is entered only to move pieces in or out, and to send them.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tercet_reactor::Direction;

use super::core::LoopCore;
use super::datagram::Queue;
use super::errand::{Act, Errand};
use super::object::{Flags, Own, Raw, Slot, call_method1, ends_the_loop};
use super::outbox::{Outbox, Piece};
use super::transport::Transport;
use super::turn::Turn;
use super::{channel_face as face, datagram, kind, pipe};

/// What a transport is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Datagram,
    ReadPipe,
    WritePipe,
}

const KINDS: usize = 3;

// Relaxed: all are set once, while a lock is held that every reader has held since.
static CLASSES: [AtomicPtr<ffi::PyTypeObject>; KINDS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; KINDS];
static OFFSET: AtomicUsize = AtomicUsize::new(0);

/// Above so many bytes a protocol is asked to pause.
const HIGH_WATER: usize = 64 * 1024;

/// What can be true of a transport.
pub(super) mod flag {
    pub(in crate::aio) const PAUSED: u16 = 1;
    pub(in crate::aio) const CLOSING: u16 = 2;
    pub(in crate::aio) const PROTOCOL_PAUSED: u16 = 4;
    /// It waits until the system takes more.
    pub(in crate::aio) const BLOCKED: u16 = 8;
    pub(in crate::aio) const STARTED: u16 = 16;
    /// `connection_lost` is under way.
    pub(in crate::aio) const LOST: u16 = 32;
    /// A socket that has one peer.
    pub(in crate::aio) const CONNECTED: u16 = 64;
    /// The end of a pipe that learns when the other end is closed.
    pub(in crate::aio) const SEES_PEER: u16 = 128;
}

/// The fields of a transport.
#[repr(C)]
pub(super) struct Channel {
    pub(super) owner: Slot,
    pub(super) protocol: Slot,
    pub(super) context: Slot,
    /// The socket or pipe as Python has it, which owns the descriptor.
    pub(super) file: Slot,
    pub(super) extra: Slot,
    waiter: Slot,
    /// What `connection_lost` is to be told.
    error: Slot,
    /// Where datagrams go that are sent to nobody else. Empty for anywhere.
    pub(super) address: Slot,
    /// What others have set as attributes.
    dict: Slot,
    /// -1 once it is closed.
    pub(super) fd: Cell<i32>,
    pub(super) kind: Cell<Kind>,
    pub(super) flags: Flags,
    pub(super) lost_count: Cell<u32>,
    pub(super) high: Cell<usize>,
    pub(super) low: Cell<usize>,
    /// What a pipe is to be given.
    pub(super) outbox: Own<Outbox>,
    /// What a socket of datagrams is to send.
    pub(super) queue: Own<Queue>,
}

/// Makes the types; once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let transports = py.import("asyncio.transports")?;
    // `asyncio`'s own transport of datagrams is a `Transport`, and since 3.13 a `DatagramTransport` as well.
    let plans: [(Kind, &'static CStr, &[&str], Vec<ffi::PyMethodDef>); KINDS] = [
        (Kind::Datagram, c"tercet._tercet.DatagramTransport", &["DatagramTransport", "Transport"], datagram::methods()),
        (Kind::ReadPipe, c"tercet._tercet.ReadPipeTransport", &["ReadTransport"], pipe::read_methods()),
        (Kind::WritePipe, c"tercet._tercet.WritePipeTransport", &["WriteTransport"], pipe::write_methods()),
    ];
    // None of the bases has fields of its own beyond those of `BaseTransport`, so all have the same size.
    let offset = kind::offset_behind(&transports.getattr("BaseTransport")?)?;
    OFFSET.store(offset, Ordering::Relaxed);
    for (kind, name, bases, methods) in plans {
        let bases = bases.iter().map(|base| transports.getattr(*base)).collect::<PyResult<Vec<_>>>()?;
        for base in &bases {
            if kind::offset_behind(base)? != offset {
                return Err(PyTypeError::new_err("the base classes of transports differ in size"));
            }
        }
        let bases = PyTuple::new(py, bases)?;
        let class = make_class(py, name, bases.as_any(), offset, methods)?;
        class.setattr("max_size", super::core::BUFFER)?;
        CLASSES[kind as usize].store(class.into_ptr().cast(), Ordering::Relaxed);
    }
    Ok(())
}

fn make_class<'py>(
    py: Python<'py>,
    name: &'static CStr,
    bases: &Bound<'py, PyAny>,
    offset: usize,
    mut methods: Vec<ffi::PyMethodDef>,
) -> PyResult<Bound<'py, PyAny>> {
    methods.extend(face::methods());
    // The place of weak references is behind the fields.
    let weak_references = offset + size_of::<Channel>();
    let mut slots = vec![
        kind::slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        kind::slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        kind::slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        kind::slot(ffi::Py_tp_clear, clear as *mut c_void),
        kind::slot(ffi::Py_tp_repr, face::repr as *mut c_void),
        kind::slot(ffi::Py_tp_methods, kind::leak(methods, ffi::PyMethodDef::zeroed())),
        kind::slot(ffi::Py_tp_getset, kind::leak(face::attributes(), kind::NO_MEMBER)),
        kind::slot(ffi::Py_tp_members, kind::places(weak_references, offset + offset_of!(Channel, dict))),
        kind::slot(0, std::ptr::null_mut()),
    ];
    kind::make(py, name, bases, weak_references + size_of::<Raw>(), &mut slots)
}

/// What a transport is made of.
pub(super) struct Plan<'a, 'py> {
    pub(super) owner: &'a Bound<'py, LoopCore>,
    pub(super) kind: Kind,
    pub(super) fd: i32,
    pub(super) flags: u16,
    pub(super) file: Bound<'py, PyAny>,
    pub(super) protocol: Bound<'py, PyAny>,
    pub(super) address: Option<Bound<'py, PyAny>>,
    pub(super) waiter: Option<Bound<'py, PyAny>>,
    pub(super) extra: Bound<'py, PyDict>,
}

/// Makes a transport. It starts in the next turn.
pub(super) fn make<'py>(plan: Plan<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = plan.owner.py();
    let (object, channel) = allocate(py, plan.kind, plan.flags)?;
    channel.fd.set(plan.fd);
    channel.owner.set(plan.owner.as_any());
    // SAFETY: the current context can be copied wherever Python runs.
    channel.context.fill(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? });
    channel.file.fill(plan.file);
    channel.protocol.fill(plan.protocol);
    channel.extra.fill(plan.extra.into_any());
    for (slot, value) in [(&channel.address, plan.address), (&channel.waiter, plan.waiter)] {
        if let Some(value) = value.filter(|value| !value.is_none()) {
            slot.fill(value);
        }
    }
    let core = plan.owner.get();
    if plan.kind == Kind::Datagram {
        core.set_transport(plan.fd, object.as_ptr());
    }
    core.soon(Errand::new(object.clone(), start));
    Ok(object)
}

fn allocate<'a>(py: Python<'_>, kind: Kind, flags: u16) -> PyResult<(Bound<'_, PyAny>, &'a Channel)> {
    // SAFETY: the types are made before any loop is; nobody has seen the instance, and its fields are written before anybody does.
    unsafe {
        let object = ffi::PyType_GenericAlloc(CLASSES[kind as usize].load(Ordering::Relaxed), 0);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let place = object.as_ptr().byte_add(OFFSET.load(Ordering::Relaxed)).cast::<Channel>();
        let empty = || Slot::empty();
        place.write(Channel {
            owner: empty(),
            protocol: empty(),
            context: empty(),
            file: empty(),
            extra: empty(),
            waiter: empty(),
            error: empty(),
            address: empty(),
            dict: empty(),
            fd: Cell::new(-1),
            kind: Cell::new(kind),
            flags: Flags::new(flags),
            lost_count: Cell::new(0),
            high: Cell::new(HIGH_WATER),
            low: Cell::new(HIGH_WATER / 4),
            outbox: Own::new(Outbox::default()),
            queue: Own::new(Queue::default()),
        });
        Ok((object, &*place))
    }
}

impl Channel {
    /// The fields of a transport of ours.
    ///
    /// # Safety
    /// The object is one that [`make`] made, and lives as long as the result is used.
    pub(super) unsafe fn of<'a>(object: Raw) -> &'a Self {
        // SAFETY: the fields lie there in every instance of the types.
        unsafe { &*object.byte_add(OFFSET.load(Ordering::Relaxed)).cast::<Self>() }
    }

    /// How much is to be sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        match self.kind.get() {
            Kind::Datagram => self.queue.with(|queue| queue.len()),
            _ => self.outbox.with(|outbox| outbox.len()),
        }
    }

    /// Whether nothing is to be sent. A datagram may be empty.
    pub(super) fn is_all_sent(&self) -> bool {
        self.queue.with(|queue| queue.is_empty()) && self.outbox.with(|outbox| outbox.is_empty())
    }

    fn forget_unsent(&self) {
        let pieces: Vec<Piece> = self.outbox.with(Outbox::clear);
        let queue = self.queue.with(std::mem::take);
        drop((pieces, queue));
    }

    fn all(&self) -> [&Slot; 9] {
        let Self { owner, protocol, context, file, extra, waiter, error, address, dict, .. } = self;
        [owner, protocol, context, file, extra, waiter, error, address, dict]
    }
}

/// A transport that somebody acts upon, and owns meanwhile.
pub(super) struct Line<'py> {
    pub(super) py: Python<'py>,
    pub(super) object: Bound<'py, PyAny>,
    pub(super) channel: &'py Channel,
}

impl<'py> Transport<'py> for Line<'py> {
    fn object(&self) -> &Bound<'py, PyAny> {
        &self.object
    }

    fn owner(&self) -> PyResult<Bound<'py, LoopCore>> {
        Ok(self.channel.owner.or_none(self.py).cast_into::<LoopCore>()?)
    }

    fn protocol(&self) -> Bound<'py, PyAny> {
        self.channel.protocol.or_none(self.py)
    }
}

impl<'py> Line<'py> {
    /// # Safety
    /// The object is a transport of ours and lives.
    pub(super) unsafe fn of(py: Python<'py>, object: Raw) -> Self {
        // SAFETY: as asked for above; it is owned for as long as the fields are used.
        unsafe { Self { py, object: Bound::from_borrowed_ptr(py, object), channel: Channel::of(object) } }
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.channel.flags.has(flag::CLOSING | flag::PAUSED)
    }

    /// Begins or goes on to read, unless it is paused or closing.
    pub(super) fn read_on(&self) -> PyResult<()> {
        if !self.is_reading() || !self.channel.flags.has(flag::STARTED) {
            return Ok(());
        }
        match self.channel.kind.get() {
            Kind::Datagram => self.watch(Direction::Read, datagram::readable),
            Kind::ReadPipe => self.watch(Direction::Read, pipe::readable),
            Kind::WritePipe if self.channel.flags.has(flag::SEES_PEER) => {
                self.watch(Direction::Read, pipe::peer_is_gone)
            }
            Kind::WritePipe => Ok(()),
        }
    }

    pub(super) fn watch(&self, direction: Direction, act: Act) -> PyResult<()> {
        let errand = Errand::new(self.object.clone(), act);
        let old = self.owner()?.get().watch(self.py, self.channel.fd.get(), direction, errand)?;
        drop(old);
        Ok(())
    }

    pub(super) fn unwatch(&self, direction: Direction) -> PyResult<()> {
        let old = self.owner()?.get().unwatch(self.channel.fd.get(), direction);
        drop(old);
        Ok(())
    }

    /// Waits until the system takes more.
    pub(super) fn wait_until_writable(&self, act: Act) -> PyResult<()> {
        if !self.channel.flags.has(flag::BLOCKED | flag::LOST) {
            self.watch(Direction::Write, act)?;
            self.channel.flags.mark(flag::BLOCKED);
        }
        Ok(())
    }

    /// Ends it as soon as everything is sent.
    pub(super) fn close(&self) -> PyResult<()> {
        if self.channel.flags.has(flag::CLOSING) {
            return Ok(());
        }
        self.channel.flags.mark(flag::CLOSING);
        // A pipe goes on to look whether anybody reads what is left.
        if self.channel.kind.get() != Kind::WritePipe {
            self.unwatch(Direction::Read)?;
        }
        if self.channel.is_all_sent() { self.lose(None) } else { Ok(()) }
    }

    /// Ends it now. What is not sent is lost.
    pub(super) fn force_close(&self, error: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        self.channel.forget_unsent();
        self.channel.flags.mark(flag::CLOSING);
        self.lose(error)
    }

    /// Has `connection_lost` called in the next turn.
    pub(super) fn lose(&self, error: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        if self.channel.flags.has(flag::LOST) {
            return Ok(());
        }
        self.channel.flags.mark(flag::LOST);
        self.channel.lost_count.set(self.channel.lost_count.get() + 1);
        if let Some(error) = error {
            self.channel.error.set(error);
        }
        self.channel.flags.unmark(flag::BLOCKED);
        self.unwatch(Direction::Read)?;
        self.unwatch(Direction::Write)?;
        self.owner()?.get().soon(Errand::new(self.object.clone(), lost));
        Ok(())
    }

    /// Something went wrong that the transport does not survive. What is usual is not for the exception handler.
    pub(super) fn fail(&self, error: PyErr, message: &str) -> PyResult<()> {
        if ends_the_loop(self.py, &error) {
            return Err(error);
        }
        let is_usual = match self.channel.kind.get() {
            // What reading from a terminal says whose other end is closed.
            Kind::ReadPipe => {
                error.is_instance_of::<PyOSError>(self.py) && errno_of(self.py, &error) == Some(libc::EIO)
            }
            _ => error.is_instance_of::<PyOSError>(self.py),
        };
        let error = error.into_value(self.py).into_bound(self.py).into_any();
        let owner = self.owner()?;
        if !is_usual {
            self.report(message, &error)?;
        } else if owner.get().is_debugging() {
            owner.call_method1("_debug_log", ("%r: %s", &self.object, message, &error))?;
        }
        self.force_close(Some(&error))
    }

    /// Asks the protocol to pause if there is too much.
    pub(super) fn maybe_pause(&self) -> PyResult<()> {
        if self.channel.unsent_bytes() <= self.channel.high.get() || self.channel.flags.has(flag::PROTOCOL_PAUSED) {
            return Ok(());
        }
        self.channel.flags.mark(flag::PROTOCOL_PAUSED);
        self.tell_protocol(intern!(self.py, "pause_writing").as_any(), "protocol.pause_writing() failed")
    }

    pub(super) fn maybe_resume(&self) -> PyResult<()> {
        if !self.channel.flags.has(flag::PROTOCOL_PAUSED) || self.channel.unsent_bytes() > self.channel.low.get() {
            return Ok(());
        }
        self.channel.flags.unmark(flag::PROTOCOL_PAUSED);
        self.tell_protocol(intern!(self.py, "resume_writing").as_any(), "protocol.resume_writing() failed")
    }

    /// Everything that was left is sent.
    pub(super) fn emptied(&self) -> PyResult<()> {
        self.channel.flags.unmark(flag::BLOCKED);
        self.unwatch(Direction::Write)?;
        if self.channel.flags.has(flag::CLOSING) { self.lose(None) } else { Ok(()) }
    }

    /// Counts a write that comes too late.
    pub(super) fn is_too_late(&self, method: &str) -> PyResult<()> {
        const WORTH_A_WARNING: u32 = 5;
        let count = self.channel.lost_count.get();
        if count >= WORTH_A_WARNING {
            self.owner()?.call_method0(method)?;
        }
        self.channel.lost_count.set(count + 1);
        Ok(())
    }

    /// Closes the descriptor.
    fn hang_up(&self) -> PyResult<()> {
        self.let_go().map_or(Ok(()), |file| file.call_method0("close").map(drop))
    }

    /// Gives up the descriptor: returns what owns it, if it was there still.
    pub(super) fn let_go(&self) -> Option<Bound<'py, PyAny>> {
        let fd = self.channel.fd.replace(-1);
        if fd < 0 {
            return None;
        }
        if let Ok(owner) = self.owner() {
            let core = owner.get();
            core.unwatch_all(fd);
            if self.channel.kind.get() == Kind::Datagram {
                core.set_transport(fd, std::ptr::null_mut());
            }
        }
        self.channel.file.take(self.py)
    }
}

fn errno_of(py: Python<'_>, error: &PyErr) -> Option<i32> {
    error.value(py).getattr("errno").ok()?.extract().ok()
}

/// `connection_made`, then reading begins, then whoever waits is told.
fn start(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    let py = turn.py;
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(py, object) };
    turn.enter(line.channel.context.raw())?;
    if let Err(error) = call_method1(&line.protocol(), intern!(py, "connection_made").as_any(), &line.object) {
        line.complain(turn, error, "connection_made")?;
    }
    line.channel.flags.mark(flag::STARTED);
    if let Err(error) = line.read_on() {
        line.fail(error, "Fatal read error on transport")?;
    }
    line.tell_waiter(&line.channel.waiter)
}

/// `connection_lost`, then the end.
fn lost(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    let py = turn.py;
    // SAFETY: the errand owns the transport.
    let line = unsafe { Line::of(py, object) };
    turn.enter(line.channel.context.raw())?;
    let error = line.channel.error.take(py).unwrap_or_else(|| py.None().into_bound(py));
    let result = match call_method1(&line.protocol(), intern!(py, "connection_lost").as_any(), &error) {
        Ok(_) => Ok(()),
        Err(error) => line.complain(turn, error, "connection_lost"),
    };
    turn.core.has_spoken();
    let closed = line.hang_up();
    line.channel.protocol.clear();
    result.and(closed)
}

// --- what CPython calls ---------------------------------------------------------------------------------------

/// Warns of a transport that nobody closed, and closes it.
unsafe extern "C" fn finalize(object: Raw) {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        kind::finalize(object, |py| {
            let line = Line::of(py, object);
            if line.channel.fd.get() >= 0 {
                let words = format!("unclosed transport {}", line.object.repr()?);
                let details = PyDict::new(py);
                details.set_item("source", &line.object)?;
                let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
                let warned = py.import("warnings")?.getattr("warn")?.call((words, category), Some(&details));
                if let Err(error) = warned {
                    error.write_unraisable(py, Some(&line.object));
                }
                line.hang_up()?;
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
        let channel = Channel::of(object);
        channel.all().into_iter().for_each(Slot::clear);
        channel.forget_unsent();
        kind::free(object);
    }
}

unsafe extern "C" fn traverse(object: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type.
    unsafe { kind::traverse(object, Channel::of(object).all(), visit, arg) }
}

unsafe extern "C" fn clear(object: Raw) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type that is garbage and finalized.
    unsafe {
        let channel = Channel::of(object);
        channel.all().into_iter().for_each(Slot::clear);
        channel.forget_unsent();
    }
    0
}
