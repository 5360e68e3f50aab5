//! The decision itself.

use crate::{Profile, Verdict};

/// With fewer looks at the repeating part than this, nothing is said.
pub const FEWEST_SAMPLES: u64 = 12;

/// Says what to do about the program a profile was taken of.
pub fn decide(profile: &Profile) -> Verdict {
    crate::rule::first_that_holds(profile)
}
