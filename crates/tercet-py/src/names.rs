//! What the standard library calls things: looked up once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

macro_rules! names {
    ($($(#[$doc:meta])* $function:ident = $module:literal, $name:literal;)*) => {
        $($(#[$doc])*
        pub(crate) fn $function(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
            static FOUND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let found = FOUND.get_or_try_init(py, || Ok::<_, PyErr>(py.import($module)?.getattr($name)?.unbind()))?;
            Ok(found.bind(py).clone())
        })*
    };
}

names! {
    /// The error of a future that was cancelled.
    cancelled_error = "concurrent.futures", "CancelledError";
    /// The error of a future that is set twice.
    invalid_state_error = "concurrent.futures", "InvalidStateError";
    /// The error of tasks whose pool cannot run them.
    broken_thread_pool = "concurrent.futures.thread", "BrokenThreadPool";
    /// Where the standard library's executors complain.
    logger = "concurrent.futures._base", "LOGGER";
    /// The lock with which the standard library guards a future.
    condition = "threading", "Condition";
    /// A copy of the context variables of the caller.
    copy_context = "contextvars", "copy_context";
    /// How an error of another process is unpacked.
    unpack_error = "tercet.parcel", "unpack_error";
    /// The error of a task that takes too long.
    timeout_error = "builtins", "TimeoutError";
    /// How a call is packed.
    pack = "tercet.parcel", "pack";
    /// How the arguments of a call are packed.
    pack_args = "tercet.parcel", "pack_args";
    /// Classes whose objects do not become bytes as they do by themselves.
    dispatch_table = "copyreg", "dispatch_table";
    /// The error of a task whose worker died.
    worker_crashed = "tercet.process_pool", "WorkerCrashed";
    /// The error of tasks whose pool of processes cannot run them.
    broken_process_pool = "concurrent.futures.process", "BrokenProcessPool";
    /// How an object becomes bytes, where no class has a say in it.
    dumps = "_pickle", "dumps";
    /// How bytes become an object.
    loads = "_pickle", "loads";
    /// How an object becomes a message of a queue.
    pack_message = "tercet.message", "pack";
    /// The error of a queue that has no room.
    full = "queue", "Full";
    /// The error of a queue that has nothing.
    empty = "queue", "Empty";
    /// The base of protocols that receive into a buffer of their own.
    buffered_protocol = "asyncio.protocols", "BufferedProtocol";
    /// The future of tasks.
    asyncio_future = "asyncio", "Future";
    /// The reader of a stream.
    stream_reader = "asyncio", "StreamReader";
    /// The writer of a stream.
    stream_writer = "asyncio", "StreamWriter";
    /// The error of a stream that ends too early.
    incomplete_read_error = "asyncio", "IncompleteReadError";
    /// The error of a stream without a separator.
    limit_overrun_error = "asyncio", "LimitOverrunError";
    /// The class of the futures that pools make.
    future = "tercet.futures", "Future";
}

/// Has the interpreter tell when this process is about to be copied, for the sake of what other processes lend it.
pub(crate) fn watch_forks(py: Python<'_>) -> PyResult<()> {
    static IS_WATCHED: PyOnceLock<()> = PyOnceLock::new();
    IS_WATCHED.get_or_try_init(py, || {
        let words = PyDict::new(py);
        words.set_item("before", pyo3::wrap_pyfunction!(crate::freight::about_to_fork, py)?)?;
        words.set_item("after_in_child", pyo3::wrap_pyfunction!(crate::lull::has_forked, py)?)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&words)).map(drop)
    })?;
    Ok(())
}

/// The class of the futures that pools make.
pub(crate) fn future_type(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    Ok(future(py)?.cast_into()?)
}

/// Makes an error of one of these classes.
pub(crate) fn error(class: PyResult<Bound<'_, PyAny>>, words: Option<String>) -> PyErr {
    let made = class.and_then(|class| match words {
        Some(words) => class.call1((words,)),
        None => class.call0(),
    });
    match made {
        Ok(error) => raised(error),
        Err(trouble) => trouble,
    }
}

/// Raises an exception as the statement does: what is being handled at the moment becomes its context.
pub(crate) fn raised(error: Bound<'_, PyAny>) -> PyErr {
    let py = error.py();
    if !error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return PyErr::from_value(error);
    }
    // SAFETY: the GIL is held, and both pointers are to live objects: an exception and its class.
    unsafe { pyo3::ffi::PyErr_SetObject(error.get_type().as_ptr(), error.as_ptr()) };
    PyErr::fetch(py)
}

/// Complains as `LOGGER.critical(message, exc_info=error)` does.
pub(crate) fn complain(py: Python<'_>, level: &str, message: &str, about: Option<&Bound<'_, PyAny>>, error: &PyErr) {
    let words = || -> PyResult<()> {
        let details = PyDict::new(py);
        details.set_item("exc_info", error.value(py))?;
        let logger = logger(py)?;
        match about {
            Some(about) => logger.call_method(level, (message, about), Some(&details))?,
            None => logger.call_method(level, (message,), Some(&details))?,
        };
        Ok(())
    };
    if let Err(trouble) = words() {
        trouble.write_unraisable(py, about);
    }
}
