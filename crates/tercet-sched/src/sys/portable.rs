//! Any system, and loom: a lock and a condition variable.
//!
//! A condition variable does not tell of signals, so a sleep ends every twentieth of a second for the caller to look.

#[cfg(loom)]
use loom::sync::Condvar;
#[cfg(not(loom))]
use std::sync::Condvar;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Slept;
use crate::sync::{Mutex, lock};

const SLICE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Word {
    value: Mutex<u32>,
    changed: Condvar,
}

impl Default for Word {
    fn default() -> Self {
        Self { value: Mutex::new(0), changed: Condvar::new() }
    }
}

impl Word {
    pub(crate) fn load(&self) -> u32 {
        *lock(&self.value)
    }

    pub(crate) fn swap(&self, value: u32) -> u32 {
        std::mem::replace(&mut *lock(&self.value), value)
    }

    pub(crate) fn replace(&self, old: u32, new: u32) -> bool {
        let mut value = lock(&self.value);
        let is_as_expected = *value == old;
        if is_as_expected {
            *value = new;
        }
        is_as_expected
    }

    /// Sleeps while the word is `expected`.
    pub(crate) fn wait(&self, expected: u32, until: Option<Instant>) -> Slept {
        let value = lock(&self.value);
        if *value != expected {
            return Slept::Open;
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Slept::TimedOut;
        }
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        let (value, timeout) = self.changed.wait_timeout(value, slice).unwrap_or_else(PoisonError::into_inner);
        if *value == expected && timeout.timed_out() { Slept::Interrupted } else { Slept::Open }
    }

    pub(crate) fn wake(&self) {
        let _value = lock(&self.value);
        self.changed.notify_one();
    }
}
