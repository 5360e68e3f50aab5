//! Workers that take jobs from one queue: when one is woken, hired, or lets go.
//!
//! A crew does not start threads. It says how many are wanted ([`Call::hire`]), and each thread that begins calls
//! [`Crew::join`] and then asks for [`Crew::next`] until it is told to leave. README.md tells the whole story, with
//! names for the situations that the comments here refer to.
//!
//! Guarantees
//! ----------
//! - A job that was accepted is taken, as long as hired workers begin and ask.
//! - No more than the limit of workers are at work at a time. Those that said they are blocked do not count.
//! - At most one resting worker at a time is on its way to the queue: it calls the next one when it has found a job and
//!   there are more. A burst of jobs wakes as many workers as it keeps busy, not one for each job.
//!
//! Memory ordering
//! ---------------
//! Who adds a job counts it (`entries`, `SeqCst`) and then looks for sleepers, free places and the end. Who goes to
//! rest, is blocked or closes says so first (`SeqCst` stores under the lock) and looks at the jobs afterwards. Whatever
//! the order, one of the two sees the other.

use std::time::Instant;

use crate::latch::{Latch, Wake};
use crate::queue::{Job, Queue, Ticket};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::sys::Slept;

/// Workers and the jobs that wait for them.
#[derive(Debug)]
pub struct Crew<J> {
    queue: Queue<J>,
    entries: AtomicUsize,
    sleepers: AtomicUsize,
    is_full: AtomicBool,
    is_over: AtomicBool,
    is_closed: AtomicBool,
    roster: Mutex<Roster>,
}

/// Who there is.
#[derive(Debug)]
struct Roster {
    limit: usize,
    live: usize,
    blocked: usize,
    searching: usize,
    joined: usize,
    resting: Vec<Arc<Latch>>,
}

/// One worker, as the crew knows it.
#[derive(Debug)]
pub struct Worker {
    latch: Arc<Latch>,
    home: usize,
    is_searching: bool,
}

/// What the caller owes the crew after it has changed something.
#[derive(Debug, Default)]
#[must_use = "threads are to be started"]
pub struct Call {
    /// How many threads to start.
    pub hire: usize,
    /// Workers to wake.
    pub wakes: Vec<Wake>,
}

/// What a worker does next.
#[derive(Debug)]
pub enum Next<J> {
    /// Run this, after the call has been obeyed.
    Job(J, Call),
    /// Rest, then ask again.
    Rest,
    /// End. The crew does not know the worker any more; the call is to be obeyed.
    Leave(Call),
}

/// How many workers there are and what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Hired and not gone.
    pub live: usize,
    /// Asleep for want of jobs.
    pub resting: usize,
    /// Waiting for other tasks.
    pub blocked: usize,
    /// How many of them leave as soon as they are done.
    pub surplus: usize,
}

impl<J: Job> Crew<J> {
    /// A crew of at most `limit` workers, with so many lines of jobs.
    pub fn new(limit: usize, shards: usize) -> Self {
        let roster = Roster { limit, live: 0, blocked: 0, searching: 0, joined: 0, resting: Vec::new() };
        Self {
            queue: Queue::new(shards),
            entries: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            is_full: AtomicBool::new(limit == 0),
            is_over: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            roster: Mutex::new(roster),
        }
    }

    /// Adds a job that keeps up to `weight` workers busy.
    ///
    /// # Errors
    /// The job, if the crew is closed.
    pub fn submit(&self, home: Option<usize>, job: J, weight: usize) -> Result<(Ticket, Call), J> {
        if self.is_closed.load(SeqCst) {
            return Err(job);
        }
        let ticket = self.queue.push(home, job);
        let ahead = self.entries.fetch_add(1, SeqCst);
        if self.is_closed.load(SeqCst) {
            // "The last one has left": nobody may come for it any more. If somebody did, all is well.
            if let Some(job) = self.take(ticket, |_| true) {
                return Err(job);
            }
        }
        if self.is_full.load(SeqCst) && self.sleepers.load(SeqCst) == 0 {
            return Ok((ticket, Call::default()));
        }
        let mut roster = lock(&self.roster);
        let wanted = (ahead + weight).saturating_sub(roster.resting.len() + roster.searching);
        let hire = wanted.min(roster.places());
        let mut call = self.wake_one(&mut roster);
        self.hire(&mut roster, hire, &mut call);
        Ok((ticket, call))
    }

    /// Takes a job out of the queue, if it still waits there and is the one that is meant.
    pub fn take(&self, ticket: Ticket, is_meant: impl FnOnce(&J) -> bool) -> Option<J> {
        let job = self.queue.take(ticket, is_meant)?;
        self.entries.fetch_sub(1, SeqCst);
        Some(job)
    }

    /// Puts a job that waits in front of its line, and says where it stands now.
    pub fn hasten(&self, ticket: Ticket, is_meant: impl FnOnce(&J) -> bool) -> Option<Ticket> {
        self.queue.hasten(ticket, is_meant)
    }

    /// Takes all jobs that wait.
    pub fn drain(&self) -> Vec<J> {
        let jobs = self.queue.drain();
        self.entries.fetch_sub(jobs.len(), SeqCst);
        jobs
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.entries.load(SeqCst)
    }

    /// Begins a hired worker.
    pub fn join(&self) -> Worker {
        let mut roster = lock(&self.roster);
        roster.joined += 1;
        Worker { latch: Latch::new(1), home: roster.joined - 1, is_searching: true }
    }

    /// What the worker is to do.
    pub fn next(&self, worker: &mut Worker) -> Next<J> {
        if self.is_over.load(SeqCst) {
            let mut roster = lock(&self.roster);
            if roster.at_work() > roster.limit {
                return Next::Leave(self.part(&mut roster, worker));
            }
        }
        if let Some(job) = self.pop(worker) {
            let may_call = self.waiting() > 0 && (self.sleepers.load(SeqCst) > 0 || !self.is_full.load(SeqCst));
            let call = if worker.is_searching || may_call {
                self.has_found(&mut lock(&self.roster), worker)
            } else {
                Call::default()
            };
            return Next::Job(job, call);
        }
        let mut roster = lock(&self.roster);
        roster.resting.push(Arc::clone(&worker.latch));
        self.sleepers.store(roster.resting.len(), SeqCst);
        let found = self.pop(worker);
        if found.is_none() && !self.is_closed.load(SeqCst) {
            worker.latch.shut();
            roster.searching -= usize::from(std::mem::take(&mut worker.is_searching));
            return Next::Rest;
        }
        roster.resting.pop();
        self.sleepers.store(roster.resting.len(), SeqCst);
        match found {
            Some(job) => Next::Job(job, self.has_found(&mut roster, worker)),
            None => Next::Leave(self.part(&mut roster, worker)),
        }
    }

    /// Rests until there is something to do. False if the time was up first: then the worker has left.
    pub fn rest(&self, worker: &mut Worker, until: Option<Instant>) -> bool {
        loop {
            let slept = worker.nap(until);
            if let Some(goes_on) = self.rise(worker, slept, until) {
                return goes_on;
            }
        }
    }

    /// What follows a nap: `None` is another one, false that the worker has left because the time was up.
    ///
    /// It takes the lock, which a nap does not: whoever forks must know that no thread is inside.
    pub fn rise(&self, worker: &mut Worker, slept: Slept, until: Option<Instant>) -> Option<bool> {
        if slept == Slept::Open {
            worker.is_searching = true;
            return Some(true);
        }
        if until.is_none_or(|until| Instant::now() < until) {
            return None;
        }
        let mut roster = lock(&self.roster);
        let place = roster.resting.iter().position(|latch| Arc::ptr_eq(latch, &worker.latch))?;
        roster.resting.remove(place);
        self.sleepers.store(roster.resting.len(), SeqCst);
        roster.live -= 1;
        self.note(&roster);
        Some(false)
    }

    /// Leaves out of turn: the thread of the worker ends.
    pub fn leave(&self, worker: &mut Worker) -> Call {
        self.part(&mut lock(&self.roster), worker)
    }

    /// Takes back a worker that was to be hired, because no thread could be started. The rest of the crew remains.
    pub fn dismiss(&self) -> Count {
        let mut roster = lock(&self.roster);
        roster.live -= 1;
        roster.searching -= 1;
        self.note(&roster);
        roster.count()
    }

    /// Says that a worker waits for another task: until [`Crew::unblock`] it does not count.
    pub fn block(&self) -> Call {
        let mut roster = lock(&self.roster);
        roster.blocked += 1;
        self.note(&roster);
        self.call_help(&mut roster)
    }

    /// Says that a worker that was blocked goes on. If there are too many now, the first that is done leaves.
    pub fn unblock(&self) {
        let mut roster = lock(&self.roster);
        roster.blocked -= 1;
        self.note(&roster);
    }

    /// Changes how many workers may be at work.
    pub fn resize(&self, limit: usize) -> Call {
        let mut roster = lock(&self.roster);
        roster.limit = limit;
        self.note(&roster);
        self.call_help(&mut roster)
    }

    /// Takes no more jobs; workers leave when those that wait are done.
    pub fn close(&self) -> Call {
        let mut roster = lock(&self.roster);
        self.is_closed.store(true, SeqCst);
        let resting = std::mem::take(&mut roster.resting);
        self.sleepers.store(0, SeqCst);
        roster.searching += resting.len();
        Call { hire: 0, wakes: resting.iter().filter_map(Latch::arrive).collect() }
    }

    /// Whether it takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    /// Whether there is a place for another worker.
    pub fn has_place(&self) -> bool {
        lock(&self.roster).places() > 0
    }

    /// How many workers there are.
    pub fn count(&self) -> Count {
        lock(&self.roster).count()
    }

    /// Forgets every worker and returns the jobs: after a fork, the threads of the other process are not here.
    pub fn forget_all(&self) -> Vec<J> {
        let jobs = self.drain();
        let mut roster = lock(&self.roster);
        (roster.live, roster.blocked, roster.searching) = (0, 0, 0);
        roster.resting.clear();
        self.sleepers.store(0, SeqCst);
        self.note(&roster);
        jobs
    }

    fn pop(&self, worker: &Worker) -> Option<J> {
        let (job, is_whole) = self.queue.pop(worker.home)?;
        self.entries.fetch_sub(usize::from(is_whole), SeqCst);
        Some(job)
    }

    /// "The searcher has found a job": it does not search any more, and calls the next one if there is more to do.
    fn has_found(&self, roster: &mut MutexGuard<'_, Roster>, worker: &mut Worker) -> Call {
        roster.searching -= usize::from(std::mem::take(&mut worker.is_searching));
        self.call_help(roster)
    }

    fn part(&self, roster: &mut MutexGuard<'_, Roster>, worker: &mut Worker) -> Call {
        roster.live -= 1;
        roster.searching -= usize::from(std::mem::take(&mut worker.is_searching));
        self.note(roster);
        self.call_help(roster)
    }

    fn call_help(&self, roster: &mut MutexGuard<'_, Roster>) -> Call {
        if self.waiting() == 0 || roster.searching > 0 {
            return Call::default();
        }
        let mut call = self.wake_one(roster);
        if call.wakes.is_empty() && roster.searching == 0 && roster.places() > 0 {
            self.hire(roster, 1, &mut call);
        }
        call
    }

    fn wake_one(&self, roster: &mut MutexGuard<'_, Roster>) -> Call {
        let mut call = Call::default();
        if roster.searching == 0 {
            // The one that came last: its stack and its caches are warm, and the others may grow old enough to leave.
            if let Some(latch) = roster.resting.pop() {
                self.sleepers.store(roster.resting.len(), SeqCst);
                roster.searching += 1;
                call.wakes.extend(latch.arrive());
            }
        }
        call
    }

    fn hire(&self, roster: &mut MutexGuard<'_, Roster>, hire: usize, call: &mut Call) {
        call.hire = hire;
        roster.live += hire;
        roster.searching += hire;
        self.note(roster);
    }

    fn note(&self, roster: &Roster) {
        self.is_full.store(roster.places() == 0, SeqCst);
        self.is_over.store(roster.at_work() > roster.limit, SeqCst);
    }
}

impl Worker {
    /// The number of its line in the queue.
    pub fn home(&self) -> usize {
        self.home
    }

    /// Sleeps until it is called, the time is up or a signal arrives; [`Crew::rise`] says what follows.
    pub fn nap(&self, until: Option<Instant>) -> Slept {
        self.latch.sleep(until)
    }
}

impl Roster {
    fn at_work(&self) -> usize {
        self.live.saturating_sub(self.blocked)
    }

    fn places(&self) -> usize {
        self.limit.saturating_sub(self.at_work())
    }

    fn count(&self) -> Count {
        let surplus = self.at_work().saturating_sub(self.limit);
        Count { live: self.live, resting: self.resting.len(), blocked: self.blocked, surplus }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn submit(crew: &Crew<u32>, job: u32) -> (Ticket, Call) {
        crew.submit(None, job, 1).unwrap()
    }

    fn job(crew: &Crew<u32>, worker: &mut Worker) -> Option<u32> {
        match crew.next(worker) {
            Next::Job(job, _) => Some(job),
            Next::Rest | Next::Leave(_) => None,
        }
    }

    #[test]
    fn hires_one_for_each_job_up_to_the_limit() {
        let crew = Crew::new(2, 1);
        let hired: Vec<usize> = (0..4).map(|number| submit(&crew, number).1.hire).collect();
        assert_eq!(hired, [1, 1, 0, 0]);
    }

    #[test]
    fn a_resting_worker_is_woken_and_nobody_hired() {
        let crew = Crew::new(2, 1);
        drop(submit(&crew, 0));
        let mut worker = crew.join();
        assert_eq!(job(&crew, &mut worker), Some(0));
        assert!(matches!(crew.next(&mut worker), Next::Rest));
        assert_eq!(crew.count().resting, 1);
        let (_, call) = submit(&crew, 1);
        assert_eq!(call.hire, 0);
        assert!(crew.rest(&mut worker, None), "it was called");
        assert_eq!(job(&crew, &mut worker), Some(1));
    }

    #[test]
    fn a_burst_calls_one_and_that_one_calls_the_next() {
        let crew = Crew::new(2, 1);
        let mut workers: Vec<Worker> = (0..2)
            .map(|number| {
                drop(submit(&crew, number));
                crew.join()
            })
            .collect();
        for worker in &mut workers {
            assert!(job(&crew, worker).is_some());
        }
        for worker in &mut workers {
            assert!(matches!(crew.next(worker), Next::Rest));
        }
        drop(submit(&crew, 2));
        assert_eq!(crew.count().resting, 1);
        drop(submit(&crew, 3));
        assert_eq!(crew.count().resting, 1, "one is on its way already");
        assert!(crew.rest(&mut workers[1], None));
        assert_eq!(job(&crew, &mut workers[1]), Some(2));
        assert_eq!(crew.count().resting, 0, "it has called the next");
    }

    #[test]
    fn a_blocked_worker_does_not_count() {
        let crew = Crew::new(1, 1);
        drop(submit(&crew, 0));
        let mut worker = crew.join();
        assert_eq!(job(&crew, &mut worker), Some(0));
        assert_eq!(submit(&crew, 1).1.hire, 0);
        assert_eq!(crew.block().hire, 1);
        let mut spare = crew.join();
        assert_eq!(job(&crew, &mut spare), Some(1));
        crew.unblock();
        assert!(matches!(crew.next(&mut spare), Next::Leave(_)), "there is one too many");
        assert!(matches!(crew.next(&mut worker), Next::Rest));
    }

    #[test]
    fn a_job_for_a_crew_that_is_all_blocked_hires() {
        let crew = Crew::new(1, 1);
        drop(submit(&crew, 0));
        let mut worker = crew.join();
        assert_eq!(job(&crew, &mut worker), Some(0));
        assert_eq!(crew.block().hire, 0);
        assert_eq!(submit(&crew, 1).1.hire, 1);
    }

    #[test]
    fn closed_it_refuses_and_lets_go_when_all_is_done() {
        let crew = Crew::new(1, 1);
        drop(submit(&crew, 0));
        let mut worker = crew.join();
        let _ = crew.close();
        assert_eq!(crew.submit(None, 1, 1).unwrap_err(), 1);
        assert_eq!(job(&crew, &mut worker), Some(0));
        assert!(matches!(crew.next(&mut worker), Next::Leave(_)));
        assert_eq!(crew.count().live, 0);
    }

    #[test]
    fn one_who_rested_long_enough_leaves() {
        let crew = Crew::new(1, 1);
        drop(submit(&crew, 0));
        let mut worker = crew.join();
        assert_eq!(job(&crew, &mut worker), Some(0));
        assert!(matches!(crew.next(&mut worker), Next::Rest));
        assert!(!crew.rest(&mut worker, Some(Instant::now())));
        assert_eq!(crew.count().live, 0);
        assert_eq!(submit(&crew, 1).1.hire, 1);
    }

    #[test]
    fn a_worker_that_could_not_be_hired_leaves_its_place() {
        let crew = Crew::new(1, 1);
        assert_eq!(submit(&crew, 0).1.hire, 1);
        assert_eq!(crew.dismiss().live, 0);
        assert_eq!(submit(&crew, 1).1.hire, 1);
    }

    #[test]
    fn a_larger_limit_hires_for_what_waits() {
        let crew = Crew::new(1, 1);
        drop(submit(&crew, 0));
        drop(submit(&crew, 1));
        let mut worker = crew.join();
        assert_eq!(job(&crew, &mut worker), Some(0));
        assert_eq!(crew.resize(2).hire, 1);
    }
}
