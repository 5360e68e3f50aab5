//! Memory that several processes see.
//!
//! A segment has no name: it is passed on as a descriptor, and it is gone when the last process that has it is gone, by whatever
//! death. It is sparse: only what was touched takes memory. Facts about such files: `sys/memfd.rs`.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crate::error::Error;
use crate::sync::Shared;
use crate::sys::{self, Access, Bytes, Mapping, Place};

const PAGE: usize = 4096;

/// A memory file and its mapping. Clones are the same memory.
///
/// The descriptor closes when another program is executed: whoever starts one and wants to pass it on says so there.
#[derive(Clone, Debug)]
pub struct Segment {
    file: Arc<OwnedFd>,
    mapping: Arc<Mapping>,
    access: Access,
}

impl Segment {
    /// A new segment, full of zeros; its size is rounded up to whole pages.
    ///
    /// # Errors
    /// The system refuses the memory or the descriptor.
    pub fn new(size: usize) -> Result<Self, Error> {
        let size = size.checked_next_multiple_of(PAGE).filter(|size| isize::try_from(*size).is_ok());
        let size = size.ok_or(Error::Full { wanted: u64::MAX, size: isize::MAX as u64 })?.max(PAGE);
        Self::map(sys::create(size)?, size, Access::ReadWrite)
    }

    /// The segment of a descriptor that came from another process.
    ///
    /// # Errors
    /// It is not of a segment, or does not allow this access.
    pub fn from_fd(file: OwnedFd, access: Access) -> Result<Self, Error> {
        let size = sys::open(&file)?;
        Self::map(file, size, access)
    }

    fn map(file: OwnedFd, size: usize, access: Access) -> Result<Self, Error> {
        let mapping = Arc::new(Mapping::new(&file, 0, size, access)?);
        Ok(Self { file: Arc::new(file), mapping, access })
    }

    /// Its bytes, touched or not.
    pub fn size(&self) -> usize {
        self.mapping.len()
    }

    /// How this process sees it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Where it begins in this process. What lies there belongs to whoever the protocol says.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.mapping.at()
    }

    /// The bytes that memory is used for.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn resident_bytes(&self) -> Result<u64, Error> {
        sys::resident_bytes(&self.file)
    }

    /// Gives the whole pages of a range back to the system. They read as zeros, and take memory when they are touched again.
    ///
    /// # Errors
    /// The range is not inside, or the system refuses.
    ///
    /// # Safety
    /// Nobody holds a reference to anything in the range, in this process.
    pub unsafe fn discard(&self, range: Range<usize>) -> Result<(), Error> {
        self.check(range.start, range.len())?;
        let whole = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
        sys::discard(&self.file, &whole)
    }

    /// Writes bytes without a mapping: where no memory is used yet, that takes less time than to touch it.
    ///
    /// # Errors
    /// The range is not inside, or the system refuses.
    ///
    /// # Safety
    /// Nobody holds a reference to anything in the range, in this process.
    pub(crate) unsafe fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.check(offset, bytes.len())?;
        self.check_writable()?;
        sys::write(&self.file, offset, bytes)
    }

    /// Another descriptor of this segment, through which it cannot be mapped for writing: for a peer that shall only read.
    ///
    /// It stops mistakes and not malice: a process of the same user may open the file anew. The seal that would stop
    /// that forbids to punch holes too.
    ///
    /// # Errors
    /// The system refuses, for instance because `/proc` is not mounted.
    pub fn read_only_fd(&self) -> Result<OwnedFd, Error> {
        sys::read_only(&self.file)
    }

    pub(crate) fn check(&self, offset: usize, len: usize) -> Result<(), Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(Error::Outside { offset: offset as u64, len: len as u64, size: self.size() as u64 }),
        }
    }

    pub(crate) fn place<T: Shared>(&self, offset: usize) -> Result<Place<T>, Error> {
        self.check_writable()?;
        Place::new(&self.mapping, offset)
    }

    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Result<Bytes, Error> {
        self.check_writable()?;
        Bytes::new(&self.mapping, offset, len)
    }

    /// Another mapping of a range, which begins at a page.
    pub(crate) fn map_private(&self, offset: usize, len: usize) -> Result<Mapping, Error> {
        self.check(offset, len)?;
        Mapping::new(&*self.file, offset as u64, len.max(1), Access::CopyOnWrite)
    }

    /// A reference that does not keep it.
    pub(crate) fn downgrade(&self) -> WeakSegment {
        WeakSegment { file: Arc::downgrade(&self.file), mapping: Arc::downgrade(&self.mapping), access: self.access }
    }

    fn check_writable(&self) -> Result<(), Error> {
        if self.access == Access::ReadWrite { Ok(()) } else { Err(Error::ReadOnly) }
    }
}

/// A segment, as long as somebody else keeps it.
#[derive(Debug)]
pub(crate) struct WeakSegment {
    file: Weak<OwnedFd>,
    mapping: Weak<Mapping>,
    access: Access,
}

impl WeakSegment {
    pub(crate) fn upgrade(&self) -> Option<Segment> {
        Some(Segment { file: self.file.upgrade()?, mapping: self.mapping.upgrade()?, access: self.access })
    }

    pub(crate) fn is_there(&self) -> bool {
        self.file.strong_count() > 0
    }
}

/// To be passed on to another process.
impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(segment: &Segment, at: usize, byte: u8) {
        // SAFETY: the test is alone with the segment, and the place is inside.
        unsafe { segment.as_ptr().add(at).write(byte) };
    }

    fn read(segment: &Segment, at: usize) -> u8 {
        // SAFETY: as above.
        unsafe { segment.as_ptr().add(at).read() }
    }

    #[test]
    fn two_mappings_are_one_memory() {
        let one = Segment::new(10_000).unwrap();
        assert_eq!(one.size(), 12_288);
        let fd = one.as_fd().try_clone_to_owned().unwrap();
        let two = Segment::from_fd(fd, Access::ReadOnly).unwrap();
        written(&one, 9_999, 7);
        assert_eq!((two.size(), read(&two, 9_999)), (12_288, 7));
        assert!(matches!(two.bytes(0, 8), Err(Error::ReadOnly)));
    }

    #[test]
    fn what_is_private_stays_private() {
        let one = Segment::new(4096).unwrap();
        let fd = one.as_fd().try_clone_to_owned().unwrap();
        let two = Segment::from_fd(fd, Access::CopyOnWrite).unwrap();
        written(&one, 1, 1);
        written(&two, 0, 7);
        assert_eq!((read(&one, 0), read(&two, 0), read(&two, 1)), (0, 7, 1));
    }

    #[test]
    fn memory_is_used_where_it_is_touched() {
        let segment = Segment::new(1 << 40).unwrap();
        assert_eq!(segment.resident_bytes().unwrap(), 0);
        written(&segment, 1 << 39, 1);
        written(&segment, (1 << 39) + PAGE, 1);
        let touched = segment.resident_bytes().unwrap();
        assert!(touched > 0);
        // SAFETY: the test holds no reference.
        unsafe { segment.discard((1 << 39) - 1..(1 << 39) + PAGE + 1) }.unwrap();
        assert!(segment.resident_bytes().unwrap() < touched);
        assert_eq!((read(&segment, 1 << 39), read(&segment, (1 << 39) + PAGE)), (0, 1), "whole pages only");
    }

    #[test]
    fn a_range_outside_is_refused() {
        let segment = Segment::new(4096).unwrap();
        // SAFETY: the test holds no reference.
        let refused = unsafe { segment.discard(0..4097) };
        assert!(matches!(refused, Err(Error::Outside { .. })));
        assert!(segment.bytes(4096, 8).is_err());
        assert!(segment.bytes(usize::MAX - 7, 8).is_err());
        assert!(segment.bytes(4, 8).is_err());
        assert!(Segment::new(usize::MAX).is_err());
    }

    #[test]
    fn a_file_that_could_shrink_is_refused() {
        let file = rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert!(matches!(Segment::from_fd(file, Access::ReadOnly), Err(Error::Unsealed)));
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert!(matches!(Segment::from_fd(pipe, Access::ReadOnly), Err(Error::Unsealed)));
    }

    #[test]
    fn a_descriptor_for_reading_cannot_be_written_through() {
        let segment = Segment::new(4096).unwrap();
        let fd = segment.read_only_fd().unwrap();
        assert!(Segment::from_fd(fd.try_clone().unwrap(), Access::ReadWrite).is_err());
        let private = Segment::from_fd(fd, Access::CopyOnWrite).unwrap();
        written(&private, 0, 7);
        assert_eq!(read(&segment, 0), 0);
    }
}
