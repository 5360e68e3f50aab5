//! What a function of the standard library does for the thread that runs it.
//!
//! The kernel says that a thread waits on a futex; the function it waits in says whether that is a
//! worker without work, a caller that waits for a result, or a lock that is fought over.

use tercet_model::Origin;

/// The role of a function, by its file and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Any function that is not one of the following.
    Plain,
    /// The import system.
    Import,
    /// The way out of the interpreter.
    Exit,
    /// `Thread.join`, `Condition.wait` and their kin: the thread waits for another to do something.
    Await,
    /// `Semaphore.acquire`: its wait is a lock's, although it passes through `Condition.wait`.
    Acquire,
    /// The outermost function of a worker thread of a pool.
    PoolWorker,
    /// The outermost function of a worker of `tercet.ThreadPoolExecutor`.
    TercetWorker,
    /// The outermost function of a worker of `multiprocessing.Pool` and its `ThreadPool`.
    OldPoolWorker,
    /// `Thread.run` and what calls it: the outermost functions of any thread.
    ThreadRun,
    /// Moves tasks and results between the processes of a pool.
    Exchange,
    /// The outermost function of a worker process.
    ProcessWorker,
    /// Waits for somebody to ask for something.
    Serve,
    /// Starts child programs and waits for them.
    Subprocess,
    /// Runs the event loop.
    LoopRun,
    /// One turn of the event loop.
    LoopTurn,
    /// Calls one callback of the event loop.
    LoopCallback,
    /// Asks the kernel for what is ready.
    Select,
}

impl Role {
    /// The role of the function `function` of the file `file`.
    pub(crate) fn of(file: &str, function: &str) -> Self {
        if file.starts_with("<frozen importlib") || file == "<frozen zipimport>" {
            return Self::Import;
        }
        if let Some(module) = tercet_module(file) {
            return Self::of_tercet(module, function);
        }
        let Some(module) = standard_module(file) else { return Self::of_package(file, function) };
        match (module, function) {
            ("threading.py", "_shutdown") | ("weakref.py", "_exitfunc") => Self::Exit,
            ("threading.py", "join" | "wait" | "wait_for" | "_wait_for_tstate_lock")
            | ("queue.py", "get" | "put" | "join")
            | ("concurrent/futures/_base.py", "result" | "exception" | "wait" | "as_completed") => Self::Await,
            ("threading.py", "acquire" | "__enter__") => Self::Acquire,
            ("threading.py", "run" | "_bootstrap" | "_bootstrap_inner") => Self::ThreadRun,
            ("concurrent/futures/thread.py", "_worker") => Self::PoolWorker,
            ("multiprocessing/pool.py", "worker") => Self::OldPoolWorker,
            ("concurrent/futures/process.py", "_process_worker")
            | ("multiprocessing/process.py", "_bootstrap" | "run") => Self::ProcessWorker,
            ("multiprocessing/synchronize.py", _) => Self::Plain,
            ("concurrent/futures/process.py", _) => Self::Exchange,
            (module, _) if module.starts_with("multiprocessing/") => Self::Exchange,
            ("socketserver.py", "serve_forever") => Self::Serve,
            ("subprocess.py", _) => Self::Subprocess,
            ("selectors.py", "select") => Self::Select,
            ("asyncio/base_events.py", "_run_once") => Self::LoopTurn,
            ("asyncio/base_events.py", "run_forever" | "run_until_complete") | ("asyncio/runners.py", "run") => {
                Self::LoopRun
            }
            ("asyncio/events.py", "_run") => Self::LoopCallback,
            _ => Self::Plain,
        }
    }

    /// Whether it is the outermost function of a worker of a pool of threads.
    pub(crate) fn is_worker(self) -> bool {
        matches!(self, Self::PoolWorker | Self::TercetWorker | Self::OldPoolWorker)
    }

    /// Which variable of the function tells how much is under way: the queue of a thread pool, or the
    /// number of timers that an event loop has counted.
    pub(crate) fn telling_variable(self, minor: u8) -> Option<u64> {
        match self {
            Self::PoolWorker => Some(if minor < 14 { 1 } else { 2 }),
            Self::TercetWorker | Self::LoopTurn => Some(1),
            Self::OldPoolWorker => Some(0),
            _ => None,
        }
    }

    /// Which variable of the function is the event loop itself.
    pub(crate) fn loop_variable(self) -> Option<u64> {
        (self == Self::LoopTurn).then_some(0)
    }

    fn of_tercet(module: &str, function: &str) -> Self {
        match (module, function) {
            ("thread_pool.py", "_serve") => Self::TercetWorker,
            ("futures.py", _) => Self::Await,
            _ => Self::Plain,
        }
    }

    fn of_package(file: &str, function: &str) -> Self {
        match function {
            "run" | "unrolled_run" if file.ends_with("/trio/_core/_run.py") => Self::LoopRun,
            "_process_worker" if file.ends_with("/loky/process_executor.py") => Self::ProcessWorker,
            _ if file.contains("/loky/") => Self::Exchange,
            _ => Self::Plain,
        }
    }
}

/// Whose code a file is.
pub(crate) fn origin(file: &str) -> Origin {
    if tercet_module(file).is_some() {
        // It stands in for the library's pool, wherever it is installed.
        Origin::StandardLibrary
    } else if file.contains("/site-packages/") || file.contains("/dist-packages/") {
        Origin::SitePackages
    } else if file.starts_with("<frozen ") || standard_module(file).is_some() {
        Origin::StandardLibrary
    } else {
        Origin::Own
    }
}

/// The name of a module of tercet that stands in for one of the standard library's.
fn tercet_module(file: &str) -> Option<&str> {
    let (_, module) = file.rsplit_once("/tercet/")?;
    matches!(module, "thread_pool.py" | "futures.py").then_some(module)
}

/// The path below the folder of the standard library, such as `concurrent/futures/thread.py`.
fn standard_module(file: &str) -> Option<&str> {
    if let Some(frozen) = file.strip_prefix("<frozen ") {
        // Modules frozen into the interpreter carry their dotted name and no path.
        return match frozen.trim_end_matches('>') {
            "os" => Some("os.py"),
            "runpy" => Some("runpy.py"),
            _ => None,
        };
    }
    let (_, rest) = file.rsplit_once("/lib/python3.").or_else(|| file.rsplit_once("/lib64/python3."))?;
    let (minor, module) = rest.split_once('/')?;
    let is_library = minor.trim_end_matches('t').bytes().all(|b| b.is_ascii_digit());
    (is_library && !module.starts_with("site-packages/")).then_some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_of_a_worker_differs_from_that_of_a_lock() {
        let lib = |module| format!("/usr/lib/python3.12/{module}");
        assert_eq!(Role::of(&lib("concurrent/futures/thread.py"), "_worker"), Role::PoolWorker);
        assert_eq!(Role::of(&lib("threading.py"), "acquire"), Role::Acquire);
        assert_eq!(Role::of(&lib("threading.py"), "join"), Role::Await);
        assert_eq!(Role::of("/home/me/threading.py", "join"), Role::Plain);
        assert_eq!(Role::of("/venv/lib/python3.12/site-packages/tercet/thread_pool.py", "_serve"), Role::TercetWorker);
        assert_eq!(Role::of("/home/me/tercet/python/tercet/futures.py", "as_completed"), Role::Await);
        assert_eq!(Role::of("<frozen importlib._bootstrap>", "_find_and_load"), Role::Import);
    }

    #[test]
    fn own_code_is_told_from_packages_and_library() {
        assert_eq!(origin("/home/me/app.py"), Origin::Own);
        assert_eq!(origin("<string>"), Origin::Own);
        assert_eq!(origin("<frozen runpy>"), Origin::StandardLibrary);
        assert_eq!(origin("/home/me/.venv/lib/python3.11/site-packages/x/y.py"), Origin::SitePackages);
        assert_eq!(origin("/usr/lib/python3/dist-packages/x.py"), Origin::SitePackages);
        assert_eq!(
            origin("/home/me/.venv/lib/python3.11/site-packages/tercet/thread_pool.py"),
            Origin::StandardLibrary
        );
        assert_eq!(origin("/home/me/tercet/app.py"), Origin::Own);
        assert_eq!(origin("/opt/py/lib/python3.13/json/decoder.py"), Origin::StandardLibrary);
    }
}
