//! How much faster each model would be, and the bound that no number of workers passes.
//!
//! One run of the repeating part today is the unit of time. Let `g` be the time with the GIL, `h`
//! the waits that hold it, `c` native code without it, `x` processors used by child programs, `w`
//! waits that could overlap, `k` cores and `n` workers. Then a run takes at least
//!
//! ```text
//! threads     max( g + h,  (g + c + x) / k,        chain )
//! event loop  max( g + h + c,  (g + c + x) / k,    chain )
//! processes   max( (g + c + x) / min(k, n) + s,    chain )
//! ```
//!
//! where `chain` is the longest row of tasks that one worker has to do, `(g + h + c + w) * rounds /
//! tasks`, and `s` is what pickling and hand-over cost. The expected time adds the part that does
//! not overlap while the workers fill up and drain: with as many workers as tasks all waits pass
//! together, yet every task still needs its own turn at the processor.

use serde::{Deserialize, Serialize};

use crate::Profile;

/// The three models of concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Threads of one process.
    Threads,
    /// Processes, one task at a time in each.
    Processes,
    /// Tasks on one event loop.
    EventLoop,
}

impl Model {
    /// Every model, in the order of the declaration.
    pub const ALL: [Self; 3] = [Self::Threads, Self::Processes, Self::EventLoop];

    /// The name used in JSON, on the command line and in the Python package.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::EventLoop => "event-loop",
        }
    }
}

/// What one model would give with one number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The model.
    pub model: Model,
    /// How many workers.
    pub workers: u32,
    /// Expected speed-up against today, 1 for none.
    pub speedup: f64,
    /// The speed-up that no number of workers passes; `None` when the facts show none.
    pub bound: Option<f64>,
}

/// The shortest time worth telling from nothing: a speed-up above its inverse is not a figure.
const SHORTEST: f64 = 1e-4;

/// The parts of one run, in runs of today.
#[derive(Clone, Copy, Debug)]
struct Parts {
    gil: f64,
    held: f64,
    nogil: f64,
    child: f64,
    wait: f64,
    tasks: Option<f64>,
    cores: f64,
    has_gil: bool,
}

impl Parts {
    fn of(profile: &Profile) -> Self {
        let work = &profile.work;
        Self {
            gil: work.gil.max(0.0),
            held: work.gil_held.max(0.0),
            nogil: work.nogil.max(0.0),
            child: work.child_cpu.max(0.0),
            wait: work.wait.max(0.0),
            tasks: profile.tasks.count.filter(|count| *count >= 1.0),
            cores: profile.machine.cores.max(1.0),
            has_gil: profile.machine.has_gil,
        }
    }

    /// Time of a single worker that does everything in a row.
    fn in_a_row(&self) -> f64 {
        self.gil + self.held + self.nogil + self.wait
    }

    /// The row that the workers of a model share. Processes keep the threads that the program has.
    fn row(&self, model: Model) -> f64 {
        match model {
            Model::Processes => self.in_a_row().min(1.0),
            Model::Threads | Model::EventLoop => self.in_a_row(),
        }
    }

    /// Processor time.
    fn computing(&self) -> f64 {
        self.gil + self.nogil + self.child
    }

    /// What the model has to do one after another, whatever the number of workers.
    fn serial(&self, model: Model) -> f64 {
        match model {
            Model::Threads if !self.has_gil => 0.0,
            Model::Threads => self.gil + self.held,
            Model::EventLoop => self.gil + self.held + self.nogil,
            Model::Processes => 0.0,
        }
    }

    /// Share of all tasks that the busiest of `workers` has to do.
    fn busiest(&self, workers: f64) -> f64 {
        match self.tasks {
            Some(tasks) => (tasks / workers).ceil().max(1.0) / tasks.max(workers.min(tasks)),
            None => 1.0 / workers,
        }
    }

    /// The time that no number of workers goes below.
    fn floor(&self, model: Model) -> f64 {
        let longest_task = self.tasks.map_or(0.0, |tasks| self.row(model) / tasks);
        self.serial(model).max(self.computing() / self.cores).max(longest_task)
    }

    /// Expected time with `workers`, before what hand-over costs.
    fn expected(&self, model: Model, workers: f64) -> f64 {
        let chain = self.row(model) * self.busiest(workers);
        let hands = if model == Model::EventLoop { 1.0 } else { self.cores.min(workers) };
        let processor = (self.computing() / hands).max(self.serial(model));
        let rounds = self.tasks.map_or(f64::INFINITY, |tasks| (tasks / workers).ceil().max(1.0));
        let waits = (self.wait * self.busiest(workers)).min(chain);
        let fill = processor.min(waits) / rounds;
        (chain.max(processor) + fill).min(chain + processor)
    }
}

/// What `workers` under one model would give.
///
/// The speed-up never passes its bound, and is never predicted lower for processes when only the
/// number of cores grows.
pub fn predict(profile: &Profile, model: Model, workers: u32) -> Prediction {
    let parts = Parts::of(profile);
    let today = 1.0_f64.min(parts.in_a_row().max(SHORTEST));
    let floor = parts.floor(model) / today;
    let time = (parts.expected(model, f64::from(workers.max(1))) / today).max(floor)
        + hand_over(profile, model, workers.max(1));
    let bound = (floor > SHORTEST).then(|| 1.0 / floor);
    let speedup = (1.0 / time.max(SHORTEST)).min(bound.unwrap_or(f64::INFINITY));
    Prediction { model, workers: workers.max(1), speedup, bound }
}

/// The numbers of workers worth asking about: powers of two up to `most`, and `most` itself.
pub(crate) fn ladder(most: u32) -> Vec<u32> {
    let mut sizes: Vec<u32> = (0..32).map(|power| 1 << power).take_while(|&size| size <= most).collect();
    if sizes.last() != Some(&most) {
        sizes.push(most.max(1));
    }
    sizes
}

/// What starting the engine and handing tasks over costs, in runs of today.
fn hand_over(profile: &Profile, model: Model, workers: u32) -> f64 {
    let run_s = profile.phases.body_s;
    if run_s <= 0.0 {
        return 0.0;
    }
    let machine = &profile.machine;
    let tasks = profile.tasks.count.unwrap_or(0.0);
    let cost_s = match model {
        Model::Threads => tasks * machine.thread_task_s,
        Model::EventLoop => 0.0,
        Model::Processes => {
            let pickling = tasks * (profile.tasks.pickle_s + machine.process_task_s);
            machine.process_start_s + pickling * if workers > 1 { 0.75 } else { 1.0 }
        }
    };
    cost_s / run_s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, Phases, Tasks, Work};
    use proptest::prelude::*;

    fn profile(gil: f64, nogil: f64, wait: f64, tasks: Option<f64>, cores: f64) -> Profile {
        Profile {
            work: Work { gil, nogil, wait, ..Work::default() },
            tasks: Tasks { count: tasks, ..Tasks::default() },
            phases: Phases { body_s: 60.0, ..Phases::default() },
            machine: Machine { cores, ..Machine::default() },
            ..Profile::default()
        }
    }

    #[track_caller]
    fn assert_near(actual: f64, expected: f64) {
        assert!((actual / expected - 1.0).abs() < 0.03, "{actual} is not about {expected}");
    }

    #[test]
    fn ten_waits_in_ten_threads_take_the_time_of_one() {
        let waits = profile(0.0, 0.0, 1.0, Some(10.0), 2.0);
        assert_near(predict(&waits, Model::Threads, 10).speedup, 10.0);
        assert_near(predict(&waits, Model::Threads, 100).speedup, 10.0);
        assert_near(predict(&waits, Model::Threads, 9).speedup, 5.0);
    }

    #[test]
    fn the_gil_bounds_threads_at_its_inverse() {
        let half = profile(0.5, 0.0, 0.5, None, 8.0);
        let prediction = predict(&half, Model::Threads, 1000);
        assert_eq!(prediction.bound, Some(2.0));
        assert!(prediction.speedup > 1.9);
    }

    #[test]
    fn computing_with_the_gil_gains_from_processes_only() {
        let computing = profile(1.0, 0.0, 0.0, None, 4.0);
        assert_near(predict(&computing, Model::Threads, 4).speedup, 1.0);
        assert_near(predict(&computing, Model::EventLoop, 4).speedup, 1.0);
        assert_near(predict(&computing, Model::Processes, 4).speedup, 4.0);
    }

    #[test]
    fn computing_without_the_gil_gains_from_threads_up_to_the_cores() {
        let native = profile(0.02, 0.98, 0.0, None, 4.0);
        assert_near(predict(&native, Model::Threads, 4).speedup, 4.0);
        assert_near(predict(&native, Model::Threads, 64).speedup, 4.0);
        assert_near(predict(&native, Model::EventLoop, 64).speedup, 1.0);
    }

    #[test]
    fn a_free_threaded_interpreter_computes_in_threads() {
        let mut computing = profile(1.0, 0.0, 0.0, None, 4.0);
        computing.machine.has_gil = false;
        assert_near(predict(&computing, Model::Threads, 4).speedup, 4.0);
    }

    proptest! {
        #[test]
        fn no_speed_up_passes_its_bound(
            gil in 0.0..4.0_f64, nogil in 0.0..4.0_f64, wait in 0.0..50.0_f64,
            tasks in prop::option::of(1.0..1e6_f64), cores in 1.0..128.0_f64, workers in 1_u32..4096,
        ) {
            let profile = profile(gil, nogil, wait, tasks, cores);
            for model in Model::ALL {
                let prediction = predict(&profile, model, workers);
                prop_assert!(prediction.speedup > 0.0);
                prop_assert!(prediction.speedup <= prediction.bound.unwrap_or(f64::INFINITY));
            }
        }

        #[test]
        fn more_cores_never_predict_slower_processes(
            gil in 0.0..4.0_f64, nogil in 0.0..4.0_f64, wait in 0.0..50.0_f64,
            tasks in prop::option::of(1.0..1e6_f64), cores in 1.0..128.0_f64,
            more in 0.0..64.0_f64, workers in 1_u32..4096,
        ) {
            let few = predict(&profile(gil, nogil, wait, tasks, cores), Model::Processes, workers);
            let many =
                predict(&profile(gil, nogil, wait, tasks, cores + more), Model::Processes, workers);
            prop_assert!(many.speedup >= few.speedup - 1e-9);
        }
    }
}
