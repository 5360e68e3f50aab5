//! The decision itself.

use crate::{Profile, Verdict};

/// Says what to do about the program a profile was taken of.
pub fn decide(profile: &Profile) -> Verdict {
    crate::rule::first_that_holds(profile)
}
