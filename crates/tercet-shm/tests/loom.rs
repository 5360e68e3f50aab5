//! Every order in which two sides can meet, tried by loom.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p tercet-shm --test loom --release

#![cfg(loom)]

use std::num::NonZeroU64;
use std::time::Duration;

use loom::thread;
use tercet_shm::{Bell, Bells, Consumer, Event, Parts, Port, Producer, Queue, Ring, Semaphore, Turn, Want, line};

const CAPACITY: usize = 64;

fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// Reads a frame, sleeping until there is one.
fn read(consumer: &mut Consumer, bell: &Bell) -> Vec<u8> {
    loop {
        if let Some(frame) = consumer.read().unwrap() {
            return frame.to_vec();
        }
        if consumer.announce().unwrap() {
            bell.wait(&[], None).unwrap();
            consumer.withdraw();
        }
    }
}

/// Pushes a frame, sleeping until there is room.
fn push(producer: &mut Producer, frame: &[u8], bells: &Bells) {
    while !producer.push(frame).unwrap() {
        if producer.announce(frame.len()).unwrap() {
            bells.mine.wait(&[], None).unwrap();
            producer.withdraw();
        }
    }
    producer.commit();
    producer.wake(&bells.theirs).unwrap();
}

fn bells() -> Bells {
    Bells { mine: Bell::new().unwrap(), theirs: Bell::new().unwrap() }
}

#[test]
fn a_frame_that_is_seen_is_whole() {
    loom::model(|| {
        let (mut producer, mut consumer) = Ring::pair(CAPACITY).unwrap();
        let writer = thread::spawn(move || {
            for frame in 1..=2_u8 {
                assert!(producer.push(&[frame; 9]).unwrap());
                producer.commit();
            }
        });
        let mut expected = 1;
        for _ in 0..2 {
            if let Some(frame) = consumer.read().unwrap() {
                assert_eq!(frame, [expected; 9]);
                expected += 1;
            }
            consumer.release();
        }
        writer.join().unwrap();
    });
}

#[test]
fn room_is_written_again_only_when_nobody_reads_it() {
    loom::model(|| {
        let (mut producer, mut consumer) = Ring::pair(CAPACITY).unwrap();
        assert!(producer.push(&[1; 24]).unwrap() && producer.push(&[2; 24]).unwrap());
        producer.commit();
        let writer = thread::spawn(move || {
            for _ in 0..2 {
                if producer.push(&[3; 24]).unwrap() {
                    producer.commit();
                }
            }
        });
        for frame in 1..=2_u8 {
            assert_eq!(consumer.read().unwrap(), Some(&[frame; 24][..]));
            consumer.release();
        }
        writer.join().unwrap();
        while let Some(frame) = consumer.read().unwrap() {
            assert_eq!(frame, [3; 24]);
        }
    });
}

#[test]
fn a_consumer_never_sleeps_through_a_frame() {
    loom::model(|| {
        let (mut producer, mut consumer) = Ring::pair(CAPACITY).unwrap();
        let bells = bells();
        let far = bells.swapped();
        let reader = thread::spawn(move || {
            for frame in 1..=2_u8 {
                assert_eq!(read(&mut consumer, &far.mine), [frame]);
                consumer.release();
            }
        });
        for frame in 1..=2_u8 {
            push(&mut producer, &[frame], &bells);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_producer_never_sleeps_through_room() {
    check(2, || {
        let (mut producer, mut consumer) = Ring::pair(CAPACITY).unwrap();
        let bells = bells();
        let far = bells.swapped();
        let reader = thread::spawn(move || {
            for frame in 1..=3_u8 {
                assert_eq!(read(&mut consumer, &far.mine), [frame; 24]);
                consumer.release();
                consumer.wake(&far.theirs).unwrap();
            }
        });
        for frame in 1..=3_u8 {
            push(&mut producer, &[frame; 24], &bells);
        }
        reader.join().unwrap();
    });
}

#[test]
fn two_ports_never_sleep_on_each_other() {
    check(2, || {
        let (mut near, mut far) = Port::pair(CAPACITY, bells()).unwrap();
        let worker = thread::spawn(move || {
            let mut left = 2;
            while left > 0 {
                let Some(frame) = far.incoming.read().unwrap().map(<[u8]>::to_vec) else {
                    far.wait(Want::Frame, &[], None).unwrap();
                    continue;
                };
                while !far.outgoing.push(&frame).unwrap() {
                    far.wait(Want::Room(frame.len()), &[], None).unwrap();
                }
                left -= 1;
            }
            far.flush().unwrap();
        });
        let (mut sent, mut back) = (0, 0_u8);
        while back < 2 {
            while sent < 2 && near.outgoing.push(&[sent; 24]).unwrap() {
                sent += 1;
            }
            while let Some(frame) = near.incoming.read().unwrap() {
                assert_eq!(frame, [back; 24]);
                back += 1;
            }
            if back < 2 {
                let want = if sent < 2 { Want::Either(24) } else { Want::Frame };
                near.wait(want, &[], None).unwrap();
            }
        }
        worker.join().unwrap();
    });
}

#[test]
fn two_links_on_one_bell_are_both_heard() {
    check(2, || {
        let mine = Bell::new().unwrap();
        let mut workers = Vec::new();
        let mut consumers: Vec<_> = (0..2)
            .map(|_| {
                let (mut producer, consumer) = Ring::pair(CAPACITY).unwrap();
                let bell = mine.clone();
                workers.push(thread::spawn(move || {
                    assert!(producer.push(&[1]).unwrap());
                    producer.commit();
                    producer.wake(&bell).unwrap();
                }));
                consumer
            })
            .collect();
        let mut heard = 0;
        while heard < 2 {
            for consumer in &mut consumers {
                heard += usize::from(consumer.read().unwrap().is_some());
            }
            if heard < 2 && consumers.iter_mut().all(|consumer| consumer.announce().unwrap()) {
                mine.wait(&[], None).unwrap();
            }
            consumers.iter().for_each(Consumer::withdraw);
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_task_is_seen_with_its_own_begin() {
    loom::model(|| {
        let (mut log, watch) = line().unwrap();
        let writer = thread::spawn(move || {
            for task in 1..=2 {
                log.begin(NonZeroU64::new(task).unwrap(), task * 100);
                log.finish();
            }
        });
        if let Some(held) = watch.held() {
            assert_eq!(held.began_ns, held.task.get() * 100);
        }
        writer.join().unwrap();
        assert_eq!(watch.held(), None);
        assert_eq!(watch.status().unwrap().tasks_done, 2);
    });
}

#[test]
fn a_task_is_begun_or_taken_back_and_never_both() {
    loom::model(|| {
        let (mut log, watch) = line().unwrap();
        let worker = thread::spawn(move || {
            let claims = [1, 2].map(|task| log.claim(NonZeroU64::new(task).unwrap()));
            claims.map(|is_mine| !is_mine)
        });
        let claimed = watch.revoke(2);
        let given_back = worker.join().unwrap();
        for task in 1..=2_u64 {
            let is_given_back = given_back[task as usize - 1];
            // What the parent does not find claimed it sends elsewhere at once.
            assert!(task <= claimed || is_given_back);
        }
    });
}

#[test]
fn who_sees_no_task_sees_its_result() {
    loom::model(|| {
        let (mut log, watch) = line().unwrap();
        let (mut producer, mut consumer) = Ring::pair(CAPACITY).unwrap();
        log.begin(NonZeroU64::MIN, 1);
        let worker = thread::spawn(move || {
            assert!(producer.push(&[7]).unwrap());
            producer.commit();
            log.finish();
        });
        if watch.held().is_none() {
            assert_eq!(consumer.read().unwrap(), Some(&[7][..]));
        }
        worker.join().unwrap();
    });
}

fn put(queue: &Queue, frame: u8) {
    while queue.push(Some(Duration::ZERO), Parts { kind: 0, bytes: &[&[frame; 8]], is_eager: true }).unwrap()
        != Turn::Done(())
    {
        queue.wait_for_room(None);
    }
}

fn get(queue: &Queue) -> u8 {
    loop {
        let taken = queue.pop(Some(Duration::ZERO), |_, frame| {
            assert_eq!(frame, [frame[0]; 8]);
            Some(frame[0])
        });
        match taken.unwrap() {
            Turn::Done(frame) => return frame.unwrap(),
            _ => drop(queue.wait_for_frame(None)),
        }
    }
}

#[test]
fn no_consumer_of_a_queue_sleeps_through_a_frame() {
    check(2, || {
        let queue = Queue::small(256, 128, 0).unwrap();
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || get(&queue))
            })
            .collect();
        put(&queue, 1);
        put(&queue, 2);
        let sum: u8 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
        assert_eq!((sum, queue.len()), (3, 0));
    });
}

#[test]
fn no_producer_of_a_queue_sleeps_through_room() {
    check(2, || {
        let queue = Queue::small(256, 96, 1).unwrap();
        let producers: Vec<_> = (1..=2)
            .map(|frame| {
                let queue = queue.clone();
                thread::spawn(move || put(&queue, frame))
            })
            .collect();
        assert_eq!(get(&queue) + get(&queue), 3);
        producers.into_iter().for_each(|producer| producer.join().unwrap());
    });
}

#[test]
fn a_queue_goes_round_while_it_is_read() {
    check(2, || {
        let queue = Queue::small(256, 96, 0).unwrap();
        let far = queue.clone();
        let producer = thread::spawn(move || (1..=5).for_each(|frame| put(&far, frame)));
        for frame in 1..=5 {
            assert_eq!(get(&queue), frame);
        }
        producer.join().unwrap();
    });
}

#[test]
fn who_joins_a_queue_is_woken_by_the_last() {
    check(2, || {
        let queue = Queue::small(256, 128, 0).unwrap();
        put(&queue, 1);
        put(&queue, 2);
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || assert!(get(&queue) > 0 && queue.frame_done()))
            })
            .collect();
        while queue.unfinished() > 0 {
            queue.wait_until_done(None);
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn nobody_sleeps_through_a_semaphore() {
    check(2, || {
        let semaphore = Semaphore::small(0).unwrap();
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let semaphore = semaphore.clone();
                thread::spawn(move || {
                    while !semaphore.try_acquire() {
                        semaphore.wait(None);
                    }
                })
            })
            .collect();
        assert!(semaphore.release(9) && semaphore.release(9));
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn a_lock_has_one_holder() {
    check(2, || {
        let lock = Semaphore::small(1).unwrap();
        let inside = loom::sync::Arc::new(loom::cell::UnsafeCell::new(()));
        let (far, also) = (lock.clone(), inside.clone());
        let hold = |lock: &Semaphore, inside: &loom::cell::UnsafeCell<()>| {
            while !lock.try_acquire() {
                lock.wait(None);
            }
            inside.with_mut(|_| ());
            assert!(lock.release(1));
        };
        let other = thread::spawn(move || hold(&far, &also));
        hold(&lock, &inside);
        other.join().unwrap();
    });
}

#[test]
fn all_see_an_event_even_if_it_is_taken_back() {
    check(2, || {
        let event = Event::small().unwrap();
        let marks = event.mark();
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let event = event.clone();
                thread::spawn(move || {
                    while !event.has_happened(marks) {
                        event.wait(marks, None);
                    }
                })
            })
            .collect();
        event.set();
        event.clear();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}
