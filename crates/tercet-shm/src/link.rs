//! All that a parent shares with one worker: a line, a ring of tasks and a ring of results, in one segment.
//!
//! ```text
//!   | header | control line | ring of tasks: parent -> worker | ring of results: worker -> parent |
//! ```
//!
//! Life cycle
//! ----------
//! 1. The parent makes the link ([`ParentEnd::create`]) and passes three descriptors on: the segment's and the two bells'.
//! 2. The worker opens its end, once ([`WorkerEnd::open`]).
//! 3. The worker reads a task, notes its number on the line, *then* releases the frame, runs it, commits the result, and *then*
//!    takes the number off the line (`control.rs`).
//! 4. The worker dies, which the parent learns from a descriptor of the process. [`ParentEnd::bury`] gives what is left: results that
//!    were committed, the task that it was at, and tasks that it never claimed.
//!
//! A worker that keeps results together without committing them loses those of tasks that are done. To commit costs one store;
//! only the bell is worth being put off.
//!
//! Guarantees
//! ----------
//! - The worker's end is opened once: no two processes write to one ring.
//! - Two ends of different versions do not speak to each other.
//! - Whatever the other side writes to the segment, this side reads it within the segment's bounds.

use std::os::fd::{AsFd, BorrowedFd};

use crate::bell::{Bell, Bells};
use crate::consumer::Consumer;
use crate::control::{Control, Log, Watch};
use crate::error::Error;
use crate::port::Port;
use crate::producer::Producer;
use crate::ring::{Cursors, Ring};
use crate::segment::Segment;
use crate::sync::{AtomicU32, AtomicU64, Line, Ordering, Shared};
use crate::sys::Place;

/// Says that a segment is a link, and of which layout: the last byte grows with each change of it.
const LAYOUT: u64 = u64::from_be_bytes(*b"tercet\0\x02");

#[derive(Debug, Default)]
#[repr(C)]
struct Header {
    layout: AtomicU64,
    task_bytes: AtomicU64,
    result_bytes: AtomicU64,
    /// Whether the worker's end is open.
    is_taken: AtomicU32,
    unused: AtomicU32,
}

// SAFETY: it consists of atomic integers only.
unsafe impl Shared for Header {}

const LINE_AT: usize = size_of::<Line<Header>>();
const TASKS_AT: usize = LINE_AT + size_of::<Line<Control>>();

/// How large the rings of a link are: powers of two. A frame takes up to half of its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSizes {
    /// The ring from the parent to the worker.
    pub task_bytes: usize,
    /// The ring from the worker to the parent.
    pub result_bytes: usize,
}

impl LinkSizes {
    fn check(self) -> Result<Self, Error> {
        Ring::check_capacity(self.task_bytes)?;
        Ring::check_capacity(self.result_bytes)?;
        Ok(self)
    }

    fn results_at(self) -> usize {
        TASKS_AT + size_of::<Cursors>() + self.task_bytes
    }

    fn total(self) -> usize {
        self.results_at() + size_of::<Cursors>() + self.result_bytes
    }
}

/// The parts of a link, of which each end takes its own.
struct Parts {
    line: Place<Line<Control>>,
    tasks: Ring,
    results: Ring,
}

impl Parts {
    fn of(segment: &Segment, sizes: LinkSizes) -> Result<Self, Error> {
        let ring = |offset: usize, capacity| -> Result<Ring, Error> {
            let cursors = segment.place(offset)?;
            Ok(Ring { cursors, bytes: segment.bytes(offset + size_of::<Cursors>(), capacity)? })
        };
        Ok(Self {
            line: segment.place(LINE_AT)?,
            tasks: ring(TASKS_AT, sizes.task_bytes)?,
            results: ring(sizes.results_at(), sizes.result_bytes)?,
        })
    }
}

/// The parent's end of a link.
#[derive(Debug)]
pub struct ParentEnd {
    /// Tasks go out, results come in.
    pub port: Port,
    /// What the worker is at.
    pub watch: Watch,
    segment: Segment,
    tasks: Ring,
}

impl ParentEnd {
    /// A new link. The bells are the parent's own, which may serve other links too, and one for the worker.
    ///
    /// # Errors
    /// A size is not possible, or the system refuses the memory or the descriptor.
    pub fn create(sizes: LinkSizes, bells: Bells) -> Result<Self, Error> {
        let segment = Segment::new(sizes.check()?.total())?;
        let header = segment.place::<Line<Header>>(0)?;
        header.0.task_bytes.store(sizes.task_bytes as u64, Ordering::Relaxed);
        header.0.result_bytes.store(sizes.result_bytes as u64, Ordering::Relaxed);
        // Partner: the load in `WorkerEnd::open`.
        header.0.layout.store(LAYOUT, Ordering::Release);
        let Parts { line, tasks, results } = Parts::of(&segment, sizes)?;
        let port = Port { outgoing: Producer::new(tasks.clone()), incoming: Consumer::new(results), bells };
        Ok(Self { port, watch: Watch::new(line), segment, tasks })
    }

    /// The memory that the link is in, to be passed on.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The bell that wakes the worker, to be passed on. The other one to pass on is the parent's own.
    pub fn worker_bell(&self) -> &Bell {
        &self.port.bells.theirs
    }

    /// What is left of a worker that is dead. Were it alive, it would run the same tasks besides.
    ///
    /// Tasks that were kept and not committed are lost: [`Port::flush`] before, or send them elsewhere.
    ///
    /// # Errors
    /// The worker left a position that cannot be. Then nothing tells which tasks it had not begun.
    pub fn bury(self) -> Result<Remains, Error> {
        let unclaimed = Consumer::after(self.tasks)?;
        Ok(Remains { results: self.port.incoming, watch: self.watch, unclaimed })
    }
}

/// To be passed on: the descriptor of the segment.
impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

/// What is left of a worker that is dead, to be looked at in this order.
#[derive(Debug)]
pub struct Remains {
    /// The results that it committed and that were not read yet.
    pub results: Consumer,
    /// What it was at. A task without a result died with it.
    pub watch: Watch,
    /// The tasks that it did not release. The first may be the one that it was at.
    pub unclaimed: Consumer,
}

/// The worker's end of a link.
#[derive(Debug)]
pub struct WorkerEnd {
    /// Tasks come in, results go out.
    pub port: Port,
    /// Where it says what it is at.
    pub log: Log,
}

impl WorkerEnd {
    /// Opens the worker's end: the bells are the worker's own and the parent's.
    ///
    /// # Errors
    /// The segment is not a link, is one of another layout, or its worker's end is open already.
    pub fn open(segment: &Segment, bells: Bells) -> Result<Self, Error> {
        let sizes = Self::sizes(segment)?;
        let header = segment.place::<Line<Header>>(0)?;
        // Relaxed: whoever comes second does nothing.
        if header.0.is_taken.swap(1, Ordering::Relaxed) != 0 {
            return Err(Error::Taken);
        }
        let Parts { line, tasks, results } = Parts::of(segment, sizes)?;
        let port = Port { outgoing: Producer::new(results), incoming: Consumer::new(tasks), bells };
        Ok(Self { port, log: Log::new(line) })
    }

    fn sizes(segment: &Segment) -> Result<LinkSizes, Error> {
        let header = segment.place::<Line<Header>>(0)?;
        // Partner: the store in `ParentEnd::create`.
        let found = header.0.layout.load(Ordering::Acquire);
        if found != LAYOUT {
            return Err(Error::Version { found, expected: LAYOUT });
        }
        let number = |word: &AtomicU64| usize::try_from(word.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let (task_bytes, result_bytes) = (number(&header.0.task_bytes), number(&header.0.result_bytes));
        // The rings are looked for in the segment, which refuses what is not inside.
        LinkSizes { task_bytes, result_bytes }.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{State, now_ns};
    use std::num::NonZeroU64;

    const SIZES: LinkSizes = LinkSizes { task_bytes: 1024, result_bytes: 256 };

    fn bells() -> Bells {
        Bells { mine: Bell::new().unwrap(), theirs: Bell::new().unwrap() }
    }

    fn ends() -> (ParentEnd, WorkerEnd) {
        let parent = ParentEnd::create(SIZES, bells()).unwrap();
        let worker = WorkerEnd::open(parent.segment(), parent.port.bells.swapped()).unwrap();
        (parent, worker)
    }

    fn frames(consumer: &mut Consumer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| consumer.read().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn a_task_goes_and_a_result_comes() {
        let (mut parent, mut worker) = ends();
        assert!(parent.port.outgoing.push(b"task").unwrap());
        parent.port.flush().unwrap();
        assert_eq!(frames(&mut worker.port.incoming), [b"task"]);
        assert!(worker.port.outgoing.push(b"result").unwrap());
        worker.port.flush().unwrap();
        assert_eq!(frames(&mut parent.port.incoming), [b"result"]);
    }

    #[test]
    fn what_a_dead_worker_leaves_is_told_apart() {
        let (mut parent, mut worker) = ends();
        for task in 1..=4_u8 {
            assert!(parent.port.outgoing.push(&[task]).unwrap());
        }
        parent.port.flush().unwrap();
        worker.log.enter(State::Running);
        for task in 1..=2_u8 {
            assert_eq!(worker.port.incoming.read().unwrap(), Some(&[task][..]));
            worker.log.begin(NonZeroU64::from(std::num::NonZeroU8::new(task).unwrap()), now_ns());
            worker.port.incoming.release();
            assert!(worker.port.outgoing.push(&[task * 10]).unwrap());
            if task == 1 {
                worker.port.outgoing.commit();
                worker.log.finish();
            }
        }
        assert!(worker.port.incoming.read().unwrap().is_some(), "looked at, and not begun");
        drop(worker);
        let mut remains = parent.bury().unwrap();
        assert_eq!(frames(&mut remains.results), [[10]]);
        let status = remains.watch.status().unwrap();
        assert_eq!((status.held.unwrap().task.get(), status.tasks_done), (2, 1));
        assert_eq!(frames(&mut remains.unclaimed), [[3], [4]]);
    }

    #[test]
    fn the_workers_end_is_opened_once() {
        let (parent, _worker) = ends();
        let again = WorkerEnd::open(parent.segment(), bells());
        assert!(matches!(again, Err(Error::Taken)));
    }

    #[test]
    fn another_layout_is_refused() {
        let parent = ParentEnd::create(SIZES, bells()).unwrap();
        parent.segment.place::<Line<Header>>(0).unwrap().0.layout.store(LAYOUT + 1, Ordering::Relaxed);
        let refused = WorkerEnd::open(parent.segment(), bells());
        assert!(matches!(refused, Err(Error::Version { found, expected }) if found == expected + 1));
        let refused = WorkerEnd::open(&Segment::new(1).unwrap(), bells());
        assert!(matches!(refused, Err(Error::Version { found: 0, .. })));
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for (size, is_possible) in [(1024, true), (1 << 20, false), (1000, false), (0, false)] {
            let parent = ParentEnd::create(SIZES, bells()).unwrap();
            parent.segment.place::<Line<Header>>(0).unwrap().0.task_bytes.store(size, Ordering::Relaxed);
            assert_eq!(WorkerEnd::open(parent.segment(), bells()).is_ok(), is_possible);
        }
        assert!(ParentEnd::create(LinkSizes { task_bytes: 100, ..SIZES }, bells()).is_err());
    }
}
