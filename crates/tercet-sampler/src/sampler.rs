//! A watch over a program: all its processes, tick by tick.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use tercet_model::{Machine, Profile, Unreadable};

use crate::error::{Error, Result};
use crate::finish::profile;
use crate::fold::{Fold, Look, Tick};
use crate::machine::machine;
use crate::proc_fs;
use crate::process::{Part, Process, ProcessSight};

/// How to watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Looks per second. The watch looks less often when that would cost more than
    /// [`MOST_OF_A_CORE`] of a processor.
    pub hz: f64,
    /// Whether the program was launched for the watch, so that its start and its way out are seen.
    pub is_launched: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { hz: 100.0, is_launched: true }
    }
}

/// The part of a processor that a watch may use.
pub const MOST_OF_A_CORE: f64 = 0.04;

/// How often children are looked for, and slow counters read.
const SLOW: Duration = Duration::from_millis(50);
/// A gap this many times longer than planned is a stopped machine, not the program's doing.
const GAP: f64 = 50.0;

/// What an event loop carries.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    epoll: Option<u64>,
    watched: Option<u32>,
}

/// A watch under way.
#[derive(Debug)]
pub struct Sampler {
    root: u32,
    options: Options,
    pub(crate) processes: BTreeMap<u32, Process>,
    /// Processes that have ended, with what was known of them.
    pub(crate) ended: Vec<Process>,
    pub(crate) fold: Fold,
    /// The same of the first Python program that the program started.
    pub(crate) child: Option<(u32, Fold)>,
    pub(crate) unreadable: Vec<Unreadable>,
    started: Instant,
    last_tick: Option<Instant>,
    next_slow: Instant,
    /// The limits of the program, which it may have changed itself.
    pub(crate) machine: Machine,
    next_limits: Instant,
    external_cpu_ns: u64,
    loops: BTreeMap<(u32, u32), Flight>,
    jitter: u32,
    cost: Duration,
    /// What a look usually costs, smoothed.
    usual_s: f64,
}

impl Sampler {
    /// Starts a watch over process `root` and all that it starts.
    ///
    /// # Errors
    ///
    /// For a process that was running before: every reason why it cannot be watched. A launched one
    /// is still on its way to being a Python program, so only its absence is an error.
    pub fn new(root: u32, options: Options) -> Result<Self> {
        let now = Instant::now();
        if !proc_fs::is_alive(root) {
            return Err(Error::NoProcess { pid: root });
        }
        let mut process = Process::new(root, 0);
        process.search(now);
        process.settle(None);
        if !options.is_launched {
            if let Some(trouble) = process.trouble.take() {
                return Err(trouble);
            }
        }
        Ok(Self {
            root,
            options,
            processes: BTreeMap::from([(root, process)]),
            ended: Vec::new(),
            fold: Fold::default(),
            child: None,
            unreadable: Vec::new(),
            started: now,
            last_tick: None,
            next_slow: now,
            machine: machine(root),
            next_limits: now,
            external_cpu_ns: 0,
            loops: BTreeMap::new(),
            jitter: root | 1,
            cost: Duration::ZERO,
            usual_s: 0.0,
        })
    }

    /// Watches until `is_over` says so, or the program is gone. `is_over` is asked after every look.
    pub fn watch(&mut self, mut is_over: impl FnMut(&Self) -> bool) {
        loop {
            let begun = thread_cpu();
            let is_gone = !self.tick();
            let spent = thread_cpu().saturating_sub(begun);
            self.cost += spent;
            if is_gone || is_over(self) {
                return;
            }
            thread::sleep(self.pause(spent));
        }
    }

    /// How long to wait before the next look: the period, shaken by a quarter so that it does not
    /// fall into step with the program, and longer when a look is dear.
    fn pause(&mut self, spent: Duration) -> Duration {
        self.jitter = self.jitter.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let shake = 0.75 + 0.5 * f64::from(self.jitter >> 8) / f64::from(1_u32 << 24);
        let period = self.period() * shake - spent.as_secs_f64();
        // One dear look, such as the first of a new process, does not slow the watch down.
        let spent_s = spent.as_secs_f64().min(4.0 * self.usual_s + 1e-4);
        self.usual_s += 0.1 * (spent_s - self.usual_s);
        let fair = self.usual_s / MOST_OF_A_CORE;
        Duration::from_secs_f64(period.max(fair).max(0.0))
    }

    fn period(&self) -> f64 {
        1.0 / self.options.hz
    }

    /// Looks at everything once; `false` when the program has ended.
    fn tick(&mut self) -> bool {
        let now = Instant::now();
        let length_s = self.last_tick.map_or(self.period(), |last| now.duration_since(last).as_secs_f64());
        self.last_tick = Some(now);
        let is_slow = now >= self.next_slow;
        if is_slow {
            self.next_slow = now + SLOW;
            self.look_for_children(now);
            self.read_slow_counters();
            self.read_limits(now);
        }
        let sights = self.look_at_all(now);
        if length_s < self.period() * GAP + 1.0 {
            self.fold_in(&sights, length_s, is_slow);
        }
        self.processes.contains_key(&self.root) && (!is_slow || proc_fs::is_alive(self.root))
    }

    fn look_at_all(&mut self, now: Instant) -> Vec<(u32, Part, ProcessSight)> {
        let mut sights = Vec::with_capacity(self.processes.len());
        let mut gone = Vec::new();
        for (&pid, process) in &mut self.processes {
            process.search(now);
            match process.look(now) {
                Ok(sight) => sights.push((pid, process.part, sight)),
                Err(_) => gone.push(pid),
            }
        }
        for pid in gone {
            self.ended.extend(self.processes.remove(&pid));
        }
        sights
    }

    fn fold_in(&mut self, sights: &[(u32, Part, ProcessSight)], length_s: f64, is_slow: bool) {
        let child_cpu_ns = self.external_cpu();
        self.fold.add(&tick(sights, child_cpu_ns, |part| part), length_s);
        self.fold_in_child(sights, length_s);
        self.count_in_flight(sights, length_s, is_slow);
    }

    /// Folds the first Python program that the program started as if it were the one that is watched:
    /// should it turn out that the program only waits for it, the answer is in there.
    fn fold_in_child(&mut self, sights: &[(u32, Part, ProcessSight)], length_s: f64) {
        let is_child = |sight: &&(u32, Part, ProcessSight)| sight.1 == Part::External && sight.2.has_started;
        let first = sights.iter().find(is_child).map(|(pid, ..)| *pid);
        let (pid, fold) = match self.child.as_mut() {
            Some((pid, fold)) => (*pid, fold),
            None => match first {
                Some(pid) => {
                    let (pid, fold) = self.child.insert((pid, Fold::default()));
                    fold.start_at(self.fold.now_s - length_s);
                    (*pid, fold)
                }
                None => return,
            },
        };
        let own: Vec<_> = sights.iter().filter(|sight| sight.0 == pid).collect();
        if !own.is_empty() {
            fold.add(&tick(own, 0, |_| Part::Main), length_s);
        }
    }

    /// Processors that programs which are not workers have used since the last question.
    fn external_cpu(&mut self) -> u64 {
        let external = self.processes.values().filter(|process| process.part == Part::External);
        let total: u64 = external.map(Process::cpu_ns).sum();
        let since = total.saturating_sub(self.external_cpu_ns);
        self.external_cpu_ns = total;
        since
    }

    /// How many waits the event loops of the program carry at once: descriptors watched, or timers
    /// pending, whichever is more. The kernel is asked at the rate of the slow counters, for its list
    /// grows with the connections.
    fn count_in_flight(&mut self, sights: &[(u32, Part, ProcessSight)], length_s: f64, is_slow: bool) {
        for (pid, _, sight) in sights.iter().filter(|(_, part, _)| *part != Part::External) {
            for (tid, sight) in sight.threads.iter().filter(|(_, sight)| sight.digest.has_loop) {
                let flight = self.loops.entry((*pid, *tid)).or_default();
                flight.epoll = sight.epoll.or(flight.epoll);
                if let Some(fd) = flight.epoll.filter(|_| is_slow) {
                    // The loop's own wake-up descriptor is one of them.
                    flight.watched = proc_fs::watched_by_epoll(*pid, fd).map(|watched| watched.saturating_sub(1));
                }
                if let Some(now) = in_flight(flight.watched, sight.timers) {
                    self.fold.event_loop.in_flight += f64::from(now) * length_s;
                    self.fold.event_loop.in_flight_s += length_s;
                }
            }
        }
    }

    fn look_for_children(&mut self, now: Instant) {
        let mut queue: Vec<u32> = self.processes.keys().copied().collect();
        while let Some(parent) = queue.pop() {
            for child in proc_fs::children(parent, proc_fs::threads(parent).into_iter()) {
                if !self.processes.contains_key(&child) && proc_fs::is_alive(child) {
                    let mut process = Process::new(child, parent);
                    process.search(now);
                    self.processes.insert(child, process);
                    queue.push(child);
                }
            }
        }
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        for pid in pids {
            self.settle(pid);
        }
    }

    /// Says what a process is to the program; parents come first, for they have the lower number
    /// unless numbers have wrapped around, and then the next round mends it.
    fn settle(&mut self, pid: u32) {
        let Some(parent) = self.processes.get(&pid).map(|process| process.parent) else { return };
        let known = (pid != self.root).then(|| self.processes.get(&parent)).flatten();
        let known = known.map(|parent| (parent.part, parent.arguments().to_vec()));
        let fallback = (pid != self.root && known.is_none()).then(|| (Part::External, Vec::new()));
        let parent = known.or(fallback);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.settle(parent.as_ref().map(|(part, arguments)| (*part, arguments.as_slice())));
        }
    }

    fn read_slow_counters(&mut self) {
        for process in self.processes.values_mut() {
            if let Some(transfer) = proc_fs::transfer(process.pid) {
                process.transfer = transfer;
            }
        }
    }

    fn read_limits(&mut self, now: Instant) {
        const EVERY: Duration = Duration::from_secs(1);
        let main = self.processes.values().find(|process| process.part == Part::Main);
        if let Some(main) = main.filter(|_| now >= self.next_limits) {
            self.machine = machine(main.pid);
            self.next_limits = now + EVERY;
        }
    }

    /// How long the watch has lasted.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many looks at the repeating part the verdict would rest on now.
    pub fn samples(&self) -> u64 {
        self.fold.samples
    }

    /// The part of a processor that the watch itself has used.
    pub fn own_share(&self) -> f64 {
        self.cost.as_secs_f64() / self.elapsed().as_secs_f64().max(1e-9)
    }

    /// The version of the program's Python; empty when none was found.
    pub fn python(&self) -> String {
        let all = self.processes.values().chain(&self.ended);
        let main = all.filter(|process| process.part == Part::Main).find_map(|process| process.version);
        main.map(|version| version.to_string()).unwrap_or_default()
    }

    /// The command line of the process that is watched.
    pub fn command_line(&self) -> String {
        let all = self.processes.values().chain(&self.ended);
        all.filter(|p| p.pid == self.root).map(Process::command_line).next().unwrap_or_default()
    }

    /// Why no interpreter of the program could be read, when none could.
    pub fn trouble(&self) -> Option<&Error> {
        let all = || self.processes.values().chain(&self.ended);
        if all().any(|process| process.part == Part::Main) {
            return None;
        }
        let troubles = || all().filter_map(|process| process.trouble.as_ref());
        troubles().find(|trouble| !matches!(trouble, Error::NotPython { .. })).or_else(|| troubles().next())
    }

    /// Everything measured, as the decision wants it.
    pub fn finish(self) -> Profile {
        profile(self)
    }
}

/// All that was seen at one look, each process with the part that `as_part` gives it.
fn tick<'s>(
    sights: impl IntoIterator<Item = &'s (u32, Part, ProcessSight)>,
    child_cpu_ns: u64,
    as_part: impl Fn(Part) -> Part,
) -> Tick<'s> {
    let mut tick = Tick { child_cpu_ns, ..Tick::default() };
    for (pid, part, sight) in sights {
        let part = as_part(*part);
        if part == Part::Main && tick.main.is_none() {
            tick.main = Some((*pid, *pid));
            tick.has_started = sight.has_started;
            tick.is_finalizing = sight.is_finalizing;
            tick.is_leaving = sight.is_leaving;
        }
        tick.holders.extend(sight.gil_holder.map(|tid| (*pid, tid)));
        tick.looks.extend(sight.threads.iter().map(|(tid, sight)| Look { pid: *pid, tid: *tid, part, sight }));
    }
    tick
}

/// How many waits an event loop carries. A connection mostly has a timer of its own beside it, for its
/// time-out, so timers count only when there are many more of them.
fn in_flight(watched: Option<u32>, timers: Option<u32>) -> Option<u32> {
    match (watched, timers) {
        (Some(watched), Some(timers)) if timers <= 2 * watched + 1 && watched > 0 => Some(watched),
        (watched, timers) => watched.max(timers),
    }
}

/// Processor time of the calling thread.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec for the kernel to fill.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if done != 0 {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
