//! The decision itself.

use crate::choice;
use crate::facts::Facts;
use crate::finding::Finding;
use crate::rule;
use crate::speedup::ladder;
use crate::{Model, Profile, Reason, Source, Verdict, predict};

/// With fewer looks at the repeating part than this, nothing is said of a program.
pub const FEWEST_SAMPLES: u64 = 12;

/// Says what to do about the program, or the tasks, that a profile was taken of.
///
/// The rules are asked in order and the first that holds decides; those that hold after it are told
/// as further reasons. The same profile gives the same verdict, always.
pub fn decide(profile: &Profile) -> Verdict {
    let facts = Facts::of(profile);
    let mut findings = match profile.source {
        Source::Probe => vec![choice::choose(&facts)],
        Source::Sampler => rule::all_that_hold(&facts),
    };
    let others = findings.split_off(1);
    let first = findings.remove(0);
    verdict(&facts, first, &others)
}

fn verdict(facts: &Facts<'_>, first: Finding, others: &[Finding]) -> Verdict {
    let mut reasons = first.reasons;
    reasons.extend(others.iter().flat_map(|other| other.reasons.iter().take(1).cloned()));
    reasons.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    reasons.dedup_by(|a, b| a.text == b.text);
    reasons.truncate(6);
    let bound = first.gain.and_then(|gain| gain.bound);
    let confidence = (facts.certainty() * first.firmness).clamp(0.0, 1.0);
    Verdict {
        remedy: first.remedy,
        workers: first.workers,
        speedup: first.gain.map(|gain| gain.speedup.min(bound.unwrap_or(f64::INFINITY))),
        bound,
        confidence: (confidence * 100.0).round() / 100.0,
        sentence: first.sentence,
        reasons: reasons.into_iter().map(rounded).collect(),
        predictions: predictions(facts),
    }
}

fn rounded(reason: Reason) -> Reason {
    Reason { weight: (reason.weight.clamp(0.0, 1.0) * 1000.0).round() / 1000.0, ..reason }
}

/// Every model over the ladder of sizes that are worth asking about.
fn predictions(facts: &Facts<'_>) -> Vec<crate::Prediction> {
    if facts.is_blind() {
        return Vec::new();
    }
    let cores = facts.cores().round().max(1.0) as u32;
    let sizes = |model| match model {
        Model::Processes => ladder(cores * 4),
        Model::Threads | Model::EventLoop => ladder(facts.most_workers(256)),
    };
    Model::ALL
        .into_iter()
        .flat_map(|model| sizes(model).into_iter().map(move |workers| predict(facts.profile, model, workers)))
        .collect()
}
