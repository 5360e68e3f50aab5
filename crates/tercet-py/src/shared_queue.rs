//! A queue between processes, as Python holds it.
//!
//! A message is one frame of `tercet_shm::Queue`. What it consists of is told by its kind:
//!
//! ```text
//! Bytes     a `bytes` object, as it is
//! Pickle    a pickle
//! Buffers   number of buffers (8), length of each (8), length of the pickle (8), the buffers, the pickle
//! ```
//!
//! Locking
//! -------
//! The locks of the queue are taken with the GIL held only where that needs no wait, and no Python runs while one is held:
//! nobody who has a lock waits for the GIL of somebody who waits for the lock. What is made under a lock are objects without
//! references, which the collector does not know.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use tercet_shm::{Access, Parts, Queue, Segment, Turn};

use crate::call;
use crate::door::Door;
use crate::error::Error;
use crate::names;
use crate::pause::{self, Deadline};
use crate::view::View;

const BYTES: u32 = 1;
const PICKLE: u32 = 2;
const BUFFERS: u32 = 3;

/// How long the lock is waited for between two looks at signals.
const PATIENCE: Option<Duration> = Some(Duration::from_millis(200));
/// What it costs to touch a megabyte of fresh pages: so long a producer that is far ahead waits for consumers, if there are any.
const FRESH_MB: Duration = Duration::from_millis(1);
/// What takes longer to copy is copied without the GIL.
const LARGE: usize = 256 << 10;

/// The native half of `tercet.Queue` and `tercet.SimpleQueue`.
#[pyclass(module = "tercet._tercet", subclass, frozen)]
pub(crate) struct SharedQueue {
    queue: OnceLock<Queue>,
    is_closed: AtomicBool,
    is_used: AtomicBool,
    /// How many messages had been taken when a producer of this process waited for consumers in vain.
    waited_at: AtomicU32,
}

/// A message, as it was taken: its kind, its bytes, and the buffers that stood before them.
struct Message {
    kind: u32,
    bytes: Py<PyBytes>,
    buffers: Vec<Py<PyAny>>,
}

impl SharedQueue {
    fn queue(&self) -> PyResult<&Queue> {
        self.queue
            .get()
            .ok_or_else(|| PyValueError::new_err("the queue was not initialized: call `super().__init__()`"))
    }

    fn opened(&self, queue: Result<Queue, tercet_shm::Error>) -> PyResult<()> {
        let _ = self.queue.set(queue.map_err(Error::from)?);
        Ok(())
    }

    fn check_open(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().is_closed.load(Ordering::Relaxed) {
            return Err(PyValueError::new_err(format!("Queue {} is closed", slf.repr()?)));
        }
        Ok(())
    }

    /// Puts what is packed. False if there is no room in time.
    fn push(&self, py: Python<'_>, deadline: Option<Deadline>, mut parts: Parts<'_>) -> PyResult<bool> {
        let queue = self.queue()?;
        let len = parts.bytes.iter().map(|part| part.len()).sum::<usize>();
        let is_large = len > LARGE;
        parts.is_eager = deadline.is_none();
        // Without a look at the clock where nobody is far ahead.
        let mut brake = None;
        loop {
            let mut turn = if is_large { Turn::Busy } else { queue.push(None, parts).map_err(Error::from)? };
            if turn == Turn::Busy {
                turn = py.outside(|| queue.push(PATIENCE, parts)).map_err(Error::from)?;
            }
            let goes_on = match (turn, deadline) {
                (Turn::Done(()), _) => return Ok(true),
                (Turn::Busy, _) => py.check_signals().map(|()| true),
                (Turn::Ahead(taken), _) => {
                    let until = *brake.get_or_insert_with(|| Instant::now() + FRESH_MB * (1 + (len >> 20) as u32));
                    let is_vain = self.waited_at.load(Ordering::Relaxed) == taken;
                    parts.is_eager = is_vain || Instant::now() >= until;
                    if !parts.is_eager {
                        self.waited_at.store(taken, Ordering::Relaxed);
                        py.outside(|| queue.wait_for_consumers(taken, Some(until)));
                    }
                    py.check_signals().map(|()| true)
                }
                (Turn::Wait, None) => Ok(false),
                (Turn::Wait, Some(deadline)) if deadline.is_over() => Ok(false),
                (Turn::Wait, Some(deadline)) => {
                    pause::doze(py, deadline, |until| queue.wait_for_room(until)).map(|_| true)
                }
            };
            if !matches!(goes_on, Ok(true)) {
                queue.pass_on();
                return goes_on;
            }
        }
    }

    /// Takes a message. `None` if there is none in time.
    fn pop(&self, py: Python<'_>, deadline: Option<Deadline>) -> PyResult<Option<Message>> {
        let queue = self.queue()?;
        loop {
            let mut failure = None;
            let turn = queue
                .pop(None, |kind, frame| Message::read(py, kind, frame).map_err(|error| failure = Some(error)).ok());
            let goes_on = match turn.map_err(Error::from)? {
                Turn::Done(Some(message)) => return Ok(Some(message)),
                Turn::Done(None) => Err(failure.unwrap_or_else(|| PyOSError::new_err("a message cannot be read"))),
                Turn::Busy => {
                    let copied = |kind: u32, frame: &[u8]| Some((kind, frame.to_vec()));
                    let turn = py.outside(|| queue.pop(PATIENCE, copied)).map_err(Error::from)?;
                    if let Turn::Done(Some((kind, frame))) = turn {
                        return Message::read(py, kind, &frame).map(Some);
                    }
                    py.check_signals().map(|()| true)
                }
                Turn::Wait | Turn::Ahead(_) => match deadline {
                    Some(deadline) if !deadline.is_over() => {
                        pause::doze(py, deadline, |until| queue.wait_for_frame(until)).map(|_| true)
                    }
                    _ => Ok(false),
                },
            };
            if !matches!(goes_on, Ok(true)) {
                queue.pass_on();
                return goes_on.map(|_| None);
            }
        }
    }

    /// Packs and puts. False if there is no room in time.
    fn send(&self, object: &Bound<'_, PyAny>, deadline: Option<Deadline>) -> PyResult<bool> {
        let py = object.py();
        if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            return self.push(py, deadline, Parts { kind: BYTES, bytes: &[bytes.as_bytes()], is_eager: false });
        }
        let packed = if is_plain(object) {
            names::dumps(py)?.call1((object, 5))?
        } else {
            names::pack_message(py)?.call1((object,))?
        };
        if let Ok(bytes) = packed.cast_exact::<PyBytes>() {
            return self.push(py, deadline, Parts { kind: PICKLE, bytes: &[bytes.as_bytes()], is_eager: false });
        }
        let (pickle, buffers): (Bound<'_, PyBytes>, Vec<Bound<'_, PyAny>>) = packed.extract()?;
        let views = buffers.iter().map(View::of).collect::<PyResult<Vec<_>>>()?;
        let lengths = views.iter().map(|view| view.bytes().len()).chain([pickle.as_bytes().len()]);
        let head: Vec<u8> =
            std::iter::once(views.len()).chain(lengths).flat_map(|word| (word as u64).to_ne_bytes()).collect();
        let mut parts = vec![&head[..]];
        parts.extend(views.iter().map(View::bytes));
        parts.push(pickle.as_bytes());
        self.push(py, deadline, Parts { kind: BUFFERS, bytes: &parts, is_eager: false })
    }
}

/// Whether an object is of a class whose pickle nobody can have changed.
fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyBool>()
}

impl Message {
    /// Copies a frame. It makes objects that have no references, and runs no Python.
    fn read(py: Python<'_>, kind: u32, frame: &[u8]) -> PyResult<Self> {
        if kind != BUFFERS {
            return Ok(Self { kind, bytes: made_bytes(py, frame)?, buffers: Vec::new() });
        }
        let garbled = || PyValueError::new_err("a message between processes is garbled");
        let (count, mut rest) = word(frame).ok_or_else(garbled)?;
        let mut lengths = Vec::new();
        for _ in 0..=count {
            let (length, after) = word(rest).ok_or_else(garbled)?;
            lengths.push(length);
            rest = after;
        }
        lengths.pop();
        let mut buffers = Vec::new();
        for length in lengths {
            let (buffer, after) = rest.split_at_checked(length).ok_or_else(garbled)?;
            // SAFETY: the GIL is held, and the bytes are there to be read.
            let made = unsafe { ffi::PyByteArray_FromStringAndSize(buffer.as_ptr().cast(), length as ffi::Py_ssize_t) };
            // SAFETY: it is a new reference, or null with an error set.
            buffers.push(unsafe { Bound::from_owned_ptr_or_err(py, made) }?.unbind());
            rest = after;
        }
        Ok(Self { kind, bytes: made_bytes(py, rest)?, buffers })
    }

    fn unpack(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.kind == BYTES {
            return Ok(self.bytes.into_any());
        }
        let loads = names::loads(py)?;
        if self.buffers.is_empty() {
            return Ok(loads.call1((self.bytes,))?.unbind());
        }
        let words = PyDict::new(py);
        words.set_item("buffers", PyList::new(py, self.buffers)?)?;
        Ok(loads.call((self.bytes,), Some(&words))?.unbind())
    }
}

fn word(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_ne_bytes(*word) as usize, rest))
}

fn made_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyBytes>> {
    // SAFETY: the GIL is held, and the bytes are there to be read.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t) };
    // SAFETY: it is a new reference to a `bytes`, or null with an error set.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked().unbind()) }
}

/// Until when, as `block` and `timeout` say it; `None` for not at all.
fn deadline(block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Deadline>> {
    if block { Deadline::of(timeout).map(Some) } else { Ok(None) }
}

#[pymethods]
impl SharedQueue {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            queue: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            waited_at: AtomicU32::new(u32::MAX),
        }
    }

    /// Make a new queue for so many messages; 0 for any number.
    fn _create(&self, most: u32) -> PyResult<()> {
        self.opened(Queue::create(most))
    }

    /// Join a queue that another process has made; the descriptor is its own from now on.
    fn _join_fd(&self, fd: RawFd) -> PyResult<()> {
        // SAFETY: the caller passes a descriptor that nobody else in this process owns.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        self.opened(Segment::from_fd(file, Access::ReadWrite).and_then(Queue::open))
    }

    /// Return the descriptor of its memory.
    fn _fileno(&self) -> PyResult<RawFd> {
        Ok(self.queue()?.segment().as_fd().as_raw_fd())
    }

    /// Put an object at the end: whether there was room in time.
    #[pyo3(signature = (obj, block=true, timeout=None))]
    fn _put(&self, obj: &Bound<'_, PyAny>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let deadline = deadline(block, timeout)?;
        call::guarded(|| self.send(obj, deadline))
    }

    /// Put an object at the end.
    ///
    /// Parameters
    /// ----------
    /// obj
    ///     The object; it is pickled at once.
    /// block, timeout
    ///     Whether to wait for room, and for how many seconds at most.
    ///
    /// Raises
    /// ------
    /// queue.Full
    ///     There is no room, in time.
    /// ValueError
    ///     The queue is closed.
    #[pyo3(signature = (obj, block=true, timeout=None))]
    fn put(
        slf: &Bound<'_, Self>,
        obj: &Bound<'_, PyAny>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        Self::check_open(slf)?;
        slf.get().is_used.store(true, Ordering::Relaxed);
        let deadline = deadline(block, timeout)?;
        call::guarded(|| match slf.get().send(obj, deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err(names::error(names::full(py), None)),
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => {
                slf.call_method1("_refused", (error.into_value(py), obj)).map(drop)
            }
            Err(error) => Err(error),
        })
    }

    /// Take the object at the front.
    ///
    /// Parameters
    /// ----------
    /// block, timeout
    ///     Whether to wait for one, and for how many seconds at most.
    ///
    /// Returns
    /// -------
    /// object
    ///     The object.
    ///
    /// Raises
    /// ------
    /// queue.Empty
    ///     There is none, in time.
    /// ValueError
    ///     The queue is closed.
    #[pyo3(signature = (block=true, timeout=None))]
    fn get(slf: &Bound<'_, Self>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        Self::check_open(slf)?;
        match slf.get().pop(py, deadline(block, timeout)?)? {
            Some(message) => call::guarded(|| message.unpack(py)),
            None => Err(names::error(names::empty(py), None)),
        }
    }

    /// Put an object at the end if there is room at once.
    fn put_nowait(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::put(slf, obj, false, None)
    }

    /// Take the object at the front if there is one at once.
    fn get_nowait(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::get(slf, false, None)
    }

    /// Return how many objects there are at this moment.
    fn qsize(&self) -> PyResult<usize> {
        Ok(self.queue()?.len())
    }

    /// Return whether there is none at this moment.
    fn empty(&self) -> PyResult<bool> {
        if self.is_closed.load(Ordering::Relaxed) && self.is_used.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("handle is closed"));
        }
        Ok(self.queue()?.is_empty())
    }

    /// Return whether there is no room for another one at this moment.
    fn full(&self) -> PyResult<bool> {
        Ok(self.queue()?.is_full())
    }

    /// Put and take no more in this process.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    #[getter]
    fn _maxsize(&self) -> PyResult<u32> {
        let most = self.queue()?.most();
        Ok(if most == 0 { i32::MAX as u32 } else { most })
    }

    /// Say that an object that was taken is done with: whether there was one.
    fn _done(&self) -> PyResult<bool> {
        Ok(self.queue()?.frame_done())
    }

    /// Wait until every object that was put is done with.
    fn _join(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue()?;
        while queue.unfinished() > 0 {
            pause::doze(py, Deadline::NEVER, |until| queue.wait_until_done(until))?;
        }
        Ok(())
    }
}
