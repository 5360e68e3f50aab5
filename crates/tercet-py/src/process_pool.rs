//! A pool of processes, as Python holds it.
//!
//! Life cycle of a task
//! --------------------
//! 1. `submit` packs the call, hands it to the fleet, and puts its frames into the ring of the worker that the fleet names,
//!    all in the caller's thread. The worker is woken only if it sleeps.
//! 2. The *leader*, one thread that holds the GIL only when there is something to do for it, reads the rings of all workers.
//!    A future that nobody has looked behind is finished without the GIL; its result stays packed until somebody asks.
//! 3. When a worker dies, the leader learns it from its descriptor. Results that it had sent are kept, the task on its
//!    control line gets an error, and everything else that it held goes to another worker.
//!
//! Locking
//! -------
//! `desk` guards the fleet and the rings. It is never held while Python runs or the GIL is waited for, so that a thread
//! that holds the GIL may wait for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use tercet_sched::Wakes;
use tercet_shm::{Bell, State, Woken};

use crate::call;
use crate::colleague::Colleague;
use crate::desk::{Chores, Desk, Stage};
use crate::door::Door;
use crate::error::Error;
use crate::future::Future;
use crate::limits::{self, Aborted, Limits};
use crate::names;
use crate::office::{Hands, Office};
use crate::pool;
use crate::repertoire::Repertoire;

/// The native half of `tercet.ProcessPoolExecutor`.
#[pyclass(module = "tercet._tercet", subclass, frozen)]
pub(crate) struct ProcessPool(OnceLock<Arc<Office>>);

/// What the leader of a pool runs.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Leader(pub(crate) Arc<Office>);

#[pymethods]
impl Leader {
    /// Read what the workers send until the pool is shut down and all is done.
    fn lead(&self, py: Python<'_>) {
        call::guarded(|| {
            loop {
                let chores = py.outside(|| self.0.watch());
                let is_over = chores.is_over;
                self.0.attend(py, chores);
                if is_over {
                    break;
                }
            }
            self.see_off(py);
        });
    }

    /// Take no more tasks.
    fn close(&self) -> PyResult<()> {
        if self.0.generation != pool::generation() {
            // A fork of the program: the pool is not its own, and the lock may have been copied locked.
            return Ok(());
        }
        self.0.desk().enter(Stage::Closed);
        Ok(self.0.bell.ring().map_err(Error::from)?)
    }
}

impl Leader {
    /// Waits for the workers to leave. Those that were told to end at once and do not are killed.
    fn see_off(&self, py: Python<'_>) {
        let grace = Instant::now() + Duration::from_secs(2);
        loop {
            let mut desk = self.0.desk();
            let lives = desk.lives();
            desk.dispatch(&self.0.bell, &mut Chores::default(), &mut Wakes::new());
            if lives.is_empty() {
                return;
            }
            let until = desk.is_ended().then_some(grace);
            if until.is_some_and(|until| until <= Instant::now()) {
                desk.colleagues.values().for_each(Colleague::kill);
            }
            drop(desk);
            let fds: Vec<BorrowedFd<'_>> = lives.iter().map(|(_, fd)| fd.as_fd()).collect();
            let until = until.filter(|until| *until > Instant::now());
            let woken = py.outside(|| self.0.bell.wait(&fds, until));
            if let Ok(Woken::Other(place)) = woken {
                let dead = self.0.desk().bury(lives[place].0);
                if let Some(dead) = dead {
                    let _ = self.0.hands.mourn.call1(py, (dead.pid,));
                }
            }
        }
    }
}

impl Drop for ProcessPool {
    fn drop(&mut self) {
        if let Some(office) = self.0.get().filter(|office| office.generation == pool::generation()) {
            // What was submitted is done; then the workers leave.
            office.desk().enter(Stage::Closed);
            let _ = office.bell.ring();
        }
    }
}

impl ProcessPool {
    fn office(&self) -> PyResult<&Arc<Office>> {
        pool::opened(&self.0)
    }
}

#[pymethods]
impl ProcessPool {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(OnceLock::new())
    }

    /// Set up the pool.
    #[pyo3(signature = (limit, *, timeout, retries, hire, mourn, lead, tasks_per_worker, starts_at_once, breaks_on_crash, max_rss))]
    #[expect(clippy::too_many_arguments, reason = "each is a hand that the pool has in Python")]
    fn _open(
        &self,
        py: Python<'_>,
        limit: usize,
        timeout: Option<f64>,
        retries: u32,
        hire: Py<PyAny>,
        mourn: Py<PyAny>,
        lead: Py<PyAny>,
        tasks_per_worker: Option<u64>,
        starts_at_once: bool,
        breaks_on_crash: bool,
        max_rss: Option<u64>,
    ) -> PyResult<()> {
        names::watch_forks(py)?;
        let office = Office {
            desk: Mutex::new(Desk::new(limit, tasks_per_worker)),
            bell: Bell::new().map_err(Error::from)?,
            broken: OnceLock::new(),
            generation: pool::generation(),
            starts_at_once,
            breaks_on_crash,
            max_rss,
            limits: Limits::of(timeout, retries)?,
            repertoire: Repertoire::default(),
            hands: Hands { hire, mourn, lead },
        };
        let _ = self.0.set(Arc::new(office));
        Ok(())
    }

    /// Schedule `fn(*args, **kwargs)` in a worker process and return a future for its outcome.
    ///
    /// Raises
    /// ------
    /// RuntimeError
    ///     If the pool is shut down.
    /// BrokenProcessPool
    ///     If the pool is broken.
    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit(
        &self,
        r#fn: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<Future>> {
        let office = self.office()?;
        office.submit(office.limits, r#fn, args, kwargs)
    }

    /// Schedule `fn(*args, **kwargs)` with limits of its own.
    fn _submit(
        &self,
        timeout: Option<f64>,
        retries: u32,
        r#fn: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<Future>> {
        self.office()?.submit(Limits::of(timeout, retries)?, r#fn, args, kwargs)
    }

    /// Schedule `fn(*args)` for each tuple of an iterator, with limits of their own; return the futures.
    fn _submit_each<'py>(
        &self,
        timeout: Option<f64>,
        retries: u32,
        r#fn: &Bound<'py, PyAny>,
        items: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.office()?.submit_each(Limits::of(timeout, retries)?, r#fn, items)
    }

    /// Allow for more workers, which are started as there are tasks for them.
    fn _grow(&self, py: Python<'_>, limit: usize) -> PyResult<()> {
        let office = self.office()?;
        office.check(py)?;
        office.desk().fleet.grow(limit);
        Ok(office.bell.ring().map_err(Error::from)?)
    }

    /// Start all workers now, whether there are tasks for them or not. `fn` is what they prepare for.
    fn _start(&self, r#fn: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = r#fn.py();
        let office = self.office()?;
        office.check(py)?;
        if office.desk().is_closed() {
            return Ok(());
        }
        let started = office.start_all(py);
        // The leader buries those that were started, even if others could not be.
        office.begin(py, r#fn)?;
        office.bell.ring().map_err(Error::from)?;
        started
    }

    /// Take no more tasks, and cancel those that were not sent if `cancels`.
    fn _close(&self, py: Python<'_>, cancels: bool) -> PyResult<()> {
        let Some(office) = self.0.get() else { return Ok(()) };
        office.check(py)?;
        let mut desk = office.desk();
        desk.enter(Stage::Closed);
        let dropped = if cancels { desk.fleet.drain() } else { Vec::new() };
        drop(desk);
        office.cancel(py, dropped)
    }

    /// Send all workers a signal that ends them, and with them what they hold; take no more tasks and cancel the others.
    fn _end(&self, py: Python<'_>, number: i32) -> PyResult<()> {
        let Some(office) = self.0.get() else { return Ok(()) };
        office.check(py)?;
        let mut desk = office.desk();
        desk.enter(Stage::Ended);
        let dropped = desk.fleet.drain();
        if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            desk.colleagues.values().for_each(|colleague| colleague.send_signal(signal));
        }
        drop(desk);
        office.cancel(py, dropped)
    }

    /// Cancel a task, ending the process that runs it; return whether it is cancelled.
    fn _kill(&self, future: &Bound<'_, Future>) -> PyResult<bool> {
        let py = future.py();
        let office = self.office()?;
        office.check(py)?;
        if future.call_method0("cancel")?.is_truthy()? {
            return Ok(true);
        }
        let aborted = office.desk().abort(|order| order.future.as_ptr() == future.as_ptr());
        if matches!(aborted, Aborted::TooLate) {
            return Ok(false);
        }
        office.bell.ring().map_err(Error::from)?;
        Future::abort(future)
    }

    /// Return the workers: process number, state, how the packed call begins, since when (monotonic clock), private bytes,
    /// tasks done.
    fn _workers(&self) -> Vec<Sight> {
        let Some(office) = self.0.get() else { return Vec::new() };
        let desk = office.desk();
        let see = |(name, colleague): (&u32, &Colleague)| {
            let (pid, _) = colleague.process.as_ref()?;
            let status = colleague.end.watch.status().ok()?;
            let task = status.held.and_then(|held| Some((desk.fleet.sent(*name, held.task.get())?, held.began_ns)));
            let call = task.map(|(task, _)| task.job.call.front().to_vec());
            let since = task.map(|(_, began_ns)| began_ns as f64 / 1e9);
            Some((*pid, name_of(status.state), call, since, limits::private_bytes(*pid), status.tasks_done))
        };
        desk.colleagues.iter().filter_map(see).collect()
    }

    #[getter]
    fn _broken<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        pool::broken(py, self.0.get().and_then(|office| office.broken.get()).map(String::as_str))
    }
}

/// What can be seen of a worker.
type Sight = (i32, &'static str, Option<Vec<u8>>, Option<f64>, u64, u64);

fn name_of(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Resting => "resting",
        State::Running => "running",
        State::Leaving => "leaving",
    }
}
