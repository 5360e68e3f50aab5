//! What a loop consists of.
//!
//! Life cycle
//! ----------
//! 1. `LoopCore()` makes the selector and the waker. The class in Python makes the rest, and both halves are one object.
//! 2. `_turns` runs turns until somebody has called `stop`. While it does, the loop belongs to its thread.
//! 3. `_release` gives back all that it owns: errands, watches, descriptors. Everything after that raises.
//!
//! Guarantees
//! ----------
//! - The letter box keeps the order in which letters come, and every letter is found: it is emptied before each sleep, after the
//!   loop has announced that it sleeps.
//! - Python objects are let go of by a thread that holds the GIL, and never while state is entered.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tercet_reactor::{Events, Pulse, Selector, Slots, Timers, Waker};

use super::errand::Errand;
use super::object::{Own, Raw};
use super::{channel, handle, stream};

/// The token of the waker, which no descriptor can have.
pub(super) const WAKER: u64 = u64::MAX;
/// What one read can bring.
pub(super) const BUFFER: usize = 256 * 1024;

/// Where other threads leave handles.
pub(super) struct LetterBox {
    letters: Vec<Py<PyAny>>,
    waker: Arc<Waker>,
}

/// The native half of an event loop. `tercet.EventLoop` is the class to use.
#[pyclass(module = "tercet._tercet", subclass, frozen)]
pub(crate) struct LoopCore {
    pub(super) selector: Own<Option<Arc<Selector>>>,
    /// Where the selector puts what it finds. It is taken while it is used.
    pub(super) events: Own<Option<Events>>,
    pub(super) slots: Own<Slots<Errand>>,
    /// What callbacks watch that is no number: it is found by itself when it has been closed.
    pub(super) files: Own<BTreeMap<i32, Py<PyAny>>>,
    pub(super) timers: Own<Timers<Py<PyAny>>>,
    pub(super) ready: Own<VecDeque<Errand>>,
    /// Transports with something to send at the end of the turn.
    pub(super) unsent: Own<Vec<Py<PyAny>>>,
    /// The open transport of each descriptor, borrowed: a transport takes itself out before it goes.
    pub(super) transports: Own<Vec<Raw>>,
    /// Descriptors whose watch is kept armed for the next operation on the same socket.
    pub(super) resting: Own<Vec<(i32, tercet_reactor::Direction)>>,
    /// What reads go through. It is taken while it is used.
    pub(super) buffer: Own<Option<Box<[u8]>>>,
    pub(super) letter_box: Mutex<Option<LetterBox>>,
    /// The thread that runs the loop; 0 for none.
    pub(super) owner: Cell<usize>,
    /// What the guard looks at.
    pub(super) pulse: Arc<Pulse>,
    pub(super) is_debugging: Cell<bool>,
    pub(super) is_closed: Cell<bool>,
    pub(super) is_stopping: Cell<bool>,
    /// When the selector was last asked, and how many errands were done since.
    pub(super) asked_ns: Cell<u64>,
    pub(super) done_since: Cell<u32>,
}

// SAFETY: what is not a lock is touched by one thread at a time: by the one that runs the loop, or by one that holds the GIL.
unsafe impl Send for LoopCore {}
// SAFETY: as above.
unsafe impl Sync for LoopCore {}

pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    static IS_PREPARED: PyOnceLock<()> = PyOnceLock::new();
    IS_PREPARED
        .get_or_try_init(py, || {
            handle::prepare(py)?;
            stream::prepare(py)?;
            channel::prepare(py)
        })
        .map(drop)
}

pub(super) fn this_thread() -> usize {
    // SAFETY: it may be called by any thread.
    unsafe { ffi::PyThread_get_thread_ident() as usize }
}

impl LoopCore {
    /// Makes a loop.
    pub(super) fn open(py: Python<'_>) -> PyResult<Self> {
        prepare(py)?;
        let selector = Selector::new()?;
        let waker = Arc::new(Waker::new(&selector, WAKER)?);
        Ok(Self {
            selector: Own::new(Some(Arc::new(selector))),
            events: Own::new(None),
            slots: Own::new(Slots::default()),
            files: Own::new(BTreeMap::new()),
            timers: Own::new(Timers::default()),
            ready: Own::new(VecDeque::new()),
            unsent: Own::new(Vec::new()),
            transports: Own::new(Vec::new()),
            resting: Own::new(Vec::new()),
            buffer: Own::new(None),
            letter_box: Mutex::new(Some(LetterBox { letters: Vec::new(), waker })),
            owner: Cell::new(0),
            pulse: Arc::default(),
            is_debugging: Cell::new(false),
            is_closed: Cell::new(false),
            is_stopping: Cell::new(false),
            asked_ns: Cell::new(0),
            done_since: Cell::new(0),
        })
    }

    /// Something has gone out. At its other end may be something of this loop, so the selector is asked in the next turn.
    pub(super) fn has_spoken(&self) {
        self.asked_ns.set(0);
    }

    pub(super) fn is_debugging(&self) -> bool {
        self.is_debugging.get()
    }

    /// Whether turns are running, in whichever thread.
    pub(super) fn is_running(&self) -> bool {
        self.owner.get() != 0
    }

    /// Whether this thread may touch the loop: it runs it, or nobody does.
    pub(super) fn is_mine(&self) -> bool {
        let owner = self.owner.get();
        owner == 0 || owner == this_thread()
    }

    /// # Errors
    /// What everything says of a closed loop.
    pub(super) fn check_open(&self) -> PyResult<()> {
        if self.is_closed.get() { Err(PyRuntimeError::new_err("Event loop is closed")) } else { Ok(()) }
    }

    /// The selector.
    pub(super) fn selector(&self) -> PyResult<Arc<Selector>> {
        self.selector.with(|selector| selector.clone()).ok_or_else(|| PyRuntimeError::new_err("Event loop is closed"))
    }

    /// Has something done in this turn, if it has not begun with its errands yet, or in the next.
    pub(super) fn soon(&self, errand: Errand) {
        self.ready.with(|ready| ready.push_back(errand));
    }

    /// Leaves a handle in the letter box, and wakes the loop.
    pub(super) fn post(&self, handle: Bound<'_, PyAny>) {
        let handle = handle.unbind();
        let mut letter_box = self.letter_box.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(letter_box) = letter_box.as_mut() else {
            // SAFETY: letters are handles of ours.
            unsafe { handle::tell_the_collector(handle.as_ptr()) };
            return;
        };
        letter_box.letters.push(handle);
        letter_box.waker.wake();
    }

    /// Wakes the loop.
    pub(super) fn wake(&self) {
        let letter_box = self.letter_box.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(letter_box) = letter_box.as_ref() {
            letter_box.waker.wake();
        }
    }

    /// The waker, for the thread that sleeps.
    pub(super) fn waker(&self) -> Option<Arc<Waker>> {
        let letter_box = self.letter_box.lock().unwrap_or_else(PoisonError::into_inner);
        letter_box.as_ref().map(|letter_box| Arc::clone(&letter_box.waker))
    }

    /// Empties the letter box. Returns whether there was anything.
    pub(super) fn collect(&self) -> bool {
        let mut letter_box = self.letter_box.lock().unwrap_or_else(PoisonError::into_inner);
        let letters = letter_box.as_mut().map(|letter_box| std::mem::take(&mut letter_box.letters));
        drop(letter_box);
        let letters = letters.unwrap_or_default();
        if letters.is_empty() {
            return false;
        }
        self.ready.with(|ready| ready.extend(letters.into_iter().map(|object| Errand { object, act: handle::run })));
        true
    }

    /// Marks one timer of the heap as dead.
    pub(super) fn call_off(&self, py: Python<'_>) {
        if !self.timers.with(Timers::bury) {
            return;
        }
        // SAFETY: the heap holds handles of ours only.
        let lives = |timer: &Py<PyAny>| unsafe { !handle::Handle::of(timer.as_ptr()).is_cancelled() };
        let dead = self.timers.with(|timers| timers.sweep(lives));
        for timer in dead {
            let timer = timer.into_bound(py);
            // SAFETY: as above; the reference is the heap's.
            unsafe {
                handle::Handle::of(timer.as_ptr()).leave_the_heap();
                handle::settle(timer.as_ptr());
            }
        }
    }

    /// Tells the collector of all handles that wait: the loop has ended its run, and may be garbage from now on.
    pub(super) fn tell_the_collector(&self) {
        // Telling it runs nothing. SAFETY: letters, such errands and the heap hold handles of ours only.
        let tell = |handle: &Py<PyAny>| unsafe { handle::tell_the_collector(handle.as_ptr()) };
        let letter_box = self.letter_box.lock().unwrap_or_else(PoisonError::into_inner);
        letter_box.iter().flat_map(|letter_box| &letter_box.letters).for_each(tell);
        drop(letter_box);
        self.ready.with(|ready| {
            ready.iter().filter(|errand| errand.is(handle::run)).for_each(|errand| tell(&errand.object));
        });
        self.timers.with(|timers| timers.iter().for_each(tell));
    }

    /// The open transport that owns a descriptor.
    pub(super) fn transport_at<'py>(&self, py: Python<'py>, fd: i32) -> Option<Bound<'py, PyAny>> {
        let place = usize::try_from(fd).ok()?;
        let transport = self.transports.with(|transports| transports.get(place).copied())?;
        // SAFETY: a transport takes itself out before it goes.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, transport) }
    }

    /// Says which transport owns a descriptor; null for none.
    pub(super) fn set_transport(&self, fd: i32, transport: Raw) {
        let Ok(place) = usize::try_from(fd) else { return };
        self.transports.with(|transports| {
            if place >= transports.len() {
                transports.resize(place + 1, std::ptr::null_mut());
            }
            transports[place] = transport;
        });
    }
}
