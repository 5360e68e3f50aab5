//! The whole object, in the order of its keys.

use serde::Serialize;
use tercet_model::{Prediction, Unreadable, Verdict};

use super::fact::{EventLoop, Machine, Phases, Pool, Symptoms, Tasks, Traffic, Work};
use super::seen::{Line, Process, Thread};
use super::{SCHEMA, seen};
use crate::Report;
use crate::figure::{Amount, Seconds, Share};

/// Everything that is known of a watched program.
#[derive(Serialize)]
pub(super) struct Object<'a> {
    schema: u32,
    program: &'a str,
    python: &'a str,
    wall_s: Seconds,
    samples: u64,
    shares: seen::Kinds,
    verdict: Answer<'a>,
    predictions: Vec<Gain>,
    lines: Vec<Line<'a>>,
    threads: Vec<Thread<'a>>,
    processes: Vec<Process<'a>>,
    unreadable: &'a [Unreadable],
    phases: Phases,
    work: Work,
    tasks: Tasks,
    traffic: Traffic,
    symptoms: Symptoms,
    pool: Option<Pool>,
    event_loop: Option<EventLoop>,
    machine: Machine,
    hz: Amount,
    sampler_cpu_share: Share,
    exit: Option<&'a str>,
}

impl<'a> Object<'a> {
    /// The object of a report.
    pub(super) fn of(report: &Report<'a>) -> Self {
        let Report { subject, profile, verdict } = *report;
        Self {
            schema: SCHEMA,
            program: &subject.program,
            python: &subject.python,
            wall_s: Seconds::of(profile.wall_s),
            samples: profile.samples,
            shares: seen::Kinds(profile.shares),
            verdict: Answer::of(verdict),
            predictions: verdict.predictions.iter().map(Gain::of).collect(),
            lines: profile.lines.iter().map(Line::of).collect(),
            threads: profile.threads.iter().map(Thread::of).collect(),
            processes: profile.processes.iter().map(Process::of).collect(),
            unreadable: &profile.unreadable,
            phases: Phases::of(&profile.phases),
            work: Work::of(&profile.work),
            tasks: Tasks::of(&profile.tasks),
            traffic: Traffic::of(&profile.traffic),
            symptoms: Symptoms::of(&profile.symptoms),
            pool: profile.pool.as_ref().map(Pool::of),
            event_loop: profile.event_loop.as_ref().map(EventLoop::of),
            machine: Machine::of(&profile.machine),
            hz: Amount::of(subject.hz),
            sampler_cpu_share: Share::of(subject.sampler_cpu_share),
            exit: subject.exit.as_deref(),
        }
    }
}

/// The verdict.
#[derive(Serialize)]
struct Answer<'a> {
    remedy: &'static str,
    workers: Option<u32>,
    speedup: Option<Amount>,
    bound: Option<Amount>,
    confidence: Share,
    sentence: &'a str,
    reasons: Vec<Reason<'a>>,
}

impl<'a> Answer<'a> {
    fn of(verdict: &'a Verdict) -> Self {
        let reasons = verdict.reasons.iter();
        Self {
            remedy: verdict.remedy.name(),
            workers: verdict.workers,
            speedup: verdict.speedup.map(Amount::of),
            bound: verdict.bound.map(Amount::of),
            confidence: Share::of(verdict.confidence),
            sentence: &verdict.sentence,
            reasons: reasons.map(|reason| Reason { weight: Share::of(reason.weight), text: &reason.text }).collect(),
        }
    }
}

/// One reason.
#[derive(Serialize)]
struct Reason<'a> {
    weight: Share,
    text: &'a str,
}

/// What one model would give.
#[derive(Serialize)]
struct Gain {
    model: &'static str,
    workers: u32,
    speedup: Amount,
    bound: Option<Amount>,
}

impl Gain {
    fn of(prediction: &Prediction) -> Self {
        Self {
            model: prediction.model.name(),
            workers: prediction.workers,
            speedup: Amount::of(prediction.speedup),
            bound: prediction.bound.map(Amount::of),
        }
    }
}
