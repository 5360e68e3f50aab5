//! Jobs that wait for a worker.
//!
//! With one shard it is a plain line: first come, first served. With several, each worker has a line of its own, takes
//! from its front, and helps itself at the others' when it is empty; then workers that never stop meeting (there is no
//! GIL to keep them apart) do not all fight for one lock.
//!
//! Guarantees
//! ----------
//! - Every job is taken once: by `pop`, by `take`, or by `drain`.
//! - A shard gives its jobs in the order in which it got them.
//! - `take` costs the same wherever the job stands: it leaves a gap.

use std::collections::VecDeque;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};

/// Something a worker can take, as a whole or in shares.
pub trait Job: Sized {
    /// A share that leaves the rest in the queue, or `None` to be taken as a whole.
    fn share(&mut self) -> Option<Self> {
        None
    }
}

/// Where a job stands in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// A number to keep it as, below 2 to the 63rd.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The ticket with this number.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

const SHARD_SHIFT: u32 = 48;
/// Where a line begins: far from both ends, because jobs join it in front as well.
const MIDDLE: u64 = 1 << (SHARD_SHIFT - 1);

/// The jobs of a crew.
#[derive(Debug)]
pub struct Queue<J> {
    shards: Box<[Mutex<Shard<J>>]>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Shard<J> {
    line: VecDeque<Option<J>>,
    first: u64,
}

impl<J: Job> Queue<J> {
    /// A queue of so many lines.
    pub fn new(shards: usize) -> Self {
        let shard = || Mutex::new(Shard { line: VecDeque::new(), first: MIDDLE });
        Self { shards: (0..shards.max(1)).map(|_| shard()).collect(), next: AtomicUsize::new(0) }
    }

    /// Adds a job, to the line of the worker that adds it or to each in turn.
    pub fn push(&self, home: Option<usize>, job: J) -> Ticket {
        let turn =
            home.unwrap_or_else(|| if self.shards.len() == 1 { 0 } else { self.next.fetch_add(1, Ordering::Relaxed) });
        let index = turn % self.shards.len();
        let mut shard = lock(&self.shards[index]);
        let position = shard.first + shard.line.len() as u64;
        shard.line.push_back(Some(job));
        Ticket((index as u64) << SHARD_SHIFT | position)
    }

    /// Takes the next job, from one's own line first. The flag says whether the queue has lost an entry.
    pub fn pop(&self, home: usize) -> Option<(J, bool)> {
        let count = self.shards.len();
        (0..count).find_map(|step| lock(&self.shards[(home + step) % count]).pop())
    }

    /// Takes one job out of the line, if it still stands there and is the one that is meant.
    pub fn take(&self, ticket: Ticket, is_meant: impl FnOnce(&J) -> bool) -> Option<J> {
        let shard = self.shards.get((ticket.0 >> SHARD_SHIFT) as usize)?;
        let mut shard = lock(shard);
        let place = (ticket.0 & ((1 << SHARD_SHIFT) - 1)).checked_sub(shard.first)?;
        let entry = shard.line.get_mut(usize::try_from(place).ok()?)?;
        entry.take_if(|job| is_meant(job))
    }

    /// Puts a job in front of its line, if it still stands there and is the one that is meant.
    pub fn hasten(&self, ticket: Ticket, is_meant: impl FnOnce(&J) -> bool) -> Option<Ticket> {
        let index = (ticket.0 >> SHARD_SHIFT) as usize;
        let mut shard = lock(self.shards.get(index)?);
        let place = (ticket.0 & ((1 << SHARD_SHIFT) - 1)).checked_sub(shard.first)?;
        let job = shard.line.get_mut(usize::try_from(place).ok()?)?.take_if(|job| is_meant(job))?;
        shard.first -= 1;
        shard.line.push_front(Some(job));
        Some(Ticket((index as u64) << SHARD_SHIFT | shard.first))
    }

    /// Takes all that is left.
    pub fn drain(&self) -> Vec<J> {
        self.shards.iter().flat_map(|shard| lock(shard).drain()).collect()
    }
}

impl<J: Job> Shard<J> {
    fn pop(&mut self) -> Option<(J, bool)> {
        loop {
            if let Some(share) = self.line.front_mut()?.as_mut().and_then(Job::share) {
                return Some((share, false));
            }
            self.first += 1;
            if let Some(Some(job)) = self.line.pop_front() {
                return Some((job, true));
            }
        }
    }

    fn drain(&mut self) -> Vec<J> {
        self.first += self.line.len() as u64;
        std::mem::take(&mut self.line).into_iter().flatten().collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Job for u32 {}

    #[derive(Debug, PartialEq)]
    struct Heap(u32);

    impl Job for Heap {
        fn share(&mut self) -> Option<Self> {
            (self.0 > 1).then(|| {
                self.0 -= 1;
                Self(1)
            })
        }
    }

    #[test]
    fn first_come_first_served() {
        let queue = Queue::new(1);
        for job in 0..5_u32 {
            queue.push(None, job);
        }
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop(0)).map(|(job, _)| job).collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_job_taken_out_of_the_line_is_gone() {
        let queue = Queue::new(1);
        let tickets: Vec<Ticket> = (0..3_u32).map(|job| queue.push(None, job)).collect();
        assert_eq!(queue.take(tickets[1], |_| true), Some(1));
        assert_eq!(queue.take(tickets[1], |_| true), None);
        assert_eq!(queue.take(tickets[2], |_| false), None);
        assert_eq!(queue.pop(0), Some((0, true)));
        assert_eq!(queue.pop(0), Some((2, true)));
        assert_eq!(queue.take(tickets[0], |_| true), None);
        assert_eq!(queue.pop(0), None);
    }

    #[test]
    fn a_job_in_haste_is_next_and_may_be_taken_there() {
        let queue = Queue::new(1);
        let tickets: Vec<Ticket> = (0..4_u32).map(|job| queue.push(None, job)).collect();
        let front = queue.hasten(tickets[2], |_| true).unwrap();
        assert_eq!(queue.hasten(tickets[2], |_| true), None, "it stands elsewhere now");
        let again = queue.hasten(tickets[3], |_| true).unwrap();
        assert_eq!(queue.take(again, |_| true), Some(3));
        assert_eq!(queue.pop(0), Some((2, true)));
        assert_eq!(queue.take(front, |_| true), None);
        assert_eq!(queue.pop(0), Some((0, true)));
        assert_eq!(queue.pop(0), Some((1, true)));
        assert_eq!(queue.pop(0), None);
    }

    #[test]
    fn shares_leave_the_rest_in_front() {
        let queue = Queue::new(1);
        queue.push(None, Heap(2));
        assert_eq!(queue.pop(0), Some((Heap(1), false)));
        assert_eq!(queue.pop(0), Some((Heap(1), true)));
        assert_eq!(queue.pop(0), None);
    }

    #[test]
    fn an_empty_handed_worker_steals() {
        let queue = Queue::new(3);
        queue.push(Some(0), 7_u32);
        assert_eq!(queue.pop(1), Some((7, true)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_given_twice(shards in 1..4_usize, acts in prop::collection::vec((0..3_u8, 0..8_usize), 0..80)) {
            let queue = Queue::new(shards);
            let (mut tickets, mut got) = (Vec::new(), Vec::new());
            for (act, number) in acts {
                match act {
                    0 => tickets.push(queue.push((number % 2 == 0).then_some(number), tickets.len() as u32)),
                    1 => got.extend(queue.pop(number).map(|(job, _)| job)),
                    _ => if let Some(ticket) = tickets.get(number) {
                        got.extend(queue.take(*ticket, |job| *job == number as u32));
                    }
                }
            }
            got.extend(queue.drain());
            got.sort_unstable();
            prop_assert_eq!(got, (0..tickets.len() as u32).collect::<Vec<_>>());
        }
    }
}
