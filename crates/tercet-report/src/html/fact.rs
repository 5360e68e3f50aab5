//! Facts in a row: a name and a figure each.

use serde::Serialize;
use tercet_model::{PoolKind, Profile, Symptoms};

use crate::figure;

/// One fact.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Fact {
    name: &'static str,
    text: String,
}

/// A symptom below this share is not worth a word.
const WORTH_A_WORD: f64 = 0.005;

/// What else was measured, apart from the shares: only what there is.
pub(super) fn measured(profile: &Profile) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |name, text| facts.push(Fact { name, text });
    if let Some(pool) = &profile.pool {
        let (one, many) = match pool.kind {
            PoolKind::Threads => ("thread", "threads"),
            PoolKind::Processes => ("process", "processes"),
        };
        let workers = figure::counted(u64::from(pool.workers), one, many);
        add("Pool", format!("{workers}, {} with a task on average", figure::mean(pool.busy)));
    }
    if let Some(event_loop) = &profile.event_loop {
        let busy = figure::whole_percent(event_loop.busy_share);
        let flight = event_loop.in_flight.map(|number| format!(", {} waits in flight", figure::mean(number)));
        add("Event loop", format!("busy {busy}{}", flight.unwrap_or_default()));
    }
    if let Some(count) = profile.tasks.count.filter(|count| *count >= 1.0) {
        let each = profile.tasks.wall_s.map(|wall| format!(", {} each", figure::seconds(wall)));
        add("Tasks", format!("{}{}", figure::count(count as u64), each.unwrap_or_default()));
    }
    if profile.traffic.bytes > 0.0 {
        let share = figure::whole_percent(profile.traffic.busy_share);
        let bytes = figure::bytes(profile.traffic.bytes);
        add("Between processes", format!("{bytes}, {share} of the busy time"));
    }
    if profile.work.cpu > 0.0 {
        let cores = figure::mean(profile.machine.cores);
        add("Processors used", format!("{} of {cores}", figure::mean(profile.work.cpu)));
    }
    facts.extend(symptoms(&profile.symptoms));
    facts
}

/// The symptoms that show.
fn symptoms(symptoms: &Symptoms) -> impl Iterator<Item = Fact> {
    let all = [
        ("Loops until something changes", symptoms.spin_share),
        ("Asks again and again", symptoms.poll_share),
        ("Event loop held up by a wait", symptoms.loop_waits_share),
        ("Event loop held up by computing", symptoms.loop_computes_share),
        ("Waits set by a clock", symptoms.pace_share),
        ("Collects garbage", symptoms.gc_share),
        ("Waits on one lock", symptoms.lock_share),
        ("Limited by the far side", symptoms.far_limit_share),
        ("Makes files safe on the disk", symptoms.sync_share),
        ("Could not be classified", symptoms.unknown_share),
    ];
    let shown = all.into_iter().filter(|(_, share)| *share >= WORTH_A_WORD);
    shown.map(|(name, share)| Fact { name, text: format!("{} of the time", figure::whole_percent(share)) })
}
