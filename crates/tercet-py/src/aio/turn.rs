//! One turn of the loop.
//!
//! ```text
//!   1. letters of other threads join the ready queue
//!   2. the selector is asked: not at all while there is plenty to do and nothing has gone out, without a wait if there is anything to
//!      do, else until the first timer is due. The GIL is released only for a wait
//!   3. what was found is done: reads and writes of transports at once, or after what is ready already, as in `asyncio`; callbacks of
//!      `add_reader` always through the ready queue
//!   4. timers that are due join the ready queue
//!   5. exactly what is ready now is done; what it schedules waits for the next turn
//!   6. what transports have collected is sent, one call each
//! ```
//!
//! An error that ends the loop (`KeyboardInterrupt`, `SystemExit`) leaves what is not done yet where it is. What was to be sent is sent
//! even so.
//!
//! Rules of re-entrance
//! --------------------
//! - Every errand is taken out of the queue before it is done.
//! - What was found is looked up one by one, since each may close the others; a slot's generation tells what is out of date.
//! - One context is entered at a time, and left before anything but an errand's own callback runs.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::*;
use tercet_reactor::{Events, Timers, clock_ns};

use super::core::{LoopCore, WAKER};
use super::errand::Errand;
use super::object::Raw;
use super::{handle, socket, watch, writing};
use crate::door::Door;

/// How much is done, and how long, before the selector is asked again.
const ERRANDS_BETWEEN: u32 = 64;
const NS_BETWEEN: u64 = 250_000;

/// A thread that does the errands of a loop. It leaves its context even when it panics.
pub(super) struct Turn<'py> {
    pub(super) py: Python<'py>,
    pub(super) owner: Bound<'py, LoopCore>,
    pub(super) core: &'py LoopCore,
    /// The context that is entered, owned: leaving it must not be the end of it. Null for none.
    entered: Cell<Raw>,
}

impl<'py> Turn<'py> {
    pub(super) fn new(owner: &Bound<'py, LoopCore>) -> Self {
        let owner = owner.clone();
        // SAFETY: the turn owns the loop for as long as it uses the reference, and a frozen class is never moved.
        let core = unsafe { &*std::ptr::from_ref(owner.get()) };
        Self { py: owner.py(), owner, core, entered: Cell::new(std::ptr::null_mut()) }
    }

    /// Runs one turn.
    pub(super) fn run(&self) -> PyResult<()> {
        let result = self.poll().and_then(|()| {
            self.due();
            self.errands()
        });
        self.leave();
        let sent = writing::flush_all(self);
        self.leave();
        result.and(sent)
    }

    /// Enters a context, unless it is entered already.
    ///
    /// # Errors
    /// Somebody else has entered it.
    pub(super) fn enter(&self, context: Raw) -> PyResult<()> {
        if self.entered.get() == context {
            return Ok(());
        }
        self.leave();
        // SAFETY: the context is a live one.
        if unsafe { ffi::PyContext_Enter(context) } < 0 {
            return Err(PyErr::fetch(self.py));
        }
        // SAFETY: as above.
        self.entered.set(unsafe { ffi::Py_NewRef(context) });
        Ok(())
    }

    /// Leaves the context that is entered. No error may be pending.
    pub(super) fn leave(&self) {
        let context = self.entered.replace(std::ptr::null_mut());
        if context.is_null() {
            return;
        }
        // SAFETY: it was entered, and is owned until the end.
        if unsafe { ffi::PyContext_Exit(context) } < 0 {
            PyErr::fetch(self.py).write_unraisable(self.py, None);
        }
        // SAFETY: as above.
        unsafe { ffi::Py_DECREF(context) };
    }

    /// Tells a method of the loop's about an error of something.
    pub(super) fn report(&self, method: &str, object: &Bound<'py, PyAny>, error: PyErr) -> PyResult<()> {
        self.leave();
        self.owner.call_method1(method, (object, error.into_value(self.py))).map(drop)
    }

    /// Does something and says so if it took too long: debug mode.
    pub(super) fn timed(&self, handle: Raw, act: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
        // SAFETY: the handle lives, as its errand says.
        let handle = unsafe { Bound::from_borrowed_ptr(self.py, handle) };
        self.owner.setattr("_current_handle", &handle)?;
        let begun_ns = clock_ns();
        let result = act();
        let took_s = (clock_ns() - begun_ns) as f64 / 1e9;
        self.leave();
        self.owner.setattr("_current_handle", self.py.None())?;
        result?;
        self.owner.call_method1("_report_slow", (handle, took_s)).map(drop)
    }

    fn poll(&self) -> PyResult<()> {
        let core = self.core;
        core.collect();
        let is_busy = core.is_stopping.get() || core.ready.with(|ready| !ready.is_empty());
        if is_busy && !self.is_time_to_ask() {
            return Ok(());
        }
        core.done_since.set(0);
        socket::end_rests(self);
        let selector = core.selector()?;
        core.slots.with(|slots| slots.apply(&selector));
        let mut events = core.events.with(Option::take).unwrap_or_default();
        let found = if is_busy { selector.wait(&mut events, Some(0)) } else { self.sleep(&selector, &mut events) };
        core.asked_ns.set(clock_ns());
        let result = match found {
            Ok(0) => Ok(()),
            Ok(_) => self.dispatch(&events),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        };
        core.events.with(|place| *place = Some(events));
        result?;
        // A signal may have come, and no Python has run since.
        self.py.check_signals()
    }

    fn is_time_to_ask(&self) -> bool {
        let core = self.core;
        core.done_since.get() >= ERRANDS_BETWEEN || clock_ns() - core.asked_ns.get() >= NS_BETWEEN
    }

    /// Waits for something to be ready, for the first timer, or for a letter.
    fn sleep(&self, selector: &tercet_reactor::Selector, events: &mut Events) -> std::io::Result<usize> {
        let core = self.core;
        let deadline_ns = core.timers.with(|timers| timers.next_deadline_ns());
        let timeout_ns = deadline_ns.map(|deadline| deadline.saturating_sub(clock_ns()));
        if timeout_ns == Some(0) {
            return selector.wait(events, Some(0));
        }
        let Some(waker) = core.waker() else { return Ok(0) };
        waker.announce();
        core.pulse.rest();
        let timeout_ns = if core.collect() || core.is_stopping.get() { Some(0) } else { timeout_ns };
        let found = self.py.outside(|| selector.wait(events, timeout_ns));
        waker.withdraw();
        core.collect();
        found
    }

    fn dispatch(&self, events: &Events) -> PyResult<()> {
        if self.core.ready.with(|ready| !ready.is_empty()) {
            return self.dispatch_later(events);
        }
        for ready in events.iter() {
            if ready.token == WAKER {
                continue;
            }
            // Each direction is looked up when its turn has come: the first may have closed the descriptor.
            if ready.read {
                self.dispatch_one(ready.token, true)?;
            }
            if ready.write {
                self.dispatch_one(ready.token, false)?;
            }
        }
        self.leave();
        Ok(())
    }

    /// Puts what was found behind what is ready already, which may be what is to hear of it.
    fn dispatch_later(&self, events: &Events) -> PyResult<()> {
        for ready in events.iter().filter(|ready| ready.token != WAKER) {
            if ready.read {
                self.dispatch_one_later(ready.token, true)?;
            }
            if ready.write {
                self.dispatch_one_later(ready.token, false)?;
            }
        }
        Ok(())
    }

    fn dispatch_one_later(&self, token: u64, is_read: bool) -> PyResult<()> {
        // A callback goes through the ready queue by itself. Twice would be too late: the next wait would find the same again.
        if self.watch_of(token, is_read).is_some_and(|errand| errand.is(watch::call_back)) {
            return self.dispatch_one(token, is_read);
        }
        let token = token.into_pyobject(self.py)?.into_any();
        self.core.soon(Errand::new(token, if is_read { read_found } else { write_found }));
        Ok(())
    }

    fn dispatch_one(&self, token: u64, is_read: bool) -> PyResult<()> {
        let errand = self.watch_of(token, is_read);
        self.core.pulse.beat();
        errand.map_or(Ok(()), |errand| errand.run(self))
    }

    /// What is to be done when this is found. What is out of date has none.
    fn watch_of(&self, token: u64, is_read: bool) -> Option<Errand> {
        self.core.slots.with(|slots| {
            let (_, reader, writer) = slots.found(token)?;
            let errand = if is_read { reader } else { writer };
            errand.map(|errand| errand.again(self.py))
        })
    }

    fn due(&self) {
        let core = self.core;
        if core.timers.with(|timers| timers.is_empty()) {
            return;
        }
        let now_ns = clock_ns();
        // What was called off is let go of when it comes to the top, as in `asyncio`: it may hold much, and wake the loop for nothing.
        // SAFETY: the heap holds handles of ours only.
        let is_dead = |timer: &Py<PyAny>| unsafe { handle::Handle::of(timer.as_ptr()).is_cancelled() };
        let next = |timers: &mut Timers<Py<PyAny>>| {
            if timers.first().is_some_and(is_dead) { timers.pop() } else { timers.pop_due(now_ns) }
        };
        while let Some(timer) = core.timers.with(next) {
            let timer = timer.into_bound(self.py);
            // SAFETY: the heap holds handles of ours only.
            let fields = unsafe { handle::Handle::of(timer.as_ptr()) };
            fields.leave_the_heap();
            if fields.is_cancelled() {
                core.timers.with(Timers::unearth);
                // SAFETY: as above; the reference is the heap's.
                unsafe { handle::settle(timer.as_ptr()) };
            } else {
                core.soon(Errand::new(timer, handle::run));
            }
        }
    }

    fn errands(&self) -> PyResult<()> {
        let core = self.core;
        let count = core.ready.with(|ready| ready.len());
        core.done_since.set(core.done_since.get().saturating_add(count as u32));
        for _ in 0..count {
            let Some(errand) = core.ready.with(std::collections::VecDeque::pop_front) else { break };
            core.pulse.beat();
            errand.run(self)?;
        }
        Ok(())
    }
}

fn read_found(turn: &Turn<'_>, token: Raw) -> PyResult<()> {
    turn.dispatch_one(token_of(turn, token)?, true)
}

fn write_found(turn: &Turn<'_>, token: Raw) -> PyResult<()> {
    turn.dispatch_one(token_of(turn, token)?, false)
}

fn token_of(turn: &Turn<'_>, token: Raw) -> PyResult<u64> {
    // SAFETY: the errand owns the number.
    unsafe { Bound::from_borrowed_ptr(turn.py, token) }.extract()
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
