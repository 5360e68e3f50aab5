//! Every order in which a loop and the threads that have work for it can meet, tried by loom.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p tercet-reactor --test loom --release

#![cfg(loom)]

use loom::sync::{Arc, Mutex};
use loom::thread;
use tercet_reactor::Waker;

/// Takes so many pieces of work, sleeping whenever there is none.
fn turn(waker: &Waker, inbox: &Mutex<Vec<u32>>, pieces: usize) {
    let mut taken = 0;
    while taken < pieces {
        taken += std::mem::take(&mut *inbox.lock().unwrap()).len();
        if taken == pieces {
            return;
        }
        waker.announce();
        let is_idle = inbox.lock().unwrap().is_empty();
        if is_idle {
            waker.wait();
        }
        waker.withdraw();
    }
}

fn meet(threads: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let (waker, inbox) = (Arc::new(Waker::new()), Arc::new(Mutex::new(Vec::new())));
        let others: Vec<_> = (0..threads)
            .map(|_| {
                let (waker, inbox) = (Arc::clone(&waker), Arc::clone(&inbox));
                thread::spawn(move || {
                    inbox.lock().unwrap().push(1);
                    waker.wake();
                })
            })
            .collect();
        turn(&waker, &inbox, threads);
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn one_thread_never_misses_a_sleeper() {
    meet(1);
}

#[test]
fn two_threads_never_miss_a_sleeper() {
    meet(2);
}
