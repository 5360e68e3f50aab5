//! What a pool of processes has on its desk: the workers, and the tasks that they hold.
//!
//! The desk reads the rings and fills them, and follows what the fleet says; nothing here waits, runs Python or needs the
//! GIL. What does need Python is written down as a chore, for whoever holds the GIL next.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tercet_sched::{Fleet, Move, State, Wakes};
use tercet_shm::{Bell, Bells, Error, Holder, LinkSizes, ParentEnd, Peer, Segment, Want, now_ns};

use crate::freight::{self, Freight, Packed, Store};
use crate::future::{Future, Outcome};
use crate::parcel::{Fault, Head, Incoming, Kind, Outgoing};

/// How long a task may keep others waiting that stand behind it.
const PATIENCE: Duration = Duration::from_millis(1);
/// The sizes of the rings. Longer messages go in pieces.
const SIZES: LinkSizes = LinkSizes { task_bytes: 1 << 20, result_bytes: 1 << 20 };

/// One call, packed.
pub(crate) struct Order {
    pub(crate) future: Py<Future>,
    pub(crate) call: Freight,
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
    /// Its bytes, if they were made for this worker: what they lend counts as lent.
    letter: Option<Vec<u8>>,
    account: Option<Account>,
    /// Its number, and a descriptor that can be read when it has ended; nothing until it is started.
    pub(crate) process: Option<(i32, Arc<OwnedFd>)>,
    pub(crate) is_leaving: bool,
}

/// What pool and worker lend each other.
struct Account {
    /// The worker, as the pool's store knows it.
    peer: Peer,
    /// Where the worker's large results are read.
    holder: Holder,
    /// What the worker is to be given: the memory for its own slabs, and the pool's ledger of those.
    data: Segment,
    ledger: Segment,
}

impl Account {
    fn open(store: &Store) -> Result<Self, Error> {
        let (data, ledger) = (Segment::new(freight::size())?, Holder::ledger()?);
        let holder = Holder::new(&data, &ledger)?;
        Ok(Self { peer: store.arena().enrol()?, holder, data, ledger })
    }
}

pub(crate) struct Desk {
    /// The pool's large buffers; nothing where the system refuses the memory.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) fleet: Fleet<Order>,
    pub(crate) colleagues: BTreeMap<u32, Colleague>,
    pub(crate) hires: Vec<u32>,
    pub(crate) stage: Stage,
    pub(crate) has_leader: bool,
    /// Whether the leader sleeps until something happens, however long that takes.
    pub(crate) sleeps_long: bool,
    /// How many workers in a row have died before they were ready.
    pub(crate) stillborn: usize,
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
        let store = tercet_shm::Arena::new(freight::size(), freight::warm_bytes()).ok().map(Store::new);
        Self {
            store,
            fleet: Fleet::new(limit, tasks_per_worker),
            colleagues: BTreeMap::new(),
            hires: Vec::new(),
            stage: Stage::Open,
            has_leader: false,
            sleeps_long: false,
            stillborn: 0,
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
        let link = Bell::new().and_then(|theirs| {
            let bells = Bells { mine: bell.clone(), theirs };
            ParentEnd::create(SIZES, bells)
        });
        // Without an account, large buffers go through the ring.
        let account = self.store.as_deref().and_then(|store| Account::open(store).ok());
        match link {
            Ok(end) => {
                let colleague = Colleague {
                    end,
                    incoming: Incoming::default(),
                    backlog: VecDeque::new(),
                    outgoing: None,
                    letter: None,
                    account,
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
        while let Some(order) = self.is_ended().then(|| self.fleet.take_any(name)).flatten() {
            lost.push(order);
        }
        if let (Some(store), Some(account)) = (&self.store, &colleague.account) {
            let _ = store.arena().dismiss(account.peer);
        }
        let held = colleague.end.watch.held().map(|held| held.task.get());
        let remains = self.fleet.died(name, held);
        // One may have been killed by chance; a whole crew was not.
        self.stillborn = if remains.was_ready || colleague.is_leaving { 0 } else { self.stillborn + 1 };
        let is_hopeless = self.stillborn > self.fleet.limit();
        let pid = colleague.process.as_ref().map_or(0, |process| process.0);
        let is_expected = colleague.is_leaving && lost.is_empty();
        Some(Dead { pid, guilty: remains.guilty, lost, is_expected, is_ended: self.is_ended(), is_hopeless })
    }
}

impl Colleague {
    fn read(
        &mut self,
        fleet: &mut Fleet<Order>,
        name: u32,
        chores: &mut Chores,
        wakes: &mut Wakes,
    ) -> Result<(), Fault> {
        while let Some(message) = self.incoming.next(&mut self.end.port.incoming)? {
            let Head { number, kind, spent_us, .. } = message.head;
            match kind {
                Kind::Ready => fleet.is_ready(name),
                Kind::Back => fleet.came_back(name, number),
                Kind::Unfit => {
                    // One that cannot be set up says so and leaves; it may have more to tell to others.
                    self.is_leaving = true;
                    chores.unfit = Some(String::from_utf8_lossy(&message.bytes).into_owned());
                }
                Kind::Value | Kind::Error => {
                    let order = fleet.returned(name, number, u64::from(spent_us) * 1000);
                    let packed = Packed::open(message, self.account.as_ref().map(|account| &account.holder))?;
                    if let Some(order) = order {
                        finish(order, packed, chores, wakes);
                    }
                }
                Kind::Call | Kind::Leave => return Err(Fault::Garbled),
            }
        }
        Ok(())
    }

    /// Puts into the ring what there is room for, and wakes the worker if it sleeps.
    fn pump(&mut self, fleet: &Fleet<Order>, name: u32) -> Result<(), Error> {
        while let Some(number) = self.backlog.front().copied() {
            let call = fleet.sent(name, number).map(|task| &task.job.call);
            let is_next = fleet.first_sent(name).is_none_or(|first| first.number == number);
            if !self.send(number, call, is_next)? {
                break;
            }
            self.outgoing = None;
            self.letter = None;
            self.backlog.pop_front();
        }
        self.end.port.flush().map(drop)
    }

    /// Sends what there is room for of a call, or the word to leave. True if all of it has left.
    fn send(&mut self, number: u64, call: Option<&Freight>, is_next: bool) -> Result<bool, Error> {
        let ring = &mut self.end.port.outgoing;
        let outgoing = self.outgoing.get_or_insert_with(|| match call {
            Some(call) => Outgoing::new(call.head(number, Kind::Call), call.length()),
            None => Outgoing::new(Head::new(number, Kind::Leave), 0),
        });
        if !(is_next || outgoing.is_short() || outgoing.has_begun()) {
            // Of a message in pieces that a busy worker does not read, nothing could be taken back.
            return Ok(false);
        }
        // The bytes do not change, and the order holds them: they may be read without the GIL.
        let Some(bytes) = call.map_or(Some(&[][..]), Freight::plain) else {
            if self.letter.is_none() && ring.reserve(outgoing.wants(ring))?.is_none() {
                return Ok(false);
            }
            let peer = self.account.as_ref().map(|account| account.peer);
            let letter = match (&mut self.letter, call) {
                (Some(letter), _) => letter,
                (none, Some(call)) => none.insert(call.message(peer)?),
                (none, None) => none.insert(Vec::new()),
            };
            return outgoing.push(letter, ring);
        };
        outgoing.push(bytes, ring)
    }

    /// The descriptors that a worker is given: see `servant.rs`.
    pub(crate) fn fds(&self, bell: &Bell, store: Option<&Store>) -> PyResult<Vec<OwnedFd>> {
        let mut fds = vec![
            self.end.segment().as_fd().try_clone_to_owned()?,
            self.end.worker_bell().as_fd().try_clone_to_owned()?,
            bell.as_fd().try_clone_to_owned()?,
        ];
        if let (Some(store), Some(account)) = (store, &self.account) {
            let arena = store.arena();
            fds.push(arena.data_fd().map_err(crate::error::Error::from)?);
            let ledger = arena.ledger_fd(account.peer).map_err(crate::error::Error::from)?;
            fds.push(ledger.try_clone_to_owned()?);
            fds.push(account.data.as_fd().try_clone_to_owned()?);
            fds.push(account.ledger.as_fd().try_clone_to_owned()?);
        }
        Ok(fds)
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

/// Finishes the future of a task without the GIL, if nobody has looked behind it.
fn finish(order: Order, packed: Packed, chores: &mut Chores, wakes: &mut Wakes) {
    let has_failed = packed.has_failed;
    let outcome = Outcome::Packed(Arc::new(packed));
    let mut locked = order.future.get().promise.lock();
    if locked.is_some() {
        // A callback, or the standard library's `wait`.
        drop(locked);
        chores.finished.push((order.future, outcome));
        return;
    }
    match locked.finish(outcome, has_failed) {
        Ok(told) => wakes.extend(told),
        Err(late) => drop(late),
    }
}
