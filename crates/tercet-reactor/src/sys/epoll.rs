//! Linux: epoll.
//!
//! Some facts about it
//! -------------------
//! - What is registered is the open file behind a descriptor. A close unregisters it only if no other descriptor leads to the same file, so a
//!   descriptor is taken out before it is closed.
//! - `EPOLLERR` and `EPOLLHUP` are told even where nothing is asked; who asks nothing is therefore not registered.
//! - `epoll_pwait2` takes nanoseconds and came with Linux 5.11; containers may forbid it. Elsewhere milliseconds are rounded up: a wait
//!   that ends early would have the loop turn idly until its timer is due.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{Interest, Ready};

/// How many events one wait can bring.
const BATCH: usize = 256;
/// No wait is longer, so that every sum of times fits.
const LONGEST_NS: u64 = 24 * 3600 * 1_000_000_000;

/// How often this process is the child of a fork, as counted since the first selector was made.
static FORKS: AtomicU32 = AtomicU32::new(0);
static COUNTS_FORKS: Once = Once::new();
/// Whether `epoll_pwait2` has failed for want of it. Relaxed: a late thread asks the kernel once more.
static LACKS_NANOSECONDS: AtomicBool = AtomicBool::new(false);

extern "C" fn count_fork() {
    // Relaxed: the child of a fork has one thread.
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// An epoll instance.
#[derive(Debug)]
pub struct Selector {
    epoll: OwnedFd,
    forks: u32,
}

/// Where a wait puts what it has found.
pub struct Events {
    found: Vec<libc::epoll_event>,
    len: usize,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { found: vec![libc::epoll_event { events: 0, u64: 0 }; BATCH], len: 0 }
    }
}

impl Events {
    /// What the last wait has found.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        (0..self.len).map(|place| self.get(place))
    }

    /// How much the last wait has found.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the last wait has found nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The finding at a place below [`Self::len`].
    pub fn get(&self, place: usize) -> Ready {
        let event = self.found[place];
        let bits = event.events;
        Ready {
            token: event.u64,
            read: bits & !(libc::EPOLLOUT as u32) != 0,
            write: bits & !(libc::EPOLLIN as u32) != 0,
        }
    }
}

fn checked(code: libc::c_int) -> io::Result<usize> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code as usize) }
}

fn bits_of(interest: Interest) -> u32 {
    let read = if interest.read { libc::EPOLLIN } else { 0 };
    let write = if interest.write { libc::EPOLLOUT } else { 0 };
    (read | write) as u32
}

impl Selector {
    /// Makes an instance of its own.
    ///
    /// # Errors
    /// Where the process or the system has too many descriptors.
    pub fn new() -> io::Result<Self> {
        COUNTS_FORKS.call_once(|| {
            // SAFETY: the function only adds to an atomic, which a child may do after a fork.
            unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        });
        // SAFETY: the call takes no pointer.
        let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll as RawFd) };
        // Relaxed: partner is `count_fork`, before which there was one thread.
        Ok(Self { epoll, forks: FORKS.load(Ordering::Relaxed) })
    }

    /// The descriptor of the instance itself.
    pub fn fileno(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Whether this is the copy of a parent's instance.
    pub fn is_of_parent(&self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.forks
    }

    /// Registers a descriptor.
    ///
    /// # Errors
    /// Where it is closed, is registered already, or cannot be waited for, as a regular file.
    pub fn add(&self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, bits_of(interest), token)
    }

    /// Registers a descriptor whose readiness is told once for every change of it.
    pub(crate) fn add_edge(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, (libc::EPOLLIN | libc::EPOLLET) as u32, token)
    }

    /// Changes what is asked of a descriptor.
    ///
    /// # Errors
    /// Where it is not registered (any more).
    pub fn change(&self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, bits_of(interest), token)
    }

    /// Takes a descriptor out. One that is closed already is out.
    pub fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, what: libc::c_int, fd: RawFd, bits: u32, token: u64) -> io::Result<()> {
        if self.is_of_parent() {
            return Ok(());
        }
        let mut event = libc::epoll_event { events: bits, u64: token };
        // SAFETY: the pointer is to an event of ours, which the call only reads.
        checked(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) }).map(drop)
    }

    /// Waits until something is ready, for at most so long; `None` is for ever. Returns how much was found.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] where a signal came.
    pub fn wait(&self, events: &mut Events, timeout_ns: Option<u64>) -> io::Result<usize> {
        events.len = 0;
        if self.is_of_parent() {
            return Err(io::Error::other("the event loop belongs to the parent of this process"));
        }
        events.len = match timeout_ns {
            None => self.wait_ms(events, -1)?,
            Some(0) => self.wait_ms(events, 0)?,
            Some(left) => self.wait_ns(events, left.min(LONGEST_NS))?,
        };
        Ok(events.len)
    }

    fn wait_ms(&self, events: &mut Events, timeout_ms: libc::c_int) -> io::Result<usize> {
        let found = events.found.as_mut_ptr();
        // SAFETY: there is room for so many events behind the pointer.
        checked(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), found, BATCH as libc::c_int, timeout_ms) })
    }

    fn wait_ns(&self, events: &mut Events, timeout_ns: u64) -> io::Result<usize> {
        if !LACKS_NANOSECONDS.load(Ordering::Relaxed) {
            let left = libc::timespec {
                tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
                tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
            };
            // SAFETY: there is room for so many events behind the pointer, and the timespec is ours; no signal mask is given.
            let code = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.as_raw_fd(),
                    events.found.as_mut_ptr(),
                    BATCH as libc::c_int,
                    &raw const left,
                    std::ptr::null::<libc::sigset_t>(),
                    0_usize,
                )
            };
            let result = checked(code as libc::c_int);
            match result.as_ref().map_err(io::Error::raw_os_error) {
                Err(Some(libc::ENOSYS | libc::EPERM)) => LACKS_NANOSECONDS.store(true, Ordering::Relaxed),
                _ => return result,
            }
        }
        self.wait_ms(events, timeout_ns.div_ceil(1_000_000) as libc::c_int)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::clock_ns;

    const READ: Interest = Interest { read: true, write: false };

    #[test]
    fn readiness_is_told_for_as_long_as_it_lasts() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let (selector, mut events) = (Selector::new().unwrap(), Events::default());
        selector.add(near.as_raw_fd(), READ, 7).unwrap();
        assert_eq!(selector.wait(&mut events, Some(0)).unwrap(), 0);
        far.write_all(b"x").unwrap();
        for _ in 0..2 {
            selector.wait(&mut events, None).unwrap();
            assert_eq!(events.iter().collect::<Vec<_>>(), [Ready { token: 7, read: true, write: false }]);
        }
        near.read_exact(&mut [0]).unwrap();
        assert_eq!(selector.wait(&mut events, Some(0)).unwrap(), 0);
    }

    #[test]
    fn a_wait_is_never_short() {
        let (selector, mut events) = (Selector::new().unwrap(), Events::default());
        for timeout_ns in [1, 50_000, 1_500_000] {
            let before = clock_ns();
            selector.wait(&mut events, Some(timeout_ns)).unwrap();
            assert!(clock_ns() - before >= timeout_ns);
        }
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        let (selector, mut events) = (Selector::new().unwrap(), Events::default());
        LACKS_NANOSECONDS.store(true, Ordering::Relaxed);
        let before = clock_ns();
        selector.wait(&mut events, Some(1_000_001)).unwrap();
        LACKS_NANOSECONDS.store(false, Ordering::Relaxed);
        assert!(clock_ns() - before >= 1_000_001);
    }

    #[test]
    fn a_hang_up_is_told_to_both_directions() {
        let (near, far) = UnixStream::pair().unwrap();
        let (selector, mut events) = (Selector::new().unwrap(), Events::default());
        selector.add(near.as_raw_fd(), READ, 1).unwrap();
        drop(far);
        selector.wait(&mut events, None).unwrap();
        assert!(events.get(0).read && events.get(0).write);
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused() {
        let selector = Selector::new().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let error = selector.add(file.as_raw_fd(), READ, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let (near, _far) = UnixStream::pair().unwrap();
        assert_eq!(selector.change(near.as_raw_fd(), READ, 0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
