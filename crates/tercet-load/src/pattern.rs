//! Bytes that a server cannot make up: no two places of a pattern look alike.

use std::io::Write;
use std::path::Path;

use crate::error::LoadError;

/// Length of the pattern; a file of a multiple of it can be sent again and again.
pub(crate) const PERIOD: usize = 1 << 20;

/// Pseudo-random bytes, the same in each run.
pub(crate) struct Pattern {
    bytes: Vec<u8>,
    longest: usize,
}

impl Pattern {
    /// A pattern from which messages of up to `longest` bytes can be cut anywhere.
    pub(crate) fn new(longest: usize) -> Self {
        let mut bytes = period();
        while bytes.len() < PERIOD + longest {
            bytes.extend_from_within(..PERIOD.min(PERIOD + longest - bytes.len()));
        }
        Pattern { bytes, longest }
    }

    /// A message of `size` bytes, another for nearly each number.
    pub(crate) fn message(&self, number: u64, size: usize) -> &[u8] {
        debug_assert!(size <= self.longest);
        let start = (number.wrapping_mul(40_503) as usize) % PERIOD;
        &self.bytes[start..start + size]
    }

    /// What stands at `position` of the endless repetition, to the end of its period.
    pub(crate) fn from(&self, position: u64) -> &[u8] {
        &self.bytes[(position % PERIOD as u64) as usize..PERIOD]
    }
}

/// Compare what came with what stands at `position` of the endless repetition.
pub(crate) fn compare(pattern: &Pattern, mut position: u64, mut came: &[u8]) -> Result<(), LoadError> {
    while !came.is_empty() {
        let due = pattern.from(position);
        let size = due.len().min(came.len());
        same(&due[..size], &came[..size], (position % PERIOD as u64) as usize)?;
        came = &came[size..];
        position += size as u64;
    }
    Ok(())
}

/// Compare two pieces of the same length, the first byte of which has the number `start`.
pub(crate) fn same(due: &[u8], came: &[u8], start: usize) -> Result<(), LoadError> {
    if due == came {
        return Ok(());
    }
    let at = due.iter().zip(came).position(|(one, other)| one != other).unwrap_or(0);
    Err(LoadError::Corrupt { at: start + at })
}

/// Write the pattern into a file, `repeat` times.
pub(crate) fn write(path: &Path, repeat: usize) -> Result<(), LoadError> {
    let put = || {
        let mut file = std::fs::File::create(path)?;
        let bytes = period();
        (0..repeat).try_for_each(|_| file.write_all(&bytes))
    };
    put().map_err(|error| LoadError::File { path: path.to_owned(), because: error.to_string() })
}

/// One period, by Marsaglia's xorshift: <https://www.jstatsoft.org/article/view/v008i14>.
fn period() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).take(PERIOD / 8).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_be_longer_than_the_period() {
        let pattern = Pattern::new(3 * PERIOD);
        let message = pattern.message(7, 3 * PERIOD);
        assert_eq!(message[..PERIOD], message[PERIOD..2 * PERIOD]);
        assert_ne!(message[..64], pattern.message(8, 64)[..]);
    }

    #[test]
    fn a_wrong_byte_is_found_across_the_seam() {
        let pattern = Pattern::new(PERIOD);
        let mut came = [pattern.from(PERIOD as u64 - 3), &pattern.from(0)[..5]].concat();
        assert!(compare(&pattern, PERIOD as u64 - 3, &came).is_ok());
        came[4] ^= 1;
        let error = compare(&pattern, PERIOD as u64 - 3, &came).expect_err("a wrong byte");
        assert!(matches!(error, LoadError::Corrupt { at: 1 }), "{error}");
    }
}
