//! Slabs for large buffers: the owner fills them, its peers read them, and they are used again.
//!
//! Life cycle of a slab
//! --------------------
//! 1. [`Arena::allocate`] takes a block, a warm one if there is, as a [`Draft`], which whoever has it fills, without the arena:
//!    best by [`Draft::fill_from`]. [`Arena::seal`] makes it a slab that can be lent.
//! 2. [`Arena::lend`] counts a reference for one peer and gives the [`Handle`] to send. From then on nobody writes.
//! 3. The peer receives the handle as a [`Loan`](crate::Loan), and gives the reference back when the loan is dropped.
//! 4. The owner gives its own reference back with [`Arena::free`], before or after the peers do.
//! 5. When the last reference is gone ([`Arena::reclaim`] sees those of the peers), the block is warm and free.
//! 6. A peer that is dead is dismissed, and all its references with it: also those in frames that it never read.
//!
//! Guarantees
//! ----------
//! - A block is never given to two slabs, nor back while anybody has a reference to it.
//! - Everything but the counts of what was given back is private to the owner. A peer that dies, at any instruction, costs nothing
//!   that dismissing it does not bring back; one that lies about what it gave back harms what it was lent itself.
//! - A new slab holds whatever was there before: of this arena, never of anything else.
//!
//! Memory ordering
//! ---------------
//! What the owner writes is seen by the peer because the handle is sent through a ring. What the peer has read it has read before the
//! owner writes again: `ledger.rs`.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::ledger::{Handle, Ledger, SLOTS};
use crate::loan::Holder;
use crate::segment::Segment;
use crate::space::{self, Extent, Space};

/// One of those that an arena lends to: its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(u64);

/// A slab that is being filled. It reads and writes as the bytes that it holds, which are left from before.
#[derive(Debug)]
#[must_use = "what is not sealed stays taken for as long as the arena lives"]
pub struct Draft {
    slab: Slab,
    is_warm: bool,
}

impl Draft {
    /// Fills it with bytes, as many as it holds.
    ///
    /// What has no pages yet is written through the descriptor: the touches of fresh pages cost more (`examples/limit.rs`).
    ///
    /// # Panics
    /// There are more bytes, or less.
    pub fn fill_from(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.len(), "a slab is filled as a whole");
        let Slab { segment, offset, .. } = &self.slab;
        // SAFETY: the block is in no other slab, no peer has it yet, and the draft is borrowed alone: nobody looks at its bytes.
        let is_written = !self.is_warm && unsafe { segment.write(*offset, bytes) }.is_ok();
        if !is_written {
            self.copy_from_slice(bytes);
        }
        self.is_warm = true;
    }
}

impl Deref for Draft {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.slab
    }
}

impl DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Slab { segment, offset, len, .. } = &self.slab;
        // SAFETY: the block lies inside the segment, which is kept; no other slab has it and no peer before it is sealed; the draft,
        // of which there is one, is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(segment.as_ptr().as_ptr().add(*offset), *len) }
    }
}

/// The owner's reference to a block, and its bytes. It is given back by [`Arena::free`], not by being dropped.
#[derive(Debug)]
#[must_use = "what is not freed stays taken for as long as the arena lives"]
pub struct Slab {
    slot: u32,
    serial: u64,
    segment: Segment,
    offset: usize,
    len: usize,
}

impl Deref for Slab {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the block lies inside the segment, which is kept; nobody writes to it as long as the owner has this reference.
        unsafe { std::slice::from_raw_parts(self.segment.as_ptr().as_ptr().add(self.offset), self.len) }
    }
}

/// How the bytes of an arena are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In slabs that somebody has a reference to.
    pub used_bytes: u64,
    /// Free, with their pages.
    pub warm_bytes: u64,
    /// How many slabs somebody has a reference to.
    pub slabs: usize,
}

/// A block that is out.
#[derive(Debug)]
struct Entry {
    serial: u64,
    block: Extent,
    len: u64,
    is_owned: bool,
    /// How many peers hold it.
    peers: u32,
}

/// What the owner knows of a peer.
#[derive(Debug)]
struct Account {
    segment: Segment,
    ledger: Ledger,
    /// For each slot that it holds, what `Ledger::returned` says when it has given all of it back.
    lent: BTreeMap<u32, u32>,
    /// What `Ledger::all` said when we last looked.
    seen: u64,
}

/// Large buffers to be lent to other processes.
#[derive(Debug)]
pub struct Arena {
    segment: Segment,
    space: Space,
    entries: Vec<Option<Entry>>,
    unused_slots: Vec<u32>,
    accounts: BTreeMap<Peer, Account>,
    next_peer: u64,
    used_bytes: u64,
}

/// Slabs of all arenas of this process are told apart.
static SERIAL: AtomicU64 = AtomicU64::new(0);

impl Arena {
    /// An arena of so many bytes, which use memory where they are touched, and of which so many are kept warm when they
    /// are free.
    ///
    /// # Errors
    /// The system refuses the memory or the descriptor.
    pub fn new(size: usize, warm_bytes: u64) -> Result<Self, Error> {
        Segment::new(size).map(|segment| Self::over(segment, warm_bytes))
    }

    /// An arena in memory that another process made for this one to own.
    pub fn over(segment: Segment, warm_bytes: u64) -> Self {
        Self {
            space: Space::new(segment.size() as u64, warm_bytes),
            segment,
            entries: Vec::new(),
            unused_slots: Vec::new(),
            accounts: BTreeMap::new(),
            next_peer: 0,
            used_bytes: 0,
        }
    }

    /// A slab of so many bytes. What they hold is left from before.
    ///
    /// # Errors
    /// There is no room, or too many slabs are out.
    pub fn allocate(&mut self, len: usize) -> Result<Draft, Error> {
        self.reclaim();
        let full = Error::Full { wanted: len as u64, size: self.segment.size() as u64 };
        let Some(size) = space::block_size(len as u64) else { return Err(full) };
        let Some(slot) = self.unused_slot() else { return Err(full) };
        let mut to_discard = Vec::new();
        let is_warm = self.space.is_warm(size);
        let block = self.space.take(size, &mut to_discard);
        self.discard(&to_discard);
        let Some(block) = block else {
            self.unused_slots.push(slot);
            return Err(full);
        };
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        self.used_bytes += block.size;
        self.entries[slot as usize] = Some(Entry { serial, block, len: len as u64, is_owned: true, peers: 0 });
        let slab = Slab { slot, serial, segment: self.segment.clone(), offset: block.offset as usize, len };
        Ok(Draft { slab, is_warm })
    }

    /// Makes what is filled a slab that can be lent.
    pub fn seal(&self, draft: Draft) -> Slab {
        draft.slab
    }

    /// Counts a reference for a peer, and gives the handle to send to it.
    ///
    /// # Errors
    /// The arena does not know the slab or the peer.
    pub fn lend(&mut self, slab: &Slab, peer: Peer) -> Result<Handle, Error> {
        let (offset, len) = self.entry(slab).map(|entry| (entry.block.offset, entry.len))?;
        let account = self.accounts.get_mut(&peer).ok_or(Error::Stranger)?;
        let is_new = account.lend(slab.slot);
        if let Some(Some(entry)) = self.entries.get_mut(slab.slot as usize) {
            entry.peers += u32::from(is_new);
        }
        Ok(Handle { offset, len, slot: slab.slot })
    }

    /// Gives the owner's reference back. The block is free when no peer has one any longer.
    ///
    /// # Errors
    /// The slab belongs to another arena.
    #[expect(clippy::needless_pass_by_value, reason = "the slab is over")]
    pub fn free(&mut self, slab: Slab) -> Result<(), Error> {
        self.entry(&slab)?;
        if let Some(Some(entry)) = self.entries.get_mut(slab.slot as usize) {
            entry.is_owned = false;
        }
        self.settle(slab.slot);
        Ok(())
    }

    /// Sees what the peers have given back. [`Arena::allocate`] does it by itself.
    pub fn reclaim(&mut self) {
        let mut returned = Vec::new();
        self.accounts.values_mut().for_each(|account| account.collect(&mut returned));
        self.drop_references(&returned);
    }

    /// Gives the pages of free blocks back to the system, but for so many bytes.
    pub fn trim(&mut self, warm_bytes: u64) {
        let mut to_discard = Vec::new();
        self.space.trim(warm_bytes, &mut to_discard);
        self.discard(&to_discard);
    }

    /// A peer to lend to, with a ledger of its own.
    ///
    /// # Errors
    /// The system refuses the memory or the descriptor.
    pub fn enrol(&mut self) -> Result<Peer, Error> {
        self.enrol_with(Holder::ledger()?)
    }

    /// A peer whose ledger was made by another process: [`Holder::ledger`].
    ///
    /// # Errors
    /// The segment is not a ledger.
    pub fn enrol_with(&mut self, segment: Segment) -> Result<Peer, Error> {
        let ledger = Ledger::new(&segment)?;
        let peer = Peer(self.next_peer);
        self.next_peer += 1;
        self.accounts.insert(peer, Account { segment, ledger, lent: BTreeMap::new(), seen: 0 });
        Ok(peer)
    }

    /// Drops all references of a peer that is dead, and its ledger. Returns how many slabs it held.
    ///
    /// # Errors
    /// The arena does not know the peer.
    pub fn dismiss(&mut self, peer: Peer) -> Result<usize, Error> {
        let mut account = self.accounts.remove(&peer).ok_or(Error::Stranger)?;
        let mut returned = Vec::new();
        account.collect(&mut returned);
        let held = account.lent.len();
        returned.extend(account.lent.into_keys());
        self.drop_references(&returned);
        Ok(held)
    }

    /// The descriptor of the slabs, for a peer to open and read: see [`Segment::read_only_fd`].
    ///
    /// # Errors
    /// The system refuses another descriptor.
    pub fn data_fd(&self) -> Result<OwnedFd, Error> {
        self.segment.read_only_fd()
    }

    /// The descriptor of a peer's ledger, for this peer alone.
    ///
    /// # Errors
    /// The arena does not know the peer.
    pub fn ledger_fd(&self, peer: Peer) -> Result<BorrowedFd<'_>, Error> {
        self.accounts.get(&peer).map(|account| account.segment.as_fd()).ok_or(Error::Stranger)
    }

    /// How its bytes are used, as far as it has seen.
    pub fn usage(&self) -> Usage {
        let slabs = self.entries.iter().flatten().count();
        Usage { used_bytes: self.used_bytes, warm_bytes: self.space.warm_bytes(), slabs }
    }

    /// The bytes that memory is used for.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn resident_bytes(&self) -> Result<u64, Error> {
        self.segment.resident_bytes()
    }

    fn entry(&self, slab: &Slab) -> Result<&Entry, Error> {
        let entry = self.entries.get(slab.slot as usize).and_then(Option::as_ref);
        entry.filter(|entry| entry.serial == slab.serial).ok_or(Error::Stranger)
    }

    fn unused_slot(&mut self) -> Option<u32> {
        let slot = self.unused_slots.pop();
        if slot.is_some() || self.entries.len() == SLOTS {
            return slot;
        }
        self.entries.push(None);
        Some(self.entries.len() as u32 - 1)
    }

    /// Counts one peer less for each of these slots.
    fn drop_references(&mut self, slots: &[u32]) {
        for &slot in slots {
            if let Some(Some(entry)) = self.entries.get_mut(slot as usize) {
                entry.peers -= 1;
            }
            self.settle(slot);
        }
    }

    /// Frees the block of a slot if nobody has a reference.
    fn settle(&mut self, slot: u32) {
        let Some(place) = self.entries.get_mut(slot as usize) else { return };
        let Some(entry) = place.take_if(|entry| !entry.is_owned && entry.peers == 0) else { return };
        self.unused_slots.push(slot);
        self.used_bytes -= entry.block.size;
        let mut to_discard = Vec::new();
        self.space.give(entry.block, &mut to_discard);
        self.discard(&to_discard);
    }

    fn discard(&self, extents: &[Extent]) {
        for extent in extents {
            let range = extent.offset as usize..(extent.offset + extent.size) as usize;
            // A block that keeps its pages after all takes memory and does no other harm.
            // SAFETY: the block is free, so no reference to it is left.
            let _ = unsafe { self.segment.discard(range) };
        }
    }
}

impl Account {
    /// Counts a reference. Returns whether the peer held none to this slot before.
    fn lend(&mut self, slot: u32) -> bool {
        let is_new = !self.lent.contains_key(&slot);
        // What the peer gave back of the slab that had this slot before is no news about this one.
        let lent = self.lent.entry(slot).or_insert_with(|| self.ledger.returned(slot));
        *lent = lent.wrapping_add(1);
        is_new
    }

    /// Moves the slots that the peer holds no longer to `returned`.
    fn collect(&mut self, returned: &mut Vec<u32>) {
        let all = self.ledger.all();
        if all == self.seen {
            return;
        }
        self.seen = all;
        let ledger = &self.ledger;
        self.lent.retain(|slot, lent| {
            // A peer that gives back more than it has holds nothing.
            let is_held = lent.wrapping_sub(ledger.returned(*slot)) as i32 > 0;
            if !is_held {
                returned.push(*slot);
            }
            is_held
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::{Holder, Loan};
    use proptest::prelude::*;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    fn holder(arena: &Arena, peer: Peer) -> Holder {
        let ledger = arena.ledger_fd(peer).unwrap().try_clone_to_owned().unwrap();
        Holder::open(arena.data_fd().unwrap(), ledger).unwrap()
    }

    fn filled(arena: &mut Arena, len: usize, byte: u8) -> Slab {
        let mut draft = arena.allocate(len).unwrap();
        draft.fill(byte);
        arena.seal(draft)
    }

    #[test]
    fn a_slab_crosses_and_comes_back() {
        let mut arena = Arena::new(MIB, MIB as u64).unwrap();
        let peer = arena.enrol().unwrap();
        let far = holder(&arena, peer);
        let slab = filled(&mut arena, 100_000, 7);
        let handle = Handle::from_bytes(&arena.lend(&slab, peer).unwrap().to_bytes());
        arena.free(slab).unwrap();
        let loan = far.receive(handle).unwrap();
        let other = loan.clone();
        assert_eq!(loan[..], vec![7; 100_000]);
        drop(loan);
        arena.reclaim();
        assert_eq!(arena.usage().slabs, 1);
        drop(other);
        arena.reclaim();
        assert_eq!(arena.usage(), Usage { used_bytes: 0, warm_bytes: 128 * KIB as u64, slabs: 0 });
    }

    #[test]
    fn a_private_loan_is_written_to_by_its_holder_alone() {
        let mut arena = Arena::new(MIB, 0).unwrap();
        let peer = arena.enrol().unwrap();
        let far = holder(&arena, peer);
        let slab = filled(&mut arena, 10_000, 7);
        let loan = far.receive(arena.lend(&slab, peer).unwrap()).unwrap();
        let mut private = loan.to_private().unwrap();
        private[5_000] = 9;
        assert_eq!((loan[5_000], private[5_000], private[0]), (7, 9, 7));
        drop(loan);
        arena.free(slab).unwrap();
        arena.reclaim();
        assert_eq!(arena.usage().slabs, 1, "the pages that were not written are still the owner's");
        assert_eq!(private[9_999], 7);
        drop(private);
        arena.reclaim();
        assert_eq!(arena.usage().slabs, 0);
    }

    #[test]
    fn a_dead_peer_costs_nothing() {
        let mut arena = Arena::new(MIB, MIB as u64).unwrap();
        let (dead, alive) = (arena.enrol().unwrap(), arena.enrol().unwrap());
        let slab = filled(&mut arena, 1, 1);
        let _in_a_frame_never_read = arena.lend(&slab, dead).unwrap();
        let again = arena.lend(&slab, dead).unwrap();
        let loan = holder(&arena, alive).receive(arena.lend(&slab, alive).unwrap()).unwrap();
        let never_dropped_in_time = holder(&arena, dead).receive(again).unwrap();
        arena.free(slab).unwrap();
        assert_eq!(arena.dismiss(dead).unwrap(), 1);
        assert_eq!(arena.usage().slabs, 1, "the other peer has it");
        drop(loan);
        arena.reclaim();
        assert_eq!(arena.usage().slabs, 0);
        drop(never_dropped_in_time);
        assert!(matches!(arena.dismiss(dead), Err(Error::Stranger)));
    }

    #[test]
    fn what_is_given_back_too_often_harms_no_other_slab() {
        let mut arena = Arena::new(MIB, MIB as u64).unwrap();
        let (liar, honest) = (arena.enrol().unwrap(), arena.enrol().unwrap());
        let slab = filled(&mut arena, 1, 1);
        let handle = arena.lend(&slab, liar).unwrap();
        let loan = holder(&arena, honest).receive(arena.lend(&slab, honest).unwrap()).unwrap();
        let far = holder(&arena, liar);
        for _ in 0..10 {
            drop(far.receive(handle).unwrap());
        }
        drop(far.receive(Handle { slot: 77, ..handle }).unwrap());
        arena.free(slab).unwrap();
        arena.reclaim();
        assert_eq!((arena.usage().slabs, loan[0]), (1, 1));
        let next = filled(&mut arena, 1, 2);
        let far_loan = far.receive(arena.lend(&next, liar).unwrap()).unwrap();
        arena.free(next).unwrap();
        arena.reclaim();
        assert_eq!((arena.usage().slabs, far_loan[0]), (2, 2), "an old lie says nothing about a new slab");
    }

    #[test]
    fn a_handle_from_elsewhere_is_refused() {
        let mut arena = Arena::new(MIB, 0).unwrap();
        let peer = arena.enrol().unwrap();
        let far = holder(&arena, peer);
        let good = Handle { offset: 0, len: 1, slot: 0 };
        assert!(far.receive(Handle { len: u64::MAX, offset: 4096, ..good }).is_err());
        assert!(far.receive(Handle { offset: MIB as u64, ..good }).is_err());
        assert!(far.receive(Handle { slot: u32::MAX, ..good }).is_err());
    }

    #[test]
    fn pages_stay_up_to_the_limit() {
        let mut arena = Arena::new(64 * MIB, MIB as u64).unwrap();
        let slabs: Vec<_> = (0..4).map(|byte| filled(&mut arena, MIB, byte)).collect();
        let all = arena.resident_bytes().unwrap();
        assert!(all >= 4 * MIB as u64);
        for slab in slabs {
            arena.free(slab).unwrap();
        }
        assert_eq!(arena.usage().warm_bytes, MIB as u64);
        assert!(arena.resident_bytes().unwrap() <= all - 3 * MIB as u64);
        arena.trim(0);
        assert_eq!(arena.resident_bytes().unwrap(), 0);
    }

    #[test]
    fn what_fills_a_slab_is_there_whether_its_pages_are_fresh_or_warm() {
        let mut arena = Arena::new(MIB, MIB as u64).unwrap();
        let peer = arena.enrol().unwrap();
        let far = holder(&arena, peer);
        for (turn, len) in [(1, 100_000), (2, 100_000), (3, 70_001), (4, 1), (5, 0)] {
            let mut draft = arena.allocate(len).unwrap();
            assert_eq!(draft.is_warm, (2..=3).contains(&turn) || turn == 5, "turn {turn}");
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 + turn).collect();
            draft.fill_from(&bytes);
            let slab = arena.seal(draft);
            let loan = far.receive(arena.lend(&slab, peer).unwrap()).unwrap();
            assert!(slab[..] == bytes && loan[..] == bytes);
            arena.free(slab).unwrap();
            drop(loan);
        }
    }

    #[test]
    #[should_panic(expected = "as a whole")]
    fn a_slab_is_not_filled_in_part() {
        let mut arena = Arena::new(MIB, 0).unwrap();
        let mut draft = arena.allocate(10).unwrap();
        draft.fill_from(&[1; 9]);
    }

    #[test]
    fn the_arena_of_another_process_is_used_the_same() {
        let (data, ledger) = (Segment::new(MIB).unwrap(), Holder::ledger().unwrap());
        let far = Holder::new(&data, &ledger).unwrap();
        let mut arena = Arena::over(data, 0);
        let peer = arena.enrol_with(ledger).unwrap();
        let slab = filled(&mut arena, 10_000, 7);
        let loan = far.receive(arena.lend(&slab, peer).unwrap()).unwrap();
        arena.free(slab).unwrap();
        assert_eq!(loan[..], vec![7; 10_000]);
        drop(loan);
        arena.reclaim();
        assert_eq!(arena.usage().slabs, 0);
    }

    #[test]
    fn full_it_says_so_and_recovers() {
        let mut arena = Arena::new(MIB, MIB as u64).unwrap();
        assert!(matches!(arena.allocate(usize::MAX), Err(Error::Full { .. })));
        let slab = filled(&mut arena, MIB, 1);
        assert!(matches!(arena.allocate(1), Err(Error::Full { wanted: 1, .. })));
        arena.free(slab).unwrap();
        let slab = filled(&mut arena, 1, 1);
        let mut other = Arena::new(MIB, 0).unwrap();
        assert!(matches!(other.free(slab), Err(Error::Stranger)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(usize),
        Lend(usize, usize),
        Free(usize),
        GiveBack(usize),
        Dismiss(usize),
        Reclaim,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..400 * KIB).prop_map(Step::Allocate),
            4 => any::<(usize, usize)>().prop_map(|(slab, peer)| Step::Lend(slab, peer)),
            3 => any::<usize>().prop_map(Step::Free),
            4 => any::<usize>().prop_map(Step::GiveBack),
            1 => any::<usize>().prop_map(Step::Dismiss),
            1 => Just(Step::Reclaim),
        ]
    }

    /// An arena, its peers, and what is out, each slab with a byte of its own.
    struct World {
        arena: Arena,
        peers: Vec<(Peer, Holder)>,
        slabs: Vec<(Slab, u8)>,
        loans: Vec<(Peer, Loan, u8)>,
        dead: Vec<(Peer, Loan, u8)>,
        next: u8,
    }

    impl World {
        fn new() -> Self {
            let arena = Arena::new(4 * MIB, MIB as u64 / 2).unwrap();
            let (slabs, loans, dead) = Default::default();
            let mut world = Self { arena, peers: Vec::new(), slabs, loans, dead, next: 0 };
            (0..3).for_each(|_| world.enrol());
            world
        }

        fn enrol(&mut self) {
            let peer = self.arena.enrol().unwrap();
            self.peers.push((peer, holder(&self.arena, peer)));
        }

        fn take(&mut self, step: &Step) {
            match *step {
                Step::Allocate(len) => {
                    self.next = self.next.wrapping_add(1);
                    if let Ok(mut draft) = self.arena.allocate(len) {
                        draft.fill(self.next);
                        self.slabs.push((self.arena.seal(draft), self.next));
                    }
                }
                Step::Lend(slab, peer) if !self.slabs.is_empty() => {
                    let (slab, byte) = &self.slabs[slab % self.slabs.len()];
                    let (peer, holder) = &self.peers[peer % self.peers.len()];
                    let handle = self.arena.lend(slab, *peer).unwrap();
                    self.loans.push((*peer, holder.receive(handle).unwrap(), *byte));
                }
                Step::Free(slab) if !self.slabs.is_empty() => {
                    let (slab, _) = self.slabs.swap_remove(slab % self.slabs.len());
                    self.arena.free(slab).unwrap();
                }
                Step::GiveBack(loan) if !self.loans.is_empty() => {
                    drop(self.loans.swap_remove(loan % self.loans.len()));
                }
                Step::Dismiss(peer) => {
                    let (dead, _) = self.peers.swap_remove(peer % self.peers.len());
                    let (gone, left): (Vec<_>, _) =
                        std::mem::take(&mut self.loans).into_iter().partition(|loan| loan.0 == dead);
                    self.loans = left;
                    // The dead give nothing back, before they are dismissed; what comes later is not heard.
                    self.dead.extend(gone);
                    self.arena.dismiss(dead).unwrap();
                    self.enrol();
                }
                Step::Reclaim => self.arena.reclaim(),
                _ => {}
            }
        }

        fn is_untouched(&self) -> bool {
            let owned = self.slabs.iter().map(|(slab, byte)| (&slab[..], *byte));
            let lent = self.loans.iter().map(|(_, loan, byte)| (&loan[..], *byte));
            owned.chain(lent).all(|(bytes, byte)| bytes.iter().all(|each| *each == byte))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nobody_writes_over_what_somebody_holds_and_everything_comes_back(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut world = World::new();
            for step in &steps {
                world.take(step);
                prop_assert!(world.is_untouched(), "after {:?}", step);
            }
            world.loans.clear();
            world.dead.clear();
            for (slab, _) in world.slabs.drain(..) {
                world.arena.free(slab).unwrap();
            }
            world.arena.reclaim();
            let usage = world.arena.usage();
            prop_assert_eq!((usage.used_bytes, usage.slabs), (0, 0));
            world.arena.trim(0);
            prop_assert_eq!(world.arena.resident_bytes().unwrap(), 0);
            drop(world.arena.allocate(4 * MIB).unwrap());
        }
    }
}
