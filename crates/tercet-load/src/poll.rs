//! Which of many descriptors may go on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// What to be told of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Both,
}

impl From<Interest> for epoll::EventFlags {
    fn from(interest: Interest) -> Self {
        match interest {
            Interest::Read => epoll::EventFlags::IN,
            Interest::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

/// An epoll instance, level-triggered. A descriptor leaves it by being closed.
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Poll { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), interest.into())?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token), interest.into())?)
    }

    /// Wait, and put the tokens of those that may go on into `ready`.
    pub(crate) fn wait(&self, limit: Option<Duration>, ready: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); 256];
        let limit =
            limit.map(|limit| Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) });
        ready.clear();
        match epoll::wait(&self.epoll, &mut events[..], limit.as_ref()) {
            Ok((found, _)) => ready.extend(found.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
