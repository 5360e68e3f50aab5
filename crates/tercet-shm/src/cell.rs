//! Small things that share a segment: words of locks, values, short arrays.
//!
//! A descriptor and a page for each lock would be too much. So cells are cut from a segment one after the other, and the
//! segment goes when the last cell of it has gone. A cell is never used again: whether another process still has it cannot be
//! known. The place of the next cell stands in the segment itself, so that a process and those it forks go on with one segment.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use crate::error::Error;
use crate::segment::{Segment, WeakSegment};
use crate::sync::{AtomicU64, Ordering, Shared};
use crate::sys::{Access, Place};

/// Cells begin here and are multiples of it: a line for each, so that two locks do not disturb one another.
const LINE: usize = 64;
/// The size of a segment for cells. What is longer than a quarter has a segment of its own.
const SIZE: usize = 16 << 10;

/// The segment that cells are cut from, and those that came from elsewhere.
///
/// After a fork the lock may stay locked for ever; so nobody waits for it, and who does not get it does without.
static SHELF: Mutex<Shelf> = Mutex::new(Shelf { mine: None, known: Vec::new() });

struct Shelf {
    mine: Option<WeakSegment>,
    known: Vec<(u64, WeakSegment)>,
}

/// A few bytes that processes share, zeros at first. Clones are the same bytes.
#[derive(Clone, Debug)]
pub struct Cell {
    segment: Segment,
    offset: usize,
    len: usize,
}

impl Cell {
    /// A new one.
    ///
    /// # Errors
    /// The system refuses the memory or the descriptor.
    pub fn new(len: usize) -> Result<Self, Error> {
        if len > SIZE / 4 {
            return Ok(Self { segment: Segment::new(len)?, offset: 0, len });
        }
        let Ok(mut shelf) = SHELF.try_lock() else { return Self::cut(&Segment::new(LINE + len)?, len) };
        if let Some(segment) = shelf.mine.as_ref().and_then(WeakSegment::upgrade) {
            if let Ok(cell) = Self::cut(&segment, len) {
                return Ok(cell);
            }
        }
        let segment = Segment::new(SIZE)?;
        shelf.mine = Some(segment.downgrade());
        Self::cut(&segment, len)
    }

    /// The next cell of a segment.
    fn cut(segment: &Segment, len: usize) -> Result<Self, Error> {
        let next: Place<AtomicU64> = segment.place(0)?;
        let room = len.max(1).next_multiple_of(LINE);
        let offset = LINE + next.fetch_add(room as u64, Ordering::Relaxed) as usize;
        segment.check(offset, room)?;
        Ok(Self { segment: segment.clone(), offset, len })
    }

    /// One that another process has made. Cells of one segment share what maps it.
    ///
    /// # Errors
    /// The descriptor is not of a segment, or the cell is not inside.
    pub fn from_fd(file: OwnedFd, offset: usize, len: usize) -> Result<Self, Error> {
        let segment = known(file)?;
        segment.check(offset, len)?;
        Ok(Self { segment, offset, len })
    }

    /// Its segment, to be passed on.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where it begins in its segment.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins in this process. What lies there belongs to whoever the users of the cell agree on.
    pub fn as_ptr(&self) -> *mut u8 {
        // SAFETY: the cell lies inside of its segment.
        unsafe { self.segment.as_ptr().as_ptr().add(self.offset) }
    }

    pub(crate) fn place<T: Shared>(&self) -> Result<Place<T>, Error> {
        if size_of::<T>() > self.len {
            return Err(Error::Outside { offset: 0, len: size_of::<T>() as u64, size: self.len as u64 });
        }
        self.segment.place(self.offset)
    }
}

/// The segment of a descriptor, which this process may have already.
fn known(file: OwnedFd) -> Result<Segment, Error> {
    let number = crate::sys::number(&file)?;
    let Ok(mut shelf) = SHELF.try_lock() else { return Segment::from_fd(file, Access::ReadWrite) };
    shelf.known.retain(|(_, segment)| segment.is_there());
    if let Some(segment) = shelf.known.iter().find(|(other, _)| *other == number).and_then(|(_, weak)| weak.upgrade()) {
        return Ok(segment);
    }
    let segment = Segment::from_fd(file, Access::ReadWrite)?;
    shelf.known.push((number, segment.downgrade()));
    Ok(segment)
}

/// The number by which all processes know the memory file of a descriptor.
///
/// # Errors
/// The system does not tell.
pub fn file_number(file: impl AsFd) -> Result<u64, Error> {
    crate::sys::number(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_lie_apart_and_hold_zeros() {
        let cells: Vec<_> = (0..1000).map(|len| Cell::new(len).unwrap()).collect();
        for (byte, cell) in cells.iter().enumerate() {
            // SAFETY: the cell is this test's own.
            let bytes = unsafe { std::slice::from_raw_parts_mut(cell.as_ptr(), cell.len()) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(byte as u8 | 1);
        }
    }

    #[test]
    fn cells_of_one_segment_are_mapped_once() {
        let (one, two) = (Cell::new(8).unwrap(), Cell::new(8).unwrap());
        let fd = |cell: &Cell| cell.segment().as_fd().try_clone_to_owned().unwrap();
        let far = Cell::from_fd(fd(&one), one.offset(), 8).unwrap();
        let also = Cell::from_fd(fd(&one), one.offset(), 8).unwrap();
        assert_eq!(far.as_ptr(), also.as_ptr());
        assert_ne!(far.as_ptr(), one.as_ptr(), "it is mapped a second time, and not a third");
        // SAFETY: the cells are this test's own.
        unsafe {
            one.as_ptr().write(7);
            assert_eq!(far.as_ptr().read(), 7);
        }
        assert!(Cell::from_fd(fd(&two), two.segment().size() - 8, 16).is_err());
    }

    #[test]
    fn a_long_cell_has_a_segment_of_its_own() {
        let cell = Cell::new(1 << 20).unwrap();
        assert_eq!((cell.offset(), cell.segment().size()), (0, 1 << 20));
    }
}
