//! The rules, in the order in which they are asked.

use crate::{Profile, Remedy, Verdict};

pub(crate) fn first_that_holds(_profile: &Profile) -> Verdict {
    Verdict {
        remedy: Remedy::CannotTell,
        workers: None,
        speedup: None,
        bound: None,
        confidence: 0.0,
        sentence: "there are no rules yet".into(),
        reasons: vec![],
        predictions: vec![],
    }
}
