//! The bytes that have come and are not read yet.
//!
//! They stand in one piece of memory, and reading moves its beginning forward. Small memory is kept by its reader. Large memory goes
//! to the thread when it is empty, and from there to the next reader that needs as much: fresh memory costs more than the copy.

use std::cell::Cell;

/// What a reader keeps when everything is read.
const KEPT: usize = 16 * 1024;
/// What a thread keeps for its readers.
const SPARE: usize = 1024 * 1024;

thread_local! {
    static SPARE_MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Intake {
    memory: Vec<u8>,
    /// How much of it is read already.
    start: usize,
}

impl Intake {
    pub(super) fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        if self.memory.len() + data.len() > self.memory.capacity() {
            self.make_room(data.len());
        }
        self.memory.extend_from_slice(data);
    }

    /// Moves what is left to the beginning, and takes larger memory where that is not enough.
    fn make_room(&mut self, more: usize) {
        let len = self.len();
        if len + more > self.memory.capacity() && len + more > KEPT {
            let spare = SPARE_MEMORY.try_with(Cell::take).unwrap_or_default();
            if spare.capacity() >= len + more {
                let old = std::mem::replace(&mut self.memory, spare);
                self.memory.extend_from_slice(&old[self.start..]);
                self.start = 0;
                return;
            }
        }
        // Moving costs no more than what was read since the last time.
        if self.start >= len {
            self.memory.copy_within(self.start.., 0);
            self.memory.truncate(len);
            self.start = 0;
        }
    }

    /// Takes the first bytes away; there are so many.
    pub(super) fn skip(&mut self, count: usize) {
        self.start += count;
        if self.start == self.memory.len() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.memory.clear();
        if self.memory.capacity() > KEPT {
            give_back(std::mem::take(&mut self.memory));
        }
    }
}

/// Keeps memory for the next who needs much, if it is larger than what is kept already.
fn give_back(memory: Vec<u8>) {
    if memory.capacity() > SPARE {
        return;
    }
    // A thread that ends keeps nothing.
    let _ = SPARE_MEMORY.try_with(|spare| {
        let kept = spare.take();
        spare.set(if kept.capacity() < memory.capacity() { memory } else { kept });
    });
}

/// Where a separator begins, at or behind a place.
pub(super) fn find(bytes: &[u8], separator: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    if rest.len() < separator.len() {
        return None;
    }
    // SAFETY: both are live memory of the length that is told.
    let found = unsafe {
        match separator {
            [one] => libc::memchr(rest.as_ptr().cast(), i32::from(*one), rest.len()),
            _ => libc::memmem(rest.as_ptr().cast(), rest.len(), separator.as_ptr().cast(), separator.len()),
        }
    };
    if found.is_null() { None } else { Some(found.addr() - bytes.as_ptr().addr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let (mut intake, mut model) = (Intake::default(), Vec::new());
        for round in 0..2000_usize {
            let piece: Vec<u8> = (0..round * 7 % 97).map(|place| (round + place) as u8).collect();
            intake.push(&piece);
            model.extend_from_slice(&piece);
            let count = (round * 13 % 101).min(model.len());
            assert_eq!(&intake.bytes()[..count], &model[..count]);
            intake.skip(count);
            model.drain(..count);
            assert_eq!(intake.len(), model.len());
        }
    }

    #[test]
    fn large_memory_is_used_again() {
        let mut first = Intake::default();
        first.push(&vec![1; 100_000]);
        let place = first.bytes().as_ptr();
        first.skip(100_000);
        assert_eq!(first.memory.capacity(), 0);
        let mut second = Intake::default();
        second.push(b"before");
        second.push(&vec![2; 90_000]);
        assert_eq!(second.bytes().as_ptr(), place);
        assert_eq!(&second.bytes()[..7], b"before\x02");
    }

    #[test]
    fn separators_are_found_from_a_place_on() {
        assert_eq!(find(b"a\nb\n", b"\n", 0), Some(1));
        assert_eq!(find(b"a\nb\n", b"\n", 2), Some(3));
        assert_eq!(find(b"abcabd", b"abd", 0), Some(3));
        assert_eq!(find(b"ab", b"abc", 0), None);
        assert_eq!(find(b"ab", b"a", 5), None);
    }
}
