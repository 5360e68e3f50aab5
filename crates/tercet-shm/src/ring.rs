//! A ring of bytes that carries frames from one producer to one consumer.
//!
//! ```text
//!   | tail | head | is the consumer asleep | is the producer asleep |  capacity bytes ...              |
//!     two cache lines each                                            ^ [word][frame, padded to 8][word][frame]...
//! ```
//!
//! Positions only grow; a position modulo the capacity is an offset. A frame is a word (a mark and its length) and the
//! bytes, in one run: where the rest of the ring is too short, a word that says so fills it, and the frame begins at offset 0.
//!
//! Life cycle
//! ----------
//! 1. `Producer::reserve` gives room for a frame; its bytes are written in place.
//! 2. `Producer::keep` finishes it: its word is written. Nobody sees it yet.
//! 3. `Producer::commit` moves the tail over all frames that are kept.
//! 4. `Consumer::read` gives one frame after the other, in place.
//! 5. `Consumer::release` moves the head over all frames that were read: their room is free.
//!
//! Guarantees
//! ----------
//! - Frames come whole, in order, once. What was not committed does not exist, wherever its writer died.
//! - What was read and not released is found again by a consumer that takes over.
//! - Each side believes nothing that the other wrote before it has checked it: positions that cannot be, and frames that cross
//!   the end of the ring or the tail, are an error and never an access outside of the ring.
//!
//! Memory ordering
//! ---------------
//! - The store of the tail (release, `commit`) is the partner of its load (acquire, `read`): a frame that is seen is
//!   complete.
//! - The store of the head (release, `release`) is the partner of its load (acquire, `reserve`): room that is seen is no longer
//!   read by anybody.
//! - Falling asleep and waking: `sleep.rs`.

use crate::consumer::Consumer;
use crate::error::Error;
use crate::producer::Producer;
use crate::sleep::Asleep;
use crate::sync::{AtomicU64, Line, Shared};
use crate::sys::{self, Bytes, Place};

const LEAST: usize = 64;
const MOST: usize = 1 << 31;

/// In the upper half of each frame's word: what was never written, or lies in the middle of a frame, is unlikely to have it.
const FRAME: u64 = 0x7e4c_e701 << 32;
/// The word that fills the end of the ring.
pub(crate) const FILLER: u64 = 0x7e4c_e702 << 32;
/// The bytes of a word.
pub(crate) const WORD: u64 = 8;

/// How far each side is, and whether it sleeps.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Cursors {
    /// Written by the producer.
    pub(crate) tail: Line<AtomicU64>,
    /// Written by the consumer.
    pub(crate) head: Line<AtomicU64>,
    /// Set by the consumer, taken by the producer.
    pub(crate) consumer: Line<Asleep>,
    /// Set by the producer, taken by the consumer.
    pub(crate) producer: Line<Asleep>,
}

// SAFETY: it consists of atomic integers only.
unsafe impl Shared for Cursors {}

/// Memory with a ring in it, of which neither side has been taken.
#[derive(Clone, Debug)]
pub struct Ring {
    pub(crate) cursors: Place<Cursors>,
    pub(crate) bytes: Bytes,
}

impl Ring {
    /// A ring in memory of its own, for the threads of this process and for those it forks.
    ///
    /// # Errors
    /// The capacity is no power of two, too small or too large, or the system refuses the memory.
    pub fn pair(capacity: usize) -> Result<(Producer, Consumer), Error> {
        Self::check_capacity(capacity)?;
        let (cursors, bytes) = sys::of_one_process(capacity)?;
        let ring = Self { cursors, bytes };
        Ok((Producer::new(ring.clone()), Consumer::new(ring)))
    }

    /// The longest frame that a ring of this capacity takes: half of it always fits, wherever the ring is wrapped.
    pub const fn longest_frame(capacity: usize) -> usize {
        capacity / 2 - WORD as usize
    }

    pub(crate) fn check_capacity(capacity: usize) -> Result<(), Error> {
        if capacity.is_power_of_two() && (LEAST..=MOST).contains(&capacity) {
            Ok(())
        } else {
            Err(Error::Capacity { found: capacity, least: LEAST, most: MOST })
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn offset(&self, position: u64) -> usize {
        (position & (self.capacity() - 1)) as usize
    }

    /// The bytes from a position to the end of the ring.
    pub(crate) fn gap(&self, position: u64) -> u64 {
        self.capacity() - self.offset(position) as u64
    }
}

/// The bytes that a frame takes up with its word.
pub(crate) fn footprint(len: usize) -> u64 {
    WORD + (len as u64).next_multiple_of(WORD)
}

/// The word of a frame.
pub(crate) fn word(len: usize) -> u64 {
    FRAME | len as u64
}

/// The length that a word tells, if it is one of a frame.
pub(crate) fn length(word: u64) -> Option<usize> {
    (word & FRAME_MASK == FRAME).then_some((word & !FRAME_MASK) as usize)
}

const FRAME_MASK: u64 = 0xffff_ffff << 32;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bell::{Bell, Woken};
    use crate::sync::Ordering;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn pair(capacity: usize) -> (Producer, Consumer, Ring) {
        let (cursors, bytes) = sys::of_one_process(capacity).unwrap();
        let ring = Ring { cursors, bytes };
        (Producer::new(ring.clone()), Consumer::new(ring.clone()), ring)
    }

    #[test]
    fn capacities_are_powers_of_two() {
        for capacity in [0, 8, 63, 100, 1 << 32] {
            assert!(matches!(Ring::pair(capacity), Err(Error::Capacity { .. })));
        }
        assert!(Ring::pair(64).is_ok());
    }

    #[test]
    fn what_is_not_committed_does_not_exist() {
        let (mut producer, mut consumer, ring) = pair(64);
        producer.reserve(8).unwrap().unwrap().fill(1);
        producer.keep(5);
        assert!(consumer.read().unwrap().is_none());
        drop(producer);
        assert!(Consumer::after(ring).unwrap().read().unwrap().is_none());
    }

    #[test]
    fn several_frames_are_committed_and_released_at_once() {
        let (mut producer, mut consumer, ring) = pair(64);
        assert!(producer.push(&[1]).unwrap() && producer.push(&[]).unwrap() && producer.push(&[3; 9]).unwrap());
        producer.commit();
        for frame in [&[1][..], &[], &[3; 9]] {
            assert_eq!(consumer.read().unwrap(), Some(frame));
        }
        assert_eq!(ring.cursors.head.0.load(Ordering::Relaxed), 0);
        consumer.release();
        assert_eq!(ring.cursors.head.0.load(Ordering::Relaxed), 16 + 8 + 24);
    }

    #[test]
    fn the_longest_frame_fits_wherever_the_ring_is_wrapped() {
        for before in 0..4 {
            let (mut producer, mut consumer, _) = pair(64);
            for _ in 0..before {
                assert!(producer.push(&[0; 8]).unwrap());
            }
            producer.commit();
            while consumer.read().unwrap().is_some() {}
            consumer.release();
            let longest = [7; Ring::longest_frame(64)];
            assert!(producer.push(&longest).unwrap());
            producer.commit();
            assert_eq!(consumer.read().unwrap(), Some(&longest[..]));
        }
        let (mut producer, ..) = pair(64);
        assert!(matches!(producer.reserve(25), Err(Error::TooLong { len: 25, most: 24 })));
    }

    #[test]
    fn frames_that_were_not_released_are_found_by_the_next_consumer() {
        let (mut producer, mut consumer, ring) = pair(64);
        assert!(producer.push(&[1]).unwrap() && producer.push(&[2]).unwrap());
        producer.commit();
        consumer.read().unwrap();
        consumer.release();
        consumer.read().unwrap();
        let mut next = Consumer::after(ring).unwrap();
        assert_eq!(next.read().unwrap(), Some(&[2][..]));
        assert_eq!(next.read().unwrap(), None);
    }

    #[test]
    fn who_sleeps_is_woken_once() {
        let (mut producer, mut consumer, _) = pair(64);
        let bell = Bell::new().unwrap();
        assert!(!producer.wake(&bell).unwrap(), "nobody sleeps");
        assert!(consumer.announce().unwrap());
        assert!(producer.push(&[1]).unwrap());
        producer.commit();
        assert!(producer.wake(&bell).unwrap());
        assert!(!producer.wake(&bell).unwrap());
        assert_eq!(bell.wait(&[], None).unwrap(), Woken::Rung);
        assert!(!consumer.announce().unwrap(), "there is a frame");
        consumer.read().unwrap();
        assert!(!producer.announce(24).unwrap(), "there is room");
        assert!(producer.push(&[1; 24]).unwrap());
        assert!(producer.announce(24).unwrap());
        consumer.release();
        assert!(consumer.wake(&bell).unwrap());
        producer.withdraw();
    }

    #[test]
    fn a_producer_that_lies_is_an_error() {
        let frame = |word: u64, tail: u64| {
            let (_, mut consumer, ring) = pair(64);
            ring.bytes.set_word(0, word);
            ring.cursors.tail.0.store(tail, Ordering::Relaxed);
            let answer = consumer.read().map(|frame| frame.map(<[u8]>::len));
            assert!(consumer.read().is_err() || answer.is_ok(), "an error stays");
            answer.ok()
        };
        assert_eq!(frame(word(8), 16), Some(Some(8)));
        assert_eq!(frame(word(9), 16), None, "beyond the tail");
        assert_eq!(frame(word(64), 64), None, "beyond the ring");
        assert_eq!(frame(word(u32::MAX as usize), 64), None);
        assert_eq!(frame(0, 16), None, "no frame");
        assert_eq!(frame(FILLER, 16), None, "a filler at the front");
        assert_eq!(frame(word(8), 15), None, "a crooked tail");
        assert_eq!(frame(word(8), 72), None, "a tail too far ahead");
        assert_eq!(frame(word(8), u64::MAX - 7), None);
    }

    #[test]
    fn a_filler_before_nothing_is_an_error() {
        let (_, mut consumer, ring) = pair(64);
        ring.bytes.set_word(0, word(8));
        ring.bytes.set_word(16, FILLER);
        ring.cursors.tail.0.store(64, Ordering::Relaxed);
        assert!(consumer.read().unwrap().is_some());
        assert!(matches!(consumer.read(), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_tail_that_goes_back_is_an_error() {
        let (mut producer, mut consumer, ring) = pair(64);
        assert!(producer.push(&[1]).unwrap());
        producer.commit();
        consumer.read().unwrap();
        ring.cursors.tail.0.store(0, Ordering::Relaxed);
        assert!(consumer.read().is_err());
        assert!(consumer.announce().is_err());
    }

    #[test]
    fn a_consumer_that_lies_is_an_error() {
        for head in [8_u64, 3, 64, u64::MAX - 7] {
            let (mut producer, _, ring) = pair(64);
            assert!(producer.push(&[1; 24]).unwrap() && producer.push(&[1; 16]).unwrap());
            ring.cursors.head.0.store(head, Ordering::Relaxed);
            assert!(matches!(producer.push(&[1; 24]), Err(Error::Corrupt { .. })), "nothing is committed yet");
            assert!(producer.announce(24).is_err());
            assert!(Consumer::after(ring).is_err());
        }
    }

    /// What the two sides do, in any order.
    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        Spare(usize, usize),
        Commit,
        Read,
        Release,
        TakeOver,
    }

    fn step(longest: usize) -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => prop::collection::vec(any::<u8>(), 0..=longest).prop_map(Step::Push),
            2 => (0..=longest, 0..=longest).prop_map(|(a, b)| Step::Spare(a.max(b), a.min(b))),
            3 => Just(Step::Commit),
            6 => Just(Step::Read),
            3 => Just(Step::Release),
            1 => Just(Step::TakeOver),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_whole_in_order_and_once(
            (exponent, steps) in (6_u32..12).prop_flat_map(|exponent| {
                let longest = Ring::longest_frame(1 << exponent);
                (Just(exponent), prop::collection::vec(step(longest), 0..400))
            }),
        ) {
            let (mut producer, mut consumer, ring) = pair(1 << exponent);
            let (mut kept, mut sent, mut read) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Push(frame) => {
                        if producer.push(&frame).unwrap() {
                            kept.push_back(frame);
                        } else {
                            prop_assert!(!(kept.is_empty() && sent.is_empty() && read.is_empty()), "empty, and no room");
                        }
                    }
                    Step::Spare(room, len) => {
                        if let Some(place) = producer.reserve(room).unwrap() {
                            prop_assert_eq!(place.len(), room);
                            place.fill(len as u8);
                            producer.keep(len);
                            kept.push_back(vec![len as u8; len]);
                        }
                    }
                    Step::Commit => {
                        producer.commit();
                        sent.append(&mut kept);
                    }
                    Step::Read => {
                        let frame = consumer.read().unwrap().map(<[u8]>::to_vec);
                        prop_assert_eq!(&frame, &sent.pop_front());
                        read.extend(frame);
                    }
                    Step::Release => {
                        consumer.release();
                        read.clear();
                    }
                    Step::TakeOver => {
                        consumer = Consumer::after(ring.clone()).unwrap();
                        read.append(&mut sent);
                        sent = std::mem::take(&mut read);
                    }
                }
            }
            producer.commit();
            sent.append(&mut kept);
            for frame in sent {
                prop_assert_eq!(consumer.read().unwrap(), Some(&frame[..]));
            }
            prop_assert_eq!(consumer.read().unwrap(), None);
        }

        #[test]
        fn whatever_bytes_are_there_nothing_outside_is_read(
            words in prop::collection::vec(
                prop_oneof![any::<u64>(), (0..80_usize).prop_map(word), Just(FILLER)], 16),
            tails in prop::collection::vec(prop_oneof![any::<u64>(), (0..40_u64).prop_map(|at| at * 8)], 1..5),
            heads in prop::collection::vec(prop_oneof![any::<u64>(), (0..40_u64).prop_map(|at| at * 8)], 1..5),
        ) {
            let (mut producer, mut consumer, ring) = pair(128);
            for (tail, head) in tails.into_iter().zip(heads) {
                words.iter().enumerate().for_each(|(at, word)| ring.bytes.set_word(at * 8, *word));
                ring.cursors.tail.0.store(tail, Ordering::Relaxed);
                for _ in 0..20 {
                    let Ok(Some(frame)) = consumer.read() else { break };
                    prop_assert!(frame.len() <= 120);
                    std::hint::black_box(frame.iter().map(|byte| u64::from(*byte)).sum::<u64>());
                }
                consumer.release();
                ring.cursors.head.0.store(head, Ordering::Relaxed);
                let _ = producer.push(&[1; 30]);
                producer.commit();
                if let Ok(mut next) = Consumer::after(ring.clone()) {
                    while let Ok(Some(_)) = next.read() {}
                }
            }
        }
    }
}
