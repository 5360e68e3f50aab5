//! `tercet why`: watch, decide, report.

use std::ffi::OsString;
use std::process::Child;

use tercet_model::{Profile, Remedy, Verdict, decide};
use tercet_report::{Report, Subject};
use tercet_sampler::{Options, Sampler};

use crate::args::Why;
use crate::error::Error;
use crate::exit::ExitCode;
use crate::launch::{ending, launch, shown};
use crate::progress::Progress;
use crate::show::Sink;
use crate::signal::{Signals, send};

/// How long a running process is watched when the person does not say.
const ATTACHED_S: f64 = 10.0;

/// Runs the command and gives the exit code.
pub(crate) fn run(why: &Why, python: Option<OsString>) -> Result<u8, Error> {
    let sink = Sink::open(why.output.as_deref())?;
    let page = why.html.as_deref().map(|path| Sink::open(Some(path))).transpose()?;
    match why.pid {
        Some(pid) => {
            let seen = attached(why, pid)?;
            let verdict = report(why, &seen, sink, page)?;
            Ok(code_of(&verdict, &seen.profile))
        }
        None => launched(why, python, sink, page),
    }
}

/// What came of a watch.
struct Seen {
    subject: Subject,
    profile: Profile,
}

/// Decides, and puts the report where it belongs.
fn report(why: &Why, seen: &Seen, sink: Sink<'_>, page: Option<Sink<'_>>) -> Result<Verdict, Error> {
    let verdict = decide(&seen.profile);
    let report = Report { subject: &seen.subject, profile: &seen.profile, verdict: &verdict };
    let text = if why.json { report.json() + "\n" } else { report.text(&sink.style(why.color)) };
    sink.write(&text)?;
    if let Some(page) = page {
        page.write(&report.html()?)?;
    }
    Ok(verdict)
}

fn code_of(verdict: &Verdict, profile: &Profile) -> u8 {
    let is_blind = verdict.remedy == Remedy::CannotTell && profile.samples < tercet_model::FEWEST_SAMPLES;
    if is_blind { ExitCode::TOO_FEW_SAMPLES } else { ExitCode::DONE }
}

/// Launches a program, watches it, reports, and gives its exit code. When `--seconds` ends the watch
/// first, the report comes at once and the program runs on to its own end.
fn launched(why: &Why, python: Option<OsString>, sink: Sink<'_>, page: Option<Sink<'_>>) -> Result<u8, Error> {
    let signals = Signals::take_over();
    let mut child = launch(why, python)?;
    let watched = watch_child(why, &mut child, &signals);
    let is_limited = why.seconds.is_some();
    let early = if is_limited { child.try_wait().ok().flatten() } else { wait(&mut child, &signals) };
    let reported = watched.and_then(|sampler| {
        if let Some(error) = unwatched(why, child.id(), sampler.as_ref()) {
            return Err(error);
        }
        let mut seen = conclude(why, sampler, shown(why));
        seen.subject.exit = early.map(|status| ending(status).1);
        report(why, &seen, sink, page)
    });
    // Whatever became of the watch, the program is the person's: it runs to its own end.
    let status = early.or_else(|| wait(&mut child, &signals));
    reported?;
    Ok(status.map_or(ExitCode::FAILURE, |status| ending(status).0))
}

fn watch_child(why: &Why, child: &mut Child, signals: &Signals) -> Result<Option<Sampler>, Error> {
    let options = Options { hz: why.hz, is_launched: true };
    let mut sampler = match Sampler::new(child.id(), options) {
        Ok(sampler) => sampler,
        Err(tercet_sampler::Error::NoProcess { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut progress = Progress::new();
    sampler.watch(|sampler| {
        if let Some(signal) = signals.pending() {
            send(child.id(), signal);
        }
        progress.show(sampler);
        let is_late = why.seconds.is_some_and(|limit| sampler.elapsed().as_secs_f64() >= limit);
        is_late || !matches!(child.try_wait(), Ok(None))
    });
    progress.clear();
    Ok(Some(sampler))
}

/// Waits for the program and passes signals on meanwhile.
fn wait(child: &mut Child, signals: &Signals) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) => {
                if let Some(signal) = signals.pending() {
                    send(child.id(), signal);
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            ended => return ended.ok().flatten(),
        }
    }
}

fn attached(why: &Why, pid: u32) -> Result<Seen, Error> {
    let signals = Signals::take_over();
    let options = Options { hz: why.hz, is_launched: false };
    let mut sampler = Sampler::new(pid, options)?;
    let limit = why.seconds.unwrap_or(ATTACHED_S);
    let mut progress = Progress::new();
    sampler.watch(|sampler| {
        progress.show(sampler);
        signals.came() || sampler.elapsed().as_secs_f64() >= limit
    });
    progress.clear();
    if let Some(error) = fatal(&sampler) {
        return Err(error);
    }
    let program = sampler.command_line();
    Ok(conclude(why, Some(sampler), program))
}

/// Why a launched program could not be watched. One that is meant to be Python may be over before its
/// interpreter is up: then there is too little to say, but nothing is wrong. Any other command has to
/// have run Python to be spoken of.
fn unwatched(why: &Why, pid: u32, sampler: Option<&Sampler>) -> Option<Error> {
    let word = why.words[0].to_string_lossy();
    let is_meant_to_be = !why.is_command || word.contains("python") || is_python_script(&word);
    let not_python = || tercet_sampler::Error::NotPython { pid, command: word.to_string() };
    match sampler.and_then(Sampler::trouble) {
        Some(tercet_sampler::Error::NotPython { .. }) if is_meant_to_be => None,
        None if !is_meant_to_be && sampler.is_none_or(|sampler| sampler.python().is_empty()) => {
            Some(Error::Attach(not_python()))
        }
        _ => sampler.and_then(fatal),
    }
}

/// Whether a command is a script whose first line names Python.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn is_python_script(word: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::split_paths(&folders).map(|folder| folder.join(word));
    let path = std::iter::once(std::path::PathBuf::from(word)).chain(beside).find(|path| path.is_file());
    let text = path.and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    let head = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    head.starts_with(b"#!") && String::from_utf8_lossy(head).contains("python")
}

/// Why nothing at all could be seen of the program.
fn fatal(sampler: &Sampler) -> Option<Error> {
    let trouble = sampler.trouble()?;
    // A program that is over before its interpreter was up is not an error: there is too little to say.
    let is_fatal =
        !matches!(trouble, tercet_sampler::Error::NoProcess { .. } | tercet_sampler::Error::NotStarted { .. });
    is_fatal.then(|| Error::Attach(trouble.again()))
}

fn conclude(why: &Why, sampler: Option<Sampler>, program: String) -> Seen {
    let subject = Subject {
        program,
        python: sampler.as_ref().map(Sampler::python).unwrap_or_default(),
        attached: why.pid.is_some(),
        exit: None,
        hz: why.hz,
        sampler_cpu_share: sampler.as_ref().map_or(0.0, Sampler::own_share),
    };
    Seen { subject, profile: sampler.map(Sampler::finish).unwrap_or_default() }
}
