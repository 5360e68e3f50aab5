//! What a call or a result weighs: its body, and the large buffers beside it, which travel by handle.
//!
//! ```text
//! message   handles (20 bytes each), buffers that could not be lent, body
//! ```
//! Life cycle of a large buffer
//! ----------------------------
//! 1. Whoever packs copies it into a slab of its [`Store`], without the GIL. A buffer that is an argument of several tasks at
//!    a time, and has not changed since, is copied once.
//! 2. The slab is lent when the message leaves ([`Freight::message`]), and again if it leaves for another worker.
//! 3. The other side reads it where it is ([`Packed`]): large ones through a mapping of their own, of which only pages that are
//!    written to become copies, so that arguments keep the semantics of copies. What is to be `bytes` is copied into one.
//! 4. It is given back when the last view of it is gone.
//!
//! Where there is no room in the store, or no store, a buffer goes along in the message.

use std::ffi::c_int;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyByteArray, PyBytes, PyList, PyTuple};
use tercet_shm::{Arena, Handle, Holder, Loan, Peer, PrivateLoan, Slab};

use crate::blank;
use crate::call;
use crate::door::Door;
use crate::lull;
use crate::names;
use crate::parcel::{Fault, Head, Kind, Message};
use crate::plain;
use crate::repertoire::Function;

/// Bodies and buffers of at least this size are lent. `tercet.parcel.LARGE` is the same.
const LARGE: usize = 64 << 10;
/// Buffers of at least this size are read where they are; a copy of a smaller one costs less than a mapping.
const MAPPED: usize = 256 << 10;
/// To copy this much takes long enough to let other threads run.
const LONG: usize = 1 << 20;
/// How many buffers are remembered in case they come again.
const REMEMBERED: usize = 16;
/// A body of up to this size is rather copied than read where it is.
const SHORT: usize = 4 << 10;
/// As much of a body tells what is called.
const FRONT: usize = 1 << 10;
/// The bit of a slot that says that the buffer is to be `bytes`.
const AS_BYTES: u32 = 1 << 31;
/// In the place of a slot: the buffer comes along.
const ALONG: u32 = AS_BYTES - 1;
/// The bit of [`Head::parts`] that says that the last handle is the body.
const BODY_IS_LENT: u32 = 1 << 31;

/// After so long a rest, memory that is free goes back to the system.
pub(crate) const REST: Duration = Duration::from_secs(10);

/// The memory of this machine: no arena is ever larger.
pub(crate) fn size() -> usize {
    let info = rustix::system::sysinfo();
    usize::try_from(info.totalram).unwrap_or(usize::MAX).saturating_mul(info.mem_unit as usize)
}

/// How much of an arena keeps its pages when it is free: fresh ones are many times slower.
pub(crate) fn warm_bytes() -> u64 {
    size() as u64 / 8
}

/// The slabs of one process, and what was put into them lately.
pub(crate) struct Store {
    arena: Mutex<Arena>,
    lots: Mutex<Vec<(usize, Weak<Lot>)>>,
}

impl Store {
    pub(crate) fn new(arena: Arena) -> Arc<Self> {
        Arc::new(Self { arena: Mutex::new(arena), lots: Mutex::default() })
    }

    pub(crate) fn arena(&self) -> MutexGuard<'_, Arena> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives memory that nobody uses back to the system.
    pub(crate) fn trim(&self) {
        let mut arena = self.arena();
        arena.reclaim();
        arena.trim(0);
    }

    /// Copies bytes into a slab, or finds the one where they are. Nothing if there is no room.
    fn stow(self: &Arc<Self>, py: Python<'_>, source: Source) -> Option<Arc<Lot>> {
        let work = || {
            self.known(source).or_else(|| {
                let mut draft = self.arena().allocate(source.len).ok()?;
                draft.fill_from(source.bytes());
                let slab = self.arena().seal(draft);
                Some(self.remember(source, Arc::new(Lot { store: Arc::clone(self), slab: Some(slab) })))
            })
        };
        if source.len < LONG { work() } else { py.outside(work) }
    }

    fn known(&self, source: Source) -> Option<Arc<Lot>> {
        let known = self.lots().iter().find(|(begin, _)| *begin == source.begin).and_then(|(_, lot)| lot.upgrade());
        known.filter(|lot| lot.slab().is_some_and(|slab| **slab == *source.bytes()))
    }

    fn remember(&self, source: Source, lot: Arc<Lot>) -> Arc<Lot> {
        let mut lots = self.lots();
        lots.retain(|(begin, lot)| *begin != source.begin && lot.strong_count() > 0);
        if lots.len() == REMEMBERED {
            lots.remove(0);
        }
        lots.push((source.begin, Arc::downgrade(&lot)));
        lot
    }

    fn lots(&self) -> MutexGuard<'_, Vec<(usize, Weak<Lot>)>> {
        self.lots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a Python object that somebody keeps alive, for a thread without the GIL to copy.
#[derive(Clone, Copy)]
struct Source {
    begin: usize,
    len: usize,
}

impl Source {
    fn of(bytes: &[u8]) -> Self {
        Self { begin: bytes.as_ptr() as usize, len: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `Freight::load` holds the object, or a view of it, for as long as there is a source of it. A program that writes
        // to an array while another of its threads sends it gets some of both, as when it is pickled.
        unsafe { std::slice::from_raw_parts(self.begin as *const u8, self.len) }
    }
}

/// A slab that one or several messages carry.
struct Lot {
    store: Arc<Store>,
    slab: Option<Slab>,
}

impl Lot {
    fn slab(&self) -> Option<&Slab> {
        self.slab.as_ref()
    }
}

impl Drop for Lot {
    fn drop(&mut self) {
        if let Some(slab) = self.slab.take() {
            let _ = self.store.arena().free(slab);
        }
    }
}

/// A buffer beside a body.
struct Piece {
    content: Content,
    /// `AS_BYTES`, or nothing.
    form: u32,
}

enum Content {
    Lent(Arc<Lot>),
    Along(Vec<u8>),
}

enum Body {
    Bytes(Py<PyBytes>),
    Lent(Arc<Lot>),
}

/// A packed call or result, on the side that sends it.
pub(crate) struct Freight {
    body: Body,
    pieces: Vec<Piece>,
    /// What is called, if the body is its arguments alone.
    function: Option<Arc<Function>>,
}

impl Freight {
    /// Takes over what `tercet.parcel` has packed: bytes, or bytes and a list of buffers. Those that are `bytes` stay that.
    pub(crate) fn load(packed: &Bound<'_, PyAny>, store: Option<&Arc<Store>>) -> PyResult<Self> {
        let py = packed.py();
        let (bytes, buffers) = match packed.cast::<PyTuple>() {
            Ok(both) => (both.get_item(0)?.cast_into::<PyBytes>()?, Some(both.get_item(1)?)),
            Err(_) => (packed.cast::<PyBytes>()?.clone(), None),
        };
        let mut pieces = Vec::new();
        if let Some(buffers) = buffers {
            for buffer in buffers.cast::<PyList>()? {
                let view = PyBuffer::<u8>::get(&buffer)?;
                let source = Source { begin: view.buf_ptr() as usize, len: view.len_bytes() };
                let lot = store.and_then(|store| store.stow(py, source));
                let content = lot.map_or_else(|| Content::Along(source.bytes().to_vec()), Content::Lent);
                let form = if buffer.is_exact_instance_of::<PyBytes>() { AS_BYTES } else { 0 };
                pieces.push(Piece { content, form });
            }
        }
        // What is more than bytes keeps something alive for as long as the task lives: see `tercet.handle`.
        let is_large = bytes.as_bytes().len() >= LARGE && bytes.is_exact_instance_of::<PyBytes>();
        let lot = store.filter(|_| is_large).and_then(|store| store.stow(py, Source::of(bytes.as_bytes())));
        Ok(Self { body: lot.map_or_else(|| Body::Bytes(bytes.unbind()), Body::Lent), pieces, function: None })
    }

    /// Takes over what was packed and is short.
    pub(crate) fn short(bytes: Bound<'_, PyBytes>) -> Self {
        Self { body: Body::Bytes(bytes.unbind()), pieces: Vec::new(), function: None }
    }

    /// The same, for arguments alone, with the function that is called.
    pub(crate) fn of(self, function: Arc<Function>) -> Self {
        Self { function: Some(function), ..self }
    }

    /// What is called, if a worker is told once and for all.
    pub(crate) fn function(&self) -> Option<&Arc<Function>> {
        self.function.as_ref()
    }

    /// The head of its message.
    pub(crate) fn head(&self, number: u64, kind: Kind) -> Head {
        let is_lent = matches!(self.body, Body::Lent(_));
        let parts = (self.pieces.len() as u32 + u32::from(is_lent)) | if is_lent { BODY_IS_LENT } else { 0 };
        let place = self.function.as_ref().map_or(0, |function| function.place);
        Head { number, kind, spent_us: 0, parts, place }
    }

    /// How long its message is.
    pub(crate) fn length(&self) -> usize {
        let along = |piece: &Piece| if let Content::Along(bytes) = &piece.content { bytes.len() } else { 0 };
        let pieces: usize = self.pieces.iter().map(|piece| Handle::SIZE + along(piece)).sum();
        pieces + if let Body::Bytes(bytes) = &self.body { bytes_of(bytes).len() } else { Handle::SIZE }
    }

    /// How the call begins: what is called.
    pub(crate) fn front(&self) -> &[u8] {
        let body = match (&self.function, &self.body) {
            (Some(function), _) => &function.bytes,
            (None, Body::Bytes(bytes)) => bytes_of(bytes),
            (None, Body::Lent(lot)) => lot.slab().map_or(&[][..], |slab| slab),
        };
        &body[..body.len().min(FRONT)]
    }

    /// Its message, if that is nothing but bytes that are there.
    pub(crate) fn plain(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Bytes(bytes) if self.pieces.is_empty() => Some(bytes_of(bytes)),
            _ => None,
        }
    }

    /// Its message for a peer, to which all that is large is lent by this: it has to be sent.
    pub(crate) fn message(&self, peer: Option<Peer>) -> Result<Vec<u8>, tercet_shm::Error> {
        let mut message = Vec::with_capacity(self.length());
        let lend = |lot: &Lot| {
            let (Some(slab), Some(peer)) = (lot.slab(), peer) else { return Err(tercet_shm::Error::Stranger) };
            lot.store.arena().lend(slab, peer)
        };
        for piece in &self.pieces {
            let handle = match &piece.content {
                Content::Lent(lot) => lend(lot)?,
                Content::Along(bytes) => Handle { offset: 0, len: bytes.len() as u64, slot: ALONG },
            };
            message.extend(Handle { slot: handle.slot | piece.form, ..handle }.to_bytes());
        }
        if let Body::Lent(lot) = &self.body {
            message.extend(lend(lot)?.to_bytes());
        }
        for piece in &self.pieces {
            if let Content::Along(bytes) = &piece.content {
                message.extend_from_slice(bytes);
            }
        }
        if let Body::Bytes(bytes) = &self.body {
            message.extend_from_slice(bytes_of(bytes));
        }
        Ok(message)
    }
}

/// The bytes of a `bytes` object, which never change.
fn bytes_of(object: &Py<PyBytes>) -> &[u8] {
    // SAFETY: the object is alive as long as the reference, and CPython neither moves nor changes the bytes of an exact
    // `bytes` object; reading them takes no reference count and so needs no GIL.
    unsafe {
        let pointer = object.as_ptr();
        let begin = ffi::PyBytes_AS_STRING(pointer).cast::<u8>();
        std::slice::from_raw_parts(begin, ffi::Py_SIZE(pointer) as usize)
    }
}

/// Where the bytes of a part are.
#[derive(Debug)]
enum Part {
    Here(Range<usize>),
    Lent(Loan),
}

/// A packed call or result, on the side that has received it.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    body: Part,
    /// And which of them are to be `bytes`.
    buffers: Vec<(Part, bool)>,
    pub(crate) has_failed: bool,
}

impl Packed {
    /// Opens a message, whose handles are of the arena that the holder knows.
    pub(crate) fn open(message: Message, holder: Option<&Holder>) -> Result<Self, Fault> {
        let Message { head, bytes } = message;
        let is_lent = head.parts & BODY_IS_LENT != 0;
        let count = (head.parts & !BODY_IS_LENT) as usize;
        let mut at = count.checked_mul(Handle::SIZE).filter(|at| *at <= bytes.len()).ok_or(Fault::Garbled)?;
        let mut parts = Vec::with_capacity(count);
        for handle in bytes[..at].chunks_exact(Handle::SIZE) {
            let handle = Handle::from_bytes(handle.try_into().map_err(|_| Fault::Garbled)?);
            let is_bytes = handle.slot & AS_BYTES != 0;
            let handle = Handle { slot: handle.slot & !AS_BYTES, ..handle };
            let part = if handle.slot == ALONG {
                let end = usize::try_from(handle.len).ok().and_then(|len| at.checked_add(len));
                let end = end.filter(|end| *end <= bytes.len()).ok_or(Fault::Garbled)?;
                Part::Here(std::mem::replace(&mut at, end)..end)
            } else {
                Part::Lent(holder.ok_or(Fault::Garbled)?.receive(handle)?)
            };
            parts.push((part, is_bytes));
        }
        let body = if is_lent { parts.pop().ok_or(Fault::Garbled)?.0 } else { Part::Here(at..bytes.len()) };
        Ok(Self { bytes, body, buffers: parts, has_failed: head.kind == Kind::Error })
    }

    /// Rebuilds what was packed, which may run code of Python.
    pub(crate) fn rebuild<'py>(self: &Arc<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let body = self.part(&self.body);
        if self.buffers.is_empty() && body.len() <= SHORT {
            return plain::loads(&PyBytes::new(py, body));
        }
        let _pause = (body.len() >= LONG).then(|| lull::Lull::begin(py));
        let parcel = Bound::new(py, Parcel(Arc::clone(self)))?;
        let buffers = parcel.get().buffers(py)?;
        let words = [(intern!(py, "buffers"), buffers)].into_py_dict(py)?;
        call::call(&names::loads(py)?, &PyTuple::new(py, [parcel])?, Some(&words))
    }

    fn part<'a>(&'a self, part: &'a Part) -> &'a [u8] {
        match part {
            Part::Here(range) => &self.bytes[range.clone()],
            Part::Lent(loan) => loan,
        }
    }
}

/// A packed call or result, for Python to read where it is.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Parcel(Arc<Packed>);

impl Parcel {
    pub(crate) fn new(packed: Arc<Packed>) -> Self {
        Self(packed)
    }
}

#[pymethods]
impl Parcel {
    /// Return the buffers beside the body, each an object of its own that can be written to, or `bytes`.
    pub(crate) fn buffers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let made = self.0.buffers.iter().map(|(part, is_bytes)| {
            if *is_bytes {
                return Ok(blank::bytes_of(py, self.0.part(part))?.into_any());
            }
            if let Part::Lent(loan) = part {
                if loan.len() >= MAPPED {
                    // Where there are too many mappings already, a copy will do.
                    if let Ok(private) = loan.to_private() {
                        return Ok(Bound::new(py, Cargo(private))?.into_any());
                    }
                }
            }
            Ok(PyByteArray::new(py, self.0.part(part)).into_any())
        });
        PyTuple::new(py, made.collect::<PyResult<Vec<_>>>()?)
    }

    /// Return what was packed.
    fn rebuild<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.rebuild(py)
    }

    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let packed = &slf.get().0;
        // SAFETY: the interpreter passes a view to be filled in. The bytes live as long as the object, and nobody changes them.
        unsafe { fill(slf.as_any(), view, packed.part(&packed.body), true, flags) }
    }
}

/// A buffer of another process, as this one sees it: what is written here the other does not see.
#[pyclass(module = "tercet._tercet", frozen)]
struct Cargo(PrivateLoan);

#[pymethods]
impl Cargo {
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the interpreter passes a view to be filled in. The mapping is this object's own and lives as long; Rust reads none
        // of it after this, so Python may write to it.
        unsafe { fill(slf.as_any(), view, &slf.get().0, false, flags) }
    }
}

/// Called before this process is copied.
#[pyfunction]
pub(crate) fn about_to_fork() {
    tercet_shm::about_to_fork();
}

/// Fills in a view of bytes that an object owns.
///
/// # Safety
/// The view is one to be filled in; the bytes live as long as the owner, and may be written to unless they are for reading.
unsafe fn fill(
    owner: &Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    bytes: &[u8],
    is_read_only: bool,
    flags: c_int,
) -> PyResult<()> {
    let begin = bytes.as_ptr().cast_mut().cast();
    let length = bytes.len() as ffi::Py_ssize_t;
    // SAFETY: as the caller promises; the view takes a reference to the owner.
    let filled =
        unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), begin, length, c_int::from(is_read_only), flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}
