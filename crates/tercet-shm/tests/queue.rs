//! A queue between processes of which any is killed at any instruction: the others go on.

#![cfg(all(target_os = "linux", not(loom)))]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tercet_shm::{Event, Parts, Queue, Semaphore, Turn, Woken};

const KILLS: usize = 200;
const LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Option<Duration> = Some(Duration::from_millis(100));

/// A process that runs one function, and that is gone when this is dropped.
struct Child(libc::pid_t);

impl Child {
    fn run(function: impl FnOnce()) -> Self {
        // SAFETY: the child uses memory that is its own or shared by design, and leaves through `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork has failed");
        if pid == 0 {
            // SAFETY: it takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(function)).map_or(101, |()| 0);
            // SAFETY: it takes a number and does not return.
            unsafe { libc::_exit(code) };
        }
        Self(pid)
    }

    fn join(self) {
        let mut status = 0;
        // SAFETY: the process is ours and not waited for, and `status` is there to be written.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        assert_eq!(status, 0);
        std::mem::forget(self);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the process is ours and not waited for, so nobody else has its number.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A frame that can be told from any part of any other.
fn frame(who: u32, number: u64) -> Vec<u8> {
    let len = 12 + Dice(number * 7 + u64::from(who) + 1).below(3000) as usize;
    let mut frame = vec![(number as u8) ^ (who as u8); len];
    frame[..4].copy_from_slice(&who.to_le_bytes());
    frame[4..12].copy_from_slice(&number.to_le_bytes());
    frame
}

fn put(queue: &Queue, frame: &[u8]) {
    while queue.push(PATIENCE, Parts { kind: 1, bytes: &[frame], is_eager: true }).unwrap() != Turn::Done(()) {
        queue.wait_for_room(None);
    }
}

fn get(queue: &Queue) -> Vec<u8> {
    let limit = Instant::now() + LIMIT;
    loop {
        if let Turn::Done(frame) = queue.pop(PATIENCE, |_, frame| Some(frame.to_vec())).unwrap() {
            return frame.unwrap();
        }
        assert_ne!(queue.wait_for_frame(Some(limit)), Woken::TimedOut, "nothing has come");
    }
}

fn told(found: &[u8]) -> (u32, u64) {
    let who = u32::from_le_bytes(found[..4].try_into().unwrap());
    let number = u64::from_le_bytes(found[4..12].try_into().unwrap());
    assert_eq!(found, frame(who, number), "a frame is whole");
    (who, number)
}

fn produce(queue: &Queue, who: u32) -> Child {
    Child::run(|| {
        for number in 0.. {
            put(queue, &frame(who, number));
        }
    })
}

fn producers_die(most: u32) {
    let queue = Queue::create(most).unwrap();
    let mut dice = Dice(0x7e4c + u64::from(most));
    let mut producers: Vec<_> = (0..3).map(|who| produce(&queue, who)).collect();
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for who in 3..KILLS as u32 {
        for _ in 0..dice.below(200) {
            let (who, number) = told(&get(&queue));
            let expected = next.entry(who).or_default();
            assert_eq!(number, *expected, "the frames of a producer come in order, and each once");
            *expected += 1;
        }
        let unlucky = dice.below(3) as usize;
        producers[unlucky] = produce(&queue, who);
    }
}

#[test]
fn producers_that_are_killed_leave_whole_frames() {
    producers_die(0);
}

#[test]
fn producers_that_are_killed_leave_a_bound_as_it_is() {
    producers_die(2);
}

#[test]
fn consumers_that_are_killed_take_one_frame_along_at_most() {
    let (queue, out) = (Queue::create(0).unwrap(), Queue::create(4).unwrap());
    let consume = || {
        Child::run(|| {
            loop {
                put(&out, &get(&queue));
            }
        })
    };
    let mut dice = Dice(0xbe11);
    let mut consumers: Vec<_> = (0..2).map(|_| consume()).collect();
    let (mut sent, mut seen) = (0_u64, Vec::new());
    for _ in 0..KILLS {
        let count = dice.below(150);
        (sent..sent + count).for_each(|number| put(&queue, &frame(9, number)));
        sent += count;
        let enough = dice.below(count + 1);
        (0..enough).for_each(|_| seen.push(told(&get(&out)).1));
        let unlucky = dice.below(2) as usize;
        consumers[unlucky] = consume();
    }
    while !queue.is_empty() || seen.len() as u64 + (KILLS as u64) + 2 < sent {
        seen.push(told(&get(&out)).1);
    }
    // What is on its way follows before a last word of each consumer's.
    put(&queue, &frame(8, 0));
    loop {
        let (who, number) = told(&get(&out));
        if who == 8 {
            break;
        }
        seen.push(number);
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "no frame comes twice");
    let lost = sent - count as u64;
    assert!(lost <= KILLS as u64 + 2, "{lost} of {sent} are lost after {KILLS} kills");
}

#[test]
fn a_sleeper_that_is_killed_is_missed_by_nobody() {
    let (queue, out) = (Queue::create(0).unwrap(), Queue::create(0).unwrap());
    let consume = || {
        Child::run(|| {
            put(&out, &frame(1, 0));
            loop {
                put(&out, &get(&queue));
            }
        })
    };
    for _ in 0..20 {
        let (one, two) = (consume(), consume());
        get(&out);
        get(&out);
        drop(one);
        put(&queue, &frame(2, 0));
        assert_eq!(told(&get(&out)), (2, 0));
        drop(two);
    }
}

#[test]
fn many_to_many_lose_nothing() {
    const EACH: u64 = 20_000;
    let (queue, out) = (Queue::create(0).unwrap(), Queue::create(0).unwrap());
    let producers: Vec<_> =
        (0..4).map(|who| Child::run(|| (0..EACH).for_each(|number| put(&queue, &frame(who, number)[..12])))).collect();
    let consumers: Vec<_> = (0..4).map(|_| Child::run(|| (0..EACH).for_each(|_| put(&out, &get(&queue))))).collect();
    let mut sums = [0; 4];
    for _ in 0..4 * EACH {
        let found = get(&out);
        sums[found[0] as usize] += u64::from_le_bytes(found[4..12].try_into().unwrap());
    }
    assert_eq!(sums, [EACH * (EACH - 1) / 2; 4]);
    producers.into_iter().chain(consumers).for_each(Child::join);
}

#[test]
fn a_lock_and_an_event_join_processes() {
    const EACH: u64 = 20_000;
    let (lock, go, queue) = (Semaphore::create(1).unwrap(), Event::create().unwrap(), Queue::create(0).unwrap());
    let count = |queue: &Queue| {
        let mark = go.mark();
        while !go.has_happened(mark) {
            go.wait(mark, None);
        }
        for _ in 0..EACH {
            while !lock.try_acquire() {
                lock.wait(None);
            }
            let value = u64::from_le_bytes(get(queue)[..].try_into().unwrap());
            assert!(queue.is_empty());
            put(queue, &(value + 1).to_le_bytes());
            assert!(lock.release(1));
        }
    };
    put(&queue, &0_u64.to_le_bytes());
    let children: Vec<_> = (0..3).map(|_| Child::run(|| count(&queue))).collect();
    go.set();
    children.into_iter().for_each(Child::join);
    assert_eq!(get(&queue), (3 * EACH).to_le_bytes());
}
