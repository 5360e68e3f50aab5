//! A queue of frames between any number of processes.
//!
//! Why it is not made of rings
//! ---------------------------
//! A ring for each producer needs no lock, but a queue keeps one order for all, is bounded as a whole, is joined by processes that
//! nobody announced, and is read by whoever comes first. So there is one run of memory with a lock at either end. Each
//! lock is opened by the kernel when its holder dies (`sys/robust.rs`), and what it protects is whole at every instruction:
//!
//! - `puts` and `gets` count the frames. Each side keeps two records of where it is; the lowest bit of its count says which one
//!   holds. A turn fills the other one, and ends with one store, of the count. So a producer that dies before that store has
//!   put nothing, and a consumer that dies before it has taken nothing: the frame is there for the next one.
//! - A frame is copied in or out while its lock is held, and the two ends do not meet: producers need to know where consumers
//!   are, and read that without their lock.
//!
//! Life cycle
//! ----------
//! 1. `create` makes the segment: a few pages, and addresses for many gigabytes. It travels as a descriptor, to be `open`ed.
//! 2. `push` finds a berth (`berth.rs`), copies, counts, and wakes a consumer if one sleeps; `pop` the other way round. Both say
//!    `Turn::Wait` instead of waiting, and `Turn::Busy` when another process holds the lock for longer than they have patience.
//! 3. What was touched stays touched up to `keep` bytes. Beyond that, consumers give the pages back as they go.
//!
//! Memory ordering
//! ---------------
//! | written | read | so that |
//! |---|---|---|
//! | `puts`, release (`push`) | acquire (`pop`) | a frame that is counted is complete, and so is the record behind it |
//! | `gets`, release (`pop`) | acquire (`head`) | the room of a frame that was taken is written by nobody before it was copied |
//! | `head`, release (`pop`) | acquire (`head`) | a record that is being written again is seen with the count that allows that |

use std::time::{Duration, Instant};

use crate::bell::Woken;
use crate::berth::{Berth, Form, HEAD, Sizes};
use crate::error::Error;
use crate::gate::Gate;
#[cfg(not(loom))]
use crate::segment::Segment;
use crate::sync::{AtomicU32, AtomicU64, Line, Ordering, Shared};
use crate::sys::{Bytes, Hold, Place, Robust};

#[cfg(not(loom))]
const LAYOUT: u64 = 0x7e4c_0051_0000_0001;
/// In the place of a kind: the frame goes on elsewhere.
const JUMP: u64 = u64::MAX;
#[cfg(not(loom))]
const DATA: usize = 4096;
/// Addresses cost nothing, and no program has so much memory. A process that may not have so many gets fewer.
#[cfg(not(loom))]
const LENGTHS: [usize; 4] = [1 << 36, 1 << 33, 1 << 30, 1 << 27];
#[cfg(not(loom))]
const WARM: u64 = 4 << 20;
#[cfg(not(loom))]
const NEAR: u64 = 256 << 10;
/// Pages that are kept, and the least that is worth a call to give back.
#[cfg(not(loom))]
const KEEP: u64 = 64 << 20;
#[cfg(not(loom))]
const STEP: u64 = 8 << 20;

const EVERYBODY: u32 = i32::MAX as u32;

#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
struct Header {
    layout: AtomicU64,
    most: AtomicU32,
    back: Line<Back>,
    front: Line<Front>,
    /// Frames that were put; consumers sleep on it.
    puts: Line<Gate>,
    /// Frames that were taken; producers sleep on it.
    gets: Line<Gate>,
    /// Frames that are done with; those who join sleep on it.
    done: Line<Gate>,
}

/// The producers' own.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
struct Back {
    lock: Robust,
    berths: [SharedBerth; 2],
    /// Up to where pages may exist, and up to where they were given back.
    touched: AtomicU64,
    cleared: AtomicU64,
}

#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
struct SharedBerth {
    tail: AtomicU64,
    top: AtomicU64,
    form: AtomicU64,
}

/// The consumers' own.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
struct Front {
    lock: Robust,
    heads: [AtomicU64; 2],
}

// SAFETY: it consists of atomic integers and locks.
unsafe impl Shared for Header {}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// It is done.
    Done(T),
    /// The queue is full, or empty.
    Wait,
    /// Another one is at it, in this process or elsewhere.
    Busy,
    /// The frame would go to fresh pages, since the consumers are behind: see [`Parts::is_eager`]. So many were taken by now.
    Ahead(u32),
}

/// What a frame consists of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// A number that travels with it.
    pub kind: u32,
    /// Its bytes, which follow one another.
    pub bytes: &'a [&'a [u8]],
    /// Whether fresh pages are taken without a word. To touch one costs as much as to write to a dozen that are warm, so who
    /// has time for the one has time to wait for the others: that much, and no longer.
    pub is_eager: bool,
}

/// A queue, as one process has it. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    header: Place<Header>,
    bytes: Bytes,
    sizes: Sizes,
    #[cfg(not(loom))]
    segment: Segment,
}

impl Queue {
    /// An empty queue for so many frames; 0 for any number.
    ///
    /// # Errors
    /// The system refuses the memory or the descriptor.
    #[cfg(not(loom))]
    pub fn create(most: u32) -> Result<Self, Error> {
        let mut made = Err(Error::Full { wanted: 0, size: 0 });
        for length in LENGTHS {
            made = Segment::new(DATA + length);
            if made.is_ok() {
                break;
            }
        }
        let segment = made?;
        let header: Place<Header> = segment.place(0)?;
        header.most.store(most, Ordering::Relaxed);
        header.back.0.lock.init()?;
        header.front.0.lock.init()?;
        // Partner: the load in `open`.
        header.layout.store(LAYOUT, Ordering::Release);
        Self::open(segment)
    }

    /// A queue that another process has made.
    ///
    /// # Errors
    /// The segment is not one of a queue.
    #[cfg(not(loom))]
    pub fn open(segment: Segment) -> Result<Self, Error> {
        let header: Place<Header> = segment.place(0)?;
        // Partner: the store in `create`.
        let found = header.layout.load(Ordering::Acquire);
        if found != LAYOUT {
            return Err(Error::Version { found, expected: LAYOUT });
        }
        let length = segment.size() - DATA;
        let bytes = segment.bytes(DATA, length)?;
        let sizes = Sizes { size: length as u64, warm: WARM, near: NEAR };
        Ok(Self { header, bytes, sizes, segment })
    }

    /// A small one without a segment, for models.
    ///
    /// # Errors
    /// None.
    #[cfg(loom)]
    pub fn small(size: usize, warm: u64, most: u32) -> Result<Self, Error> {
        let (header, bytes) = crate::sys::of_one_process::<Header>(size)?;
        header.most.store(most, Ordering::Relaxed);
        Ok(Self { header, bytes, sizes: Sizes { size: size as u64, warm, near: warm } })
    }

    /// The segment, to be passed on.
    #[cfg(not(loom))]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// How many frames it takes; 0 for any number.
    pub fn most(&self) -> u32 {
        self.header.most.load(Ordering::Relaxed)
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        let gets = self.header.gets.0.word.load();
        self.header.puts.0.word.load().wrapping_sub(gets) as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a frame more would be too many.
    pub fn is_full(&self) -> bool {
        let most = self.most();
        most != 0 && self.len() >= most as usize
    }

    /// Puts a frame at the end. Without patience it is `Busy` where somebody else is at it.
    ///
    /// # Errors
    /// There are no addresses left for so many bytes; the memory is corrupt.
    pub fn push(&self, patience: Option<Duration>, parts: Parts<'_>) -> Result<Turn<()>, Error> {
        let header = &*self.header;
        let Some(hold) = locked(&header.back.0.lock, patience)? else { return Ok(Turn::Busy) };
        let puts = header.puts.0.word.load();
        let (gets, head) = self.head();
        let most = header.most.load(Ordering::Relaxed);
        if most != 0 && puts.wrapping_sub(gets) >= most {
            return Ok(Turn::Wait);
        }
        let berth = self.berth(puts)?;
        let len: usize = parts.bytes.iter().map(|part| part.len()).sum();
        let full = Error::Full { wanted: len as u64, size: self.sizes.size };
        let need = (len as u64).checked_next_multiple_of(HEAD).and_then(|len| len.checked_add(HEAD));
        let Some((at, next)) = need.and_then(|need| berth.next(head, need, self.sizes)) else { return Err(full) };
        if !parts.is_eager && berth.is_ahead(next, self.sizes) {
            return Ok(Turn::Ahead(gets));
        }
        if at != berth.tail {
            self.leave(&berth, at);
        }
        self.write(at, len, parts);
        header.back.0.berths[(puts.wrapping_add(1) & 1) as usize].set(next);
        header.puts.0.word.store(puts.wrapping_add(1));
        drop(hold);
        header.puts.0.call(1);
        // There may be room for another one, and another one who waits for it.
        if most > 1 && !self.is_full() {
            header.gets.0.call(1);
        }
        Ok(Turn::Done(()))
    }

    /// Writes the jump from a tail to another place.
    fn leave(&self, berth: &Berth, at: u64) {
        let back = &self.header.back.0;
        if at < berth.tail {
            let touched = back.touched.load(Ordering::Relaxed).max(berth.tail + HEAD).max(berth.top);
            back.touched.store(touched, Ordering::Relaxed);
            back.cleared.store(0, Ordering::Relaxed);
        }
        self.bytes.set_word(berth.tail as usize, at);
        self.bytes.set_word(berth.tail as usize + 8, JUMP);
    }

    fn write(&self, at: u64, len: usize, parts: Parts<'_>) {
        let mut at = at as usize;
        self.bytes.set_word(at, len as u64);
        self.bytes.set_word(at + 8, u64::from(parts.kind));
        at += HEAD as usize;
        for part in parts.bytes {
            // SAFETY: the berth is free, and only the holder of the lock writes there.
            unsafe { self.bytes.slice_mut(at, part.len()) }.copy_from_slice(part);
            at += part.len();
        }
    }

    /// Takes the frame at the front, which `take` sees in place. If it says `None` the frame stays, and that is what is done.
    ///
    /// # Errors
    /// The memory is corrupt.
    pub fn pop<T>(
        &self,
        patience: Option<Duration>,
        take: impl FnOnce(u32, &[u8]) -> Option<T>,
    ) -> Result<Turn<Option<T>>, Error> {
        let header = &*self.header;
        if self.is_empty() {
            return Ok(Turn::Wait);
        }
        let Some(hold) = locked(&header.front.0.lock, patience)? else { return Ok(Turn::Busy) };
        let gets = header.gets.0.word.load();
        let puts = header.puts.0.word.load();
        if puts == gets {
            return Ok(Turn::Wait);
        }
        let (head, kind, len) = self.front(header.front.0.heads[(gets & 1) as usize].load(Ordering::Relaxed))?;
        let begin = (head + HEAD) as usize;
        // SAFETY: the frame is counted, and stays as it is until the holder of this lock counts it as taken.
        let Some(taken) = take(kind, unsafe { self.bytes.slice(begin, len) }) else { return Ok(Turn::Done(None)) };
        let end = (begin + len).next_multiple_of(HEAD as usize) as u64;
        // Partner: the load in `head`.
        header.front.0.heads[(gets.wrapping_add(1) & 1) as usize].store(end, Ordering::Release);
        header.gets.0.word.store(gets.wrapping_add(1));
        #[cfg(not(loom))]
        self.tidy(end)?;
        drop(hold);
        header.gets.0.call(1);
        if !self.is_empty() {
            header.puts.0.call(1);
        }
        Ok(Turn::Done(Some(taken)))
    }

    /// The frame that a head leads to: where it is, its kind and its length.
    fn front(&self, mut head: u64) -> Result<(u64, u32, usize), Error> {
        // A berth that is left is left for a frame, so there are never two jumps in a row.
        for _ in 0..2 {
            let (first, second) = self.words(head)?;
            if second == JUMP {
                head = first;
                continue;
            }
            let Ok(kind) = u32::try_from(second) else { return Error::corrupt("the kind of a frame", second) };
            if first > self.sizes.size - head - HEAD {
                return Error::corrupt("the length of a frame", first);
            }
            return Ok((head, kind, first as usize));
        }
        Error::corrupt("a place in a queue", head)
    }

    fn words(&self, at: u64) -> Result<(u64, u64), Error> {
        if at % HEAD != 0 || at >= self.sizes.size {
            return Error::corrupt("a place in a queue", at);
        }
        Ok((self.bytes.word(at as usize), self.bytes.word(at as usize + 8)))
    }

    /// How many were taken, and where the next one is, without the consumers' lock.
    fn head(&self) -> (u32, u64) {
        let header = &*self.header;
        loop {
            let gets = header.gets.0.word.load();
            // Partner: the store in `pop`. That of the turn after next would bring its count along.
            let head = header.front.0.heads[(gets & 1) as usize].load(Ordering::Acquire);
            if header.gets.0.word.load() == gets {
                return (gets, head);
            }
        }
    }

    fn berth(&self, puts: u32) -> Result<Berth, Error> {
        let found = &self.header.back.0.berths[(puts & 1) as usize];
        let (tail, top) = (found.tail.load(Ordering::Relaxed), found.top.load(Ordering::Relaxed));
        let word = found.form.load(Ordering::Relaxed);
        let Some(form) = Form::of(word) else { return Error::corrupt("the form of a queue", word) };
        // Behind each tail there is room for a jump.
        if tail % HEAD != 0 || top % HEAD != 0 || tail.max(top).saturating_add(HEAD) > self.sizes.size + HEAD {
            return Error::corrupt("the end of a queue", tail.max(top));
        }
        Ok(Berth { tail, top, form })
    }

    /// Gives pages back that are far from where the queue is. The caller holds the consumers' lock, and has come to `head`.
    #[cfg(not(loom))]
    fn tidy(&self, head: u64) -> Result<(), Error> {
        let back = &self.header.back.0;
        let cleared = back.cleared.load(Ordering::Relaxed).max(KEEP);
        if head < cleared + STEP && back.touched.load(Ordering::Relaxed) < KEEP + STEP {
            return Ok(());
        }
        // Whoever is busy behind does not wait for this; the next consumer comes by.
        let Some(_hold) = back.lock.try_lock()? else { return Ok(()) };
        let berth = self.berth(self.header.puts.0.word.load())?.seen_from(head);
        if berth.form != Form::Straight {
            return Ok(());
        }
        if head >= cleared + STEP {
            self.clear(cleared, head)?;
            back.cleared.store(head, Ordering::Relaxed);
        }
        let (above, touched) = ((berth.tail + HEAD).max(KEEP), back.touched.load(Ordering::Relaxed));
        if touched >= above + STEP {
            self.clear(above, touched)?;
        }
        if touched > above {
            back.touched.store(above, Ordering::Relaxed);
        }
        Ok(())
    }

    #[cfg(not(loom))]
    fn clear(&self, begin: u64, end: u64) -> Result<(), Error> {
        let end = end.min(self.sizes.size);
        // SAFETY: both locks are held, and nothing that lives lies there.
        unsafe { self.segment.discard(DATA + begin as usize..DATA + end as usize) }
    }

    /// Sleeps while it is empty.
    pub fn wait_for_frame(&self, until: Option<Instant>) -> Woken {
        self.header.puts.0.sleep(|| !self.is_empty(), until)
    }

    /// Sleeps while it is full.
    pub fn wait_for_room(&self, until: Option<Instant>) -> Woken {
        self.header.gets.0.sleep(|| !self.is_full(), until)
    }

    /// Sleeps while no more than so many were taken.
    pub fn wait_for_consumers(&self, taken: u32, until: Option<Instant>) -> Woken {
        self.header.gets.0.sleep(|| self.header.gets.0.word.load() != taken, until)
    }

    /// Says that one who slept leaves without its turn: what it was woken for goes to another one.
    pub fn pass_on(&self) {
        if !self.is_empty() {
            self.header.puts.0.call(1);
        }
        if !self.is_full() {
            self.header.gets.0.call(1);
        }
    }

    /// Says that a frame that was taken is done with. False if there is none.
    pub fn frame_done(&self) -> bool {
        let done = &self.header.done.0;
        let mut found = done.word.load();
        loop {
            if found == self.header.puts.0.word.load() {
                return false;
            }
            match done.word.replace(found, found.wrapping_add(1)) {
                Ok(_) => break,
                Err(other) => found = other,
            }
        }
        if self.unfinished() == 0 {
            done.call(EVERYBODY);
        }
        true
    }

    /// How many frames were put and are not done with.
    pub fn unfinished(&self) -> u32 {
        let done = self.header.done.0.word.load();
        self.header.puts.0.word.load().wrapping_sub(done)
    }

    /// Sleeps while a frame is not done with.
    pub fn wait_until_done(&self, until: Option<Instant>) -> Woken {
        let woken = self.header.done.0.sleep(|| self.unfinished() == 0, until);
        if self.unfinished() == 0 {
            // The flag that was just put up may be one that another sleeper goes to sleep under.
            self.header.done.0.call(EVERYBODY);
        }
        woken
    }
}

impl SharedBerth {
    fn set(&self, berth: Berth) {
        self.tail.store(berth.tail, Ordering::Relaxed);
        self.top.store(berth.top, Ordering::Relaxed);
        self.form.store(berth.form as u64, Ordering::Relaxed);
    }
}

fn locked(lock: &Robust, patience: Option<Duration>) -> Result<Option<Hold<'_>>, Error> {
    match patience {
        None => lock.try_lock(),
        Some(patience) => lock.lock(patience),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn put(queue: &Queue, frame: &[u8]) -> Turn<()> {
        queue.push(None, Parts { kind: 7, bytes: &[frame], is_eager: true }).unwrap()
    }

    fn get(queue: &Queue) -> Option<Vec<u8>> {
        let taken = queue.pop(None, |kind, frame| {
            assert_eq!(kind, 7);
            Some(frame.to_vec())
        });
        match taken.unwrap() {
            Turn::Done(frame) => frame,
            Turn::Wait | Turn::Ahead(_) => None,
            Turn::Busy => panic!("nobody else is there"),
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let queue = Queue::create(0).unwrap();
        let frame = |number: usize| vec![number as u8; number * 37 % 50_000];
        for round in 0..20 {
            let count = 1 + round * 40;
            (0..count).for_each(|number| assert_eq!(put(&queue, &frame(number)), Turn::Done(())));
            assert_eq!(queue.len(), count);
            (0..count).for_each(|number| assert_eq!(get(&queue), Some(frame(number))));
            assert_eq!(get(&queue), None);
        }
    }

    #[test]
    fn parts_of_a_frame_follow_one_another() {
        let queue = Queue::create(0).unwrap();
        let parts = Parts { kind: 7, bytes: &[b"one", b"", b"two"], is_eager: true };
        assert_eq!(queue.push(None, parts).unwrap(), Turn::Done(()));
        assert_eq!(get(&queue).unwrap(), b"onetwo");
    }

    #[test]
    fn a_full_queue_takes_nothing() {
        let queue = Queue::create(2).unwrap();
        assert_eq!(put(&queue, b"1"), Turn::Done(()));
        assert_eq!(put(&queue, b"2"), Turn::Done(()));
        assert!(queue.is_full());
        assert_eq!(put(&queue, b"3"), Turn::Wait);
        assert_eq!(get(&queue).unwrap(), b"1");
        assert_eq!(put(&queue, b"3"), Turn::Done(()));
        assert_eq!(get(&queue).unwrap(), b"2");
    }

    #[test]
    fn what_is_not_taken_stays() {
        let queue = Queue::create(0).unwrap();
        put(&queue, b"1");
        assert_eq!(queue.pop(None, |_, _| None::<()>).unwrap(), Turn::Done(None));
        assert_eq!(get(&queue).unwrap(), b"1");
    }

    #[test]
    fn a_backlog_gives_its_pages_back() {
        let queue = Queue::create(0).unwrap();
        let frame = vec![1; 1 << 20];
        for _ in 0..2 {
            (0..200).for_each(|_| assert_eq!(put(&queue, &frame), Turn::Done(())));
            assert!(queue.segment().resident_bytes().unwrap() > 190 << 20);
            (0..200).for_each(|_| assert_eq!(get(&queue).unwrap().len(), 1 << 20));
            let resident = queue.segment().resident_bytes().unwrap();
            assert!(resident <= KEEP + 2 * STEP, "{resident} bytes are resident");
        }
    }

    #[test]
    fn who_is_far_ahead_is_told() {
        let queue = Queue::create(0).unwrap();
        let frame = vec![1; 1 << 20];
        let parts = Parts { kind: 7, bytes: &[&frame], is_eager: false };
        (0..3).for_each(|_| assert_eq!(queue.push(None, parts).unwrap(), Turn::Done(())));
        assert_eq!(queue.push(None, parts).unwrap(), Turn::Ahead(0));
        assert_eq!(queue.push(None, Parts { is_eager: true, ..parts }).unwrap(), Turn::Done(()));
        get(&queue);
        get(&queue);
        assert_eq!(queue.push(None, parts).unwrap(), Turn::Done(()), "there is room below");
        assert_eq!(queue.wait_for_consumers(0, None), Woken::Rung);
    }

    #[test]
    fn more_than_there_are_addresses_for_is_refused() {
        let queue = Queue::create(0).unwrap();
        let frame = vec![0_u8; 1 << 20];
        let many = vec![&frame[..]; 1 << 17];
        assert!(matches!(queue.push(None, Parts { kind: 1, bytes: &many, is_eager: true }), Err(Error::Full { .. })));
        assert_eq!(put(&queue, b"1"), Turn::Done(()), "it goes on");
    }

    #[test]
    fn what_is_done_with_is_counted() {
        let queue = Queue::create(0).unwrap();
        assert!(!queue.frame_done());
        put(&queue, b"1");
        assert_eq!(queue.unfinished(), 1);
        get(&queue);
        assert!(queue.frame_done());
        assert!(!queue.frame_done());
        assert_eq!(queue.wait_until_done(None), Woken::Rung);
    }

    #[test]
    fn nonsense_is_told() {
        let queue = Queue::create(0).unwrap();
        put(&queue, b"1");
        queue.bytes.set_word(0, u64::MAX);
        assert!(matches!(queue.pop(None, |_, _| Some(())), Err(Error::Corrupt { .. })));
        queue.bytes.set_word(8, u64::MAX);
        assert!(matches!(queue.pop(None, |_, _| Some(())), Err(Error::Corrupt { .. })));
        queue.header.back.0.berths[1].form.store(9, Ordering::Relaxed);
        assert!(matches!(queue.push(None, Parts { kind: 1, bytes: &[], is_eager: true }), Err(Error::Corrupt { .. })));
        assert!(matches!(Queue::open(Segment::new(DATA * 2).unwrap()), Err(Error::Version { .. })));
    }
}
