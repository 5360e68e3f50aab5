//! Every order in which threads can meet, tried by loom.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p tercet-sched --test loom --release

#![cfg(loom)]

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tercet_sched::{Crew, Interest, Job, Latch, Next, Promise, Slept, State};

#[derive(Debug)]
struct Unit;

impl Job for Unit {}

fn asleep_until_open(latch: &Latch) {
    while latch.sleep(None) != Slept::Open {}
}

fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// Runs jobs until it is told to leave, obeying every call but for hiring.
fn work(crew: &Crew<Unit>, done: &AtomicUsize) {
    let mut worker = crew.join();
    loop {
        match crew.next(&mut worker) {
            Next::Job(Unit, call) => {
                drop(call);
                done.fetch_add(1, Ordering::SeqCst);
            }
            Next::Rest => {
                assert!(crew.rest(&mut worker, None));
            }
            Next::Leave(call) => {
                drop(call);
                return;
            }
        }
    }
}

#[test]
fn a_latch_is_never_slept_through() {
    loom::model(|| {
        let latch = Latch::new(2);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let latch = latch.clone();
                thread::spawn(move || drop(latch.arrive()))
            })
            .collect();
        asleep_until_open(&latch);
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_task_is_either_cancelled_or_run() {
    loom::model(|| {
        let promise = Arc::new(Promise::<u32, ()>::new(()));
        let latch = Latch::new(1);
        assert!(promise.lock().watch(&latch, Interest::Settled));
        let other = promise.clone();
        let runner = thread::spawn(move || {
            let runs = other.lock().start().unwrap().0;
            if runs {
                drop(other.lock().finish(1, false).unwrap());
            }
            runs
        });
        let cancelled = promise.lock().cancel().is_some();
        asleep_until_open(&latch);
        assert_eq!(runner.join().unwrap(), !cancelled);
        assert_eq!(promise.state().is_cancelled(), cancelled);
        assert!(promise.state().is_settled());
    });
}

#[test]
fn a_wait_that_is_given_up_leaves_nothing_behind() {
    loom::model(|| {
        let promise = Arc::new(Promise::<u32, ()>::new(()));
        let latch = Latch::new(1);
        let other = promise.clone();
        let runner = thread::spawn(move || {
            other.lock().start().unwrap();
            drop(other.lock().finish(1, false).unwrap());
        });
        let waits = promise.lock().watch(&latch, Interest::Done);
        let gave_up = waits && promise.lock().forget(&latch);
        runner.join().unwrap();
        assert_eq!(promise.state(), State::Finished);
        assert!(!gave_up || !latch.is_open());
    });
}

#[test]
fn every_job_is_done_once_and_everybody_leaves() {
    check(3, || {
        let crew = Arc::new(Crew::new(1, 1));
        let done = Arc::new(AtomicUsize::new(0));
        let (_, call) = crew.submit(None, Unit, 1).unwrap();
        assert_eq!(call.hire, 1);
        let worker = {
            let (crew, done) = (crew.clone(), done.clone());
            thread::spawn(move || work(&crew, &done))
        };
        let (_, call) = crew.submit(None, Unit, 1).unwrap();
        drop(call.wakes);
        drop(crew.close().wakes);
        worker.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(crew.count().live, 0);
    });
}

/// Here nobody closes the crew before the work is done: a worker that slept through the news would sleep for ever.
#[test]
fn a_worker_that_goes_to_rest_is_not_forgotten() {
    check(3, || {
        let crew = Arc::new(Crew::new(1, 1));
        let done = Latch::new(2);
        drop(crew.submit(None, Unit, 1).unwrap());
        let worker = {
            let (crew, done) = (crew.clone(), done.clone());
            thread::spawn(move || {
                let mut worker = crew.join();
                loop {
                    match crew.next(&mut worker) {
                        Next::Job(Unit, call) => drop((call, done.arrive())),
                        Next::Rest => assert!(crew.rest(&mut worker, None)),
                        Next::Leave(call) => return drop(call),
                    }
                }
            })
        };
        drop(crew.submit(None, Unit, 1).unwrap());
        asleep_until_open(&done);
        drop(crew.close().wakes);
        worker.join().unwrap();
    });
}

#[test]
fn two_workers_with_lines_of_their_own_leave_nothing() {
    check(2, || {
        let crew = Arc::new(Crew::new(2, 2));
        let done = Arc::new(AtomicUsize::new(0));
        let hired: usize = (0..2).map(|_| crew.submit(None, Unit, 1).unwrap().1.hire).sum();
        assert_eq!(hired, 2);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (crew, done) = (crew.clone(), done.clone());
                thread::spawn(move || work(&crew, &done))
            })
            .collect();
        drop(crew.submit(None, Unit, 1).unwrap());
        drop(crew.close().wakes);
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(done.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_job_that_meets_the_end_is_done_or_refused() {
    check(3, || {
        let crew = Arc::new(Crew::new(1, 1));
        let done = Arc::new(AtomicUsize::new(0));
        drop(crew.submit(None, Unit, 1).unwrap());
        let worker = {
            let (crew, done) = (crew.clone(), done.clone());
            thread::spawn(move || work(&crew, &done))
        };
        let closer = {
            let crew = crew.clone();
            thread::spawn(move || drop(crew.close().wakes))
        };
        let accepted = usize::from(crew.submit(None, Unit, 1).is_ok());
        closer.join().unwrap();
        worker.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1 + accepted);
    });
}

#[test]
fn a_crew_that_is_all_blocked_gets_help() {
    check(3, || {
        let crew = Arc::new(Crew::new(1, 1));
        drop(crew.submit(None, Unit, 1).unwrap());
        let mut worker = crew.join();
        assert!(matches!(crew.next(&mut worker), Next::Job(Unit, _)));
        let other = crew.clone();
        let blocker = thread::spawn(move || other.block().hire);
        let hired = crew.submit(None, Unit, 1).unwrap().1.hire;
        assert_eq!(blocker.join().unwrap() + hired, 1, "exactly one of the two sees the other");
    });
}
