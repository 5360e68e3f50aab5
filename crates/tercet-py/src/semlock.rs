//! Semaphores, locks and events between processes, as `multiprocessing` knows them.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pyo3::exceptions::{PyAssertionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tercet_shm::{Cell, Event, Semaphore};

use crate::error::Error;
use crate::pause::{self, Deadline};

const RECURSIVE: u32 = 0;
/// What a semaphore counts to.
const MOST: u32 = i32::MAX as u32;

/// The number of this thread, never given to another one.
fn me() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static ME: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    ME.with(|me| *me)
}

/// A semaphore or lock between processes, in shared memory.
///
/// Parameters
/// ----------
/// kind
///     0 for a lock that its owner may take again, 1 for a semaphore.
/// value, maxvalue
///     How many there are at first, and how many there may be.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct SemLock {
    semaphore: Semaphore,
    kind: u32,
    most: u32,
    /// How many this process has, and the thread that took the last one. All accesses are under the GIL, or by the owner alone.
    count: AtomicU32,
    owner: AtomicU64,
}

impl SemLock {
    fn with(semaphore: Semaphore, kind: u32, most: u32) -> Self {
        Self { semaphore, kind, most, count: AtomicU32::new(0), owner: AtomicU64::new(0) }
    }

    fn is_mine(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.owner.load(Ordering::Relaxed) == me()
    }

    fn took(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.owner.store(me(), Ordering::Relaxed);
        true
    }
}

#[pymethods]
impl SemLock {
    #[classattr]
    const SEM_VALUE_MAX: u32 = MOST;

    #[new]
    fn new(kind: u32, value: u32, maxvalue: u32) -> PyResult<Self> {
        if kind > 1 {
            return Err(PyValueError::new_err("unrecognized kind"));
        }
        Ok(Self::with(Semaphore::create(value).map_err(Error::from)?, kind, maxvalue))
    }

    /// Return a semaphore that another process has made; the descriptor is its own from now on.
    #[staticmethod]
    fn _from_fd(fd: RawFd, offset: usize, size: usize, kind: u32, maxvalue: u32) -> PyResult<Self> {
        // SAFETY: the caller passes a descriptor that nobody else in this process owns.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let cell = Cell::from_fd(file, offset, size).map_err(Error::from)?;
        Ok(Self::with(Semaphore::open(cell).map_err(Error::from)?, kind, maxvalue))
    }

    /// Return the descriptor of the segment that it lies in.
    fn fileno(&self) -> RawFd {
        self.semaphore.cell().segment().as_fd().as_raw_fd()
    }

    /// Return its place in that segment and its size.
    fn _place(&self) -> (usize, usize) {
        (self.semaphore.cell().offset(), self.semaphore.cell().len())
    }

    #[getter]
    fn handle(&self) -> usize {
        self.semaphore.cell().as_ptr() as usize
    }

    #[getter]
    fn kind(&self) -> u32 {
        self.kind
    }

    #[getter]
    fn maxvalue(&self) -> u32 {
        self.most
    }

    /// It has none, unlike the standard library's.
    #[classattr]
    fn name() -> Option<String> {
        None
    }

    /// Acquire it: whether that was possible in time.
    #[pyo3(signature = (block=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        if self.kind == RECURSIVE && self.is_mine() {
            return Ok(self.took());
        }
        if self.semaphore.try_acquire() {
            return Ok(self.took());
        }
        if !block {
            return Ok(false);
        }
        let deadline = Deadline::of(timeout)?;
        loop {
            let goes_on = pause::doze(py, deadline, |until| self.semaphore.wait(until));
            if self.semaphore.try_acquire() {
                // A signal's exception goes first; the semaphore goes back.
                if let Err(error) = goes_on {
                    self.semaphore.release(self.most);
                    return Err(error);
                }
                return Ok(self.took());
            }
            if !matches!(goes_on, Ok(true)) {
                self.semaphore.pass_on();
                return goes_on;
            }
        }
    }

    /// Release it.
    fn release(&self) -> PyResult<()> {
        if self.kind == RECURSIVE {
            if !self.is_mine() {
                return Err(PyAssertionError::new_err("attempt to release recursive lock not owned by thread"));
            }
            if self.count.load(Ordering::Relaxed) > 1 {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        // The count goes first: the next owner in this process may come at once.
        let count = self.count.fetch_sub(1, Ordering::Relaxed);
        if self.semaphore.release(self.most) {
            return Ok(());
        }
        self.count.store(count, Ordering::Relaxed);
        Err(PyValueError::new_err("semaphore or lock released too many times"))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release()
    }

    /// How often this process has it.
    fn _count(&self) -> i32 {
        self.count.load(Ordering::Relaxed) as i32
    }

    /// Whether this thread took it last.
    fn _is_mine(&self) -> bool {
        self.is_mine()
    }

    /// Its value at this moment.
    fn _get_value(&self) -> u32 {
        self.semaphore.value()
    }

    /// Whether there is none at this moment.
    fn _is_zero(&self) -> bool {
        self.semaphore.value() == 0
    }

    /// Forget, in a child process, what its parent has.
    fn _after_fork(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

/// Something that processes wait for, in shared memory.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct SharedEvent(Event);

#[pymethods]
impl SharedEvent {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self(Event::create().map_err(Error::from)?))
    }

    /// Return an event that another process has made; the descriptor is its own from now on.
    #[staticmethod]
    fn _from_fd(fd: RawFd, offset: usize, size: usize) -> PyResult<Self> {
        // SAFETY: the caller passes a descriptor that nobody else in this process owns.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let cell = Cell::from_fd(file, offset, size).map_err(Error::from)?;
        Ok(Self(Event::open(cell).map_err(Error::from)?))
    }

    /// Return the descriptor of the segment that it lies in.
    fn fileno(&self) -> RawFd {
        self.0.cell().segment().as_fd().as_raw_fd()
    }

    /// Return its place in that segment and its size.
    fn _place(&self) -> (usize, usize) {
        (self.0.cell().offset(), self.0.cell().len())
    }

    /// Whether it is set.
    fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Set it, and wake all who wait.
    fn set(&self) {
        self.0.set();
    }

    /// Take it back.
    fn clear(&self) {
        self.0.clear();
    }

    /// Wait until it is set: whether it was, in time.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let deadline = Deadline::of(timeout)?;
        let mark = self.0.mark();
        while !self.0.has_happened(mark) {
            if !pause::doze(py, deadline, |until| self.0.wait(mark, until))? {
                return Ok(self.0.has_happened(mark));
            }
        }
        Ok(true)
    }
}
