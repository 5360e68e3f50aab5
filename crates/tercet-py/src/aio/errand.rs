//! What the loop does: an object, and what to do with it.
//!
//! This is the seam behind which everything of the loop stands. A handle in the ready queue is an errand, as is a transport whose
//! connection is lost; a watch of a descriptor is an errand that is done whenever the descriptor is ready. A new kind of
//! transport brings its own functions and changes nothing here.

use pyo3::prelude::*;

use super::object::Raw;
use super::turn::Turn;

/// What is done with an object, which lives until it is over. An error ends the loop: what is for an exception handler goes there.
pub(super) type Act = fn(&Turn<'_>, Raw) -> PyResult<()>;

/// Something to do.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) object: Py<PyAny>,
    pub(super) act: Act,
}

impl Errand {
    pub(super) fn new(object: Bound<'_, PyAny>, act: Act) -> Self {
        Self { object: object.unbind(), act }
    }

    /// Whether it is to do just this.
    pub(super) fn is(&self, act: Act) -> bool {
        std::ptr::fn_addr_eq(self.act, act)
    }

    /// Another reference to the same.
    pub(super) fn again(&self, py: Python<'_>) -> Self {
        Self { object: self.object.clone_ref(py), act: self.act }
    }

    /// Does it, once. The object is let go of afterwards.
    pub(super) fn run(self, turn: &Turn<'_>) -> PyResult<()> {
        let object = self.object.into_bound(turn.py);
        (self.act)(turn, object.as_ptr())
    }
}
