//! What travels between a pool of processes and its workers: messages, cut into frames.
//!
//! ```text
//! message   head, then its bytes, in as many frames as it takes
//! frame     number (8)  kind (4)  time spent in us (4)  parts (4)  place of the function (4)
//!           length of what is still to come, this frame included (8)  bytes
//! ```
//! A message that is larger than a frame goes in pieces, so that one side copies the next while the other takes the
//! last, and a ring need not be as large as the largest message. Pieces of two messages never mix.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tercet_shm::{Consumer, Error, Producer};

const HEAD: usize = 32;
/// The largest piece: small enough that sender and receiver work at the same time.
const PIECE: usize = 64 << 10;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// To a worker: a call.
    Call = 1,
    /// To a worker: leave.
    Leave = 2,
    /// To the pool: the worker is ready.
    Ready = 3,
    /// To the pool: the result of a call.
    Value = 4,
    /// To the pool: what a call raised.
    Error = 5,
    /// To the pool: the worker cannot be set up.
    Unfit = 6,
    /// To the pool: a task that was taken back, and that the worker has not begun.
    Back = 7,
    /// To a worker: the function at a place, for the calls that follow.
    Function = 8,
}

impl Kind {
    fn of(word: u32) -> Option<Self> {
        [Self::Call, Self::Leave, Self::Ready, Self::Value, Self::Error, Self::Unfit, Self::Back, Self::Function]
            .into_iter()
            .find(|kind| *kind as u32 == word)
    }
}

/// What stands at the head of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    /// How long the task took, in microseconds.
    pub(crate) spent_us: u32,
    /// What stands at the front of the bytes: see `freight.rs`.
    pub(crate) parts: u32,
    /// Where the function stands, if it is not in the bytes: see `repertoire.rs`. 0 if it is.
    pub(crate) place: u32,
}

impl Head {
    pub(crate) fn new(number: u64, kind: Kind) -> Self {
        Self { number, kind, spent_us: 0, parts: 0, place: 0 }
    }
}

/// A message, as a whole.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
}

/// A message that is on its way out, and how much of it has left.
#[derive(Debug)]
pub(crate) struct Outgoing {
    head: Head,
    left: usize,
    has_begun: bool,
}

impl Outgoing {
    pub(crate) fn new(head: Head, length: usize) -> Self {
        Self { head, left: length, has_begun: false }
    }

    /// Whether it goes as one frame, so that it leaves as a whole or not at all.
    pub(crate) fn is_short(&self) -> bool {
        self.left <= PIECE
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Puts as many pieces into the ring as it has room for. True if all have left.
    pub(crate) fn push(&mut self, bytes: &[u8], ring: &mut Producer) -> Result<bool, Error> {
        while !self.has_begun || self.left > 0 {
            let piece = self.piece(ring);
            let Some(room) = ring.reserve(HEAD + piece)? else { return Ok(false) };
            room[..8].copy_from_slice(&self.head.number.to_le_bytes());
            room[8..12].copy_from_slice(&(self.head.kind as u32).to_le_bytes());
            room[12..16].copy_from_slice(&self.head.spent_us.to_le_bytes());
            room[16..20].copy_from_slice(&self.head.parts.to_le_bytes());
            room[20..24].copy_from_slice(&self.head.place.to_le_bytes());
            room[24..HEAD].copy_from_slice(&(self.left as u64).to_le_bytes());
            let begin = bytes.len() - self.left;
            room[HEAD..].copy_from_slice(&bytes[begin..begin + piece]);
            ring.keep(HEAD + piece);
            ring.commit();
            self.left -= piece;
            self.has_begun = true;
        }
        Ok(true)
    }

    /// The room that the next piece needs.
    pub(crate) fn wants(&self, ring: &Producer) -> usize {
        HEAD + self.piece(ring)
    }

    fn piece(&self, ring: &Producer) -> usize {
        self.left.min(PIECE.min(ring.longest_frame() - HEAD))
    }
}

/// Puts messages together from their pieces.
#[derive(Debug, Default)]
pub(crate) struct Incoming(Option<Message>);

impl Incoming {
    /// The next message that has come as a whole.
    pub(crate) fn next(&mut self, ring: &mut Consumer) -> Result<Option<Message>, Fault> {
        loop {
            let Some(frame) = ring.read()? else { return Ok(None) };
            let message = self.add(frame)?;
            ring.release();
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    fn add(&mut self, frame: &[u8]) -> Result<Option<Message>, Fault> {
        let (head, piece) = frame.split_at_checked(HEAD).ok_or(Fault::Garbled)?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let left = usize::try_from(long(24)).map_err(|_| Fault::Garbled)?;
        let kind = Kind::of(word(8)).ok_or(Fault::Garbled)?;
        if self.0.is_none() {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(left).map_err(|_| Fault::Garbled)?;
            let head = Head { number: long(0), kind, spent_us: word(12), parts: word(16), place: word(20) };
            self.0 = Some(Message { head, bytes });
        }
        let Some(message) = self.0.as_mut() else { return Ok(None) };
        message.bytes.extend_from_slice(piece);
        Ok(if left <= piece.len() { self.0.take() } else { None })
    }
}

/// Why nothing more can be had from the other side.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The memory between the two is not what it should be.
    Memory(Error),
    /// A message is none.
    Garbled,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Memory(error)
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Memory(error) => PyValueError::new_err(error.to_string()),
            Fault::Garbled => PyValueError::new_err("a message between processes is garbled"),
        }
    }
}
