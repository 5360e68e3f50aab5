//! The far side of an arena: what a peer does with the slabs it is lent.

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::ledger::{Handle, Ledger, SLOTS};
use crate::segment::Segment;
use crate::sys::{Access, Mapping};

/// Receives slabs of another process's arena.
#[derive(Clone, Debug)]
pub struct Holder {
    data: Segment,
    ledger: Ledger,
}

impl Holder {
    /// The memory of a ledger, for the arena and the holder to share.
    ///
    /// # Errors
    /// The system refuses the memory or the descriptor.
    pub fn ledger() -> Result<Segment, Error> {
        Segment::new(Ledger::SIZE)
    }

    /// The far side of an arena whose memory this process made for another one to own.
    ///
    /// # Errors
    /// They are not what they should be, or the system refuses the memory.
    pub fn new(data: &Segment, ledger: &Segment) -> Result<Self, Error> {
        Ok(Self { data: Segment::from_fd(data.read_only_fd()?, Access::ReadOnly)?, ledger: Ledger::new(ledger)? })
    }

    /// The far side of an arena, given the two descriptors that its owner passes on: [`Arena::data_fd`](crate::Arena::data_fd) and
    /// [`Arena::ledger_fd`](crate::Arena::ledger_fd).
    ///
    /// # Errors
    /// They are not what they should be, or the system refuses the memory.
    pub fn open(data: OwnedFd, ledger: OwnedFd) -> Result<Self, Error> {
        let data = Segment::from_fd(data, Access::ReadOnly)?;
        let ledger = Ledger::new(&Segment::from_fd(ledger, Access::ReadWrite)?)?;
        Ok(Self { data, ledger })
    }

    /// Takes a slab that was lent. It is given back when the loan is dropped.
    ///
    /// # Errors
    /// The handle is not one of this arena.
    pub fn receive(&self, handle: Handle) -> Result<Loan, Error> {
        let number = |word: u64| usize::try_from(word).unwrap_or(usize::MAX);
        let (offset, len) = (number(handle.offset), number(handle.len));
        self.data.check(offset, len)?;
        if handle.slot as usize >= SLOTS {
            return Error::corrupt("the slot of a slab", u64::from(handle.slot));
        }
        let debt = Debt { ledger: self.ledger.clone(), slot: handle.slot, forks: FORKS.load(Ordering::Relaxed) };
        Ok(Loan { data: self.data.clone(), offset, len, debt: Arc::new(debt) })
    }
}

/// How often this process has been copied.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// To be called by whoever is about to copy this process, which copies its loans with it.
///
/// What is held now is never given back: the copy reads the same memory, and its owner could not tell the two apart. It
/// is free when the holder is dismissed.
pub fn about_to_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A reference that is owed to the owner.
#[derive(Debug)]
struct Debt {
    ledger: Ledger,
    slot: u32,
    forks: u64,
}

impl Drop for Debt {
    fn drop(&mut self) {
        if self.forks == FORKS.load(Ordering::Relaxed) {
            self.ledger.give_back(self.slot);
        }
    }
}

/// A slab that another process lent, to be read. It goes back when its last clone is dropped.
#[derive(Clone, Debug)]
pub struct Loan {
    data: Segment,
    offset: usize,
    len: usize,
    debt: Arc<Debt>,
}

impl Loan {
    /// The same bytes for this process to write to, without a copy: only pages that are written become its own.
    ///
    /// # Errors
    /// The slab does not begin at a page, or the system refuses the memory.
    pub fn to_private(&self) -> Result<PrivateLoan, Error> {
        let mapping = self.data.map_private(self.offset, self.len)?;
        Ok(PrivateLoan { mapping, len: self.len, _debt: Arc::clone(&self.debt) })
    }
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `receive` has seen that it lies inside of the segment, which is kept; the owner leaves it alone while it is lent.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().as_ptr().add(self.offset), self.len) }
    }
}

/// A slab that another process lent, with what this process has written over it.
///
/// Pages that were not written are still the owner's, so the slab goes back only when this is dropped.
#[derive(Debug)]
pub struct PrivateLoan {
    mapping: Mapping,
    len: usize,
    _debt: Arc<Debt>,
}

impl Deref for PrivateLoan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is of this length, and only this value writes to it.
        unsafe { std::slice::from_raw_parts(self.mapping.at().as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for PrivateLoan {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and it is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.at().as_ptr(), self.len) }
    }
}
