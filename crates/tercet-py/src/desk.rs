//! What a pool of processes has on its desk: the workers, and the tasks that they hold.
//!
//! The desk reads the rings and fills them, and follows what the fleet says; nothing here waits, runs Python or needs the
//! GIL. What does need Python is written down as a chore, for whoever holds the GIL next.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tercet_sched::{Fleet, Move, Sent, State, Wakes};
use tercet_shm::{Bell, Bells, LinkSizes, ParentEnd, Want};

use crate::future::{Future, Outcome, Packed};
use crate::parcel::{Incoming, Kind, Message, Outgoing};

/// How many tasks a worker may hold: the one that it runs. What stood behind that would have to wait for it, even where
/// another worker rests, and for ever if the first waits for what the second does.
pub(crate) const DEPTH: usize = 1;
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
    pub(crate) has_begun: bool,
    /// Its number, and a descriptor that can be read when it has ended; nothing until it is started.
    pub(crate) process: Option<(i32, OwnedFd)>,
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
    /// How many workers in a row have died before they were ready.
    pub(crate) stillborn: usize,
}

/// What the leader found that needs Python.
#[derive(Default)]
pub(crate) struct Chores {
    pub(crate) finished: Vec<(Py<Future>, Outcome)>,
    pub(crate) settled: Vec<Py<Future>>,
    /// What is not needed any more. To drop it may run Python, which must not happen under the lock.
    pub(crate) dropped: Vec<Sent<Order>>,
    pub(crate) hires: Vec<u32>,
    pub(crate) dead: Vec<Dead>,
    pub(crate) unfit: Option<String>,
    pub(crate) is_over: bool,
}

pub(crate) struct Dead {
    pub(crate) pid: i32,
    pub(crate) guilty: Option<Sent<Order>>,
    /// What it had not begun, if the pool was told to end at once.
    pub(crate) lost: Vec<Sent<Order>>,
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
    /// Reads what the workers have sent.
    pub(crate) fn read_all(&mut self, chores: &mut Chores, wakes: &mut Wakes) {
        for (name, colleague) in &mut self.colleagues {
            loop {
                match colleague.incoming.next(&mut colleague.end.port.incoming) {
                    Ok(Some(message)) => {
                        // One that cannot be set up says so and leaves; it may have more to tell to others.
                        colleague.is_leaving |= message.kind == Kind::Unfit;
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
                            if let Some(order) = self.fleet.returned(name, number) {
                                if started.is_none() {
                                    chores.settled.push(order.job.future);
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
                    has_begun: false,
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
    pub(crate) fn lives(&self) -> Vec<(u32, OwnedFd)> {
        let life = |colleague: &Colleague| colleague.process.as_ref()?.1.try_clone().ok();
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

pub(crate) fn read(fleet: &mut Fleet<Order>, name: u32, message: Message, chores: &mut Chores, wakes: &mut Wakes) {
    let has_failed = match message.kind {
        Kind::Ready => return fleet.is_ready(name),
        Kind::Unfit => {
            chores.unfit = Some(String::from_utf8_lossy(&message.bytes).into_owned());
            return;
        }
        Kind::Value => false,
        Kind::Error => true,
        Kind::Call | Kind::Leave => return,
    };
    let Some(order) = fleet.returned(name, message.number) else { return };
    let outcome = Outcome::Packed(Arc::new(Packed { bytes: Arc::new(message.bytes), has_failed }));
    let future = order.job.future;
    let mut locked = future.get().promise.lock();
    if locked.is_some() {
        // Somebody has looked behind it: a callback, or the standard library's `wait`.
        drop(locked);
        chores.finished.push((future, outcome));
        return;
    }
    match locked.finish(outcome, has_failed) {
        Ok(told) => wakes.extend(told),
        Err(late) => drop(late),
    }
}

impl Colleague {
    /// Puts into the ring what there is room for, and wakes the worker if it sleeps.
    pub(crate) fn pump(&mut self, fleet: &Fleet<Order>, name: u32) -> Result<(), tercet_shm::Error> {
        while let Some(number) = self.backlog.front().copied() {
            let task = fleet.sent(name, number);
            // Bytes do not change, and the order holds them: they may be read without the GIL.
            let bytes = task.map_or(&[][..], |task| bytes_of(&task.job.call));
            let kind = if number == 0 { Kind::Leave } else { Kind::Call };
            let outgoing = self.outgoing.get_or_insert_with(|| Outgoing::new(number, kind, bytes.len()));
            if !outgoing.push(bytes, &mut self.end.port.outgoing, &mut self.has_begun)? {
                break;
            }
            self.outgoing = None;
            self.has_begun = false;
            self.backlog.pop_front();
        }
        self.end.port.flush().map(drop)
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
