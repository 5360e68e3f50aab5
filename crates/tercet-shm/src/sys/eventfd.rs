//! Linux: the event descriptor.
//!
//! A round trip between processes was faster over it than over a futex in shared memory when both were measured, and it can be
//! waited for together with the descriptors of processes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};

use crate::bell::Woken;
use crate::error::Error;

#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(crate) fn new() -> Result<Self, Error> {
        // It must not block: a hostile peer could have counted it up to its limit.
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        rustix::event::eventfd(0, flags).map(Self::from).map_err(Error::system("make a bell"))
    }

    pub(crate) fn ring(&self) -> Result<(), Error> {
        match retry_on_intr(|| rustix::io::write(&*self.0, &1_u64.to_ne_bytes())) {
            // At its limit it rings already.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Error::system("ring a bell")(errno)),
        }
    }

    pub(crate) fn silence(&self) -> Result<(), Error> {
        match retry_on_intr(|| rustix::io::read(&*self.0, &mut [0_u8; 8])) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(Error::system("silence a bell")(errno)),
        }
    }

    pub(crate) fn wait(&self, others: &[BorrowedFd<'_>], until: Option<Instant>) -> Result<Woken, Error> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let all = std::iter::once(self.0.as_fd()).chain(others.iter().copied());
        let mut polled: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Err(Errno::INTR) => return Ok(Woken::Interrupted),
            Err(errno) => return Err(Error::system("wait for a bell")(errno)),
            Ok(0) => return Ok(Woken::TimedOut),
            Ok(_) => {}
        }
        // A death is told before a ring: a busy bell would hide it.
        match polled[1..].iter().position(|fd| !fd.revents().is_empty()) {
            Some(place) => Ok(Woken::Other(place)),
            None => self.silence().map(|()| Woken::Rung),
        }
    }
}

impl From<OwnedFd> for Bell {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
