//! Which worker waits for which task: what keeps pools from locking up.
//!
//! A worker that waits for a task is of no use to its pool. Most of the time that is as it should be: the pool has the
//! size that somebody gave it. It is not when nobody can end the wait: when the task stands in the queue of a pool whose
//! workers all wait, for tasks that cannot end either. So whoever is about to wait asks first whether what it waits for
//! can get anywhere, by following who waits for whom. If it cannot, the pool whose queue holds things up may start one
//! more thread, for as long as one of its workers waits.
//!
//! Guarantees
//! ----------
//! - The last worker that closes a ring of waits finds the ring: all the others stand in the list by then.
//! - A pool has no more than its limit of threads that do not wait.
//! - The list is locked only by threads that hold the GIL, and no Python runs meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use tercet_sched::State;

use crate::future::Future;
use crate::pool::{self, Pool};
use crate::spread::Spread;
use crate::worker::{self, Here};

/// What a worker waits for.
pub(crate) enum Wanted {
    /// Any of some futures.
    Futures(Vec<Py<Future>>),
    /// Results of a map on a pool.
    Results(Arc<Spread>, Arc<Pool>),
}

impl Wanted {
    /// These futures.
    pub(crate) fn of<'a, 'py: 'a>(futures: impl IntoIterator<Item = &'a Bound<'py, Future>>) -> Self {
        Self::Futures(futures.into_iter().map(|future| future.clone().unbind()).collect())
    }
}

struct Wait {
    pool: Arc<Pool>,
    wanted: Wanted,
    /// Whether another may work in its place.
    is_replaced: bool,
}

/// The waits of all workers, by the worker's number.
static WAITS: LazyLock<Mutex<HashMap<u64, Wait>>> = LazyLock::new(Mutex::default);
static LAST_WORKER: AtomicU64 = AtomicU64::new(0);

fn waits() -> MutexGuard<'static, HashMap<u64, Wait>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for a worker that begins.
pub(crate) fn next_worker() -> u64 {
    LAST_WORKER.fetch_add(1, Ordering::Relaxed) + 1
}

/// Forgets all waits, in a child process: they are the parent's.
pub(crate) fn forget() {
    std::mem::forget(std::mem::take(&mut *waits()));
}

/// A wait of this thread, if it is a worker's.
pub(crate) struct Blocked(Option<u64>);

impl Blocked {
    /// Begins a wait.
    pub(crate) fn begin(py: Python<'_>, wanted: Wanted) -> Self {
        let Some(Here { pool, number, .. }) = worker::here() else { return Self(None) };
        let duties = {
            let mut waits = waits();
            waits.insert(number, Wait { pool, wanted, is_replaced: false });
            let mut search = Search { waits: &waits, seen: HashSet::new(), stuck: Vec::new() };
            let stuck = if search.can_end(number) { Vec::new() } else { search.stuck };
            stuck.into_iter().flat_map(|pool| replace(&mut waits, &pool)).collect::<Vec<_>>()
        };
        for (pool, duty) in duties {
            pool.obey(py, duty);
        }
        Self(Some(number))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let Some(wait) = self.0.and_then(|number| waits().remove(&number)) else { return };
        if wait.is_replaced {
            wait.pool.crew.unblock();
        }
    }
}

/// Lets one more thread work, in the place of a worker of the pool that waits.
///
/// Where waits have just ended there are threads too many, which leave when they are done: so many are replaced that one stays.
fn replace(waits: &mut HashMap<u64, Wait>, pool: &Arc<Pool>) -> Vec<(Arc<Pool>, tercet_sched::Call)> {
    let mut duties = Vec::new();
    while let Some(wait) = waits.values_mut().find(|wait| !wait.is_replaced && Arc::ptr_eq(&wait.pool, pool)) {
        wait.is_replaced = true;
        duties.push((Arc::clone(pool), pool.crew.block()));
        if has_hands(waits, pool) {
            break;
        }
    }
    duties
}

/// Whether a pool has a worker that does not wait and does not leave after the task at hand, or a place for one.
fn has_hands(waits: &HashMap<u64, Wait>, pool: &Arc<Pool>) -> bool {
    let waiting = waits.values().filter(|wait| Arc::ptr_eq(&wait.pool, pool)).count();
    let count = pool.crew.count();
    count.live > waiting + count.surplus || pool.crew.has_place()
}

/// Follows who waits for whom.
struct Search<'a> {
    waits: &'a HashMap<u64, Wait>,
    seen: HashSet<u64>,
    /// The pools whose queues hold things up.
    stuck: Vec<Arc<Pool>>,
}

impl Search<'_> {
    /// Whether the wait of a worker can end. One that does not wait gets on.
    fn can_end(&mut self, worker: u64) -> bool {
        let Some(wait) = self.waits.get(&worker) else { return true };
        if !self.seen.insert(worker) {
            return false;
        }
        match &wait.wanted {
            Wanted::Futures(futures) => futures.iter().any(|future| self.gets_on(future.get())),
            Wanted::Results(spread, pool) if spread.has_unclaimed() => self.is_taken_up(pool),
            Wanted::Results(_, pool) => has_hands(self.waits, pool) || self.any_can_end(pool),
        }
    }

    fn gets_on(&mut self, future: &Future) -> bool {
        match future.promise.state() {
            State::Running => future.runner().is_none_or(|worker| self.can_end(worker)),
            State::Pending => match pool::numbered(future.origin()) {
                Some(pool) => self.is_taken_up(&pool),
                None => true,
            },
            _ => true,
        }
    }

    /// Whether somebody comes for what stands in the queue of a pool.
    fn is_taken_up(&mut self, pool: &Arc<Pool>) -> bool {
        if has_hands(self.waits, pool) || self.any_can_end(pool) {
            return true;
        }
        if !self.stuck.iter().any(|other| Arc::ptr_eq(other, pool)) {
            self.stuck.push(Arc::clone(pool));
        }
        false
    }

    fn any_can_end(&mut self, pool: &Arc<Pool>) -> bool {
        let workers: Vec<u64> =
            self.waits.iter().filter(|(_, wait)| Arc::ptr_eq(&wait.pool, pool)).map(|(number, _)| *number).collect();
        workers.into_iter().any(|worker| self.can_end(worker))
    }
}
