//! One thread under observation.

use std::fs;
use std::io;
use std::rc::Rc;

use tercet_model::Wait;

use crate::blocked::{ACCEPT, Blocked, classify};
use crate::digest::Digest;
use crate::memory::Memory;
use crate::proc_fs::{Counters, Position, Stat, ThreadFiles};
use crate::python::GilState;

/// A thread, its open files and what was last seen of it.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) tid: u32,
    pub(crate) name: String,
    pub(crate) is_loop: bool,
    files: ThreadFiles,
    counters: Counters,
    stat: Option<Stat>,
    system_share: f64,
    next_stat_ns: u64,
    last: Option<Sight>,
}

/// What a thread did at one look.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) kind: Wait,
    /// The thread has no part in what makes the program slow: it waits for work, or for others.
    pub(crate) is_idle: bool,
    /// The same wait as at the look before.
    pub(crate) is_same_wait: bool,
    /// Of the time since the look before: nanoseconds on a processor, and ready without one.
    pub(crate) cpu_ns: u64,
    pub(crate) delay_ns: u64,
    /// Share of the processor time since the look before that was spent in the kernel.
    pub(crate) system_share: f64,
    pub(crate) target: Rc<str>,
    /// When its sleep ends.
    pub(crate) deadline_ns: Option<u64>,
    /// How many tasks wait in the queue of the pool it works for.
    pub(crate) backlog: Option<u64>,
    /// How many timers the event loop it runs has counted.
    pub(crate) timers: Option<u32>,
    /// The epoll instance it waits in.
    pub(crate) epoll: Option<u64>,
    pub(crate) digest: Rc<Digest>,
    /// Whether the interpreter knows the thread.
    pub(crate) is_python: bool,
}

impl Sight {
    /// Whether the thread can only have stayed as it was while it was given no processor. Who holds
    /// the GIL is asked anew each time.
    fn is_lasting(&self) -> bool {
        !self.kind.is_cpu() && self.kind != Wait::GilHeld
    }

    /// Of a moment that needs a processor, the share that had one and the share that waited for one.
    pub(crate) fn split(&self) -> (f64, f64) {
        let total = self.cpu_ns + self.delay_ns;
        if !self.kind.has_processor() || total == 0 {
            return (1.0, 0.0);
        }
        let queueing = self.delay_ns as f64 / total as f64;
        (1.0 - queueing, queueing)
    }
}

/// Where a thread was found, before its stack is read.
#[derive(Debug)]
pub(crate) enum Found {
    /// It has not moved since the look before, which therefore still holds.
    Unmoved(Sight),
    /// It runs or is ready to.
    Running,
    /// It waits.
    Blocked(Blocked),
    /// It is stopped by a signal or a debugger: the moment does not count.
    Stopped,
}

impl Thread {
    pub(crate) fn open(pid: u32, tid: u32) -> io::Result<Self> {
        let files = ThreadFiles::open(pid, tid)?;
        let name = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default();
        Ok(Self {
            tid,
            name: name.trim_end().to_owned(),
            is_loop: false,
            counters: files.counters()?,
            stat: files.stat().ok(),
            system_share: 0.0,
            next_stat_ns: 0,
            files,
            last: None,
        })
    }

    /// The kernel's counters at the last look.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Looks where the thread is, and returns how its counters moved since the look before.
    ///
    /// A sleeping thread that was given no processor since cannot have done anything, so one counter
    /// settles it; this is what keeps hundreds of waiting threads cheap.
    pub(crate) fn look(&mut self, pid: u32, memory: Memory) -> io::Result<(Found, Counters)> {
        let counters = self.files.counters()?;
        let moved = Counters {
            cpu_ns: counters.cpu_ns.saturating_sub(self.counters.cpu_ns),
            delay_ns: counters.delay_ns.saturating_sub(self.counters.delay_ns),
            slices: counters.slices - self.counters.slices.min(counters.slices),
        };
        self.counters = counters;
        if let Some(last) = self.last.as_ref().filter(|last| moved.slices == 0 && last.is_lasting()) {
            let same = Sight { is_same_wait: true, cpu_ns: 0, delay_ns: 0, ..last.clone() };
            return Ok((Found::Unmoved(same), moved));
        }
        let has_run = moved.slices > 0 || moved.cpu_ns > 0;
        let found = match self.files.position()? {
            Position::Running => self.running(has_run),
            Position::Call { number, arguments } => Found::Blocked(classify(pid, memory, number, arguments)),
            Position::Elsewhere => match self.files.stat()?.state {
                b'R' => self.running(has_run),
                b'T' | b't' => Found::Stopped,
                _ => Found::Blocked(Blocked::on(Wait::Disk)),
            },
        };
        Ok((found, moved))
    }

    /// A thread that was woken and has had no processor since is ready without one. If it waited for
    /// the GIL it still does: it has not even seen yet that it was woken.
    fn running(&self, has_run: bool) -> Found {
        let Some(last) = self.last.as_ref().filter(|last| !has_run && !last.kind.has_processor()) else {
            return Found::Running;
        };
        let kind = if last.kind == Wait::GilWait { Wait::GilWait } else { Wait::Runnable };
        Found::Unmoved(Sight { kind, is_idle: false, is_same_wait: true, cpu_ns: 0, delay_ns: 0, ..last.clone() })
    }

    /// Share of the thread's processor time that the kernel took, over the last stretch that was long
    /// enough for the kernel's clock, which counts in hundredths of a second.
    pub(crate) fn system_share(&mut self) -> f64 {
        const STRETCH_NS: u64 = 50_000_000;
        if self.counters.cpu_ns < self.next_stat_ns {
            return self.system_share;
        }
        self.next_stat_ns = self.counters.cpu_ns + STRETCH_NS;
        let Ok(now) = self.files.stat() else { return self.system_share };
        let before = self.stat.replace(now).unwrap_or(now);
        let (user, system) = (now.user.saturating_sub(before.user), now.system.saturating_sub(before.system));
        if user + system > 0 {
            self.system_share = system as f64 / (user + system) as f64;
        }
        self.system_share
    }

    pub(crate) fn remember(&mut self, sight: &Sight) {
        self.is_loop |= sight.digest.has_loop;
        self.last = Some(sight.clone());
    }
}

/// The kind of a wait, once it is known who holds the GIL and what the stack says.
pub(crate) fn kind_of_wait(blocked: &Blocked, gil: Option<(GilState, bool)>, digest: &Digest) -> Wait {
    if let Some((state, is_holder)) = gil {
        if blocked.lock.is_some_and(|address| state.contains(address)) {
            return Wait::GilWait;
        }
        if is_holder {
            return Wait::GilHeld;
        }
    }
    match blocked.kind {
        Wait::Pipe if digest.is_subprocess => Wait::Child,
        Wait::Network if digest.is_exchanging => Wait::Pipe,
        Wait::Network | Wait::Sleep if digest.has_loop && digest.callback.is_none() => Wait::LoopIdle,
        kind => kind,
    }
}

/// Whether a wait has no part in what makes the program slow.
pub(crate) fn is_idle(kind: Wait, blocked: &Blocked, digest: &Digest, is_python: bool) -> bool {
    match kind {
        Wait::Network if digest.is_serving || blocked.target == ACCEPT => true,
        Wait::Lock if blocked.is_latch => true,
        Wait::Lock | Wait::ProcessLock => digest.is_awaiting || digest.is_exchanging || !is_python,
        Wait::Pipe | Wait::Child | Wait::Network | Wait::LoopIdle => digest.is_exchanging || !is_python,
        Wait::Sleep | Wait::Disk | Wait::Other => !is_python,
        _ => false,
    }
}
