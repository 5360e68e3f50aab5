//! What the kernel tells of processes and threads under `/proc`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// The command name of a process.
pub(crate) fn command(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// The arguments of a process.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let raw = raw.strip_suffix(&[0]).unwrap_or(&raw);
    raw.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether a process exists and has not ended (a zombie has).
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.bytes().next()))
        .is_some_and(|state| !matches!(state, b'Z' | b'X'))
}

/// Whether Yama lets only ancestors trace a process.
pub(crate) fn is_tracing_restricted() -> bool {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0")
}

/// The threads of a process; empty when it is gone.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    numbers(&format!("/proc/{pid}/task"))
}

fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The children that the threads of a process started.
pub(crate) fn children(pid: u32, threads: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut found = Vec::new();
    for tid in threads {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
        found.extend(list.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

/// The executable of a process, as the kernel names it.
pub(crate) fn executable(pid: u32) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| path.to_string_lossy().into_owned())
}

/// Bytes that a process has read and written, through whatever files, and how many read calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) reads: u64,
}

/// The transfer of a process so far; `None` when it may not be read.
pub(crate) fn transfer(pid: u32) -> Option<Transfer> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(' ')?.1.parse::<u64>().ok()
    };
    Some(Transfer { read_bytes: field("rchar")?, written_bytes: field("wchar")?, reads: field("syscr")? })
}

/// How many file descriptors an epoll instance watches.
pub(crate) fn watched_by_epoll(pid: u32, fd: u64) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    u32::try_from(info.lines().filter(|line| line.starts_with("tfd:")).count()).ok()
}

/// What a file descriptor leads to, as the kernel writes it: a path, `socket:[7]`, `pipe:[8]`...
pub(crate) fn link(pid: u32, fd: u64) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Whether the socket with this inode is a local one (`AF_UNIX`).
pub(crate) fn is_unix_socket(pid: u32, inode: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    table.lines().any(|line| line.split_ascii_whitespace().nth(6) == Some(inode))
}

/// The files of one thread, kept open: opening them anew at each look costs three times the reading.
#[derive(Debug)]
pub(crate) struct ThreadFiles {
    schedstat: File,
    syscall: File,
    stat: File,
}

/// The kernel's exact counters of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Processor time in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Time ready to run without a processor, in nanoseconds.
    pub(crate) delay_ns: u64,
    /// How often it was given a processor.
    pub(crate) slices: u64,
}

/// Where the kernel says a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Running, or ready to.
    Running,
    /// Inside a system call with these arguments.
    Call {
        /// The number of the call.
        number: i64,
        /// Its six arguments.
        arguments: [u64; 6],
    },
    /// Stopped outside any system call: a page fault, or a signal that stops it.
    Elsewhere,
}

/// Processor time of a thread by mode, in clock ticks, and its state letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl ThreadFiles {
    pub(crate) fn open(pid: u32, tid: u32) -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{pid}/task/{tid}/{name}"));
        Ok(Self { schedstat: open("schedstat")?, syscall: open("syscall")?, stat: open("stat")? })
    }

    pub(crate) fn counters(&self) -> io::Result<Counters> {
        let mut buffer = [0; 96];
        let text = text_of(&self.schedstat, &mut buffer)?;
        let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse().ok());
        let mut next = || fields.next().ok_or(io::ErrorKind::InvalidData);
        Ok(Counters { cpu_ns: next()?, delay_ns: next()?, slices: next()? })
    }

    pub(crate) fn position(&self) -> io::Result<Position> {
        let mut buffer = [0; 256];
        Ok(parse_position(text_of(&self.syscall, &mut buffer)?))
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        let mut buffer = [0; 512];
        parse_stat(text_of(&self.stat, &mut buffer)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn text_of<'b>(file: &File, buffer: &'b mut [u8]) -> io::Result<&'b str> {
    let length = file.read_at(buffer, 0)?;
    std::str::from_utf8(&buffer[..length]).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn parse_position(text: &str) -> Position {
    let mut fields = text.split_ascii_whitespace();
    match fields.next().map(str::parse::<i64>) {
        Some(Ok(number)) if number >= 0 => {
            let mut arguments = [0; 6];
            for (slot, field) in arguments.iter_mut().zip(fields) {
                *slot = u64::from_str_radix(field.trim_start_matches("0x"), 16).unwrap_or(0);
            }
            Position::Call { number, arguments }
        }
        Some(Ok(_)) => Position::Elsewhere,
        _ => Position::Running,
    }
}

/// The name of the command stands in brackets and may hold anything, so fields count from its end.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.bytes().next()?;
    let mut times = fields.skip(10).map_while(|field| field.parse().ok());
    Some(Stat { state, user: times.next()?, system: times.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        assert_eq!(parse_position("running\n"), Position::Running);
        assert_eq!(parse_position("-1 0x7ffd 0x7f2a\n"), Position::Elsewhere);
        let call = parse_position("7 0x7f00 0x1 0x3e8 0x0 0x0 0x0 0x7ffc 0x7f11\n");
        assert_eq!(call, Position::Call { number: 7, arguments: [0x7f00, 1, 0x3e8, 0, 0, 0] });
    }

    #[test]
    fn a_command_with_brackets_does_not_confuse() {
        let stat = parse_stat("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 41 42 0").unwrap();
        assert_eq!(stat, Stat { state: b'S', user: 41, system: 42 });
    }

    #[test]
    fn reads_this_very_thread() {
        let pid = std::process::id();
        let tid = threads(pid)[0];
        let files = ThreadFiles::open(pid, tid).unwrap();
        assert!(files.counters().unwrap().slices > 0);
        assert!(is_alive(pid));
    }
}
