//! Two processes, one of which is killed at any instruction.
//!
//! The moment of a kill is set by an event, the number of frames that have come, and so it hits whatever instruction the other process
//! happens to be at. A process that this test starts dies with the thread that started it.

#![cfg(all(target_os = "linux", not(loom)))]

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tercet_shm::{
    Arena, Bell, Bells, Consumer, Handle, Held, Holder, LinkSizes, ParentEnd, Port, State, Want, Woken, WorkerEnd,
    now_ns,
};

const KILLS: u64 = 300;
const SIZES: LinkSizes = LinkSizes { task_bytes: 1024, result_bytes: 1024 };

/// A process that runs one function, and that is gone when this is dropped.
struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    is_gone: bool,
}

impl Child {
    fn run(function: impl FnOnce()) -> Self {
        // SAFETY: the child uses memory that is its own or shared by design, and leaves through `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: it takes numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(function)).map_or(101, |()| 0);
            // SAFETY: it takes a number and does not return.
            unsafe { libc::_exit(code) };
        }
        let pidfd = pidfd_open(Pid::from_raw(pid).expect("fork has failed"), PidfdFlags::empty()).unwrap();
        Self { pid, pidfd, is_gone: false }
    }

    fn kill(&mut self) {
        // SAFETY: the process is ours and not waited for, so nobody else has its number.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        assert_eq!(self.status(), libc::SIGKILL, "it has ended before it was killed");
    }

    fn status(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: as above, and `status` is there to be written.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        self.is_gone = true;
        status
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_gone {
            // SAFETY: as in `kill`.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.status();
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

fn bells() -> Bells {
    Bells { mine: Bell::new().unwrap(), theirs: Bell::new().unwrap() }
}

/// How long the other process may take before the test has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits in the parent: the other process has 60 seconds, and must not have ended.
fn wait(port: &mut Port, want: Want, child: &Child) {
    let woken = port.wait(want, &[child.as_fd()], Some(Instant::now() + LIMIT)).unwrap();
    assert!(matches!(woken, Woken::Rung | Woken::Interrupted), "{woken:?}");
}

/// A frame that can be told from any part of any other.
fn frame(number: u64, longest: usize) -> Vec<u8> {
    let len = 8 + Dice(number + 1).below(longest as u64 - 8) as usize;
    let mut frame = vec![number as u8; len];
    frame[..8].copy_from_slice(&number.to_le_bytes());
    frame
}

fn number(frame: &[u8]) -> u64 {
    u64::from_le_bytes(frame[..8].try_into().unwrap())
}

fn numbers(consumer: &mut Consumer) -> Vec<u64> {
    std::iter::from_fn(|| consumer.read().unwrap().map(number)).collect()
}

/// Sends frames for ever, several at a time.
fn stream(port: &mut Port, longest: usize) {
    for next in 0.. {
        let frame = frame(next, longest);
        while !port.outgoing.push(&frame).unwrap() {
            port.wait(Want::Room(frame.len()), &[], None).unwrap();
        }
        if next % 3 == 0 {
            port.flush().unwrap();
        }
    }
}

#[test]
fn a_producer_that_is_killed_leaves_whole_frames() {
    let mut dice = Dice(0x7e4c);
    for _ in 0..KILLS {
        let (mut near, mut far) = Port::pair(4096, bells()).unwrap();
        let longest = far.outgoing.longest_frame().min(1 + dice.below(500) as usize + 16);
        let mut child = Child::run(|| stream(&mut far, longest));
        let (mut next, enough) = (0, dice.below(2000));
        while next < enough {
            while let Some(found) = near.incoming.read().unwrap() {
                assert_eq!(found, frame(next, longest));
                next += 1;
            }
            if next < enough {
                wait(&mut near, Want::Frame, &child);
            }
            near.flush().unwrap();
        }
        child.kill();
        while let Some(found) = near.incoming.read().unwrap() {
            assert_eq!(found, frame(next, longest));
            next += 1;
        }
    }
}

#[test]
fn the_death_of_who_should_ring_ends_the_sleep() {
    let (mut near, mut far) = Port::pair(4096, bells()).unwrap();
    assert!(near.announce(Want::Frame).unwrap());
    let mut child = Child::run(|| {
        assert!(far.outgoing.push(&[1]).unwrap());
        far.outgoing.commit();
        // It ends between its commit and its ring.
    });
    assert_eq!(near.bells.mine.wait(&[child.as_fd()], Some(Instant::now() + LIMIT)).unwrap(), Woken::Other(0));
    near.withdraw();
    assert_eq!(near.incoming.read().unwrap(), Some(&[1][..]));
    assert_eq!(child.status(), 0);
}

/// What a worker does, for ever: each task's result is its number.
fn work(mut worker: WorkerEnd) {
    loop {
        worker.log.enter(State::Running);
        while let Some(task) = worker.port.incoming.read().unwrap() {
            let task = task.to_vec();
            worker.log.begin(NonZeroU64::new(number(&task)).unwrap(), now_ns());
            worker.port.incoming.release();
            while !worker.port.outgoing.push(&task).unwrap() {
                worker.port.wait(Want::Room(task.len()), &[], None).unwrap();
            }
            worker.port.outgoing.commit();
            worker.log.finish();
        }
        worker.log.enter(State::Resting);
        worker.port.wait(Want::Frame, &[], None).unwrap();
    }
}

/// Sends tasks to one worker until so many results have come, kills it, and accounts for every task: which are done, and
/// which one died with it.
fn one_life(tasks: &mut BTreeSet<u64>, enough: usize) -> (Vec<u64>, Option<u64>) {
    let mut parent = ParentEnd::create(SIZES, bells()).unwrap();
    let segment = parent.segment().clone();
    let far = parent.port.bells.swapped();
    let mut child = Child::run(|| work(WorkerEnd::open(&segment, far).unwrap()));
    let mut results = Vec::new();
    let mut sent = BTreeSet::new();
    while results.len() < enough.min(sent.len() + tasks.len()) {
        while let Some(&task) = tasks.first() {
            if !parent.port.outgoing.push(&frame(task, 100)).unwrap() {
                break;
            }
            parent.port.outgoing.commit();
            sent.extend(tasks.pop_first());
        }
        results.extend(numbers(&mut parent.port.incoming));
        if results.len() < enough && results.len() < sent.len() {
            let want = if tasks.is_empty() { Want::Frame } else { Want::Either(100) };
            wait(&mut parent.port, want, &child);
        }
    }
    child.kill();
    let mut remains = parent.bury().unwrap();
    results.extend(numbers(&mut remains.results));
    let held = remains.watch.held().map(|Held { task, began_ns }| {
        assert!(began_ns > 0 && began_ns <= now_ns());
        task.get()
    });
    let guilty = held.filter(|task| !results.contains(task));
    let mut unclaimed = numbers(&mut remains.unclaimed);
    unclaimed.retain(|task| Some(*task) != guilty);
    let accounted: Vec<u64> = results.iter().chain(&guilty).chain(&unclaimed).copied().collect();
    assert_eq!(accounted, sent.into_iter().collect::<Vec<_>>(), "each task once, in order");
    tasks.extend(unclaimed);
    (results, guilty)
}

#[test]
fn a_worker_that_is_killed_costs_the_task_it_was_at_and_no_other() {
    let mut dice = Dice(0xbe11);
    let mut tasks: BTreeSet<u64> = (1..=20_000).collect();
    let (mut done, mut lost, mut kills) = (0, 0, 0);
    while !tasks.is_empty() {
        let (results, guilty) = one_life(&mut tasks, dice.below(130) as usize);
        done += results.len();
        lost += usize::from(guilty.is_some());
        kills += 1;
    }
    assert_eq!(done + lost, 20_000);
    assert!(lost <= kills && kills as u64 >= KILLS / 2, "{lost} lost, {kills} kills");
}

fn holder(arena: &Arena, peer: tercet_shm::Peer) -> Holder {
    Holder::open(arena.data_fd().unwrap(), arena.ledger_fd(peer).unwrap().try_clone_to_owned().unwrap()).unwrap()
}

fn handle(frame: &[u8]) -> Handle {
    Handle::from_bytes(frame.try_into().unwrap())
}

/// Reads slabs for ever, says so for each, and keeps every second one.
fn hold(port: &mut Port, holder: &Holder) {
    let mut kept = Vec::new();
    loop {
        while let Some(frame) = port.incoming.read().unwrap() {
            let loan = holder.receive(handle(frame)).unwrap();
            assert!(loan.iter().all(|byte| *byte == loan[0]));
            if loan[0] % 2 == 0 {
                kept.push(loan);
            }
            assert!(port.outgoing.push(&[]).unwrap());
        }
        port.wait(Want::Frame, &[], None).unwrap();
    }
}

fn answers(port: &mut Port) -> u64 {
    std::iter::from_fn(|| port.incoming.read().unwrap().map(|_| 1)).sum()
}

#[test]
fn slabs_that_a_dead_holder_had_come_back() {
    let mut dice = Dice(0x51ab);
    let mut arena = Arena::new(32 << 20, 32 << 20).unwrap();
    for round in 0..KILLS / 3 {
        let peer = arena.enrol().unwrap();
        let far_holder = holder(&arena, peer);
        let (mut near, mut far) = Port::pair(1024, bells()).unwrap();
        let mut child = Child::run(|| hold(&mut far, &far_holder));
        let (all, mut answered) = (dice.below(100), 0);
        let enough = dice.below(all + 1);
        for number in 0..all {
            let mut draft = arena.allocate(100_000).unwrap();
            draft.fill((round + number) as u8);
            let slab = arena.seal(draft);
            let frame = arena.lend(&slab, peer).unwrap().to_bytes();
            arena.free(slab).unwrap();
            while !near.outgoing.push(&frame).unwrap() {
                wait(&mut near, Want::Either(frame.len()), &child);
                answered += answers(&mut near);
            }
        }
        near.flush().unwrap();
        while answered < enough {
            wait(&mut near, Want::Frame, &child);
            answered += answers(&mut near);
        }
        child.kill();
        arena.dismiss(peer).unwrap();
        let usage = arena.usage();
        assert_eq!((usage.used_bytes, usage.slabs), (0, 0));
    }
    arena.trim(0);
    assert_eq!(arena.resident_bytes().unwrap(), 0);
}

#[test]
fn slabs_of_a_dead_owner_can_still_be_read() {
    let mut arena = Arena::new(1 << 20, 0).unwrap();
    let peer = arena.enrol().unwrap();
    let reader = holder(&arena, peer);
    let (mut near, mut far) = Port::pair(1024, bells()).unwrap();
    let mut child = Child::run(|| {
        let mut draft = arena.allocate(100_000).unwrap();
        draft.fill(7);
        let slab = arena.seal(draft);
        let handle = arena.lend(&slab, peer).unwrap();
        assert!(far.outgoing.push(&handle.to_bytes()).unwrap());
        far.flush().unwrap();
        far.wait(Want::Frame, &[], None).unwrap();
    });
    wait(&mut near, Want::Frame, &child);
    child.kill();
    drop(arena);
    let loan = reader.receive(handle(near.incoming.read().unwrap().unwrap())).unwrap();
    assert_eq!(loan[..], vec![7; 100_000]);
    let mut private = loan.to_private().unwrap();
    private[0] = 1;
    assert_eq!((loan[0], private[1]), (7, 7));
}

#[test]
fn after_the_last_process_the_memory_is_gone() {
    let segment = tercet_shm::Segment::new(1 << 20).unwrap();
    let (near, far) = (Bell::new().unwrap(), Bell::new().unwrap());
    let mut child = Child::run(|| {
        near.ring().unwrap();
        far.wait(&[], None).unwrap();
    });
    assert_eq!(near.wait(&[child.as_fd()], Some(Instant::now() + LIMIT)).unwrap(), Woken::Rung);
    let link = std::fs::read_link(format!("/proc/{}/fd/{}", child.pid, {
        use std::os::fd::AsRawFd;
        segment.as_fd().as_raw_fd()
    }));
    assert!(link.unwrap().to_string_lossy().contains("memfd:tercet"), "no name in any directory");
    child.kill();
}
