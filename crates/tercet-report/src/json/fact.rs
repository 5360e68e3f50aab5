//! The measured facts behind the verdict in the object.

#![allow(clippy::struct_field_names, reason = "fields are keys, and keys name their unit")]

use serde::Serialize;
use tercet_model as model;

use crate::figure::{Amount, Seconds, Share};

/// The parts of the run.
#[derive(Serialize)]
pub(super) struct Phases {
    imports_s: Seconds,
    pool_start_s: Seconds,
    body_s: Seconds,
    exit_s: Seconds,
}

impl Phases {
    pub(super) fn of(phases: &model::Phases) -> Self {
        Self {
            imports_s: Seconds::of(phases.imports_s),
            pool_start_s: Seconds::of(phases.pool_start_s),
            body_s: Seconds::of(phases.body_s),
            exit_s: Seconds::of(phases.exit_s),
        }
    }
}

/// How much of each sort of work there is.
#[derive(Serialize)]
pub(super) struct Work {
    gil: Amount,
    nogil: Amount,
    child_cpu: Amount,
    wait: Amount,
    lock: Amount,
    gil_wait: Amount,
    gil_held: Amount,
    queue_delay: Amount,
    cpu: Amount,
    gil_serial: Amount,
}

impl Work {
    pub(super) fn of(work: &model::Work) -> Self {
        Self {
            gil: Amount::of(work.gil),
            nogil: Amount::of(work.nogil),
            child_cpu: Amount::of(work.child_cpu),
            wait: Amount::of(work.wait),
            lock: Amount::of(work.lock),
            gil_wait: Amount::of(work.gil_wait),
            gil_held: Amount::of(work.gil_held),
            queue_delay: Amount::of(work.queue_delay),
            cpu: Amount::of(work.cpu),
            gil_serial: Amount::of(work.gil_serial),
        }
    }
}

/// What is known of single tasks.
#[derive(Serialize)]
pub(super) struct Tasks {
    count: Option<Amount>,
    wall_s: Option<Seconds>,
    is_coroutine: bool,
    is_portable: Option<bool>,
    pickle_s: Seconds,
    pickle_bytes: Amount,
}

impl Tasks {
    pub(super) fn of(tasks: &model::Tasks) -> Self {
        Self {
            count: tasks.count.map(Amount::of),
            wall_s: tasks.wall_s.map(Seconds::of),
            is_coroutine: tasks.is_coroutine,
            is_portable: tasks.is_portable,
            pickle_s: Seconds::of(tasks.pickle_s),
            pickle_bytes: Amount::of(tasks.pickle_bytes),
        }
    }
}

/// Bytes between the processes.
#[derive(Serialize)]
pub(super) struct Traffic {
    bytes: Amount,
    messages: Amount,
    busy_share: Share,
}

impl Traffic {
    pub(super) fn of(traffic: &model::Traffic) -> Self {
        Self {
            bytes: Amount::of(traffic.bytes),
            messages: Amount::of(traffic.messages),
            busy_share: Share::of(traffic.busy_share),
        }
    }
}

/// Signs of particular faults.
#[derive(Serialize)]
pub(super) struct Symptoms {
    spin_share: Share,
    poll_share: Share,
    loop_waits_share: Share,
    loop_computes_share: Share,
    pace_share: Share,
    gc_share: Share,
    lock_share: Share,
    far_limit_share: Share,
    sync_share: Share,
    unknown_share: Share,
}

impl Symptoms {
    pub(super) fn of(symptoms: &model::Symptoms) -> Self {
        Self {
            spin_share: Share::of(symptoms.spin_share),
            poll_share: Share::of(symptoms.poll_share),
            loop_waits_share: Share::of(symptoms.loop_waits_share),
            loop_computes_share: Share::of(symptoms.loop_computes_share),
            pace_share: Share::of(symptoms.pace_share),
            gc_share: Share::of(symptoms.gc_share),
            lock_share: Share::of(symptoms.lock_share),
            far_limit_share: Share::of(symptoms.far_limit_share),
            sync_share: Share::of(symptoms.sync_share),
            unknown_share: Share::of(symptoms.unknown_share),
        }
    }
}

/// The pool the program has.
#[derive(Serialize)]
pub(super) struct Pool {
    kind: model::PoolKind,
    workers: u32,
    busy: Amount,
    tasks_per_worker: Amount,
    backlog: Option<Amount>,
}

impl Pool {
    pub(super) fn of(pool: &model::Pool) -> Self {
        Self {
            kind: pool.kind,
            workers: pool.workers,
            busy: Amount::of(pool.busy),
            tasks_per_worker: Amount::of(pool.tasks_per_worker),
            backlog: pool.backlog.map(Amount::of),
        }
    }
}

/// The event loop the program runs.
#[derive(Serialize)]
pub(super) struct EventLoop {
    idle_share: Share,
    busy_share: Share,
    in_flight: Option<Amount>,
}

impl EventLoop {
    pub(super) fn of(event_loop: &model::EventLoop) -> Self {
        Self {
            idle_share: Share::of(event_loop.idle_share),
            busy_share: Share::of(event_loop.busy_share),
            in_flight: event_loop.in_flight.map(Amount::of),
        }
    }
}

/// The machine and its limits.
#[derive(Serialize)]
pub(super) struct Machine {
    cores: Amount,
    has_gil: bool,
    process_start_s: Seconds,
    process_task_s: Seconds,
    thread_task_s: Seconds,
}

impl Machine {
    pub(super) fn of(machine: &model::Machine) -> Self {
        Self {
            cores: Amount::of(machine.cores),
            has_gil: machine.has_gil,
            process_start_s: Seconds::of(machine.process_start_s),
            process_task_s: Seconds::of(machine.process_task_s),
            thread_task_s: Seconds::of(machine.thread_task_s),
        }
    }
}
