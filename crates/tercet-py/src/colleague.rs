//! The pool's side of one worker: the memory between the two, and what is under way in it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pyo3::prelude::*;
use tercet_sched::{Fleet, Wakes};
use tercet_shm::{Bell, Bells, Error, Holder, LinkSizes, ParentEnd, Peer, Producer, Segment, Want};

use crate::desk::{Chores, Order};
use crate::freight::{self, Freight, Packed, Store};
use crate::future::Outcome;
use crate::limits::Doom;
use crate::parcel::{Fault, Head, Incoming, Kind, Outgoing};
use crate::repertoire::Function;

/// The sizes of the rings. Longer messages go in pieces.
const SIZES: LinkSizes = LinkSizes { task_bytes: 1 << 20, result_bytes: 1 << 20 };

/// The pool's side of one worker.
pub(crate) struct Colleague {
    pub(crate) end: ParentEnd,
    incoming: Incoming,
    /// What is to be sent: numbers of tasks, or 0 for the word to leave.
    backlog: VecDeque<u64>,
    /// The message at the front of the backlog, if a part of it has left.
    outgoing: Option<Outgoing>,
    /// Its bytes, if they were made for this worker: what they lend counts as lent.
    letter: Option<Vec<u8>>,
    account: Option<Account>,
    /// Which edition of the function at each place it was told of.
    told: Vec<u64>,
    /// Its number, and a descriptor that can be read when it has ended; nothing until it is started.
    pub(crate) process: Option<(i32, Arc<OwnedFd>)>,
    pub(crate) is_leaving: bool,
    /// Why it is to end before its time.
    pub(crate) doom: Option<Doom>,
    /// Whether it has sent anything since somebody weighed it.
    pub(crate) is_to_be_weighed: bool,
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

impl Colleague {
    /// A place for a worker whose process is still to be started.
    pub(crate) fn new(bell: &Bell, store: Option<&Store>) -> Result<Self, Error> {
        let bells = Bells { mine: bell.clone(), theirs: Bell::new()? };
        Ok(Self {
            end: ParentEnd::create(SIZES, bells)?,
            incoming: Incoming::default(),
            backlog: VecDeque::new(),
            outgoing: None,
            letter: None,
            // Without an account, large buffers go through the ring.
            account: store.and_then(|store| Account::open(store).ok()),
            told: Vec::new(),
            process: None,
            is_leaving: false,
            doom: None,
            is_to_be_weighed: false,
        })
    }

    /// Has a task sent.
    pub(crate) fn order(&mut self, number: u64) {
        self.backlog.push_back(number);
    }

    /// Tells it to leave, once.
    pub(crate) fn dismiss(&mut self) {
        if !std::mem::replace(&mut self.is_leaving, true) {
            self.backlog.push_back(0);
        }
    }

    /// Says that the leader is about to sleep. False if there is something to do.
    pub(crate) fn announce(&mut self) -> bool {
        let room = self.outgoing.as_ref().map(|outgoing| outgoing.wants(&self.end.port.outgoing));
        self.end.port.announce(room.map_or(Want::Frame, Want::Either)).unwrap_or(true)
    }

    /// Forgets what a dead worker was lent.
    pub(crate) fn close(&self, store: Option<&Store>) {
        if let (Some(store), Some(account)) = (store, &self.account) {
            let _ = store.arena().dismiss(account.peer);
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |process| process.0)
    }

    /// Reads what it has sent.
    pub(crate) fn read(
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
                    self.is_to_be_weighed = true;
                    let order = fleet.returned(name, number, u64::from(spent_us) * 1000);
                    let packed = Packed::open(message, self.account.as_ref().map(|account| &account.holder))?;
                    if let Some(order) = order {
                        finish(order, packed, chores, wakes);
                    }
                }
                Kind::Call | Kind::Function | Kind::Leave => return Err(Fault::Garbled),
            }
        }
        Ok(())
    }

    /// Puts into the ring what there is room for, and wakes the worker if it sleeps.
    pub(crate) fn pump(&mut self, fleet: &Fleet<Order>, name: u32) -> Result<(), Error> {
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
        if let Some(function) = call.and_then(|call| call.function()) {
            if !outgoing.has_begun() && !tell(&mut self.told, function, ring)? {
                return Ok(false);
            }
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
    pub(crate) fn take_back(&mut self, last: u64) -> u64 {
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

/// Tells a worker of a function, unless it knows it. False if there is no room.
fn tell(told: &mut Vec<u64>, function: &Function, ring: &mut Producer) -> Result<bool, Error> {
    let place = function.place as usize;
    if told.len() <= place {
        told.resize(place + 1, 0);
    }
    if told[place] == function.edition {
        return Ok(true);
    }
    let head = Head { place: function.place, ..Head::new(0, Kind::Function) };
    let has_left = Outgoing::new(head, function.bytes.len()).push(&function.bytes, ring)?;
    if has_left {
        told[place] = function.edition;
    }
    Ok(has_left)
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
