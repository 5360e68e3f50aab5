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

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use tercet_sched::{Fleet, Move, Sent, State, Wakes};
use tercet_shm::{Bell, Bells, LinkSizes, ParentEnd, Want, Woken};

use crate::door::Door;
use crate::error::Error;
use crate::future::{Future, Outcome, Packed};
use crate::names;
use crate::parcel::{Incoming, Kind, Message, Outgoing};
use crate::pool;

/// How many tasks a worker may hold at first: one that it runs and one that waits for it, so that it need not wait itself.
const DEPTH: usize = 2;
/// The most that it may hold: what stands behind a task that turns out long has to wait for it.
const DEEPEST: usize = 32;
/// How much work, in microseconds, a worker is to hold. A trip to it and back takes about a tenth of that.
const HELD_US: f64 = 500.0;
/// The sizes of the rings. Longer messages go in pieces.
const SIZES: LinkSizes = LinkSizes { task_bytes: 1 << 20, result_bytes: 1 << 20 };

/// One call, packed.
struct Order {
    future: Py<Future>,
    call: Py<PyBytes>,
    deaths: u32,
}

/// The pool's side of one worker.
struct Colleague {
    end: ParentEnd,
    incoming: Incoming,
    /// What is to be sent: numbers of tasks, or 0 for the word to leave.
    backlog: VecDeque<u64>,
    /// The message at the front of the backlog, if a part of it has left.
    outgoing: Option<Outgoing>,
    has_begun: bool,
    /// Its number, and a descriptor that can be read when it has ended; nothing until it is started.
    process: Option<(i32, OwnedFd)>,
    is_leaving: bool,
}

struct Desk {
    fleet: Fleet<Order>,
    colleagues: BTreeMap<u32, Colleague>,
    hires: Vec<u32>,
    is_closed: bool,
    /// Whether its processes were told to end at once: what they hold ends with them.
    is_ended: bool,
    has_leader: bool,
    /// How long a task takes, the later ones counting most.
    task_us: f64,
    /// How many workers in a row have died before they were ready.
    stillborn: usize,
}

/// What the threads of this process share.
struct Office {
    desk: Mutex<Desk>,
    bell: Bell,
    broken: OnceLock<String>,
    /// In which process it was made: no other may use it.
    generation: u32,
    starts_at_once: bool,
    breaks_on_crash: bool,
    retries: u32,
    hands: Hands,
}

/// What is done in Python.
struct Hands {
    /// `pack(fn, args, kwargs) -> bytes`.
    pack: Py<PyAny>,
    /// `hire(segment, worker's bell, pool's bell) -> (pid, descriptor of its life)`.
    hire: Py<PyAny>,
    /// `mourn(pid) -> str`: how a worker ended.
    mourn: Py<PyAny>,
    /// `died(words) -> exception`, `broken(words) -> exception`.
    died: Py<PyAny>,
    broken: Py<PyAny>,
    /// `lead(leader, fn)`: starts the leader's thread; `fn` is the first function that was submitted.
    lead: Py<PyAny>,
}

/// What the leader found that needs Python.
#[derive(Default)]
struct Chores {
    finished: Vec<(Py<Future>, Outcome)>,
    settled: Vec<Py<Future>>,
    /// What is not needed any more. To drop it may run Python, which must not happen under the lock.
    dropped: Vec<Sent<Order>>,
    hires: Vec<u32>,
    dead: Vec<Dead>,
    unfit: Option<String>,
    is_over: bool,
}

struct Dead {
    pid: i32,
    guilty: Option<Sent<Order>>,
    /// What it had not begun, if the pool was told to end at once.
    lost: Vec<Sent<Order>>,
    is_expected: bool,
    is_ended: bool,
    /// Whether so many have died before they were ready that the next ones would as well.
    is_hopeless: bool,
}

impl Chores {
    fn is_empty(&self) -> bool {
        self.finished.is_empty()
            && self.settled.is_empty()
            && self.hires.is_empty()
            && self.dead.is_empty()
            && self.unfit.is_none()
            && !self.is_over
    }
}

impl Office {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has happened that needs Python.
    fn watch(&self) -> Chores {
        let mut wakes = Wakes::new();
        loop {
            let mut chores = Chores::default();
            let mut desk = self.desk();
            desk.read_all(&mut chores, &mut wakes);
            desk.dispatch(self, &mut chores, &mut wakes);
            chores.hires = std::mem::take(&mut desk.hires);
            chores.is_over = desk.is_closed && desk.fleet.is_idle() && chores.hires.is_empty();
            if !chores.is_empty() {
                drop(desk);
                return chores;
            }
            let sleeps = desk.announce();
            let lives = desk.lives();
            drop(desk);
            // Waiters are woken after the lock is gone, and before the leader sleeps.
            wakes.clear();
            if sleeps {
                let fds: Vec<BorrowedFd<'_>> = lives.iter().map(|(_, fd)| fd.as_fd()).collect();
                let woken = self.bell.wait(&fds, None);
                let mut desk = self.desk();
                desk.withdraw();
                if let Ok(Woken::Other(place)) = woken {
                    let name = lives[place].0;
                    desk.read_all(&mut chores, &mut wakes);
                    chores.dead.extend(desk.bury(name));
                    drop(desk);
                    return chores;
                }
            }
        }
    }

    /// Starts all workers, in the thread of the caller and before there is a second one: they are to be forked.
    fn start_all(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let members = {
            let mut desk = self.desk();
            for member in desk.fleet.hire_all() {
                desk.admit(self, member, &mut Chores::default());
            }
            std::mem::take(&mut desk.hires)
        };
        members.into_iter().try_for_each(|member| self.hire(py, member))
    }

    /// Starts the leader with the first task.
    fn begin(self: &Arc<Self>, py: Python<'_>, function: &Bound<'_, PyAny>) -> PyResult<()> {
        if std::mem::replace(&mut self.desk().has_leader, true) {
            return Ok(());
        }
        if self.starts_at_once {
            self.start_all(py)?;
        }
        self.hands.lead.call1(py, (Leader(Arc::clone(self)), function)).map(drop)
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.generation == pool::generation() { Ok(()) } else { Err(crate::pause::left_behind(py)) }
    }

    fn break_down(&self, py: Python<'_>, words: &str) {
        let _ = self.broken.set(words.to_owned());
        let mut desk = self.desk();
        let mut orders = desk.fleet.drain();
        for name in desk.fleet.members().collect::<Vec<_>>() {
            while let Some(order) = desk.fleet.take_any(name) {
                orders.push(order);
            }
        }
        desk.is_closed = true;
        desk.colleagues.values().filter(|colleague| !colleague.is_leaving).for_each(Colleague::kill);
        drop(desk);
        for order in orders {
            let error = self.hands.broken.call1(py, (words,)).unwrap_or_else(|error| error.into_value(py).into_any());
            finish(py, &order.job.future, Outcome::Error(error));
        }
    }

    /// Does what needs Python.
    fn attend(self: &Arc<Self>, py: Python<'_>, chores: Chores) {
        for (future, outcome) in chores.finished {
            finish(py, &future, outcome);
        }
        for future in chores.settled {
            let _ = Future::start(future.bind(py));
        }
        if let Some(words) = chores.unfit {
            self.break_down(py, &words);
        }
        for dead in chores.dead {
            self.mourn(py, dead);
        }
        for member in chores.hires {
            if let Err(error) = self.hire(py, member) {
                self.break_down(py, &format!("a worker process could not be started: {error}"));
            }
        }
    }

    /// Cancels tasks that were taken back, and has the leader see what is left.
    fn cancel(&self, py: Python<'_>, orders: Vec<Sent<Order>>) -> PyResult<()> {
        for order in orders {
            let future = order.job.future.bind(py);
            future.call_method0("cancel")?;
            Future::start(future)?;
        }
        Ok(self.bell.ring().map_err(Error::from)?)
    }

    fn mourn(self: &Arc<Self>, py: Python<'_>, dead: Dead) {
        let words = self.hands.mourn.call1(py, (dead.pid,));
        let words = words.and_then(|words| words.extract::<String>(py)).unwrap_or_else(|error| error.to_string());
        if dead.is_expected {
            return;
        }
        if dead.is_ended {
            let fail = if self.breaks_on_crash { &self.hands.broken } else { &self.hands.died };
            for order in dead.guilty.into_iter().chain(dead.lost) {
                let error = fail.call1(py, (&words,)).unwrap_or_else(|error| error.into_value(py).into_any());
                finish(py, &order.job.future, Outcome::Error(error));
            }
            return;
        }
        if self.breaks_on_crash || dead.is_hopeless {
            if let Some(order) = dead.guilty {
                let error = self.hands.broken.call1(py, (&words,));
                let error = error.unwrap_or_else(|error| error.into_value(py).into_any());
                finish(py, &order.job.future, Outcome::Error(error));
            }
            self.break_down(py, &words);
            return;
        }
        let Some(mut order) = dead.guilty else { return };
        order.job.deaths += 1;
        if order.job.deaths <= self.retries {
            self.desk().fleet.submit_first(order);
            return;
        }
        let error = self.hands.died.call1(py, (words,)).unwrap_or_else(|error| error.into_value(py).into_any());
        finish(py, &order.job.future, Outcome::Error(error));
    }

    fn hire(self: &Arc<Self>, py: Python<'_>, member: u32) -> PyResult<()> {
        let fds = {
            let desk = self.desk();
            let Some(colleague) = desk.colleagues.get(&member) else { return Ok(()) };
            let end = &colleague.end;
            (end.segment().as_fd().as_raw_fd(), end.worker_bell().as_fd().as_raw_fd(), self.bell.as_fd().as_raw_fd())
        };
        let (pid, life): (i32, RawFd) = self.hands.hire.call1(py, fds)?.extract(py)?;
        // SAFETY: `hire` gives a descriptor away that it has just opened.
        let end_of_life = unsafe { OwnedFd::from_raw_fd(life) };
        let mut desk = self.desk();
        if let Some(colleague) = desk.colleagues.get_mut(&member) {
            colleague.process = Some((pid, end_of_life));
        }
        if desk.is_ended || self.broken.get().is_some() {
            desk.colleagues.values().for_each(Colleague::kill);
        }
        Ok(())
    }
}

/// Finishes a future in Python; one that is cancelled meanwhile has as good an end.
fn finish(py: Python<'_>, future: &Py<Future>, outcome: Outcome) {
    if let Err(error) = Future::finish(future.bind(py), outcome) {
        if !error.is_instance(py, &names::invalid_state_error(py).expect("it was imported")) {
            error.write_unraisable(py, None);
        }
    }
}

impl Desk {
    /// Reads what the workers have sent.
    fn read_all(&mut self, chores: &mut Chores, wakes: &mut Wakes) {
        for (name, colleague) in &mut self.colleagues {
            loop {
                match colleague.incoming.next(&mut colleague.end.port.incoming) {
                    Ok(Some(message)) => {
                        if matches!(message.kind, Kind::Value | Kind::Error) {
                            self.task_us += 0.05 * (f64::from(message.took_us) - self.task_us);
                        }
                        // One that cannot be set up says so and leaves; it may have more to tell to others.
                        colleague.is_leaving |= message.kind == Kind::Unfit;
                        read(&mut self.fleet, *name, message, chores, wakes);
                    }
                    Ok(None) => break,
                    Err(_) => {
                        // Nothing that it says can be believed any more.
                        colleague.kill();
                        break;
                    }
                }
            }
        }
        self.fleet.set_depth(self.depth());
    }

    /// How many tasks a worker may hold: one if they are long, so that none waits in vain; many if they are tiny, so that a
    /// wake-up serves many of them; and towards the end no more than a fair share.
    fn depth(&self) -> usize {
        let share = self.fleet.waiting() / (2 * self.colleagues.len().max(1));
        let depth = (HELD_US / self.task_us.max(1.0)) as usize;
        depth.clamp(1, DEEPEST).min(share.max(DEPTH))
    }

    /// Sends what the fleet wants to be sent.
    fn dispatch(&mut self, office: &Office, chores: &mut Chores, wakes: &mut Wakes) {
        while let Some(next) = self.fleet.next_move() {
            match next {
                Move::Hire(name) => self.admit(office, name, chores),
                Move::Send(name) => {
                    let Some(task) = self.fleet.last_sent(name) else { continue };
                    let number = task.number;
                    let mut locked = task.job.future.get().promise.lock();
                    let started = match locked.state() {
                        State::Cancelled if locked.is_some() => None,
                        State::Running => Some(true),
                        _ => locked.start().ok().map(|(runs, told)| {
                            wakes.extend(told);
                            runs
                        }),
                    };
                    drop(locked);
                    match (started, self.colleagues.get_mut(&name)) {
                        (Some(true), Some(colleague)) => colleague.backlog.push_back(number),
                        (started, _) => {
                            if let Some(order) = self.fleet.returned(name, number) {
                                if started.is_none() {
                                    chores.settled.push(order.job.future);
                                } else {
                                    chores.dropped.push(order);
                                }
                            }
                        }
                    }
                }
                Move::Release(name) => self.dismiss(name),
            }
        }
        if self.is_closed && self.fleet.waiting() == 0 {
            let idle: Vec<u32> = self.fleet.members().filter(|name| self.fleet.held(*name) == 0).collect();
            for name in idle {
                self.dismiss(name);
            }
        }
        for (name, colleague) in &mut self.colleagues {
            if colleague.pump(&self.fleet, *name).is_err() {
                colleague.kill();
            }
        }
    }

    /// Makes a place for a new worker, whose process is still to be started: tasks may be put there already.
    fn admit(&mut self, office: &Office, name: u32, chores: &mut Chores) {
        let link = Bell::new().and_then(|theirs| {
            let bells = Bells { mine: office.bell.clone(), theirs };
            ParentEnd::create(SIZES, bells)
        });
        match link {
            Ok(end) => {
                let colleague = Colleague {
                    end,
                    incoming: Incoming::default(),
                    backlog: VecDeque::new(),
                    outgoing: None,
                    has_begun: false,
                    process: None,
                    is_leaving: false,
                };
                self.colleagues.insert(name, colleague);
                self.hires.push(name);
            }
            Err(error) => chores.unfit = Some(format!("no worker process can be started: {error}")),
        }
    }

    /// The descriptors that tell that a worker has ended.
    fn lives(&self) -> Vec<(u32, OwnedFd)> {
        let life = |colleague: &Colleague| colleague.process.as_ref()?.1.try_clone().ok();
        self.colleagues.iter().filter_map(|(name, colleague)| Some((*name, life(colleague)?))).collect()
    }

    fn dismiss(&mut self, name: u32) {
        if let Some(colleague) = self.colleagues.get_mut(&name) {
            if !std::mem::replace(&mut colleague.is_leaving, true) {
                colleague.backlog.push_back(0);
            }
        }
    }

    /// Announces that the leader is about to sleep. False if there is something to do.
    fn announce(&mut self) -> bool {
        let sleeps = self.colleagues.values_mut().all(|colleague| {
            let room = colleague.outgoing.as_ref().map(|outgoing| outgoing.wants(&colleague.end.port.outgoing));
            colleague.end.port.announce(room.map_or(Want::Frame, Want::Either)).unwrap_or(true)
        });
        if !sleeps {
            self.withdraw();
        }
        sleeps
    }

    fn withdraw(&mut self) {
        for colleague in self.colleagues.values_mut() {
            colleague.end.port.withdraw();
        }
    }

    /// Takes a dead worker off the list.
    fn bury(&mut self, name: u32) -> Option<Dead> {
        let colleague = self.colleagues.remove(&name)?;
        let mut lost = Vec::new();
        while let Some(order) = self.is_ended.then(|| self.fleet.take_any(name)).flatten() {
            lost.push(order);
        }
        let held = colleague.end.watch.held().map(|held| held.task.get());
        let remains = self.fleet.died(name, held);
        // One may have been killed by chance; a whole crew was not.
        self.stillborn = if remains.was_ready || colleague.is_leaving { 0 } else { self.stillborn + 1 };
        let is_hopeless = self.stillborn > self.fleet.limit();
        let pid = colleague.process.as_ref().map_or(0, |process| process.0);
        let is_expected = colleague.is_leaving && lost.is_empty();
        Some(Dead { pid, guilty: remains.guilty, lost, is_expected, is_ended: self.is_ended, is_hopeless })
    }
}

fn read(fleet: &mut Fleet<Order>, name: u32, message: Message, chores: &mut Chores, wakes: &mut Wakes) {
    let has_failed = match message.kind {
        Kind::Ready => return fleet.is_ready(name),
        Kind::Unfit => {
            chores.unfit = Some(String::from_utf8_lossy(&message.bytes).into_owned());
            return;
        }
        Kind::Value => false,
        Kind::Error => true,
        Kind::Call | Kind::Leave => return,
    };
    let Some(order) = fleet.returned(name, message.number) else { return };
    let outcome = Outcome::Packed(Arc::new(Packed { bytes: Arc::new(message.bytes), has_failed }));
    let future = order.job.future;
    let mut locked = future.get().promise.lock();
    if locked.is_some() {
        // Somebody has looked behind it: a callback, or the standard library's `wait`.
        drop(locked);
        chores.finished.push((future, outcome));
        return;
    }
    match locked.finish(outcome, has_failed) {
        Ok(told) => wakes.extend(told),
        Err(late) => drop(late),
    }
}

impl Colleague {
    /// Puts into the ring what there is room for, and wakes the worker if it sleeps.
    fn pump(&mut self, fleet: &Fleet<Order>, name: u32) -> Result<(), tercet_shm::Error> {
        while let Some(number) = self.backlog.front().copied() {
            let task = fleet.sent(name, number);
            // Bytes do not change, and the order holds them: they may be read without the GIL.
            let bytes = task.map_or(&[][..], |task| bytes_of(&task.job.call));
            let kind = if number == 0 { Kind::Leave } else { Kind::Call };
            let outgoing = self.outgoing.get_or_insert_with(|| Outgoing::new(number, kind, 0, bytes.len()));
            if !outgoing.push(bytes, &mut self.end.port.outgoing, &mut self.has_begun)? {
                break;
            }
            self.outgoing = None;
            self.has_begun = false;
            self.backlog.pop_front();
        }
        self.end.port.flush().map(drop)
    }

    fn kill(&self) {
        self.send_signal(rustix::process::Signal::KILL);
    }

    fn send_signal(&self, signal: rustix::process::Signal) {
        if let Some((_, life)) = &self.process {
            let _ = rustix::process::pidfd_send_signal(life, signal);
        }
    }
}

/// The bytes of a `bytes` object, which never change.
fn bytes_of(object: &Py<PyBytes>) -> &[u8] {
    // SAFETY: the object is alive as long as the reference, and CPython neither moves nor changes the bytes of an exact
    // `bytes` object; reading them takes no reference count and so needs no GIL.
    unsafe {
        let pointer = object.as_ptr();
        let begin = pyo3::ffi::PyBytes_AS_STRING(pointer).cast::<u8>();
        std::slice::from_raw_parts(begin, pyo3::ffi::Py_SIZE(pointer) as usize)
    }
}

/// The native half of `tercet.ProcessPoolExecutor`.
#[pyclass(module = "tercet._tercet", subclass, frozen)]
pub(crate) struct ProcessPool(OnceLock<Arc<Office>>);

/// What the leader of a pool runs.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Leader(Arc<Office>);

#[pymethods]
impl Leader {
    /// Read what the workers send until the pool is shut down and all is done.
    fn lead(&self, py: Python<'_>) {
        loop {
            let chores = py.outside(|| self.0.watch());
            let is_over = chores.is_over;
            self.0.attend(py, chores);
            if is_over {
                break;
            }
        }
        self.see_off(py);
    }

    /// Take no more tasks.
    fn close(&self) -> PyResult<()> {
        if self.0.generation != pool::generation() {
            // A fork of the program: the pool is not its own, and the lock may have been copied locked.
            return Ok(());
        }
        self.0.desk().is_closed = true;
        Ok(self.0.bell.ring().map_err(Error::from)?)
    }
}

impl Leader {
    /// Waits for the workers to leave, and ends those that do not.
    fn see_off(&self, py: Python<'_>) {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            let mut desk = self.0.desk();
            let lives = desk.lives();
            let mut wakes = Wakes::new();
            desk.dispatch(&self.0, &mut Chores::default(), &mut wakes);
            if lives.is_empty() {
                return;
            }
            if Instant::now() >= until {
                desk.colleagues.values().for_each(Colleague::kill);
            }
            drop(desk);
            let fds: Vec<BorrowedFd<'_>> = lives.iter().map(|(_, fd)| fd.as_fd()).collect();
            let deadline = until.max(Instant::now() + Duration::from_millis(200));
            let woken = py.outside(|| self.0.bell.wait(&fds, Some(deadline)));
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
            office.desk().is_closed = true;
            let _ = office.bell.ring();
        }
    }
}

impl ProcessPool {
    fn office(&self) -> PyResult<&Arc<Office>> {
        self.0
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("the executor was not initialized: call `super().__init__()`"))
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
    #[pyo3(signature = (limit, *, pack, hire, mourn, died, broken, lead, tasks_per_worker, starts_at_once, breaks_on_crash, retries))]
    #[expect(clippy::too_many_arguments, reason = "each is a hand that the pool has in Python")]
    fn _open(
        &self,
        limit: usize,
        pack: Py<PyAny>,
        hire: Py<PyAny>,
        mourn: Py<PyAny>,
        died: Py<PyAny>,
        broken: Py<PyAny>,
        lead: Py<PyAny>,
        tasks_per_worker: Option<u64>,
        starts_at_once: bool,
        breaks_on_crash: bool,
        retries: u32,
    ) -> PyResult<()> {
        let desk = Desk {
            fleet: Fleet::new(limit, DEPTH, tasks_per_worker),
            colleagues: BTreeMap::new(),
            hires: Vec::new(),
            is_closed: false,
            is_ended: false,
            has_leader: false,
            task_us: HELD_US / DEPTH as f64,
            stillborn: 0,
        };
        let office = Office {
            desk: Mutex::new(desk),
            bell: Bell::new().map_err(Error::from)?,
            broken: OnceLock::new(),
            generation: pool::generation(),
            starts_at_once,
            breaks_on_crash,
            retries,
            hands: Hands { pack, hire, mourn, died, broken, lead },
        };
        let _ = self.0.set(Arc::new(office));
        Ok(())
    }

    /// Schedule `fn(*args, **kwargs)` in a worker process and return a future for its outcome.
    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit(
        &self,
        r#fn: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Py<Future>> {
        let py = r#fn.py();
        let office = self.office()?;
        office.check(py)?;
        if let Some(words) = office.broken.get() {
            return Err(PyErr::from_value(office.hands.broken.bind(py).call1((words,))?));
        }
        if office.desk().is_closed {
            return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
        }
        let future = names::future_type(py)?.call0()?.cast_into::<Future>()?;
        office.begin(py, r#fn)?;
        let packed = match office.hands.pack.bind(py).call1((r#fn, args, kwargs)) {
            Ok(packed) => packed.cast_into::<PyBytes>()?.unbind(),
            Err(error) => {
                // As in the standard library, the future has the error.
                Future::start(&future)?;
                drop(Future::finish(&future, Outcome::Error(error.into_value(py).into_any()))?);
                return Ok(future.unbind());
            }
        };
        future.get().belongs_to(pool::OF_PROCESSES | u64::from(office.generation));
        let order = Order { future: future.clone().unbind(), call: packed, deaths: 0 };
        let mut chores = Chores::default();
        let mut wakes = Wakes::new();
        let mut desk = office.desk();
        desk.fleet.submit(order);
        desk.dispatch(office, &mut chores, &mut wakes);
        let wants_hands = !desk.hires.is_empty();
        drop(desk);
        drop((wakes, std::mem::take(&mut chores.dropped)));
        office.attend(py, chores);
        if wants_hands {
            office.bell.ring().map_err(Error::from)?;
        }
        Ok(future.unbind())
    }

    /// Take no more tasks, and cancel those that were not sent if `cancels`.
    fn _close(&self, py: Python<'_>, cancels: bool) -> PyResult<()> {
        let Some(office) = self.0.get() else { return Ok(()) };
        office.check(py)?;
        let mut desk = office.desk();
        desk.is_closed = true;
        let dropped = if cancels { desk.fleet.drain() } else { Vec::new() };
        drop(desk);
        office.cancel(py, dropped)
    }

    /// Send all workers a signal that ends them, and with them what they hold; take no more tasks and cancel the others.
    fn _end(&self, py: Python<'_>, number: i32) -> PyResult<()> {
        let Some(office) = self.0.get() else { return Ok(()) };
        office.check(py)?;
        let mut desk = office.desk();
        desk.is_closed = true;
        desk.is_ended = true;
        let dropped = desk.fleet.drain();
        if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            desk.colleagues.values().for_each(|colleague| colleague.send_signal(signal));
        }
        drop(desk);
        office.cancel(py, dropped)
    }

    /// Return the workers: their process numbers, and the number of tasks that each has done.
    fn _workers(&self) -> Vec<(i32, u64)> {
        let Some(office) = self.0.get() else { return Vec::new() };
        let desk = office.desk();
        let done = |colleague: &Colleague| colleague.end.watch.status().map_or(0, |status| status.tasks_done);
        let pid = |colleague: &Colleague| colleague.process.as_ref().map(|process| process.0);
        desk.colleagues.values().filter_map(|colleague| Some((pid(colleague)?, done(colleague)))).collect()
    }

    #[getter]
    fn _broken<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.0.get().and_then(|office| office.broken.get()) {
            Some(words) => Ok(words.into_pyobject(py)?.into_any()),
            None => Ok(pyo3::types::PyBool::new(py, false).to_owned().into_any()),
        }
    }
}
