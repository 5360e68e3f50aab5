//! A semaphore and an event between processes: words in a cell that they share.
//!
//! A semaphore whose holder dies stays as it is: nobody knows who has it, as with those of the standard library and of POSIX.
//! What may be handed to others after a death is a queue (`queue.rs`).

use std::time::Instant;

use crate::bell::Woken;
#[cfg(not(loom))]
use crate::cell::Cell;
use crate::error::Error;
use crate::gate::Gate;
use crate::sys::Place;

const EVERYBODY: u32 = i32::MAX as u32;

/// A number that is never below zero.
#[derive(Clone, Debug)]
pub struct Semaphore {
    gate: Place<Gate>,
    #[cfg(not(loom))]
    cell: Cell,
}

impl Semaphore {
    /// A new one.
    ///
    /// # Errors
    /// The system refuses the memory.
    #[cfg(not(loom))]
    pub fn create(value: u32) -> Result<Self, Error> {
        let made = Self::open(Cell::new(size_of::<Gate>())?)?;
        made.gate.word.store(value);
        Ok(made)
    }

    /// One that another process has made.
    ///
    /// # Errors
    /// The cell is too small.
    #[cfg(not(loom))]
    pub fn open(cell: Cell) -> Result<Self, Error> {
        Ok(Self { gate: cell.place()?, cell })
    }

    /// One of this process alone, for models.
    ///
    /// # Errors
    /// None.
    #[cfg(loom)]
    pub fn small(value: u32) -> Result<Self, Error> {
        let (gate, _) = crate::sys::of_one_process::<Gate>(0)?;
        gate.word.store(value);
        Ok(Self { gate })
    }

    /// Where it lies, to be passed on.
    #[cfg(not(loom))]
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Its value at this moment.
    pub fn value(&self) -> u32 {
        self.gate.word.load()
    }

    /// Takes one if there is one.
    pub fn try_acquire(&self) -> bool {
        let mut value = self.gate.word.load();
        while value > 0 {
            match self.gate.word.replace(value, value - 1) {
                Ok(_) => {
                    // One who was woken for it and one who came by are not told apart: the rest is handed on.
                    if value > 1 {
                        self.gate.call(1);
                    }
                    return true;
                }
                Err(found) => value = found,
            }
        }
        false
    }

    /// Gives one back. False if there are as many as may be.
    pub fn release(&self, most: u32) -> bool {
        let mut value = self.gate.word.load();
        while value < most {
            match self.gate.word.replace(value, value + 1) {
                Ok(_) => {
                    self.gate.call(1);
                    return true;
                }
                Err(found) => value = found,
            }
        }
        false
    }

    /// Sleeps while it is zero.
    pub fn wait(&self, until: Option<Instant>) -> Woken {
        self.gate.sleep(|| self.value() > 0, until)
    }

    /// Says that one who slept leaves without its turn.
    pub fn pass_on(&self) {
        if self.value() > 0 {
            self.gate.call(1);
        }
    }
}

/// Something that has happened, or not. The lowest bit of its word says so; the rest counts how often it was taken back.
#[derive(Clone, Debug)]
pub struct Event {
    gate: Place<Gate>,
    #[cfg(not(loom))]
    cell: Cell,
}

impl Event {
    /// One that has not happened.
    ///
    /// # Errors
    /// The system refuses the memory.
    #[cfg(not(loom))]
    pub fn create() -> Result<Self, Error> {
        Self::open(Cell::new(size_of::<Gate>())?)
    }

    /// One that another process has made.
    ///
    /// # Errors
    /// The cell is too small.
    #[cfg(not(loom))]
    pub fn open(cell: Cell) -> Result<Self, Error> {
        Ok(Self { gate: cell.place()?, cell })
    }

    /// One of this process alone, for models.
    ///
    /// # Errors
    /// None.
    #[cfg(loom)]
    pub fn small() -> Result<Self, Error> {
        Ok(Self { gate: crate::sys::of_one_process::<Gate>(0)?.0 })
    }

    /// Where it lies, to be passed on.
    #[cfg(not(loom))]
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> bool {
        self.gate.word.load() & 1 == 1
    }

    /// Lets it happen, and wakes all who wait for it.
    pub fn set(&self) {
        let mut word = self.gate.word.load();
        while word & 1 == 0 {
            match self.gate.word.replace(word, word | 1) {
                Ok(_) => return self.gate.call(EVERYBODY),
                Err(found) => word = found,
            }
        }
    }

    /// Takes it back.
    pub fn clear(&self) {
        let mut word = self.gate.word.load();
        while word & 1 == 1 {
            match self.gate.word.replace(word, word.wrapping_add(1)) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    /// What to wait from: it has happened since then if it is set, or was taken back.
    pub fn mark(&self) -> u32 {
        self.gate.word.load()
    }

    /// Whether it has happened since, even if it was taken back at once.
    pub fn has_happened(&self, mark: u32) -> bool {
        mark & 1 == 1 || self.gate.word.load() != mark
    }

    /// Sleeps until it happens.
    pub fn wait(&self, mark: u32, until: Option<Instant>) -> Woken {
        let woken = self.gate.sleep(|| self.has_happened(mark), until);
        if self.has_happened(mark) {
            // The flag that was just put up may be one that another sleeper goes to sleep under.
            self.gate.call(EVERYBODY);
        }
        woken
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_semaphore_counts() {
        let semaphore = Semaphore::create(1).unwrap();
        assert!(semaphore.try_acquire());
        assert!(!semaphore.try_acquire());
        assert!(semaphore.release(1));
        assert!(!semaphore.release(1));
        assert_eq!(semaphore.value(), 1);
        assert_eq!(semaphore.wait(None), Woken::Rung);
    }

    #[test]
    fn a_sleeper_gets_what_is_released() {
        let semaphore = Semaphore::create(0).unwrap();
        let other = semaphore.clone();
        let sleeper = std::thread::spawn(move || {
            while !other.try_acquire() {
                other.wait(None);
            }
        });
        assert!(semaphore.release(9));
        sleeper.join().unwrap();
        assert_eq!(semaphore.value(), 0);
    }

    #[test]
    fn an_event_that_was_taken_back_has_happened() {
        let event = Event::create().unwrap();
        let mark = event.mark();
        assert!(!event.has_happened(mark));
        event.set();
        assert!(event.is_set() && event.has_happened(mark));
        event.clear();
        assert!(!event.is_set() && event.has_happened(mark));
        assert_eq!(event.wait(mark, None), Woken::Rung);
        assert!(!event.has_happened(event.mark()));
    }
}
