//! What a pool of processes has on its desk: the workers, and the tasks that they hold.
//!
//! The desk reads the rings and fills them, and follows what the fleet says; nothing here waits, runs Python or needs the
//! GIL. What does need Python is written down as a chore, for whoever holds the GIL next.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tercet_sched::{Fleet, Move, State, Wakes};
use tercet_shm::{Bell, Bells, LinkSizes, ParentEnd, Want, now_ns};

use crate::future::{Future, Outcome, Packed};
use crate::parcel::{Head, Incoming, Kind, Message, Outgoing};

/// How long a task may keep others waiting that stand behind it.
const PATIENCE: Duration = Duration::from_millis(1);
/// The sizes of the rings. Longer messages go in pieces.
const SIZES: LinkSizes = LinkSizes { task_bytes: 1 << 20, result_bytes: 1 << 20 };

/// One call, packed.
pub(crate) struct Order {
    pub(crate) future: Py<Future>,
    pub(crate) call: Py<PyBytes>,
    pub(crate) deaths: u32,
}

/// The pool's side of one worker.
pub(crate) struct Colleague {
    pub(crate) end: ParentEnd,
    pub(crate) incoming: Incoming,
    /// What is to be sent: numbers of tasks, or 0 for the word to leave.
    pub(crate) backlog: VecDeque<u64>,
    /// The message at the front of the backlog, if a part of it has left.
    pub(crate) outgoing: Option<Outgoing>,
    /// Its number, and a descriptor that can be read when it has ended; nothing until it is started.
    pub(crate) process: Option<(i32, Arc<OwnedFd>)>,
    pub(crate) is_leaving: bool,
}

pub(crate) struct Desk {
    pub(crate) fleet: Fleet<Order>,
    pub(crate) colleagues: BTreeMap<u32, Colleague>,
    pub(crate) hires: Vec<u32>,
    pub(crate) is_closed: bool,
    /// Whether its processes were told to end at once: what they hold ends with them.
    pub(crate) is_ended: bool,
    pub(crate) has_leader: bool,
    /// Whether the leader sleeps until something happens, however long that takes.
    pub(crate) sleeps_long: bool,
    /// How many workers in a row have died before they were ready.
    pub(crate) stillborn: usize,
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
    /// Whether so many have died before they were ready that the next ones would as well.
    pub(crate) is_hopeless: bool,
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
        Self {
            fleet: Fleet::new(limit, tasks_per_worker),
            colleagues: BTreeMap::new(),
            hires: Vec::new(),
            is_closed: false,
            is_ended: false,
            has_leader: false,
            sleeps_long: false,
            stillborn: 0,
        }
    }

    /// Reads what the workers have sent.
    pub(crate) fn read_all(&mut self, chores: &mut Chores, wakes: &mut Wakes) {
        for (name, colleague) in &mut self.colleagues {
            loop {
                match colleague.incoming.next(&mut colleague.end.port.incoming) {
                    Ok(Some(message)) => {
                        // One that cannot be set up says so and leaves; it may have more to tell to others.
                        colleague.is_leaving |= message.head.kind == Kind::Unfit;
                        read(&mut self.fleet, *name, message, chores, wakes);
                    }
                    Ok(None) => break,
                    Err(_) => {
                        // Nothing that it says can be believed any more.
                        colleague.kill();
                        break;
                    }
                }
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
                self.fleet.recall(name, claimed, spent_ns);
            }
        }
    }

    /// When the leader is to look again, if nothing has woken it by then.
    pub(crate) fn look_again(&self) -> Option<Instant> {
        self.is_laden().then(|| Instant::now() + PATIENCE)
    }

    /// Whether the leader should be woken, to do what needs Python or to see that nobody waits for long.
    pub(crate) fn wants_leader(&self) -> bool {
        !self.hires.is_empty() || (self.sleeps_long && self.is_laden())
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
                        _ => locked.start().ok().map(|(runs, told)| {
                            wakes.extend(told);
                            runs
                        }),
                    };
                    drop(locked);
                    match (started, self.colleagues.get_mut(&name)) {
                        (Some(true), Some(colleague)) => colleague.backlog.push_back(number),
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
        if self.is_closed && self.fleet.waiting() == 0 {
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
        let link = Bell::new().and_then(|theirs| {
            let bells = Bells { mine: bell.clone(), theirs };
            ParentEnd::create(SIZES, bells)
        });
        match link {
            Ok(end) => {
                let colleague = Colleague {
                    end,
                    incoming: Incoming::default(),
                    backlog: VecDeque::new(),
                    outgoing: None,
                    process: None,
                    is_leaving: false,
                };
                self.colleagues.insert(name, colleague);
                self.hires.push(name);
            }
            Err(error) => chores.unfit = Some(format!("no worker process can be started: {error}")),
        }
    }

    /// The descriptors that tell that a worker has ended.
    pub(crate) fn lives(&self) -> Vec<(u32, Arc<OwnedFd>)> {
        let life = |colleague: &Colleague| Some(Arc::clone(&colleague.process.as_ref()?.1));
        self.colleagues.iter().filter_map(|(name, colleague)| Some((*name, life(colleague)?))).collect()
    }

    pub(crate) fn dismiss(&mut self, name: u32) {
        if let Some(colleague) = self.colleagues.get_mut(&name) {
            if !std::mem::replace(&mut colleague.is_leaving, true) {
                colleague.backlog.push_back(0);
            }
        }
    }

    /// Announces that the leader is about to sleep. False if there is something to do.
    pub(crate) fn announce(&mut self) -> bool {
        self.sleeps_long = !self.is_laden();
        let sleeps = self.colleagues.values_mut().all(|colleague| {
            let room = colleague.outgoing.as_ref().map(|outgoing| outgoing.wants(&colleague.end.port.outgoing));
            colleague.end.port.announce(room.map_or(Want::Frame, Want::Either)).unwrap_or(true)
        });
        if !sleeps {
            self.withdraw();
        }
        sleeps
    }

    pub(crate) fn withdraw(&mut self) {
        self.sleeps_long = false;
        for colleague in self.colleagues.values_mut() {
            colleague.end.port.withdraw();
        }
    }

    /// Takes a dead worker off the list.
    pub(crate) fn bury(&mut self, name: u32) -> Option<Dead> {
        let colleague = self.colleagues.remove(&name)?;
        let mut lost = Vec::new();
        while let Some(order) = self.is_ended.then(|| self.fleet.take_any(name)).flatten() {
            lost.push(order);
        }
        let held = colleague.end.watch.held().map(|held| held.task.get());
        let remains = self.fleet.died(name, held);
        // One may have been killed by chance; a whole crew was not.
        self.stillborn = if remains.was_ready || colleague.is_leaving { 0 } else { self.stillborn + 1 };
        let is_hopeless = self.stillborn > self.fleet.limit();
        let pid = colleague.process.as_ref().map_or(0, |process| process.0);
        let is_expected = colleague.is_leaving && lost.is_empty();
        Some(Dead { pid, guilty: remains.guilty, lost, is_expected, is_ended: self.is_ended, is_hopeless })
    }
}

fn read(fleet: &mut Fleet<Order>, name: u32, message: Message, chores: &mut Chores, wakes: &mut Wakes) {
    let Message { head, bytes } = message;
    let has_failed = match head.kind {
        Kind::Ready => return fleet.is_ready(name),
        Kind::Unfit => {
            chores.unfit = Some(String::from_utf8_lossy(&bytes).into_owned());
            return;
        }
        Kind::Back => return fleet.came_back(name, head.number),
        Kind::Value => false,
        Kind::Error => true,
        Kind::Call | Kind::Leave => return,
    };
    let Some(order) = fleet.returned(name, head.number, u64::from(head.spent_us) * 1000) else { return };
    let outcome = Outcome::Packed(Arc::new(Packed { bytes: Arc::new(bytes), has_failed }));
    let mut locked = order.future.get().promise.lock();
    if locked.is_some() {
        // Somebody has looked behind it: a callback, or the standard library's `wait`.
        drop(locked);
        chores.finished.push((order.future, outcome));
        return;
    }
    match locked.finish(outcome, has_failed) {
        Ok(told) => wakes.extend(told),
        Err(late) => drop(late),
    }
}

impl Colleague {
    /// Puts into the ring what there is room for, and wakes the worker if it sleeps.
    fn pump(&mut self, fleet: &Fleet<Order>, name: u32) -> Result<(), tercet_shm::Error> {
        while let Some(number) = self.backlog.front().copied() {
            let task = fleet.sent(name, number);
            // Bytes do not change, and the order holds them: they may be read without the GIL.
            let bytes = task.map_or(&[][..], |task| bytes_of(&task.job.call));
            let kind = if number == 0 { Kind::Leave } else { Kind::Call };
            let outgoing = self.outgoing.get_or_insert_with(|| Outgoing::new(Head::new(number, kind), bytes.len()));
            let is_next = fleet.first_sent(name).is_none_or(|first| first.number == number);
            if !(is_next || outgoing.is_short() || outgoing.has_begun()) {
                // Of a message in pieces that a busy worker does not read, nothing could be taken back.
                break;
            }
            if !outgoing.push(bytes, &mut self.end.port.outgoing)? {
                break;
            }
            self.outgoing = None;
            self.backlog.pop_front();
        }
        self.end.port.flush().map(drop)
    }

    /// Takes back what the worker has not claimed, up to a task, and returns the last that it has.
    fn take_back(&mut self, last: u64) -> u64 {
        let claimed = self.end.watch.revoke(last);
        if self.outgoing.as_ref().is_none_or(|outgoing| !outgoing.has_begun()) {
            self.outgoing = None;
            self.backlog.retain(|number| *number <= claimed);
        }
        claimed
    }

    pub(crate) fn kill(&self) {
        self.send_signal(rustix::process::Signal::KILL);
    }

    pub(crate) fn send_signal(&self, signal: rustix::process::Signal) {
        if let Some((_, life)) = &self.process {
            let _ = rustix::process::pidfd_send_signal(life, signal);
        }
    }
}

/// The bytes of a `bytes` object, which never change.
pub(crate) fn bytes_of(object: &Py<PyBytes>) -> &[u8] {
    // SAFETY: the object is alive as long as the reference, and CPython neither moves nor changes the bytes of an exact
    // `bytes` object; reading them takes no reference count and so needs no GIL.
    unsafe {
        let pointer = object.as_ptr();
        let begin = pyo3::ffi::PyBytes_AS_STRING(pointer).cast::<u8>();
        std::slice::from_raw_parts(begin, pyo3::ffi::Py_SIZE(pointer) as usize)
    }
}
