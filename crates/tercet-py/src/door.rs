//! The one door between Python and Rust: nothing else attaches to the interpreter or leaves it.

use pyo3::Python;
use pyo3::marker::Ungil;

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
