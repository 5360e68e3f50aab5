//! Linux: memory files without a name.
//!
//! Some facts about memory files
//! -----------------------------
//! - The file lives while a descriptor or a mapping of it does. It has no name, so no kind of death leaves it behind.
//! - A page that `write` makes holds the bytes at once. One that a touch makes is filled with zeros before, and each touch is a
//!   fault: `examples/limit.rs` tells how much slower that is.
//! - A page exists from its first touch on; reading a hole gives zeros. Punching a hole gives the pages back at once.
//! - Whoever holds the descriptor could cut the file short, and a touch behind the end is a SIGBUS. Seals forbid that,
//!   and a seal cannot be taken off.
//! - A private mapping sees what the file holds until it writes a page; from then on that page is its own.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::retry_on_intr;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::Error;
use crate::sync::{AtomicU64, Ordering, Shared};

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// How a process sees a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads, and what it writes all others see.
    ReadWrite,
    /// It reads.
    ReadOnly,
    /// It reads, and what it writes nobody else sees.
    CopyOnWrite,
}

/// Makes a file of so many bytes, which from then on neither grows nor shrinks.
pub(crate) fn create(size: usize) -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("tercet", flags).map_err(Error::system("make a memory file"))?;
    retry_on_intr(|| rustix::fs::ftruncate(&file, size as u64)).map_err(Error::system("size a memory file"))?;
    rustix::fs::fcntl_add_seals(&file, SEALS).map_err(Error::system("seal a memory file"))?;
    Ok(file)
}

/// Looks at a file from elsewhere and tells its size.
pub(crate) fn open(file: &OwnedFd) -> Result<usize, Error> {
    // What is no memory file has no seals to tell.
    let seals = rustix::fs::fcntl_get_seals(file).map_err(|_| Error::Unsealed)?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(Error::Unsealed);
    }
    let stat = rustix::fs::fstat(file).map_err(Error::system("look at a memory file"))?;
    Ok(stat.st_size as usize)
}

/// The number of a file, by which two descriptors of it are told to be one.
pub(crate) fn number(file: impl AsFd) -> Result<u64, Error> {
    rustix::fs::fstat(file).map(|stat| stat.st_ino).map_err(Error::system("look at a memory file"))
}

/// The bytes that pages exist for.
pub(crate) fn resident_bytes(file: &OwnedFd) -> Result<u64, Error> {
    let stat = rustix::fs::fstat(file).map_err(Error::system("look at a memory file"))?;
    Ok(stat.st_blocks as u64 * 512)
}

/// Gives the pages of a range back to the system: it reads as zeros from then on.
pub(crate) fn discard(file: &OwnedFd, range: &Range<usize>) -> Result<(), Error> {
    let (offset, len) = (range.start as u64, range.len() as u64);
    if len == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, len)).map_err(Error::system("punch a hole"))
}

/// Writes bytes into the file at a place inside of it.
pub(crate) fn write(file: &OwnedFd, offset: usize, mut bytes: &[u8]) -> Result<(), Error> {
    let mut at = offset as u64;
    while !bytes.is_empty() {
        let written =
            retry_on_intr(|| rustix::io::pwrite(file, bytes, at)).map_err(Error::system("write a memory file"))?;
        if written == 0 {
            return Err(Error::Full { wanted: bytes.len() as u64, size: at });
        }
        at += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Another descriptor of the file, through which nobody can write.
pub(crate) fn read_only(file: &OwnedFd) -> Result<OwnedFd, Error> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    retry_on_intr(|| rustix::fs::open(&*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
        .map_err(Error::system("open a memory file for reading"))
}

/// A run of memory with a file behind it.
#[derive(Debug)]
pub(crate) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address and a length; what lies there is reached through types that say who may.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a part of a file, which lies inside of it.
    pub(crate) fn new(file: impl AsFd, offset: u64, len: usize, access: Access) -> Result<Self, Error> {
        let (protection, flags) = match access {
            Access::ReadWrite => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Access::ReadOnly => (ProtFlags::READ, MapFlags::SHARED),
            Access::CopyOnWrite => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE),
        };
        let flags = flags | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses an address where nothing else is.
        let at = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, file, offset) }
            .map_err(Error::system("map a memory file"))?;
        let at = NonNull::new(at.cast()).ok_or(Error::Corrupt { what: "an address", found: 0 })?;
        Ok(Self { at, len })
    }

    pub(crate) fn at(&self) -> NonNull<u8> {
        self.at
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `mmap` gave, and whoever borrowed from it borrowed the mapping.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// A `T` in a mapping.
#[derive(Debug)]
pub(crate) struct Place<T> {
    at: NonNull<T>,
    mapping: Arc<Mapping>,
    holds: PhantomData<T>,
}

// SAFETY: it gives nothing but a `&T`, in memory that it keeps mapped.
unsafe impl<T: Shared + Sync> Send for Place<T> {}
// SAFETY: as above.
unsafe impl<T: Shared + Sync> Sync for Place<T> {}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, mapping: Arc::clone(&self.mapping), holds: PhantomData }
    }
}

impl<T: Shared> Place<T> {
    /// The `T` at an offset of a mapping that may be written.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize) -> Result<Self, Error> {
        let outside = Error::Outside { offset: offset as u64, len: size_of::<T>() as u64, size: mapping.len as u64 };
        let is_inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= mapping.len);
        if !is_inside || offset % align_of::<T>() != 0 {
            return Err(outside);
        }
        // SAFETY: the offset is inside of the mapping.
        let at = unsafe { mapping.at.add(offset) }.cast();
        Ok(Self { at, mapping: Arc::clone(mapping), holds: PhantomData })
    }
}

impl<T: Shared> Deref for Place<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` has seen that it lies inside and aligned, the mapping is kept, and any bytes are a `T`.
        unsafe { self.at.as_ref() }
    }
}

/// A run of bytes in a mapping, whole words of eight.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    at: NonNull<u8>,
    len: usize,
    /// What keeps the memory where it is.
    _mapping: Arc<Mapping>,
}

// SAFETY: it gives slices only to those who promise to be alone with them, in memory that it keeps mapped.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// The bytes at an offset of a mapping that may be written.
    pub(crate) fn new(mapping: &Arc<Mapping>, offset: usize, len: usize) -> Result<Self, Error> {
        let outside = Error::Outside { offset: offset as u64, len: len as u64, size: mapping.len as u64 };
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= mapping.len);
        if !is_inside || offset % 8 != 0 || len % 8 != 0 {
            return Err(outside);
        }
        // SAFETY: the offset is inside of the mapping.
        let at = unsafe { mapping.at.add(offset) };
        Ok(Self { at, len, _mapping: Arc::clone(mapping) })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads the word at an offset, once.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        self.atomic(offset).load(Ordering::Relaxed)
    }

    /// Writes the word at an offset.
    pub(crate) fn set_word(&self, offset: usize, word: u64) {
        self.atomic(offset).store(word, Ordering::Relaxed);
    }

    fn atomic(&self, offset: usize) -> &AtomicU64 {
        assert!(offset % 8 == 0 && offset < self.len, "a word outside of its memory");
        // SAFETY: it lies inside (whole, as the length is a multiple of eight) and aligned, and the mapping is kept.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().add(offset).cast()) }
    }

    /// The bytes of a range.
    ///
    /// # Safety
    /// By the protocol nobody writes them meanwhile.
    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        // SAFETY: the range is inside, the mapping is kept, and the caller answers for the writers.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(offset), len) }
    }

    /// The bytes of a range, to be written.
    ///
    /// # Safety
    /// By the protocol nobody reads or writes them meanwhile.
    #[expect(clippy::mut_from_ref, reason = "the protocol, not the borrow, tells who may write")]
    pub(crate) unsafe fn slice_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        self.check(offset, len);
        // SAFETY: the range is inside, the mapping is kept, and the caller answers for all others.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr().add(offset), len) }
    }

    fn check(&self, offset: usize, len: usize) {
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(is_inside, "bytes outside of their memory");
    }
}

/// Memory for one `T` and so many bytes, which this process shares with those it forks.
pub(crate) fn of_one_process<T: Shared>(len: usize) -> Result<(Place<T>, Bytes), Error> {
    let size = size_of::<T>() + len;
    let mapping = Arc::new(Mapping::new(create(size)?, 0, size, Access::ReadWrite)?);
    Ok((Place::new(&mapping, 0)?, Bytes::new(&mapping, size_of::<T>(), len)?))
}
