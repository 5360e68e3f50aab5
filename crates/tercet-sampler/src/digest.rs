//! A stack, reduced to what the verdict needs of it.

use std::rc::Rc;

use tercet_model::Origin;

use crate::python::Place;
use crate::role::Role;

/// A line of the program, as lines are told apart while they are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LineKey {
    pub(crate) file: Rc<str>,
    pub(crate) line: u32,
    pub(crate) function: Rc<str>,
    pub(crate) origin: Origin,
    pub(crate) in_loop: bool,
}

/// What a stack says about the moment it was read in.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any may hold with any")]
pub(crate) struct Digest {
    /// The innermost line of the user's own code; else of an installed package; else of the library.
    pub(crate) line: Option<LineKey>,
    pub(crate) is_importing: bool,
    pub(crate) is_exiting: bool,
    /// Waits for another thread to do something: a join, a condition, a result.
    pub(crate) is_awaiting: bool,
    /// Moves tasks and results between processes.
    pub(crate) is_exchanging: bool,
    /// Waits for somebody to ask for something, as servers do.
    pub(crate) is_serving: bool,
    /// Waits for a child program.
    pub(crate) is_subprocess: bool,
    /// Runs in a worker of a thread pool, or in any started thread.
    pub(crate) is_worker_thread: bool,
    /// The queue that this worker of a thread pool takes its tasks from.
    pub(crate) queue: Option<u64>,
    /// The same of tercet's pool, which is no queue of the standard library's.
    pub(crate) work: Option<u64>,
    /// The event loop, and the number of timers that it has counted, as Python objects.
    pub(crate) timers: Option<(u64, u64)>,
    /// Runs in a worker process.
    pub(crate) is_worker_process: bool,
    /// An event loop runs in the thread.
    pub(crate) has_loop: bool,
    /// The frame of the callback that the event loop has called.
    pub(crate) callback: Option<u64>,
    pub(crate) outermost: Outermost,
}

/// What the outermost frame of a stack is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outermost {
    /// There is no frame.
    #[default]
    Nothing,
    /// The body of a module, or what runs one.
    Module,
    /// A function that was not called from Python.
    Function,
}

impl Outermost {
    fn of(stack: &[Place]) -> Self {
        match stack.last() {
            None => Self::Nothing,
            Some(place) if &*place.code.function == "<module>" || place.code.file.contains("runpy") => Self::Module,
            Some(place) if place.code.role == Role::Import => Self::Module,
            Some(_) => Self::Function,
        }
    }
}

impl Digest {
    /// Reads a stack, the innermost frame first.
    pub(crate) fn of(stack: &[Place]) -> Self {
        let roles = || stack.iter().map(|place| place.code.role);
        let has = |role| roles().any(|found| found == role);
        let own = own(stack);
        let inner = &stack[..own.unwrap_or(stack.len())];
        let inner_has = |role| inner.iter().any(|place| place.code.role == role);
        let callback = callback(stack);
        Self {
            line: line(stack, callback.is_some()),
            is_importing: has(Role::Import),
            is_exiting: has(Role::Exit),
            is_awaiting: is_awaiting(inner),
            is_exchanging: inner_has(Role::Exchange)
                || inner_has(Role::ProcessWorker)
                || inner_has(Role::OldPoolWorker),
            is_serving: inner_has(Role::Serve),
            is_subprocess: inner_has(Role::Subprocess),
            is_worker_thread: has(Role::ThreadRun),
            queue: telling(stack, &[Role::PoolWorker, Role::OldPoolWorker]),
            work: telling(stack, &[Role::TercetWorker]),
            timers: stack.iter().find_map(|place| place.event_loop.zip(place.telling)),
            is_worker_process: has(Role::ProcessWorker),
            has_loop: has(Role::LoopRun) || has(Role::LoopTurn),
            callback,
            outermost: Outermost::of(stack),
        }
    }
}

/// What the innermost frame in one of these roles tells.
fn telling(stack: &[Place], roles: &[Role]) -> Option<u64> {
    stack.iter().find(|place| roles.contains(&place.code.role))?.telling
}

/// The innermost frame of the user's own code. Code that is made from a string, as `namedtuple` makes
/// it, counts only when there is no file of the user's on the stack.
fn own(stack: &[Place]) -> Option<usize> {
    let is_own = |place: &Place| place.code.origin == Origin::Own;
    let is_file = |place: &Place| is_own(place) && !place.code.file.starts_with('<');
    stack.iter().position(is_file).or_else(|| stack.iter().position(is_own))
}

/// Whether the library's innermost frames wait for another thread: `Condition.wait` and its kin, but
/// not when a semaphore waits through them.
fn is_awaiting(inner: &[Place]) -> bool {
    let mut roles = inner.iter().map(|place| place.code.role);
    match roles.find(|role| matches!(role, Role::Await | Role::Acquire) || role.is_worker()) {
        Some(role) if role.is_worker() => true,
        Some(Role::Await) => !inner.iter().any(|place| place.code.role == Role::Acquire),
        _ => false,
    }
}

/// The outermost frame that the event loop has called, when there is code of the program in it.
fn callback(stack: &[Place]) -> Option<u64> {
    let runs = |place: &Place| matches!(place.code.role, Role::LoopRun | Role::LoopTurn | Role::LoopCallback);
    let first = stack.iter().position(runs)?;
    let called = &stack[..first];
    let is_work = called.iter().any(|place| place.code.origin != Origin::StandardLibrary)
        || (stack[first].code.role == Role::LoopCallback && !called.is_empty());
    is_work.then(|| called.last().map(|place| place.address))?
}

fn line(stack: &[Place], in_loop: bool) -> Option<LineKey> {
    let package = || stack.iter().position(|place| place.code.origin == Origin::SitePackages);
    let place = stack.get(own(stack).or_else(package).unwrap_or(0))?;
    Some(LineKey {
        file: place.code.file.clone(),
        line: place.line(),
        function: place.code.function.clone(),
        origin: place.code.origin,
        in_loop,
    })
}
