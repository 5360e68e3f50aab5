//! One process under observation.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tercet_model::Wait;

use crate::code::CodeCache;
use crate::digest::{Digest, Outermost};
use crate::error::{Error, Result};
use crate::layout::Version;
use crate::memory::Memory;
use crate::proc_fs::{self, Counters, Transfer};
use crate::python::{GilState, InterpreterState, Known, Python, ThreadState};
use crate::thread::{Found, Sight, Thread, is_idle, kind_of_wait};

/// What a process is to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The program itself.
    Main,
    /// A process that the program started to share its work, through `multiprocessing` or its kin.
    Worker,
    /// Any other program that it started.
    External,
    /// What started the program, such as a shell: it runs no Python.
    Launcher,
}

/// A process, its interpreter and its threads.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) part: Part,
    pub(crate) command: String,
    pub(crate) python: Option<Python>,
    /// The version of its Python, also when it has since become another program by `exec`.
    pub(crate) version: Option<Version>,
    pub(crate) threads: BTreeMap<u32, Thread>,
    pub(crate) transfer: Transfer,
    pub(crate) gil_switches: u64,
    /// Threads that have ended: their numbers, names, whether a loop ran, and their processor time.
    pub(crate) gone: Vec<GoneThread>,
    /// Why the interpreter could not be read.
    pub(crate) trouble: Option<Error>,
    first_switches: Option<u64>,
    /// Whether threads could not be opened for want of file descriptors.
    pub(crate) is_crowded: bool,
    /// Whether the main thread was seen to run a module from its outermost frame.
    has_run_module: bool,
    /// Whether the interpreter was seen at work.
    has_run: bool,
    arguments: Vec<String>,
    executable: Option<String>,
    memory: Memory,
    codes: CodeCache,
    /// Where each interpreter kept its threads at the last look, by the address of its GIL.
    known: BTreeMap<u64, Vec<u64>>,
    /// Where the interpreters were at the last look.
    interpreters: Vec<Known>,
    next_search: Instant,
    born: Instant,
    next_listing: Instant,
}

/// What is kept of a thread that has ended.
#[derive(Debug)]
pub(crate) struct GoneThread {
    pub(crate) tid: u32,
    pub(crate) name: String,
    pub(crate) is_loop: bool,
    cpu_ns: u64,
}

/// What was seen of a process at one look.
#[derive(Debug, Default)]
pub(crate) struct ProcessSight {
    pub(crate) threads: Vec<(u32, Sight)>,
    /// The thread that held the GIL.
    pub(crate) gil_holder: Option<u32>,
    /// Whether the interpreter has been set up.
    pub(crate) has_started: bool,
    pub(crate) is_finalizing: bool,
    /// Whether the main module has ended and functions registered with `atexit` run.
    pub(crate) is_leaving: bool,
}

/// How often threads that the interpreter does not know are looked for.
const LISTING: Duration = Duration::from_millis(50);
/// A process this young may still become another program by `exec`.
const YOUNG: Duration = Duration::from_secs(1);

impl Process {
    pub(crate) fn new(pid: u32, parent: u32) -> Self {
        let now = Instant::now();
        Self {
            pid,
            parent,
            part: Part::Launcher,
            command: String::new(),
            python: None,
            version: None,
            threads: BTreeMap::new(),
            transfer: Transfer::default(),
            gil_switches: 0,
            gone: Vec::new(),
            trouble: None,
            first_switches: None,
            is_crowded: false,
            has_run_module: false,
            has_run: false,
            arguments: Vec::new(),
            executable: None,
            memory: Memory::of(pid),
            codes: CodeCache::default(),
            known: BTreeMap::new(),
            interpreters: Vec::new(),
            next_search: now,
            born: now,
            next_listing: now,
        }
    }

    /// This very process.
    pub(crate) fn of_self() -> Result<Self> {
        let mut process = Self::new(std::process::id(), 0);
        process.search(Instant::now());
        match process.trouble.take() {
            Some(trouble) => Err(trouble),
            None => Ok(process),
        }
    }

    /// Looks at one thread only; `None` when there is no such thread, or the moment does not count.
    pub(crate) fn look_at_one(&mut self, tid: u32) -> Option<Sight> {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.threads.entry(tid) {
            entry.insert(Thread::open(self.pid, tid).ok()?);
        }
        let python = self.python.as_ref()?;
        let state = python.look(&mut self.interpreters).all.into_iter().find_map(|one| {
            let known = self.known.entry(one.gil.address).or_default();
            let found = python.threads(&one, known).into_iter().find(|state| state.tid == tid);
            found.map(|state| (state, one))
        });
        let seen = self.look_at(tid, state.as_ref());
        if seen.is_err() {
            self.threads.remove(&tid);
        }
        seen.ok().flatten().map(|(sight, _)| sight)
    }

    /// Looks for an interpreter, unless one is known or the last search was a moment ago.
    ///
    /// A process that has just been forked runs its parent's program until it calls `exec`, so a
    /// young one is checked again.
    pub(crate) fn search(&mut self, now: Instant) {
        if now < self.next_search {
            return;
        }
        let is_young = now.duration_since(self.born) < YOUNG;
        self.next_search = now + if is_young { Duration::from_millis(10) } else { Duration::from_secs(1) };
        let executable = proc_fs::executable(self.pid);
        if self.python.is_some() && executable == self.executable {
            return;
        }
        if executable.is_none() && (self.executable.is_some() || self.version.is_some()) {
            return;
        }
        self.executable = executable;
        self.threads.clear();
        self.command = proc_fs::command(self.pid).unwrap_or_default();
        self.arguments = proc_fs::arguments(self.pid);
        match Python::find(self.pid, &self.command) {
            Ok(python) => {
                self.version = Some(python.version);
                self.python = Some(python);
                self.codes = CodeCache::default();
                self.trouble = None;
            }
            Err(error) => {
                self.python = None;
                self.trouble = Some(error).filter(|_| self.version.is_none());
            }
        }
    }

    /// Says what the process is to the program, from what its parent is.
    pub(crate) fn settle(&mut self, parent: Option<(Part, &[String])>) {
        self.part = match parent {
            None | Some((Part::Launcher, _)) if self.version.is_some() => Part::Main,
            None | Some((Part::Launcher, _)) => Part::Launcher,
            Some((Part::External, _)) => Part::External,
            Some((_, arguments)) if self.is_worker_of(arguments) => Part::Worker,
            Some(_) => Part::External,
        };
    }

    /// A worker is a fork that never called `exec`, or was started by a pool's own launcher.
    fn is_worker_of(&self, parent: &[String]) -> bool {
        let is_launcher = |word: &String| word.contains("multiprocessing") || word.contains("loky");
        self.python.is_some() && (self.arguments == parent || self.arguments.iter().any(is_launcher))
    }

    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The command line, for a person.
    pub(crate) fn command_line(&self) -> String {
        if self.arguments.is_empty() { self.command.clone() } else { self.arguments.join(" ") }
    }

    /// Processor time of all threads seen, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let living = self.threads.values().map(|thread| thread.counters().cpu_ns);
        living.chain(self.gone.iter().map(|thread| thread.cpu_ns)).sum()
    }

    /// Looks at every thread once. An error means that the process is gone.
    pub(crate) fn look(&mut self, now: Instant) -> Result<ProcessSight> {
        let found = self.python.as_ref().map(|python| python.look(&mut self.interpreters)).unwrap_or_default();
        let interpreters = found.all;
        if interpreters.is_empty() && self.has_run {
            self.begin_anew(now);
        }
        self.has_run |= !interpreters.is_empty();
        let known: Vec<(ThreadState, InterpreterState)> = self
            .python
            .iter()
            .flat_map(|python| interpreters.iter().map(move |one| (python, one)))
            .flat_map(|(python, one)| {
                let known = self.known.entry(one.gil.address).or_default();
                python.threads(one, known).into_iter().map(|state| (state, *one))
            })
            .collect();
        self.list_threads(now, &known)?;
        let mut sight = ProcessSight {
            has_started: !known.is_empty(),
            is_finalizing: found.is_finalizing,
            ..ProcessSight::default()
        };
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        for tid in tids {
            let state = known.iter().find(|(state, _)| state.tid == tid);
            match self.look_at(tid, state) {
                Ok(Some((seen, is_holder))) => {
                    if is_holder {
                        sight.gil_holder = Some(tid);
                    }
                    sight.threads.push((tid, seen));
                }
                Ok(None) => {}
                Err(_) => self.bury(tid),
            }
        }
        if let Some((_, main)) = sight.threads.iter().find(|(tid, _)| *tid == self.pid) {
            self.has_run_module |= main.digest.outermost == Outermost::Module;
            sight.is_leaving = self.has_run_module && main.digest.outermost == Outermost::Function;
        }
        sight.is_leaving = sight.is_leaving && !self.has_greenlets();
        if let Some(main) = interpreters.last() {
            let first = *self.first_switches.get_or_insert(main.gil.switches);
            self.gil_switches = main.gil.switches.saturating_sub(first);
        }
        Ok(sight)
    }

    /// Forgets where the interpreter was: the process has become another program by `exec`, with other
    /// addresses, or its interpreter has ended.
    fn begin_anew(&mut self, now: Instant) {
        self.python = None;
        self.executable = None;
        self.interpreters.clear();
        self.known.clear();
        self.codes = CodeCache::default();
        self.has_run = false;
        self.next_search = now;
    }

    /// Whether `greenlet` is loaded, whose stacks begin anywhere.
    fn has_greenlets(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).is_ok_and(|maps| maps.contains("greenlet"))
    }

    fn bury(&mut self, tid: u32) {
        self.gone.extend(self.threads.remove(&tid).map(|thread| GoneThread {
            tid,
            cpu_ns: thread.counters().cpu_ns,
            name: thread.name,
            is_loop: thread.is_loop,
        }));
    }

    fn list_threads(&mut self, now: Instant, known: &[(ThreadState, InterpreterState)]) -> Result<()> {
        let missing = known.iter().any(|(state, _)| !self.threads.contains_key(&state.tid));
        if now < self.next_listing && !missing {
            return Ok(());
        }
        self.next_listing = now + LISTING;
        let listed = proc_fs::threads(self.pid);
        if listed.is_empty() {
            return Err(Error::NoProcess { pid: self.pid });
        }
        for tid in listed {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.threads.entry(tid) {
                match Thread::open(self.pid, tid) {
                    Ok(thread) => drop(entry.insert(thread)),
                    Err(error) => self.is_crowded |= error.raw_os_error() == Some(libc::EMFILE),
                }
            }
        }
        Ok(())
    }

    /// Looks at one thread, and says whether it holds the GIL; `None` when the moment does not count.
    fn look_at(
        &mut self,
        tid: u32,
        state: Option<&(ThreadState, InterpreterState)>,
    ) -> std::io::Result<Option<(Sight, bool)>> {
        let Some(thread) = self.threads.get_mut(&tid) else { return Ok(None) };
        let (found, moved) = thread.look(self.pid, self.memory)?;
        let ownership = state.map(|(state, one)| (self.ownership(state, one), one.is_collecting));
        let sight = match found {
            Found::Stopped => return Ok(None),
            Found::Unmoved(sight) => sight,
            Found::Running => self.running(state, moved, ownership),
            Found::Blocked(blocked) => {
                let digest = self.digest(state);
                // Only one that held the GIL before and after it was seen waiting waits with it.
                let gil =
                    ownership.zip(state).map(|(((gil, is_holder), _), (_, one))| (gil, is_holder && one.gil == gil));
                let kind = kind_of_wait(&blocked, gil, &digest);
                let is_python = state.is_some();
                Sight {
                    kind,
                    is_idle: is_idle(kind, &blocked, &digest, is_python),
                    is_same_wait: false,
                    cpu_ns: moved.cpu_ns,
                    delay_ns: moved.delay_ns,
                    system_share: 0.0,
                    target: blocked.target.as_str().into(),
                    deadline_ns: blocked.deadline_ns,
                    epoll: blocked.epoll,
                    backlog: self.backlog(&digest),
                    timers: self.timers(&digest),
                    digest,
                    is_python,
                }
            }
        };
        let is_holder = ownership.is_some_and(|((_, is_holder), _)| is_holder);
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.remember(&sight);
        }
        Ok(Some((sight, is_holder)))
    }

    fn running(
        &mut self,
        state: Option<&(ThreadState, InterpreterState)>,
        moved: Counters,
        ownership: Option<((GilState, bool), bool)>,
    ) -> Sight {
        let kind = match ownership {
            Some(((_, true), true)) => Wait::Gc,
            Some(((_, true), false)) => Wait::CpuGil,
            _ => Wait::CpuNogil,
        };
        let digest = self.digest(state);
        let system_share =
            state.and_then(|(state, _)| self.threads.get_mut(&state.tid)).map_or(0.0, Thread::system_share);
        Sight {
            kind,
            is_idle: false,
            is_same_wait: false,
            cpu_ns: moved.cpu_ns,
            delay_ns: moved.delay_ns,
            system_share,
            target: "".into(),
            deadline_ns: None,
            epoll: None,
            backlog: self.backlog(&digest),
            timers: self.timers(&digest),
            digest,
            is_python: state.is_some(),
        }
    }

    /// The GIL now, and whether the thread holds it. Read again right after the thread was looked
    /// at: when it changed hands since the tick began, having held it at either time counts.
    fn ownership(&self, state: &ThreadState, interpreter: &InterpreterState) -> (GilState, bool) {
        let before = interpreter.gil;
        let after = self.python.as_ref().and_then(|python| python.gil(before.address)).unwrap_or(before);
        let is_holder = after.holder == Some(state.address);
        (after, is_holder || (after.switches != before.switches && before.holder == Some(state.address)))
    }

    fn timers(&self, digest: &Digest) -> Option<u32> {
        let (event_loop, counted) = digest.timers?;
        self.python.as_ref()?.timers(counted, event_loop)
    }

    fn backlog(&self, digest: &Digest) -> Option<u64> {
        let python = self.python.as_ref()?;
        digest.queue.and_then(|queue| python.backlog(queue)).or_else(|| python.backlog_of_tercet(digest.work?))
    }

    fn digest(&mut self, state: Option<&(ThreadState, InterpreterState)>) -> Rc<Digest> {
        let Some((python, (thread, _))) = self.python.as_ref().zip(state) else { return Rc::default() };
        Rc::new(Digest::of(&python.stack(thread, &mut self.codes)))
    }
}
