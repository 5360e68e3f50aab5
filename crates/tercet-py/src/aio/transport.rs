//! What all transports do alike, whatever they carry: telling the loop and the protocol of what has happened.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use super::core::LoopCore;
use super::object::{Slot, call_method0, ends_the_loop};
use super::turn::Turn;

/// A transport that somebody acts upon.
pub(super) trait Transport<'py> {
    fn object(&self) -> &Bound<'py, PyAny>;

    /// The loop, which is there until the garbage collector has come.
    fn owner(&self) -> PyResult<Bound<'py, LoopCore>>;

    fn protocol(&self) -> Bound<'py, PyAny>;

    /// Tells the exception handler.
    fn report(&self, message: &str, error: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = error.py();
        let context = PyDict::new(py);
        context.set_item("message", message)?;
        context.set_item("exception", error)?;
        context.set_item("transport", self.object())?;
        context.set_item("protocol", self.protocol())?;
        self.owner()?.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
    }

    /// Reports what a method of the protocol has raised, as a handle would.
    fn complain(&self, turn: &Turn<'py>, error: PyErr, method: &str) -> PyResult<()> {
        turn.leave();
        let py = turn.py;
        if ends_the_loop(py, &error) {
            return Err(error);
        }
        let shown = self.protocol().get_type().qualname().map_or_else(|_| String::new(), |name| name.to_string());
        let message = format!("Exception in callback {shown}.{method}()");
        self.report(&message, error.into_value(py).into_bound(py).as_any())
    }

    /// Calls a method of the protocol that has to do with flow control.
    fn tell_protocol(&self, method: &Bound<'py, PyAny>, message: &str) -> PyResult<()> {
        let py = method.py();
        match call_method0(&self.protocol(), method) {
            Ok(_) => Ok(()),
            Err(error) if ends_the_loop(py, &error) => Err(error),
            Err(error) => self.report(message, error.into_value(py).into_bound(py).as_any()),
        }
    }

    /// Tells whoever waits that the transport is there.
    fn tell_waiter(&self, waiter: &Slot) -> PyResult<()> {
        let py = self.object().py();
        match waiter.take(py) {
            Some(waiter) if !waiter.call_method0("done")?.is_truthy()? => {
                waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Says something in debug mode.
    fn debug(&self, words: &str) -> PyResult<()> {
        let owner = self.owner()?;
        if owner.get().is_debugging() {
            owner.call_method1("_debug_log", (words, self.object()))?;
        }
        Ok(())
    }
}

pub(super) fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

pub(super) fn truth(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

/// The two limits of flow control, from those that are given.
pub(super) fn water(
    high: Option<&Bound<'_, PyAny>>,
    low: Option<&Bound<'_, PyAny>>,
    default_high: i64,
) -> PyResult<(usize, usize)> {
    let number = |value: Option<&Bound<'_, PyAny>>| -> PyResult<Option<i64>> {
        value.filter(|value| !value.is_none()).map(PyAnyMethods::extract::<i64>).transpose()
    };
    let (high, low) = (number(high)?, number(low)?);
    let high = high.unwrap_or_else(|| low.map_or(default_high, |low| low.saturating_mul(4)));
    let low = low.unwrap_or(high.div_euclid(4));
    if !(high >= low && low >= 0) {
        return Err(PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0")));
    }
    Ok((high as usize, low as usize))
}
