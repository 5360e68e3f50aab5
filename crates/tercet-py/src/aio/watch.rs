//! Watches of descriptors: `add_reader`, `add_writer`, and what takes them away.
//!
//! A callback goes through the ready queue, as in `asyncio`: it runs after what was ready before. Who uses these closes
//! descriptors without a word, so a removal is told to the kernel at once.

use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use tercet_reactor::Direction;

use super::core::LoopCore;
use super::errand::Errand;
use super::handle;
use super::object::{Raw, os_error};
use super::schedule::{Arguments, owner_of, trace};
use super::socket;
use super::turn::Turn;

/// A callback whose descriptor is ready joins the ready queue.
#[expect(clippy::unnecessary_wraps, reason = "it is an errand")]
pub(super) fn call_back(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the handle.
    let handle = unsafe { Bound::from_borrowed_ptr(turn.py, object) };
    turn.core.soon(Errand::new(handle, handle::run));
    Ok(())
}

/// The descriptor of a file, or of a number, as selectors take it.
pub(super) fn descriptor(file: &Bound<'_, PyAny>) -> PyResult<i32> {
    let fd = if file.is_instance_of::<PyInt>() {
        file.extract::<i32>()?
    } else {
        number_of(file).map_err(|error| refuse(file, error))?
    };
    if fd < 0 { Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}"))) } else { Ok(fd) }
}

fn number_of(file: &Bound<'_, PyAny>) -> PyResult<i32> {
    let number = file.call_method0(intern!(file.py(), "fileno"))?;
    if number.is_instance_of::<PyInt>() {
        return number.extract();
    }
    file.py().get_type::<PyInt>().call1((number,))?.extract()
}

fn refuse(file: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = file.py();
    let is_no_file = error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py);
    match file.repr() {
        Ok(shown) if is_no_file => PyValueError::new_err(format!("Invalid file object: {shown}")),
        _ => error,
    }
}

impl LoopCore {
    /// Watches a descriptor. What stood there is returned.
    pub(super) fn watch(
        &self,
        py: Python<'_>,
        fd: i32,
        direction: Direction,
        errand: Errand,
    ) -> PyResult<Option<Errand>> {
        let selector = self.selector()?;
        // The kernel may have lost the descriptor of a watch that rests, unless it is the same socket that takes it over.
        let rested = self.slots.with(|slots| {
            let is_other = slots.watch(fd, direction).is_some_and(|old| socket::is_rest_of_another(old, &errand));
            is_other.then(|| (slots.take(fd, direction), slots.settle(&selector, fd)))
        });
        drop(rested);
        self.slots.with(|slots| slots.set(&selector, fd, direction, errand)).map_err(|(error, errand)| {
            drop(errand);
            os_error(py, &error)
        })
    }

    /// Ends a watch. The kernel is told before the next wait.
    pub(super) fn unwatch(&self, fd: i32, direction: Direction) -> Option<Errand> {
        self.slots.with(|slots| slots.take(fd, direction))
    }

    /// Tells the kernel of a descriptor now.
    pub(super) fn settle(&self, fd: i32) {
        let Some(selector) = self.selector.with(|selector| selector.clone()) else { return };
        self.slots.with(|slots| slots.settle(&selector, fd));
    }

    /// Ends all watches of a descriptor that is about to be closed.
    pub(super) fn unwatch_all(&self, fd: i32) {
        let Some(selector) = self.selector.with(|selector| selector.clone()) else { return };
        let watches = self.slots.with(|slots| slots.forget(&selector, fd));
        drop(watches);
    }

    /// Ends the watch of a callback. Returns whether there was any.
    pub(super) fn remove(&self, py: Python<'_>, file: &Bound<'_, PyAny>, direction: Direction) -> PyResult<bool> {
        if self.is_closed.get() {
            return Ok(false);
        }
        let fd = match descriptor(file) {
            Ok(fd) => fd,
            Err(error) => self.descriptor_before(file).ok_or(error)?,
        };
        let Some(errand) = self.unwatch(fd, direction) else { return Ok(false) };
        if self.slots.with(|slots| slots.watch(fd, direction.other()).is_none()) {
            drop(self.files.with(|files| files.remove(&fd)));
        }
        self.settle(fd);
        if socket::is_resting(&errand) {
            return Ok(false);
        }
        if errand.is(call_back) {
            errand.object.call_method0(py, "cancel")?;
        }
        Ok(true)
    }
}

impl LoopCore {
    /// The descriptor that a file had when it was given a callback: it may be closed since.
    fn descriptor_before(&self, file: &Bound<'_, PyAny>) -> Option<i32> {
        self.files.with(|files| files.iter().find(|(_, known)| known.is(file)).map(|(fd, _)| *fd))
    }

    /// Remembers what a descriptor is watched for.
    fn remember(&self, fd: i32, file: &Bound<'_, PyAny>) {
        let is_number = file.is_instance_of::<PyInt>();
        let old = self.files.with(
            |files| {
                if is_number { files.remove(&fd) } else { files.insert(fd, file.clone().unbind()) }
            },
        );
        drop(old);
    }
}

/// `_add_reader(fd, callback, *args)` and `_add_writer`. They return the handle.
pub(super) fn add(py: Python<'_>, object: Raw, arguments: &Arguments<'_>, direction: Direction) -> PyResult<Raw> {
    // SAFETY: CPython calls the method.
    let owner = unsafe { owner_of(py, object) };
    let core = owner.get();
    core.check_open()?;
    // SAFETY: the caller owns the argument.
    let file = unsafe { Bound::from_borrowed_ptr(py, arguments.positional[0]) };
    let fd = descriptor(&file)?;
    let handle = arguments.later(object, 1).handle(py, false)?;
    if core.is_debugging() {
        trace(&owner, &handle)?;
    }
    let old = core.watch(py, fd, direction, Errand::new(handle.clone(), call_back))?;
    core.remember(fd, &file);
    if let Some(old) = old.filter(|old| old.is(call_back)) {
        old.object.call_method0(py, "cancel")?;
    }
    Ok(handle.into_ptr())
}

/// Runs a handle that is not ours, as one of `asyncio`'s own.
pub(super) fn run_foreign(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    turn.leave();
    // SAFETY: the errand owns the handle.
    let handle = unsafe { Bound::from_borrowed_ptr(turn.py, object) };
    if !handle.getattr("_cancelled")?.is_truthy()? {
        handle.call_method0("_run")?;
    }
    Ok(())
}
