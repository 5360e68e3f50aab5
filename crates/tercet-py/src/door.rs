//! The one door between Python and Rust: nothing else attaches to the interpreter or leaves it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::marker::Ungil;
use pyo3::panic::PanicException;
use pyo3::{PyResult, Python};

/// Leaving the interpreter for a while.
pub(crate) trait Door {
    /// Runs `work` without the GIL, so that other Python threads run meanwhile.
    fn outside<T: Ungil + Send>(self, work: impl Ungil + Send + FnOnce() -> T) -> T;
}

impl Door for Python<'_> {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn outside<T: Ungil + Send>(self, work: impl Ungil + Send + FnOnce() -> T) -> T {
        self.detach(work)
    }
}

/// Runs `work` inside the interpreter, from a thread that is not Python's. Waits for the GIL. `None` when the interpreter ends.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn inside<R>(work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    Python::try_attach(work)
}

/// Runs the body of a function that CPython calls through a pointer. An error is raised and `failed` returned; a panic is
/// an error too.
///
/// # Safety
/// CPython is the caller: the thread is attached.
pub(crate) unsafe fn called<R>(failed: R, body: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: CPython is the caller, as asked for above.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            error.restore(py);
            failed
        }
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            PanicException::new_err(words.to_owned()).restore(py);
            failed
        }
    }
}
