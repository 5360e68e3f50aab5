//! From a system call to the kind of wait.

use std::os::unix::fs::FileTypeExt;

use tercet_model::Wait;

use crate::memory::{Memory, word_at};
use crate::proc_fs;

/// A wait as the kernel shows it, before the stack is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) kind: Wait,
    /// What is waited for, when it has a name.
    pub(crate) target: String,
    /// The address of the lock, for a lock.
    pub(crate) lock: Option<u64>,
    /// Whether it waits for another thread to do something, as only tercet's own engines do.
    pub(crate) is_latch: bool,
    /// The epoll instance, for a loop.
    pub(crate) epoll: Option<u64>,
    /// When a sleep ends, by the clock it asked for, in nanoseconds.
    pub(crate) deadline_ns: Option<u64>,
}

impl Blocked {
    pub(crate) fn on(kind: Wait) -> Self {
        Self { kind, target: String::new(), lock: None, is_latch: false, epoll: None, deadline_ns: None }
    }
}

/// The target of a wait until a file is safe on the disk.
pub(crate) const SYNC: &str = "fsync";
/// The target of a wait for somebody to connect.
pub(crate) const ACCEPT: &str = "connection";
/// Flag of a futex operation: the futex is not shared with other processes.
const FUTEX_PRIVATE: u64 = 128;
/// A futex operation without its flags: wait while the word has a value.
const FUTEX_WAIT: u64 = 0;
const FUTEX_FLAGS: u64 = FUTEX_PRIVATE | 256;
/// The value that the word of a sleeping `tercet_sched::Latch` has. The locks of Python and of glibc wait by another
/// operation (`FUTEX_WAIT_BITSET`) or while their word has another value.
const LATCH: u32 = u32::from_be_bytes(*b"trct");
/// Descriptors of a poll or select that are looked at.
const MOST_DESCRIPTORS: u64 = 64;

/// The kind of wait behind a system call of process `pid`.
///
/// A futex is a lock here; whether it is the GIL's is for the caller to say, who knows where that lies.
pub(crate) fn classify(pid: u32, memory: Memory, number: i64, arguments: [u64; 6]) -> Blocked {
    let [first, second, third, ..] = arguments;
    match number {
        libc::SYS_futex => {
            let kind = if second & FUTEX_PRIVATE == 0 { Wait::ProcessLock } else { Wait::Lock };
            let is_latch = second & !FUTEX_FLAGS == FUTEX_WAIT && kind == Wait::Lock && third as u32 == LATCH;
            Blocked { lock: Some(first), is_latch, ..Blocked::on(kind) }
        }
        libc::SYS_nanosleep | libc::SYS_rt_sigtimedwait | libc::SYS_rt_sigsuspend => Blocked::on(Wait::Sleep),
        libc::SYS_clock_nanosleep => {
            let is_absolute = second & libc::TIMER_ABSTIME as u64 != 0;
            let deadline_ns = is_absolute.then(|| deadline(memory, third)).flatten();
            Blocked { deadline_ns, ..Blocked::on(Wait::Sleep) }
        }
        libc::SYS_wait4 | libc::SYS_waitid => Blocked::on(Wait::Child),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Blocked { epoll: Some(first), ..Blocked::on(Wait::LoopIdle) },
        libc::SYS_ppoll => of_all(pid, &polled(memory, first, second)),
        libc::SYS_pselect6 => of_all(pid, &selected(memory, first, [second, third, arguments[3]])),
        libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_sync
        | libc::SYS_syncfs
        | libc::SYS_sync_file_range
        | libc::SYS_msync => Blocked { target: SYNC.to_owned(), ..Blocked::on(Wait::Disk) },
        libc::SYS_openat
        | libc::SYS_unlinkat
        | libc::SYS_io_getevents
        | libc::SYS_getdents64
        | libc::SYS_fallocate
        | libc::SYS_ftruncate => Blocked::on(Wait::Disk),
        libc::SYS_flock | libc::SYS_fcntl | libc::SYS_semop | libc::SYS_semtimedop => Blocked::on(Wait::ProcessLock),
        libc::SYS_msgrcv | libc::SYS_msgsnd | libc::SYS_mq_timedreceive | libc::SYS_mq_timedsend => {
            Blocked::on(Wait::Pipe)
        }
        libc::SYS_io_uring_enter => Blocked::on(Wait::Network),
        _ if is_older_call(number) => older(pid, memory, number, arguments),
        libc::SYS_accept | libc::SYS_accept4 => Blocked { target: ACCEPT.to_owned(), ..Blocked::on(Wait::Network) },
        _ if takes_descriptor(number) => of_descriptor(pid, first),
        _ => Blocked::on(Wait::Other),
    }
}

/// Calls whose first argument is the descriptor they wait for.
fn takes_descriptor(number: i64) -> bool {
    matches!(
        number,
        libc::SYS_read
            | libc::SYS_write
            | libc::SYS_readv
            | libc::SYS_writev
            | libc::SYS_pread64
            | libc::SYS_pwrite64
            | libc::SYS_preadv
            | libc::SYS_pwritev
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
            | libc::SYS_connect
            | libc::SYS_sendfile
            | libc::SYS_splice
            | libc::SYS_copy_file_range
    )
}

/// Calls that newer architectures no longer have.
#[cfg(target_arch = "x86_64")]
fn is_older_call(number: i64) -> bool {
    matches!(number, libc::SYS_poll | libc::SYS_select | libc::SYS_epoll_wait | libc::SYS_pause)
}

#[cfg(target_arch = "x86_64")]
fn older(pid: u32, memory: Memory, number: i64, [first, second, third, fourth, ..]: [u64; 6]) -> Blocked {
    match number {
        libc::SYS_poll => of_all(pid, &polled(memory, first, second)),
        libc::SYS_select => of_all(pid, &selected(memory, first, [second, third, fourth])),
        libc::SYS_epoll_wait => Blocked { epoll: Some(first), ..Blocked::on(Wait::LoopIdle) },
        _ => Blocked::on(Wait::Sleep),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_older_call(_number: i64) -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn older(_pid: u32, _memory: Memory, _number: i64, _arguments: [u64; 6]) -> Blocked {
    Blocked::on(Wait::Other)
}

/// A `timespec` of the process, in nanoseconds.
fn deadline(memory: Memory, address: u64) -> Option<u64> {
    let bytes = memory.bytes::<16>(address).ok()?;
    word_at(&bytes, 0).checked_mul(1_000_000_000)?.checked_add(word_at(&bytes, 8))
}

/// The descriptors of a `pollfd` array.
fn polled(memory: Memory, address: u64, count: u64) -> Vec<u64> {
    let count = count.min(MOST_DESCRIPTORS);
    let bytes = memory.vec(address, (count * 8) as usize).unwrap_or_default();
    let descriptor = |entry: &[u8]| i32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]]);
    bytes.chunks_exact(8).filter_map(|entry| u64::try_from(descriptor(entry)).ok()).collect()
}

/// The descriptors of the three sets of a select.
fn selected(memory: Memory, count: u64, sets: [u64; 3]) -> Vec<u64> {
    let words = count.min(1024).div_ceil(64) as usize;
    let mut found = Vec::new();
    for set in sets.into_iter().filter(|&set| set != 0) {
        let bytes = memory.vec(set, words * 8).unwrap_or_default();
        for (index, _) in bytes.chunks_exact(8).enumerate() {
            let word = word_at(&bytes, index * 8);
            found.extend((0..64).filter(|bit| word >> bit & 1 == 1).map(|bit| index as u64 * 64 + bit));
        }
    }
    found.truncate(MOST_DESCRIPTORS as usize);
    found
}

/// A wait for any of several descriptors: a clock when there are none, else the farthest of them.
fn of_all(pid: u32, descriptors: &[u64]) -> Blocked {
    let mut found = Blocked::on(Wait::Sleep);
    for &descriptor in descriptors {
        let one = of_descriptor(pid, descriptor);
        if found.kind == Wait::Sleep || one.kind == Wait::Network {
            found = one;
        }
        if found.kind == Wait::Network {
            break;
        }
    }
    found
}

/// The kind of wait for one descriptor.
fn of_descriptor(pid: u32, descriptor: u64) -> Blocked {
    let Some(link) = proc_fs::link(pid, descriptor) else { return Blocked::on(Wait::Other) };
    let named = |kind, target: &str| Blocked { target: target.to_owned(), ..Blocked::on(kind) };
    if let Some(inode) = link.strip_prefix("socket:[") {
        let is_local = proc_fs::is_unix_socket(pid, inode.trim_end_matches(']'));
        return named(Wait::Network, if is_local { "local socket" } else { "socket" });
    }
    match link.as_str() {
        link if link.starts_with("pipe:") => named(Wait::Pipe, "pipe"),
        "anon_inode:[eventfd]" => named(Wait::Lock, "eventfd"),
        "anon_inode:[timerfd]" => named(Wait::Sleep, "timer"),
        "anon_inode:[pidfd]" => named(Wait::Child, "process"),
        "anon_inode:[eventpoll]" => named(Wait::LoopIdle, "epoll"),
        link if link.starts_with("anon_inode:") => named(Wait::Other, link),
        link if link.starts_with("/dev/pts/") || link.starts_with("/dev/tty") => named(Wait::Pipe, "terminal"),
        path if is_fifo(pid, descriptor) => named(Wait::Pipe, path),
        path => named(Wait::Disk, path),
    }
}

/// Whether a descriptor leads to a named pipe.
fn is_fifo(pid: u32, descriptor: u64) -> bool {
    let path = format!("/proc/{pid}/fd/{descriptor}");
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn kind(number: i64, arguments: [u64; 6]) -> Wait {
        let pid = std::process::id();
        classify(pid, Memory::of(pid), number, arguments).kind
    }

    #[test]
    fn a_futex_without_the_private_flag_is_shared() {
        assert_eq!(kind(libc::SYS_futex, [64, 0x189, 0, 0, 0, 0]), Wait::Lock);
        assert_eq!(kind(libc::SYS_futex, [64, 0x109, 0, 0, 0, 0]), Wait::ProcessLock);
    }

    #[test]
    fn a_latch_differs_from_a_lock() {
        let is_latch = |operation, value| {
            let pid = std::process::id();
            classify(pid, Memory::of(pid), libc::SYS_futex, [64, operation, value, 0, 0, 0]).is_latch
        };
        assert!(is_latch(0x80, u64::from(LATCH)));
        assert!(!is_latch(0x80, 2), "a mutex of glibc");
        assert!(!is_latch(0x189, 0), "a semaphore of glibc, as Python's locks are");
        assert!(!is_latch(0, u64::from(LATCH)), "shared between processes");
    }

    #[test]
    fn descriptors_are_told_apart() {
        let mut cat = std::process::Command::new("cat");
        let mut cat = cat.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pipe = cat.stdin.take().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let read = |fd: i32| kind(libc::SYS_read, [fd as u64, 0, 0, 0, 0, 0]);
        assert_eq!(read(pipe.as_raw_fd()), Wait::Pipe);
        assert_eq!(read(listener.as_raw_fd()), Wait::Network);
        assert_eq!(read(file.as_raw_fd()), Wait::Disk);
        drop(pipe);
        cat.wait().unwrap();
    }

    #[test]
    fn a_poll_of_nothing_is_a_sleep_and_of_a_socket_the_network() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let entry = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let address = &raw const entry as u64;
        assert_eq!(kind(libc::SYS_ppoll, [address, 1, 0, 0, 0, 0]), Wait::Network);
        assert_eq!(kind(libc::SYS_ppoll, [address, 0, 0, 0, 0, 0]), Wait::Sleep);
        let set = 1_u64 << listener.as_raw_fd();
        let address = &raw const set as u64;
        assert_eq!(kind(libc::SYS_pselect6, [64, address, 0, 0, 0, 0]), Wait::Network);
    }
}
