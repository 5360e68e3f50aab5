//! The words both the text and the page use for what the model says.

use tercet_model::{Model, Origin, Phases, Remedy, Verdict};

use crate::figure;

/// A remedy as something to do.
pub(crate) const fn advice(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Threading => "overlap the work in threads",
        Remedy::Multiprocessing => "compute in several processes",
        Remedy::Asyncio => "overlap the waits on an event loop",
        Remedy::Hybrid => "use processes, each with several threads",
        Remedy::Nothing => "leave it as it is",
        Remedy::MoreThreads => "give the pool more threads",
        Remedy::FewerThreads => "give the pool fewer threads",
        Remedy::MoreProcesses => "give the pool more processes",
        Remedy::Batch => "hand over more work at a time",
        Remedy::SharedMemory => "share large data instead of pickling it",
        Remedy::FixBlockingCall => "take the blocking call out of the event loop",
        Remedy::FixLock => "hold the lock for less time",
        Remedy::FixBusyWait => "wait for the change instead of looping until it comes",
        Remedy::FixPolling => "wait for the answer instead of asking again and again",
        Remedy::FixGc => "give the garbage collector less to do",
        Remedy::FixImports => "import less, or later",
        Remedy::CannotTell => "the facts do not suffice",
    }
}

/// A sentence with a capital at its start, unless it begins with a name, and a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_word = first.trim_end_matches([',', ':']).bytes().all(|byte| byte.is_ascii_lowercase());
    let mut sentence = text.to_owned();
    if let Some(start) = sentence.get_mut(..1).filter(|_| is_word) {
        start.make_ascii_uppercase();
    }
    if sentence.ends_with(char::is_alphanumeric) {
        sentence.push('.');
    }
    sentence
}

/// The model a remedy asks for, where it asks for one.
pub(crate) const fn model_of(remedy: Remedy) -> Option<Model> {
    match remedy {
        Remedy::Threading | Remedy::MoreThreads | Remedy::FewerThreads => Some(Model::Threads),
        Remedy::Multiprocessing | Remedy::MoreProcesses => Some(Model::Processes),
        Remedy::Asyncio => Some(Model::EventLoop),
        _ => None,
    }
}

/// A model for a person.
pub(crate) const fn model(model: Model) -> &'static str {
    match model {
        Model::Threads => "threads",
        Model::Processes => "processes",
        Model::EventLoop => "event loop",
    }
}

/// How many workers of a model, such as `10 threads`.
pub(crate) fn workers(model: Option<Model>, number: u32) -> String {
    let (one, many) = match model {
        Some(Model::Threads) => ("thread", "threads"),
        Some(Model::Processes) => ("process", "processes"),
        Some(Model::EventLoop) => ("task at once", "tasks at once"),
        None => ("worker", "workers"),
    };
    figure::counted(u64::from(number), one, many)
}

/// The limit of a speed-up.
pub(crate) fn limit(bound: Option<f64>) -> String {
    match bound.filter(|bound| bound.is_finite()) {
        Some(bound) => format!("at most {}", figure::times(bound)),
        None => "none seen".to_owned(),
    }
}

/// The gain of a verdict with its limit; `None` when it promises no figure.
pub(crate) fn gain(verdict: &Verdict) -> Option<String> {
    let speedup = verdict.speedup.filter(|speedup| speedup.is_finite())?;
    let bound = verdict.bound.filter(|bound| bound.is_finite());
    let limit = bound.map(|bound| format!(", at most {}, whatever the number", figure::times(bound)));
    Some(format!("about {} as fast{}", figure::times(speedup), limit.unwrap_or_default()))
}

/// Whose code a line is.
pub(crate) const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Own => "your code",
        Origin::SitePackages => "installed packages",
        Origin::StandardLibrary => "standard library",
    }
}

/// Whose code a line is, as JSON and the model name it.
pub(crate) const fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Own => "own",
        Origin::SitePackages => "site-packages",
        Origin::StandardLibrary => "standard-library",
    }
}

/// How sure a verdict is.
pub(crate) fn confidence(confidence: f64) -> &'static str {
    match confidence {
        _ if confidence >= 0.8 => "high",
        _ if confidence >= 0.55 => "fair",
        _ if confidence >= 0.3 => "low",
        _ => "a guess",
    }
}

/// What the parts of a run take that are apart from the shares.
pub(crate) fn apart(phases: &Phases) -> String {
    let parts = [
        (phases.imports_s, "for start and imports"),
        (phases.pool_start_s, "to start the pool"),
        (phases.exit_s, "for the way out"),
    ];
    let taken = parts.into_iter().filter(|(time, _)| *time > 0.0);
    let told: Vec<_> = taken.map(|(time, what)| format!("{} {what}", figure::seconds(time))).collect();
    format!("apart from that: {}", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remedy_has_advice_of_its_own() {
        let all: std::collections::BTreeSet<_> = Remedy::ALL.into_iter().map(advice).collect();
        assert_eq!(all.len(), Remedy::ALL.len());
    }

    #[test]
    fn a_sentence_has_a_capital_and_a_full_stop_and_names_stay() {
        assert_eq!(sentence("use 10 threads: they wait"), "Use 10 threads: they wait.");
        assert_eq!(sentence("app.py waits."), "app.py waits.");
        assert_eq!(sentence("`x` blocks the loop"), "`x` blocks the loop.");
        assert_eq!(sentence("édition"), "édition.");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn workers_are_named_after_their_model() {
        assert_eq!(workers(Some(Model::Threads), 1), "1 thread");
        assert_eq!(workers(Some(Model::EventLoop), 1000), "1,000 tasks at once");
        assert_eq!(workers(None, 4), "4 workers");
    }

    #[test]
    fn a_limit_that_is_not_there_is_said_so() {
        assert_eq!(limit(Some(3.94)), "at most 3.9x");
        assert_eq!(limit(None), "none seen");
        assert_eq!(confidence(f64::NAN), "a guess");
    }
}
