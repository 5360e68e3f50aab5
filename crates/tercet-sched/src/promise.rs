//! The state of one task, from the call to its outcome.
//!
//! Life cycle
//! ----------
//! ```text
//! Pending ---- start ----> Running ---- finish ----> Finished
//!    |  \------------------ finish (set by hand) ------^
//!    \-- cancel --> Cancelled -- start --> CancelledAndNotified
//! ```
//! Everything that changes passes through [`Promise::lock`], so that what the owner keeps beside the state (`extra`)
//! changes in the same step. [`Promise::state`] may be read by anybody without the lock.
//!
//! Guarantees
//! ----------
//! - A task is started by one worker only, and a cancelled one by none.
//! - An outcome is set once.
//! - Whoever left a latch before the end gets its event, once.
//! - Nothing is woken under the lock: the wakes are handed to the caller.
//!
//! Memory ordering
//! ---------------
//! The store of the state (release, under the lock) is the partner of the load in [`Promise::state`] (acquire). The
//! outcome itself is only read under the lock.

use std::ops::{Deref, DerefMut};

use crate::latch::{Latch, Wake};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, lock, try_lock};
use crate::tally::Tally;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It has not begun.
    Pending,
    /// A worker runs it.
    Running,
    /// It will not be run; nobody who waits for it to be settled has been told yet.
    Cancelled,
    /// It will not be run, and everybody has been told.
    CancelledAndNotified,
    /// It has an outcome.
    Finished,
}

impl State {
    const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Cancelled, Self::CancelledAndNotified, Self::Finished];

    /// Whether there is nothing to wait for: an outcome or the certainty that none will come.
    pub fn is_done(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Whether everybody who waits has been told: what `wait` and `as_completed` look at.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::CancelledAndNotified | Self::Finished)
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(self) -> bool {
        matches!(self, Self::Cancelled | Self::CancelledAndNotified)
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That the task is done, in any way.
    Done,
    /// That it is settled.
    Settled,
    /// That it is settled; a failure opens the latch at once.
    Failure,
}

/// Wakes to be sent once the lock is gone.
pub type Wakes = Vec<Wake>;

/// A task's state, its outcome `T`, and what its owner keeps beside them.
#[derive(Debug)]
pub struct Promise<T, X> {
    state: AtomicU8,
    inner: Mutex<Inner<T, X>>,
}

#[derive(Debug)]
struct Inner<T, X> {
    outcome: Option<T>,
    extra: X,
    waiters: Vec<Waiter>,
}

/// Who is told of the end.
#[derive(Debug)]
enum Waiter {
    Latch(Arc<Latch>, Interest),
    Tally(Arc<Tally>, usize),
}

/// The lock on a promise.
#[derive(Debug)]
pub struct Locked<'a, T, X> {
    state: &'a AtomicU8,
    inner: MutexGuard<'a, Inner<T, X>>,
}

impl<T, X> Promise<T, X> {
    /// A task that has not begun.
    pub fn new(extra: X) -> Self {
        let inner = Inner { outcome: None, extra, waiters: Vec::new() };
        Self { state: AtomicU8::new(State::Pending as u8), inner: Mutex::new(inner) }
    }

    /// Where the task stands.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// Everything of it, for as long as the lock is held.
    pub fn lock(&self) -> Locked<'_, T, X> {
        Locked { state: &self.state, inner: lock(&self.inner) }
    }

    /// The same, unless somebody else holds the lock.
    pub fn try_lock(&self) -> Option<Locked<'_, T, X>> {
        Some(Locked { state: &self.state, inner: try_lock(&self.inner)? })
    }
}

impl<T, X> Locked<'_, T, X> {
    /// Where the task stands.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// The outcome, if it is finished.
    pub fn outcome(&self) -> Option<&T> {
        self.inner.outcome.as_ref()
    }

    /// Changes the outcome by hand and returns the one before. Nobody is told.
    pub fn replace_outcome(&mut self, outcome: Option<T>) -> Option<T> {
        std::mem::replace(&mut self.inner.outcome, outcome)
    }

    /// Changes the state by hand. Those whom it satisfies are told.
    pub fn force(&mut self, state: State) -> Wakes {
        self.enter(state, false)
    }

    /// Begins the task. False if it was cancelled: those who wait for it to be settled are told.
    ///
    /// # Errors
    /// The state, if the task cannot begin because it has begun before.
    pub fn start(&mut self) -> Result<(bool, Wakes), State> {
        match self.state() {
            State::Pending => Ok((true, self.enter(State::Running, false))),
            State::Cancelled => Ok((false, self.enter(State::CancelledAndNotified, false))),
            other => Err(other),
        }
    }

    /// Cancels the task if it has not begun. `None` if it has; otherwise whether that was news, and whom to wake.
    pub fn cancel(&mut self) -> Option<(bool, Wakes)> {
        match self.state() {
            State::Pending => Some((true, self.enter(State::Cancelled, false))),
            State::Cancelled | State::CancelledAndNotified => Some((false, Wakes::new())),
            State::Running | State::Finished => None,
        }
    }

    /// Sets the outcome.
    ///
    /// # Errors
    /// The outcome and the state, if there is one already or the task was cancelled.
    pub fn finish(&mut self, outcome: T, has_failed: bool) -> Result<Wakes, (T, State)> {
        let state = self.state();
        if state.is_done() {
            return Err((outcome, state));
        }
        self.inner.outcome = Some(outcome);
        Ok(self.enter(State::Finished, has_failed))
    }

    /// Leaves a latch that gets an event when the task is what is waited for. False if it is that already.
    pub fn watch(&mut self, latch: &Arc<Latch>, interest: Interest) -> bool {
        let waits = !interest.is_met(self.state());
        if waits {
            self.inner.waiters.push(Waiter::Latch(Arc::clone(latch), interest));
        }
        waits
    }

    /// Has a tally note `number` when the task is settled. False if it is already.
    pub fn count(&mut self, tally: &Arc<Tally>, number: usize) -> bool {
        let waits = !self.state().is_settled();
        if waits {
            self.inner.waiters.push(Waiter::Tally(Arc::clone(tally), number));
        }
        waits
    }

    /// Takes a tally back.
    pub fn uncount(&mut self, tally: &Arc<Tally>) {
        self.inner.waiters.retain(|waiter| !matches!(waiter, Waiter::Tally(other, _) if Arc::ptr_eq(other, tally)));
    }

    /// Opens the latches of those who wait for an outcome, though there is none, so that they look again.
    pub fn nudge(&mut self) -> Wakes {
        let (told, kept) = std::mem::take(&mut self.inner.waiters)
            .into_iter()
            .partition::<Vec<_>, _>(|waiter| matches!(waiter, Waiter::Latch(_, Interest::Done)));
        self.inner.waiters = kept;
        told.into_iter().filter_map(|waiter| waiter.tell(false)).collect()
    }

    /// Takes a latch back. False if it has had its event.
    pub fn forget(&mut self, latch: &Arc<Latch>) -> bool {
        let before = self.inner.waiters.len();
        self.inner.waiters.retain(|waiter| !matches!(waiter, Waiter::Latch(other, _) if Arc::ptr_eq(other, latch)));
        self.inner.waiters.len() < before
    }

    fn enter(&mut self, state: State, has_failed: bool) -> Wakes {
        self.state.store(state as u8, Ordering::Release);
        if self.inner.waiters.is_empty() {
            return Wakes::new();
        }
        let (told, kept) =
            std::mem::take(&mut self.inner.waiters).into_iter().partition::<Vec<_>, _>(|waiter| waiter.is_met(state));
        self.inner.waiters = kept;
        told.into_iter().filter_map(|waiter| waiter.tell(has_failed)).collect()
    }
}

impl Waiter {
    fn is_met(&self, state: State) -> bool {
        match self {
            Self::Latch(_, interest) => interest.is_met(state),
            Self::Tally(..) => state.is_settled(),
        }
    }

    fn tell(self, has_failed: bool) -> Option<Wake> {
        match self {
            Self::Latch(latch, Interest::Failure) if has_failed => latch.open(),
            Self::Latch(latch, _) => latch.arrive(),
            Self::Tally(tally, number) => tally.note(number),
        }
    }
}

impl<T, X> Deref for Locked<'_, T, X> {
    type Target = X;

    fn deref(&self) -> &X {
        &self.inner.extra
    }
}

impl<T, X> DerefMut for Locked<'_, T, X> {
    fn deref_mut(&mut self) -> &mut X {
        &mut self.inner.extra
    }
}

impl Interest {
    fn is_met(self, state: State) -> bool {
        match self {
            Self::Done => state.is_done(),
            Self::Settled | Self::Failure => state.is_settled(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn promise() -> Promise<u32, ()> {
        Promise::new(())
    }

    #[test]
    fn runs_to_an_outcome() {
        let promise = promise();
        assert_eq!(promise.state(), State::Pending);
        assert!(promise.lock().start().unwrap().0);
        assert_eq!(promise.state(), State::Running);
        assert!(promise.lock().cancel().is_none());
        assert!(promise.lock().finish(1, false).unwrap().is_empty());
        assert_eq!(promise.lock().outcome(), Some(&1));
        assert_eq!(promise.lock().finish(2, false).unwrap_err(), (2, State::Finished));
        assert_eq!(promise.lock().start().unwrap_err(), State::Finished);
    }

    #[test]
    fn a_cancelled_task_never_starts() {
        let promise = promise();
        assert!(promise.lock().cancel().unwrap().0);
        assert!(!promise.lock().cancel().unwrap().0, "no news");
        assert!(!promise.lock().start().unwrap().0);
        assert_eq!(promise.state(), State::CancelledAndNotified);
        assert_eq!(promise.lock().finish(1, false).unwrap_err(), (1, State::CancelledAndNotified));
    }

    #[test]
    fn cancelling_ends_the_wait_for_an_outcome_and_starting_that_for_a_settled_task() {
        let promise = promise();
        let (done, settled) = (Latch::new(1), Latch::new(1));
        assert!(promise.lock().watch(&done, Interest::Done));
        assert!(promise.lock().watch(&settled, Interest::Settled));
        promise.lock().cancel();
        assert!(done.is_open());
        assert!(!settled.is_open());
        promise.lock().start().unwrap();
        assert!(settled.is_open());
        assert!(!promise.lock().watch(&settled, Interest::Settled));
    }

    #[test]
    fn a_failure_opens_a_latch_that_waits_for_more() {
        let (good, bad) = (promise(), promise());
        let latch = Latch::new(3);
        good.lock().watch(&latch, Interest::Failure);
        bad.lock().watch(&latch, Interest::Failure);
        drop(good.lock().finish(1, false));
        assert!(!latch.is_open());
        drop(bad.lock().finish(1, true));
        assert!(latch.is_open());
    }

    #[test]
    fn a_tally_notes_who_is_settled_in_that_order() {
        let (first, second) = (promise(), promise());
        let tally = Tally::new();
        assert!(first.lock().count(&tally, 0));
        assert!(second.lock().count(&tally, 1));
        drop(second.lock().finish(1, false));
        first.lock().cancel();
        assert_eq!(tally.take(), [1]);
        first.lock().start().unwrap();
        assert_eq!(tally.take(), [0]);
    }

    #[test]
    fn a_nudge_makes_one_who_waits_for_an_outcome_look_again() {
        let promise = promise();
        let latch = Latch::new(1);
        promise.lock().watch(&latch, Interest::Done);
        drop(promise.lock().nudge());
        assert!(latch.is_open());
        assert_eq!(promise.state(), State::Pending);
    }

    #[test]
    fn a_latch_that_was_taken_back_gets_nothing() {
        let promise = promise();
        let latch = Latch::new(1);
        promise.lock().watch(&latch, Interest::Done);
        assert!(promise.lock().forget(&latch));
        assert!(!promise.lock().forget(&latch));
        drop(promise.lock().finish(1, false));
        assert!(!latch.is_open());
    }
}
