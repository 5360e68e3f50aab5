//! Linux: the event descriptor.
//!
//! It is registered edge-triggered: every write is told once, and nobody has to read it. Its counter reaches its limit
//! after some 10^19 rings.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::Selector;

#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new(selector: &Selector, token: u64) -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let bell = Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        selector.add_edge(bell.0.as_raw_fd(), token)?;
        Ok(bell)
    }

    pub(crate) fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // It can fail only at the limit of the counter, and then it rings already.
        // SAFETY: eight bytes are behind the pointer.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}
