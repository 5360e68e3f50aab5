//! All that was measured of a program or of the first tasks of a map.

use serde::{Deserialize, Serialize};

use crate::{Shares, Wait};

/// Everything the decision may look at.
///
/// Times are seconds. A field named `*_share` is a share of the wall time of the *repeating part*:
/// the program without its imports at the start and its way out at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Who measured.
    pub source: Source,
    /// How many moments (sampler) or tasks (probe) the figures rest on, within the repeating part.
    pub samples: u64,
    /// Wall time of the whole watch.
    pub wall_s: f64,
    /// How that time divides into imports, repeating part and exit.
    pub phases: Phases,
    /// How the repeating part divides among kinds, folded over all threads and processes: each
    /// moment counts once, divided among the threads that are neither idle nor merely waiting for
    /// one another. Sums to one.
    pub shares: Shares,
    /// How much of each sort of work there is, counted in threads at once.
    pub work: Work,
    /// What is known of single tasks.
    pub tasks: Tasks,
    /// Bytes that move through pipes between the processes of the program.
    pub traffic: Traffic,
    /// Signs of particular faults.
    pub symptoms: Symptoms,
    /// The pool of workers the program already has.
    pub pool: Option<Pool>,
    /// The event loop the program already runs.
    pub event_loop: Option<EventLoop>,
    /// One entry for each thread seen.
    pub threads: Vec<ThreadProfile>,
    /// One entry for each process seen.
    pub processes: Vec<ProcessProfile>,
    /// The lines that wait or compute, the largest share first.
    pub lines: Vec<Line>,
    /// The machine and its limits.
    pub machine: Machine,
    /// What could not be read, and how to allow it.
    pub unreadable: Vec<Unreadable>,
}

/// Who measured a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The sampler, from outside.
    #[default]
    Sampler,
    /// The probe, from inside, around the first tasks of a map.
    Probe,
}

/// The parts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Start of the interpreter and moments in which all that happens is importing.
    pub imports_s: f64,
    /// Worker processes start and import while the program waits for them.
    pub pool_start_s: f64,
    /// The part that repeats, on which the verdict rests.
    pub body_s: f64,
    /// From the end of the main module to the end of the process.
    pub exit_s: f64,
}

/// How much of each sort of work there is: the mean number of threads that do it at once, over the
/// repeating part. One thread that computes all the time has `gil` 1; ten that wait have `wait` 10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Runs with the GIL (Python code, garbage collection). At most one in each process.
    pub gil: f64,
    /// Runs, or is ready to run, without the GIL.
    pub nogil: f64,
    /// Processors used by child programs that are not workers of this one, while it waits for them.
    pub child_cpu: f64,
    /// Waits that could overlap: network, disk, pipe to a child, child, sleep.
    pub wait: f64,
    /// Waits for a lock that another thread holds. Idle workers do not count.
    pub lock: f64,
    /// Waits for the GIL.
    pub gil_wait: f64,
    /// Waits while holding the GIL.
    pub gil_held: f64,
    /// Is ready to run and has no processor, from the kernel's counters.
    pub queue_delay: f64,
    /// Processor time by the kernel's counters, in processors.
    pub cpu: f64,
    /// Largest share of wall time that the GIL of one process is held by running code: the part
    /// that no number of threads shortens.
    pub gil_serial: f64,
}

/// What is known of single tasks or of the waits that stand for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tasks {
    /// How many are left, or how many separate waits were seen on the busiest waiting lines: no
    /// more workers than that can be useful. `None` when nothing is known.
    pub count: Option<f64>,
    /// Mean wall time of one, alone.
    pub wall_s: Option<f64>,
    /// Whether a task is a coroutine function.
    pub is_coroutine: bool,
    /// Whether function, arguments and results may go to another process; `None` when untried.
    pub is_portable: Option<bool>,
    /// Seconds to pickle and unpickle the arguments and the result of one task.
    pub pickle_s: f64,
    /// Bytes of the pickled arguments and the result of one task.
    pub pickle_bytes: f64,
}

/// Bytes between the processes of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Bytes written by the Python processes of a program that has several.
    pub bytes: f64,
    /// Messages through pipes, counted as read calls of the workers.
    pub messages: f64,
    /// Share of the busy time of all processes spent on moving data: pickling, unpickling, reading
    /// and writing pipes.
    pub busy_share: f64,
}

/// Signs of particular faults, each a share of the repeating part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Symptoms {
    /// A thread turns in a loop until something changes.
    pub spin_share: f64,
    /// A thread asks again and again with a zero or very short time-out.
    pub poll_share: f64,
    /// The loop thread waits for something else than the loop.
    pub loop_waits_share: f64,
    /// The loop thread computes in one callback for more than 50 ms.
    pub loop_computes_share: f64,
    /// Sleeps end at a fixed beat of the clock: a pace-maker, which must not be overlapped.
    pub pace_share: f64,
    /// Several workers wait, and their waits end one after another at a fixed pace: the limit is on
    /// the far side.
    pub far_limit_share: f64,
    /// Waits until files are safe on the disk (`fsync`), and what the kernel computes for them.
    pub sync_share: f64,
    /// The collector runs.
    pub gc_share: f64,
    /// Threads wait on one lock whose holder makes the only progress.
    pub lock_share: f64,
    /// Moments that could not be put in any kind.
    pub unknown_share: f64,
}

/// The pool of workers the program already has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Threads or processes.
    pub kind: PoolKind,
    /// How many workers were seen.
    pub workers: u32,
    /// Mean number of workers that have a task.
    pub busy: f64,
    /// How many separate waits or tasks one worker was seen to take.
    pub tasks_per_worker: f64,
    /// Mean number of tasks that wait in the pool's queue; `None` when it could not be read.
    #[serde(default)]
    pub backlog: Option<f64>,
}

/// What the workers of a pool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// Threads of one process.
    Threads,
    /// Processes.
    Processes,
}

/// The event loop the program already runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventLoop {
    /// Share of the repeating part in which the loop has nothing ready.
    pub idle_share: f64,
    /// Share in which it runs callbacks.
    pub busy_share: f64,
    /// Mean number of waits in flight at once: sockets watched or timers pending; `None` when unread.
    pub in_flight: Option<f64>,
}

/// One thread of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadProfile {
    /// The process it belongs to.
    pub pid: u32,
    /// The kernel's number for it.
    pub tid: u32,
    /// The kernel's name for it.
    pub name: String,
    /// Moments in which it was seen.
    pub samples: u64,
    /// How its time divides among kinds. Sums to one.
    pub shares: Shares,
    /// Processor time, from the kernel's counters.
    pub cpu_s: f64,
    /// Time ready to run without a processor, from the kernel's counters.
    pub queue_delay_s: f64,
    /// Whether an event loop runs in it.
    pub is_loop: bool,
    /// What it did over time: at most 240 entries of equal length, each the kind that held most.
    pub timeline: Vec<Option<Wait>>,
}

/// One process of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessProfile {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its command.
    pub command: String,
    /// The version of its Python, empty when it runs none.
    pub python: String,
    /// Processor time, from the kernel's counters.
    pub cpu_s: f64,
    /// Bytes it read.
    pub read_bytes: u64,
    /// Bytes it wrote.
    pub written_bytes: u64,
    /// How often the GIL changed hands.
    pub gil_switches: u64,
    /// Which thread held the GIL over time: entries as in [`ThreadProfile::timeline`], a `tid` or nothing.
    pub gil_timeline: Vec<Option<u32>>,
}

/// A line of the program that waits or computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Path of the file as Python knows it.
    pub file: String,
    /// Line, counted from 1; 0 when unknown.
    pub line: u32,
    /// Name of the function.
    pub function: String,
    /// What happens there.
    pub kind: Wait,
    /// Share of the folded time. The shares of all lines sum to at most one.
    pub share: f64,
    /// Whose code it is.
    pub origin: Origin,
    /// Whether an event loop runs in the thread that was seen here, outside the loop's own wait.
    pub in_loop: bool,
    /// Separate waits seen here.
    pub count: u64,
    /// What is waited for, (`socket`, `pipe`, a path...); empty when not known.
    pub target: String,
}

/// Whose code a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The user's own.
    #[default]
    Own,
    /// An installed package's.
    SitePackages,
    /// The standard library's.
    StandardLibrary,
}

/// The machine and its limits, and what the engines cost on it.
///
/// The costs are medians measured on a busy 2-core machine with the standard library's engines
/// (a cold fork pool answers after 10 ms, a forkserver or spawn pool after 115 to 136 ms; a task
/// costs 37 us through a thread pool and 343 us through a process pool). A caller that has
/// measured its own machine puts its own figures in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Processors the program may use: affinity and quota taken into account. At least one.
    pub cores: f64,
    /// Whether the interpreter has a GIL that is on.
    pub has_gil: bool,
    /// Seconds until a process pool gives its first result.
    pub process_start_s: f64,
    /// Seconds of hand-over a process pool spends on one task.
    pub process_task_s: f64,
    /// Seconds of hand-over a thread pool spends on one task.
    pub thread_task_s: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self { cores: 1.0, has_gil: true, process_start_s: 0.06, process_task_s: 340e-6, thread_task_s: 37e-6 }
    }
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// What: a process, or a source such as the GIL or the file links.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What allows it.
    pub hint: String,
}
