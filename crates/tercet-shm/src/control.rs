//! The line on which a worker says what it is at, and that outlives it.
//!
//! Life cycle
//! ----------
//! 1. The worker reads a task's frame and calls [`Log::claim`]. If the parent has taken the task back, it goes no further: the
//!    worker says so, and takes the next. Otherwise it calls [`Log::begin`] *before* it releases the frame; then the task runs.
//! 2. It commits the result's frame and calls [`Log::finish`] *after* that.
//! 3. The parent looks whenever it likes. After the worker's death, in this order: the results that are committed belong
//!    to tasks that are done, though one may still stand on the line; the task on the line without a result died with the worker;
//!    the first unclaimed frame may be that task's own; all further frames were never begun.
//!
//! Guarantees
//! ----------
//! - The worker writes with plain stores and never waits. It may die between any two of them.
//! - A task that was seen together with its begin belongs to it, unless the line changed at every one of many looks.
//! - A task that [`Watch::revoke`] takes back and does not find claimed is never begun.
//!
//! Memory ordering
//! ---------------
//! `began_ns` is written while no task stands on the line, between a fence (release) and the store of the number (release). The reader
//! reads the number (acquire), `began_ns`, passes a fence (acquire) and reads the number again: had `began_ns` been that of a
//! later task, the fences make the second look see that the first task has gone. Numbers are not used twice.
//!
//! `claimed` and `revoked` are each written by one side, which then passes a fence (sequentially consistent) and reads the other: at
//! least one of the two sees what the other wrote. If both do, the worker gives the task back and the parent waits for that.

use std::num::NonZeroU64;

use crate::error::Error;
use crate::sync::{AtomicU32, AtomicU64, Line, Ordering, Shared, fence};
use crate::sys::{self, Place};

const LOOKS: usize = 64;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not ready yet.
    Starting,
    /// It has nothing to do.
    Resting,
    /// It runs tasks.
    Running,
    /// It takes no more tasks.
    Leaving,
}

impl State {
    fn of(word: u32) -> Result<Self, Error> {
        [Self::Starting, Self::Resting, Self::Running, Self::Leaving]
            .into_iter()
            .find(|state| *state as u32 == word)
            .ok_or(Error::Corrupt { what: "the state of a worker", found: u64::from(word) })
    }
}

/// A task that a worker has begun and not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The number that the parent gave it.
    pub task: NonZeroU64,
    /// When it began, on the clock of [`now_ns`].
    pub began_ns: u64,
}

/// What a worker was at when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// The task it is at.
    pub held: Option<Held>,
    /// How many it has finished.
    pub tasks_done: u64,
}

/// The monotonic clock in nanoseconds, which all processes of a machine share.
pub fn now_ns() -> u64 {
    sys::now_ns()
}

#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    task: AtomicU64,
    began_ns: AtomicU64,
    tasks_done: AtomicU64,
    state: AtomicU32,
    unused: AtomicU32,
    /// The last task that the worker meant to begin.
    claimed: AtomicU64,
    /// Written by the parent: tasks up to this one are not to be begun.
    revoked: AtomicU64,
}

// SAFETY: it consists of atomic integers only.
unsafe impl Shared for Control {}

/// A line in memory of its own, for the threads of this process and for those it forks.
///
/// # Errors
/// The system refuses the memory.
pub fn line() -> Result<(Log, Watch), Error> {
    let (line, _) = sys::of_one_process(0)?;
    Ok((Log::new(Place::clone(&line)), Watch::new(line)))
}

/// The worker's side: it writes.
#[derive(Debug)]
pub struct Log {
    line: Place<Line<Control>>,
    tasks_done: u64,
}

impl Log {
    pub(crate) fn new(line: Place<Line<Control>>) -> Self {
        Self { line, tasks_done: 0 }
    }

    /// Says what the worker does.
    pub fn enter(&mut self, state: State) {
        self.line.0.state.store(state as u32, Ordering::Relaxed);
    }

    /// Whether a task may begin: false if the parent has taken it back. The numbers of tasks grow from one to the next.
    pub fn claim(&mut self, task: NonZeroU64) -> bool {
        let line = &self.line.0;
        line.claimed.store(task.get(), Ordering::Relaxed);
        // Partner: the fence in `Watch::revoke`.
        fence(Ordering::SeqCst);
        task.get() > line.revoked.load(Ordering::Relaxed)
    }

    /// Says that a task begins now. Call it before the task's frame is released.
    pub fn begin(&mut self, task: NonZeroU64, now_ns: u64) {
        let line = &self.line.0;
        line.task.store(0, Ordering::Relaxed);
        // Partner: the fence in `Watch::held`.
        fence(Ordering::Release);
        line.began_ns.store(now_ns, Ordering::Relaxed);
        // Partner: the first load in `Watch::held`.
        line.task.store(task.get(), Ordering::Release);
    }

    /// Says that the task is over. Call it after the frame of its result is committed.
    pub fn finish(&mut self) {
        self.tasks_done += 1;
        self.line.0.tasks_done.store(self.tasks_done, Ordering::Relaxed);
        // Partner: the first load in `Watch::held`. Who sees no task sees its result.
        self.line.0.task.store(0, Ordering::Release);
    }
}

/// The parent's side: it reads, also after the worker's death.
#[derive(Clone, Debug)]
pub struct Watch(Place<Line<Control>>);

impl Watch {
    pub(crate) fn new(line: Place<Line<Control>>) -> Self {
        Self(line)
    }

    /// What the worker is at.
    ///
    /// # Errors
    /// The worker wrote a state that cannot be.
    pub fn status(&self) -> Result<Status, Error> {
        let state = State::of(self.0.0.state.load(Ordering::Relaxed))?;
        let held = self.held();
        let tasks_done = self.0.0.tasks_done.load(Ordering::Relaxed);
        Ok(Status { state, held, tasks_done })
    }

    /// Takes back all tasks up to a number that the worker has not claimed yet, and returns the last that it has.
    ///
    /// What is numbered higher, up to `last`, is never begun. What is not either runs, or the worker finds it taken
    /// back and says so.
    pub fn revoke(&self, last: u64) -> u64 {
        let line = &self.0.0;
        line.revoked.store(last, Ordering::Relaxed);
        // Partner: the fence in `Log::claim`.
        fence(Ordering::SeqCst);
        line.claimed.load(Ordering::Relaxed)
    }

    /// The task that the worker has begun and not finished.
    pub fn held(&self) -> Option<Held> {
        let line = &self.0.0;
        // Partners: the stores in `begin` and `finish`.
        let mut task = line.task.load(Ordering::Acquire);
        let mut began_ns = 0;
        for _ in 0..LOOKS {
            began_ns = line.began_ns.load(Ordering::Relaxed);
            // Partner: the fence in `begin`.
            fence(Ordering::Acquire);
            let again = line.task.load(Ordering::Acquire);
            if again == task {
                break;
            }
            task = again;
        }
        NonZeroU64::new(task).map(|task| Held { task, began_ns })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn tells_what_the_worker_is_at() {
        let (mut log, watch) = line().unwrap();
        assert_eq!(watch.status().unwrap(), Status { state: State::Starting, held: None, tasks_done: 0 });
        log.enter(State::Running);
        let held = Held { task: NonZeroU64::new(7).unwrap(), began_ns: now_ns() };
        log.begin(held.task, held.began_ns);
        assert_eq!(watch.status().unwrap(), Status { state: State::Running, held: Some(held), tasks_done: 0 });
        log.finish();
        log.enter(State::Resting);
        assert_eq!(watch.status().unwrap(), Status { state: State::Resting, held: None, tasks_done: 1 });
    }

    #[test]
    fn what_is_taken_back_is_not_begun() {
        let (mut log, watch) = line().unwrap();
        let task = |number| NonZeroU64::new(number).unwrap();
        assert!(log.claim(task(3)));
        assert_eq!(watch.revoke(5), 3);
        assert!(!log.claim(task(4)) && !log.claim(task(5)) && log.claim(task(6)));
        assert_eq!(watch.revoke(5), 6, "it is too late for that one");
    }

    #[test]
    fn a_state_that_cannot_be_is_an_error() {
        let (log, watch) = line().unwrap();
        log.line.0.state.store(9, Ordering::Relaxed);
        assert!(matches!(watch.status(), Err(Error::Corrupt { found: 9, .. })));
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = now_ns();
        assert!(before > 0 && now_ns() >= before);
    }
}
