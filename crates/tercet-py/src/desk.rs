//! What a pool of processes has on its desk: the workers, and the tasks that they hold.
//!
//! The desk reads the rings and fills them, and follows what the fleet says; nothing here waits, runs Python or needs the
//! GIL. What does need Python is written down as a chore, for whoever holds the GIL next.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tercet_sched::{Fleet, Move, State, Wakes};
use tercet_shm::{Bell, now_ns};

use crate::colleague::Colleague;
use crate::freight::{self, Freight, Store};
use crate::future::{Future, Outcome};
use crate::limits::{Doom, Limits};

/// How long a task may keep others waiting that stand behind it.
const PATIENCE: Duration = Duration::from_millis(1);

/// One call, packed.
pub(crate) struct Order {
    pub(crate) future: Py<Future>,
    pub(crate) call: Freight,
    pub(crate) limits: Limits,
}

pub(crate) struct Desk {
    /// The pool's large buffers; nothing where the system refuses the memory.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) fleet: Fleet<Order>,
    pub(crate) colleagues: BTreeMap<u32, Colleague>,
    pub(crate) hires: Vec<u32>,
    stage: Stage,
    pub(crate) has_leader: bool,
    sleep: Sleep,
    /// Whether any task may end before its time.
    pub(crate) has_limits: bool,
    /// How much speaks for it that no worker can begin: see [`Desk::despair`].
    despair: usize,
}

/// How far a pool has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Open,
    /// It takes no more tasks.
    Closed,
    /// Its processes were told to end at once: what they hold ends with them.
    Ended,
}

/// Whether the leader sleeps, and until when if nothing wakes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sleep {
    Awake,
    Until(Option<Instant>),
}

/// What the leader found that needs Python.
#[derive(Default)]
pub(crate) struct Chores {
    pub(crate) finished: Vec<(Py<Future>, Outcome)>,
    pub(crate) settled: Vec<Py<Future>>,
    /// What is not needed any more. To drop it may run Python, which must not happen under the lock.
    pub(crate) dropped: Vec<Order>,
    pub(crate) hires: Vec<u32>,
    pub(crate) dead: Vec<Dead>,
    pub(crate) unfit: Option<String>,
    pub(crate) is_over: bool,
}

pub(crate) struct Dead {
    pub(crate) pid: i32,
    pub(crate) guilty: Option<Order>,
    /// What it had not begun, if the pool was told to end at once.
    pub(crate) lost: Vec<Order>,
    pub(crate) is_expected: bool,
    pub(crate) is_ended: bool,
    pub(crate) doom: Option<Doom>,
    /// Whether it had been ready, or was told to end.
    pub(crate) is_natural: bool,
}

impl Chores {
    pub(crate) fn is_empty(&self) -> bool {
        self.finished.is_empty()
            && self.settled.is_empty()
            && self.hires.is_empty()
            && self.dead.is_empty()
            && self.unfit.is_none()
            && !self.is_over
    }
}

impl Desk {
    pub(crate) fn new(limit: usize, tasks_per_worker: Option<u64>) -> Self {
        let store = tercet_shm::Arena::new(freight::size(), freight::warm_bytes()).ok().map(Store::new);
        Self {
            store,
            fleet: Fleet::new(limit, tasks_per_worker),
            colleagues: BTreeMap::new(),
            hires: Vec::new(),
            stage: Stage::Open,
            has_leader: false,
            sleep: Sleep::Awake,
            has_limits: false,
            despair: 0,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stage >= Stage::Closed
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Goes on to a later stage.
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stage = self.stage.max(stage);
    }

    /// Reads what the workers have sent.
    pub(crate) fn read_all(&mut self, chores: &mut Chores, wakes: &mut Wakes) {
        for (name, colleague) in &mut self.colleagues {
            // Nothing that it says after nonsense can be believed.
            if colleague.read(&mut self.fleet, *name, chores, wakes).is_err() {
                colleague.kill();
            }
        }
    }

    /// Takes back what stands behind a task that takes long.
    pub(crate) fn recall(&mut self) {
        let now = now_ns();
        for name in self.fleet.laden().collect::<Vec<_>>() {
            let Some(colleague) = self.colleagues.get_mut(&name) else { continue };
            let (Some(held), Some(last)) = (colleague.end.watch.held(), self.fleet.last_sent(name)) else { continue };
            let spent_ns = now.saturating_sub(held.began_ns);
            if Duration::from_nanos(spent_ns) >= PATIENCE {
                let claimed = colleague.take_back(last.number);
                self.fleet.keep_pace(spent_ns);
                self.fleet.recall(name, claimed);
            }
        }
    }

    /// When the leader is to look again, if nothing has woken it by then.
    fn alarm(&self) -> Option<Instant> {
        let laden = self.is_laden().then(|| Instant::now() + PATIENCE);
        let limits = if self.has_limits { self.next_limit() } else { None };
        laden.into_iter().chain(limits).min()
    }

    /// Whether the leader should be woken, to do what needs Python or to wake earlier than it means to.
    pub(crate) fn wants_leader(&self) -> bool {
        let sleeps_too_long = match self.sleep {
            Sleep::Awake => false,
            Sleep::Until(None) => self.alarm().is_some(),
            Sleep::Until(Some(until)) => self.alarm().is_some_and(|alarm| alarm < until),
        };
        !self.hires.is_empty() || sleeps_too_long
    }

    fn is_laden(&self) -> bool {
        self.fleet.laden().next().is_some()
    }

    /// Sends what the fleet wants to be sent.
    pub(crate) fn dispatch(&mut self, bell: &Bell, chores: &mut Chores, wakes: &mut Wakes) {
        while let Some(next) = self.fleet.next_move() {
            match next {
                Move::Hire(name) => self.admit(bell, name, chores),
                Move::Send(name) => {
                    let Some(task) = self.fleet.last_sent(name) else { continue };
                    let number = task.number;
                    let mut locked = task.job.future.get().promise.lock();
                    let started = match locked.state() {
                        State::Cancelled if locked.is_some() => None,
                        State::Running => Some(true),
                        state if state.is_settled() => Some(false),
                        _ => locked.start().ok().map(|(runs, told)| {
                            wakes.extend(told);
                            runs
                        }),
                    };
                    drop(locked);
                    match (started, self.colleagues.get_mut(&name)) {
                        (Some(true), Some(colleague)) => colleague.order(number),
                        (started, _) => {
                            if let Some(order) = self.fleet.take(name, number) {
                                if started.is_none() {
                                    chores.settled.push(order.future);
                                } else {
                                    chores.dropped.push(order);
                                }
                            }
                        }
                    }
                }
                Move::Release(name) => self.dismiss(name),
            }
        }
        if self.is_closed() && self.fleet.waiting() == 0 {
            let idle: Vec<u32> = self.fleet.members().filter(|name| self.fleet.held(*name) == 0).collect();
            for name in idle {
                self.dismiss(name);
            }
        }
        for (name, colleague) in &mut self.colleagues {
            if colleague.pump(&self.fleet, *name).is_err() {
                colleague.kill();
            }
        }
    }

    /// Makes a place for a new worker, whose process is still to be started: tasks may be put there already.
    pub(crate) fn admit(&mut self, bell: &Bell, name: u32, chores: &mut Chores) {
        match Colleague::new(bell, self.store.as_deref()) {
            Ok(colleague) => {
                self.colleagues.insert(name, colleague);
                self.hires.push(name);
            }
            Err(error) => {
                // No memory or no descriptor is left for it. The others go on.
                if !self.do_without(name) {
                    chores.unfit = Some(format!("no worker process can be started: {error}"));
                }
            }
        }
    }

    /// The descriptors that tell that a worker has ended.
    pub(crate) fn lives(&self) -> Vec<(u32, Arc<OwnedFd>)> {
        let life = |colleague: &Colleague| Some(Arc::clone(&colleague.process.as_ref()?.1));
        self.colleagues.iter().filter_map(|(name, colleague)| Some((*name, life(colleague)?))).collect()
    }

    fn dismiss(&mut self, name: u32) {
        if let Some(colleague) = self.colleagues.get_mut(&name) {
            colleague.dismiss();
        }
    }

    /// Announces that the leader is about to sleep, and until when. It stays awake if there is something to do.
    pub(crate) fn announce(&mut self) -> Sleep {
        if self.colleagues.values_mut().all(Colleague::announce) {
            self.sleep = Sleep::Until(self.alarm());
        } else {
            self.withdraw();
        }
        self.sleep
    }

    pub(crate) fn withdraw(&mut self) {
        self.sleep = Sleep::Awake;
        for colleague in self.colleagues.values_mut() {
            colleague.end.port.withdraw();
        }
    }

    /// Learns that a worker has died. True if so many have died before they were ready that the next ones would as well.
    ///
    /// One may have gone by chance, a whole crew has not; but who was killed says little about those who follow.
    pub(crate) fn despair(&mut self, is_natural: bool, was_killed: bool) -> bool {
        const WHOLE: usize = 16;
        self.despair = match (is_natural, was_killed) {
            (true, _) => 0,
            (false, true) => self.despair + 1,
            (false, false) => self.despair + WHOLE,
        };
        self.despair > WHOLE * self.fleet.limit()
    }

    /// Does without a worker whose process could not be started. False if there is no other.
    pub(crate) fn do_without(&mut self, name: u32) -> bool {
        if let Some(colleague) = self.colleagues.remove(&name) {
            colleague.close(self.store.as_deref());
        }
        self.fleet.died(name, None);
        self.fleet.shrink();
        self.fleet.limit() > 0
    }

    /// Takes a dead worker off the list.
    pub(crate) fn bury(&mut self, name: u32) -> Option<Dead> {
        let colleague = self.colleagues.remove(&name)?;
        let mut lost = Vec::new();
        while let Some(order) = self.is_ended().then(|| self.fleet.take_any(name)).flatten() {
            lost.push(order);
        }
        colleague.close(self.store.as_deref());
        let held = colleague.end.watch.held().map(|held| held.task.get());
        let remains = self.fleet.died(name, held);
        let is_natural = remains.was_ready || colleague.is_leaving || colleague.doom.is_some();
        let pid = colleague.pid();
        let is_expected = colleague.is_leaving && lost.is_empty();
        let (guilty, doom) = (remains.guilty, colleague.doom);
        Some(Dead { pid, guilty, lost, is_expected, is_ended: self.is_ended(), doom, is_natural })
    }
}
