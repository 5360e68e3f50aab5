//! The office of a pool of processes: what its callers, its leader and its workers' deaths come to.
//!
//! Locking
//! -------
//! `desk` is never locked while Python runs or the GIL is waited for, so that a thread that holds the GIL may wait for it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use tercet_sched::Wakes;
use tercet_shm::{Bell, Woken};

use crate::colleague::Colleague;
use crate::desk::{Chores, Dead, Desk, Order, Sleep, Stage};
use crate::error::Error;
use crate::freight;
use crate::future::{Future, Outcome};
use crate::limits::{Cause, Limits};
use crate::names;
use crate::pool;
use crate::process_pool::Leader;
use crate::repertoire::Repertoire;

/// What the threads of this process share.
pub(crate) struct Office {
    pub(crate) desk: Mutex<Desk>,
    pub(crate) bell: Bell,
    pub(crate) broken: OnceLock<String>,
    /// In which process it was made: no other may use it.
    pub(crate) generation: u32,
    pub(crate) starts_at_once: bool,
    pub(crate) breaks_on_crash: bool,
    /// How large a worker may be that goes on.
    pub(crate) max_rss: Option<u64>,
    /// What holds for a task that says nothing of its own.
    pub(crate) limits: Limits,
    pub(crate) repertoire: Repertoire,
    pub(crate) hands: Hands,
}

/// What is done in Python.
pub(crate) struct Hands {
    /// `hire(descriptors) -> (pid, descriptor of its life)`.
    pub(crate) hire: Py<PyAny>,
    /// `mourn(pid) -> (str, bool)`: how a worker ended, and whether somebody killed it.
    pub(crate) mourn: Py<PyAny>,
    /// `lead(leader, fn)`: starts the leader's thread; `fn` is the first function that was submitted.
    pub(crate) lead: Py<PyAny>,
}

impl Office {
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has happened that needs Python.
    pub(crate) fn watch(&self) -> Chores {
        let mut wakes = Wakes::new();
        let mut is_rested = false;
        loop {
            let mut chores = Chores::default();
            let mut desk = self.desk();
            desk.read_all(&mut chores, &mut wakes);
            desk.recall();
            desk.enforce();
            if let Some(most_bytes) = self.max_rss {
                desk.weigh(most_bytes);
            }
            desk.dispatch(&self.bell, &mut chores, &mut wakes);
            chores.hires = std::mem::take(&mut desk.hires);
            chores.is_over = desk.is_closed() && desk.fleet.is_idle() && chores.hires.is_empty();
            if !chores.is_empty() {
                drop(desk);
                return chores;
            }
            let sleep = desk.announce();
            let lives = desk.lives();
            drop(desk);
            // Waiters are woken after the lock is gone, and before the leader sleeps.
            wakes.clear();
            let Sleep::Until(alarm) = sleep else { continue };
            let until = alarm.or_else(|| (!is_rested).then(|| Instant::now() + freight::REST));
            let fds: Vec<BorrowedFd<'_>> = lives.iter().map(|(_, fd)| fd.as_fd()).collect();
            let woken = self.bell.wait(&fds, until);
            let mut desk = self.desk();
            desk.withdraw();
            is_rested = matches!(woken, Ok(Woken::TimedOut)) && desk.fleet.is_idle();
            match woken {
                Ok(Woken::Other(place)) => {
                    desk.read_all(&mut chores, &mut wakes);
                    chores.dead.extend(desk.bury(lives[place].0));
                    drop(desk);
                    return chores;
                }
                _ if is_rested => desk.store.iter().for_each(|store| store.trim()),
                _ => {}
            }
        }
    }

    /// Starts all workers, in the thread of the caller and before there is a second one: they are to be forked.
    pub(crate) fn start_all(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let members = {
            let mut desk = self.desk();
            for member in desk.fleet.hire_all() {
                desk.admit(&self.bell, member, &mut Chores::default());
            }
            std::mem::take(&mut desk.hires)
        };
        members.into_iter().try_for_each(|member| self.hire(py, member))
    }

    /// Starts the leader with the first task.
    pub(crate) fn begin(self: &Arc<Self>, py: Python<'_>, function: &Bound<'_, PyAny>) -> PyResult<()> {
        if std::mem::replace(&mut self.desk().has_leader, true) {
            return Ok(());
        }
        if self.starts_at_once {
            self.start_all(py)?;
        }
        self.hands.lead.call1(py, (Leader(Arc::clone(self)), function)).map(drop)
    }

    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.generation == pool::generation() { Ok(()) } else { Err(crate::pause::left_behind(py)) }
    }

    /// Why it takes no more tasks, once it is closed.
    pub(crate) fn refusal(&self, py: Python<'_>) -> PyErr {
        match self.broken.get() {
            Some(words) => names::error(names::broken_process_pool(py), Some(words.clone())),
            None => pool::shut_down(),
        }
    }

    fn break_down(&self, py: Python<'_>, words: &str) {
        let _ = self.broken.set(words.to_owned());
        let mut desk = self.desk();
        let mut orders = desk.fleet.drain();
        for name in desk.fleet.members().collect::<Vec<_>>() {
            while let Some(order) = desk.fleet.take_any(name) {
                orders.push(order);
            }
        }
        desk.enter(Stage::Closed);
        desk.colleagues.values().filter(|colleague| !colleague.is_leaving).for_each(Colleague::kill);
        drop(desk);
        fail(py, orders, names::broken_process_pool, words);
    }

    /// Does what needs Python.
    pub(crate) fn attend(self: &Arc<Self>, py: Python<'_>, chores: Chores) {
        for (future, outcome) in chores.finished {
            finish(py, &future, outcome);
        }
        for future in chores.settled {
            let _ = Future::start(future.bind(py));
        }
        if let Some(words) = chores.unfit {
            self.break_down(py, &words);
        }
        for dead in chores.dead {
            self.mourn(py, dead);
        }
        for member in chores.hires {
            let Err(error) = self.hire(py, member) else { continue };
            let has_others = self.desk().do_without(member);
            if !has_others {
                self.break_down(py, &format!("a worker process could not be started: {error}"));
            }
        }
    }

    /// Cancels tasks that were taken back, and has the leader see what is left.
    pub(crate) fn cancel(&self, py: Python<'_>, orders: Vec<Order>) -> PyResult<()> {
        let mut trouble = None;
        for order in orders {
            trouble = cancel(order.future.bind(py)).err().or(trouble);
        }
        self.bell.ring().map_err(Error::from)?;
        trouble.map_or(Ok(()), Err)
    }

    /// Learns how a worker ended, and says so to whom it concerns.
    pub(crate) fn mourn(self: &Arc<Self>, py: Python<'_>, dead: Dead) {
        let told = self.hands.mourn.call1(py, (dead.pid,)).and_then(|told| told.extract(py));
        let (words, was_killed): (String, bool) = told.unwrap_or_else(|error| (error.to_string(), false));
        let is_hopeless = self.desk().despair(dead.is_natural, was_killed);
        if dead.is_expected {
            return;
        }
        if let Some(doom) = dead.doom {
            // One that nobody wants is cancelled already.
            if let Cause::Time(timeout) = doom.cause {
                let words = format!("the task took longer than {timeout:?}, and was ended with its worker process");
                fail(py, dead.guilty, names::timeout_error, &words);
            }
            return;
        }
        let breaks = self.breaks_on_crash || is_hopeless;
        let class = if breaks { names::broken_process_pool } else { names::worker_crashed };
        if dead.is_ended {
            fail(py, dead.guilty.into_iter().chain(dead.lost), class, &words);
            return;
        }
        if breaks {
            fail(py, dead.guilty, class, &words);
            self.break_down(py, &words);
            return;
        }
        let Some(mut order) = dead.guilty else { return };
        if order.limits.retries > 0 {
            order.limits.retries -= 1;
            self.desk().fleet.submit_first(order);
            return;
        }
        fail(py, [order], class, &words);
    }

    fn hire(self: &Arc<Self>, py: Python<'_>, member: u32) -> PyResult<()> {
        let fds = {
            let desk = self.desk();
            let Some(colleague) = desk.colleagues.get(&member) else { return Ok(()) };
            colleague.fds(&self.bell, desk.store.as_deref())?
        };
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let (pid, life): (i32, RawFd) = self.hands.hire.call1(py, (numbers,))?.extract(py)?;
        // SAFETY: `hire` gives a descriptor away that it has just opened.
        let end_of_life = unsafe { OwnedFd::from_raw_fd(life) };
        let mut desk = self.desk();
        if let Some(colleague) = desk.colleagues.get_mut(&member) {
            colleague.process = Some((pid, Arc::new(end_of_life)));
            colleague.remind();
        }
        if desk.is_ended() || self.broken.get().is_some() {
            desk.colleagues.values().for_each(Colleague::kill);
        }
        Ok(())
    }
}

/// Cancels the future of a task that nobody will run, whatever has become of it.
fn cancel(future: &Bound<'_, Future>) -> PyResult<()> {
    // Through Python: a subclass may have its own.
    if !future.call_method0("cancel")?.is_truthy()? {
        // It was sent once, which makes it run as far as anybody can see, and came back.
        return Future::abort(future).map(drop);
    }
    if future.get().promise.state().is_settled() { Ok(()) } else { Future::start(future).map(drop) }
}

/// Finishes the futures of tasks with an error each.
fn fail(
    py: Python<'_>,
    orders: impl IntoIterator<Item = Order>,
    class: fn(Python<'_>) -> PyResult<Bound<'_, PyAny>>,
    words: &str,
) {
    for order in orders {
        let error = names::error(class(py), Some(words.to_owned()));
        finish(py, &order.future, Outcome::Error(error.into_value(py).into_any()));
    }
}

/// Finishes a future in Python; one that is cancelled meanwhile has as good an end.
fn finish(py: Python<'_>, future: &Py<Future>, outcome: Outcome) {
    if let Err(error) = Future::finish(future.bind(py), outcome) {
        if !error.is_instance(py, &names::invalid_state_error(py).expect("it was imported")) {
            error.write_unraisable(py, None);
        }
    }
}
