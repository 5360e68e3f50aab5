//! The choice for a map: its first tasks have been timed from inside, alone.
//!
//! The engines are few, so the choice is a comparison: predict each, take the best that is clearly
//! better than the plain loop, and prefer the simpler of two that are close.

use crate::facts::{Facts, MOST_THREADS};
use crate::finding::{Finding, Gain, percent};
use crate::{Model, Prediction, Remedy};

/// Most coroutines in flight.
const MOST_COROUTINES: u32 = 10_000;
/// Most threads when tasks do nothing but wait.
const MOST_WAITING_THREADS: u32 = 512;
/// A gain below this is not worth an engine.
const WORTH: f64 = 1.15;
/// An engine that costs more to start must be better by this.
const CLEARLY: f64 = 1.1;

/// The engine for the tasks that are left.
pub(crate) fn choose(facts: &Facts<'_>) -> Finding {
    if facts.profile.tasks.is_coroutine {
        return coroutines(facts);
    }
    let threads = threads(facts);
    let processes = processes(facts);
    let hybrid = hybrid(facts, threads.speedup);
    let best = processes
        .map(|found| (Remedy::Multiprocessing, found))
        .into_iter()
        .chain(hybrid.map(|found| (Remedy::Hybrid, found)))
        .filter(|(_, found)| found.speedup > CLEARLY * threads.speedup)
        .max_by(|a, b| a.1.speedup.total_cmp(&b.1.speedup))
        .unwrap_or((Remedy::Threading, threads));
    if best.1.speedup < WORTH {
        return explain(facts, nothing(facts, best.1));
    }
    explain(facts, found(facts, best.0, best.1))
}

fn coroutines(facts: &Facts<'_>) -> Finding {
    let workers = facts.most_workers(MOST_COROUTINES);
    let gain = facts.predict(Model::EventLoop, workers);
    let finding = Finding::new(Remedy::Asyncio, "the function is a coroutine: run the calls on one event loop");
    explain(facts, finding.workers(workers).gain(gain).because(1.0, "the function is a coroutine function"))
}

fn threads(facts: &Facts<'_>) -> Prediction {
    let most = if facts.work().wait > 0.9 { MOST_WAITING_THREADS } else { MOST_THREADS };
    facts.size(Model::Threads, facts.most_workers(most))
}

fn processes(facts: &Facts<'_>) -> Option<Prediction> {
    let may = facts.profile.tasks.is_portable != Some(false);
    may.then(|| facts.size(Model::Processes, facts.most_workers(facts.whole_cores())))
}

/// Processes of threads: worth it when neither waiting nor computing with the GIL is small.
fn hybrid(facts: &Facts<'_>, threads: f64) -> Option<Prediction> {
    let work = facts.work();
    let may = facts.profile.tasks.is_portable != Some(false) && facts.whole_cores() > 1;
    let is_mixed = work.wait > 0.15 && work.gil > 0.15;
    let found = facts.size(Model::Processes, facts.most_workers(facts.whole_cores() * 32));
    (may && is_mixed && found.speedup > CLEARLY * threads).then_some(found)
}

fn found(facts: &Facts<'_>, remedy: Remedy, best: Prediction) -> Finding {
    let work = facts.work();
    let sentence = match remedy {
        Remedy::Multiprocessing => {
            format!("a task computes with the GIL {} of its time: share the tasks out to processes", percent(work.gil))
        }
        Remedy::Hybrid => format!(
            "a task waits {} and computes with the GIL {} of its time: processes, each with threads",
            percent(work.wait),
            percent(work.gil)
        ),
        _ if work.nogil > work.wait => {
            format!("a task computes without the GIL {} of its time: threads, as many as cores", percent(work.nogil))
        }
        _ => format!("a task waits {} of its time: overlap the waits in threads", percent(work.wait)),
    };
    Finding::new(remedy, sentence).workers(best.workers).gain(best)
}

fn nothing(facts: &Facts<'_>, best: Prediction) -> Finding {
    let left_s = facts.profile.phases.body_s;
    let sentence = if left_s > 0.0 && left_s < 0.01 {
        "too little work to share: the plain loop is best".to_owned()
    } else {
        "no engine gains enough to be worth its cost: the plain loop is best".to_owned()
    };
    let gain = Gain { speedup: 1.0, bound: best.bound.map(|bound| bound.max(1.0)) };
    Finding::new(Remedy::Nothing, sentence).workers(1).gain(gain)
}

fn explain(facts: &Facts<'_>, finding: Finding) -> Finding {
    let work = facts.work();
    let tasks = &facts.profile.tasks;
    let mut finding = finding
        .because(work.wait, format!("{} of a task is waiting, which can overlap", percent(work.wait)))
        .because(work.gil, format!("{} of a task is computing with the GIL", percent(work.gil)))
        .because(work.nogil, format!("{} of a task is computing without the GIL", percent(work.nogil)));
    if tasks.is_portable == Some(false) {
        finding = finding.because(0.9, "the tasks may not go to another process");
    }
    if tasks.pickle_s > 0.2 * tasks.wall_s.unwrap_or(f64::INFINITY) {
        finding = finding.because(0.8, "sending a task and its result to a process costs much of what it does");
    }
    finding.reasons.retain(|reason| reason.weight >= 0.01);
    finding
}
