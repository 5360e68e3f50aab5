//! What a reader consists of.
//!
//! The names are those of asyncio's own attributes, which the class in Python shows with an underscore: what asyncio does in
//! Python with a reader of ours, and what programs do to the insides of a reader, it does to this.
//!
//! Whoever asks for the buffer gets a `bytearray`, and from then on it is the buffer: what is done to it counts.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyRuntimeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::super::object::{Own, Slot, call_method0, call_method1};
use super::super::reading::Memory;
use super::intake::Intake;

/// The name of the one argument of futures.
static LOOP_NAMED: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();

/// The insides of a `StreamReader`. `tercet.streams.StreamReader` is the class.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Inbox {
    intake: Own<Intake>,
    /// The buffer, once anybody has asked for it.
    shared: Slot,
    pub(super) waiter: Slot,
    pub(super) exception: Slot,
    transport: Slot,
    owner: Slot,
    limit: Cell<usize>,
    is_eof: Cell<bool>,
    is_paused: Cell<bool>,
    /// Whether the loop makes futures as asyncio's does.
    is_plain: Cell<bool>,
}

// SAFETY: a reader is touched by one thread at a time: by its loop's, or by one that holds the GIL.
unsafe impl Send for Inbox {}
// SAFETY: as above.
unsafe impl Sync for Inbox {}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.slots().into_iter().for_each(Slot::clear);
    }
}

impl Inbox {
    fn slots(&self) -> [&Slot; 5] {
        [&self.shared, &self.waiter, &self.exception, &self.transport, &self.owner]
    }

    fn shared<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyByteArray>> {
        if self.shared.is_empty() {
            return None;
        }
        self.shared.get(py).and_then(|shared| shared.cast_into().ok())
    }

    pub(super) fn len(&self, py: Python<'_>) -> usize {
        match self.shared(py) {
            Some(shared) => shared.len(),
            None => self.intake.with(|intake| intake.len()),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    pub(super) fn is_eof(&self) -> bool {
        self.is_eof.get()
    }

    /// Looks at what is there. `act` calls no Python.
    pub(super) fn look<R>(&self, py: Python<'_>, act: impl FnOnce(&[u8]) -> R) -> R {
        match self.shared(py) {
            // SAFETY: `act` calls no Python, so nobody changes the buffer.
            Some(shared) => act(unsafe { shared.as_bytes() }),
            None => self.intake.with(|intake| act(intake.bytes())),
        }
    }

    /// Takes the first bytes, or all if there are less.
    pub(super) fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let data = self.look(py, |bytes| PyBytes::new(py, &bytes[..count.min(bytes.len())]));
        self.skip(py, count.min(data.len()?))?;
        Ok(data)
    }

    /// Takes bytes away; there are so many.
    pub(super) fn skip(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let Some(shared) = self.shared(py) else {
            self.intake.with(|intake| intake.skip(count));
            return Ok(());
        };
        // SAFETY: the buffer lives. Where it is looked at by somebody, it cannot be made smaller, and that is an error.
        if unsafe { ffi::PySequence_DelSlice(shared.as_ptr(), 0, count as isize) } < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(())
    }

    /// Data have come.
    pub(super) fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        if self.is_eof() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        if data.is_empty() {
            return Ok(());
        }
        match self.shared(py) {
            Some(shared) => shared.call_method1(intern!(py, "extend"), (PyBytes::new(py, data),)).map(drop)?,
            None => self.intake.with(|intake| intake.push(data)),
        }
        self.wake(py)?;
        self.pause_if_full(py)
    }

    /// The same, of an object.
    pub(super) fn feed_object(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return self.feed(py, bytes.as_bytes());
        }
        if self.is_eof() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        if !data.is_truthy()? {
            return Ok(());
        }
        match Memory::view(data, ffi::PyBUF_SIMPLE) {
            Ok(memory) if memory.0.len > 0 => {
                // SAFETY: the view is held during the call; what is fed is copied before any Python runs.
                self.feed(py, unsafe { std::slice::from_raw_parts(memory.0.buf.cast::<u8>(), memory.0.len as usize) })
            }
            Ok(_) => Ok(()),
            Err(_) => {
                // Whatever else a bytearray can be extended by.
                let copy = PyByteArray::new(py, &[]);
                copy.call_method1(intern!(py, "extend"), (data,))?;
                self.feed(py, &copy.to_vec())
            }
        }
    }

    fn pause_if_full(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_paused.get() || self.len(py) <= self.limit().saturating_mul(2) {
            return Ok(());
        }
        let Some(transport) = self.transport.get(py) else { return Ok(()) };
        match call_method0(&transport, intern!(py, "pause_reading").as_any()) {
            Ok(_) => self.is_paused.set(true),
            // It cannot be paused; it need not be asked again.
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => self.transport.clear(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn maybe_resume(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_paused.get() && self.len(py) <= self.limit() { self.resume(py) } else { Ok(()) }
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.is_paused.set(false);
        self.transport.or_none(py).call_method0(intern!(py, "resume_reading")).map(drop)
    }

    /// Tells whoever waits that there is something.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if call_method0(&waiter, intern!(py, "cancelled").as_any())?.is_truthy()? {
            return Ok(());
        }
        call_method1(&waiter, intern!(py, "set_result").as_any(), py.None().bind(py)).map(drop)
    }

    pub(super) fn feed_end(&self, py: Python<'_>) -> PyResult<()> {
        self.is_eof.set(true);
        self.wake(py)
    }

    pub(super) fn fail(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        self.exception.set(error);
        let Some(waiter) = self.waiter.take(py) else { return Ok(()) };
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(intern!(py, "set_exception"), (error,)).map(drop)
    }

    /// Returns the future that a caller has to wait for.
    pub(super) fn wait<'py>(&self, py: Python<'py>, caller: &str) -> PyResult<Bound<'py, PyAny>> {
        if !self.waiter.is_empty() {
            let words = format!("{caller}() called while another coroutine is already waiting for incoming data");
            return Err(PyRuntimeError::new_err(words));
        }
        if self.is_eof() {
            return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
        }
        // Who waits while nothing is read would wait for ever.
        if self.is_paused.get() {
            self.resume(py)?;
        }
        let future = self.make_future(py)?;
        self.waiter.set(&future);
        Ok(future)
    }

    /// What `create_future` of the loop makes.
    fn make_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let owner = self.owner.or_none(py);
        if !self.is_plain.get() {
            return call_method0(&owner, intern!(py, "create_future").as_any());
        }
        let names = LOOP_NAMED.get_or_try_init(py, || PyTuple::new(py, ["loop"]).map(Bound::unbind))?;
        let class = crate::names::asyncio_future(py)?;
        // SAFETY: there is one argument, which has a name; all are live objects.
        unsafe {
            let future = ffi::PyObject_Vectorcall(class.as_ptr(), [owner.as_ptr()].as_ptr(), 0, names.as_ptr());
            Bound::from_owned_ptr_or_err(py, future)
        }
    }

    pub(super) fn set_transport(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.transport.is_empty() {
            return Err(PyAssertionError::new_err("Transport already set"));
        }
        self.py_set_transport(transport);
        Ok(())
    }
}

fn fill(slot: &Slot, value: &Bound<'_, PyAny>) {
    if value.is_none() {
        slot.clear();
    } else {
        slot.set(value);
    }
}

#[pymethods]
impl Inbox {
    #[new]
    fn new() -> Self {
        let empty = Slot::empty;
        Self {
            intake: Own::new(Intake::default()),
            shared: empty(),
            waiter: empty(),
            exception: empty(),
            transport: empty(),
            owner: empty(),
            limit: Cell::new(1 << 16),
            is_eof: Cell::new(false),
            is_paused: Cell::new(false),
            is_plain: Cell::new(false),
        }
    }

    #[getter]
    fn buffer<'py>(&self, py: Python<'py>) -> Bound<'py, PyByteArray> {
        if let Some(shared) = self.shared(py) {
            return shared;
        }
        let shared = self.intake.with(|intake| {
            let shared = PyByteArray::new(py, intake.bytes());
            intake.clear();
            shared
        });
        self.shared.set(shared.as_any());
        shared
    }

    #[setter]
    fn set_buffer(&self, value: &Bound<'_, PyByteArray>) {
        self.intake.with(Intake::clear);
        if value.is_empty() {
            self.shared.clear();
        } else {
            self.shared.set(value.as_any());
        }
    }

    #[getter]
    fn get_waiter<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.waiter.or_none(py)
    }

    #[setter]
    fn set_waiter(&self, value: &Bound<'_, PyAny>) {
        fill(&self.waiter, value);
    }

    #[getter]
    fn get_exception<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.exception.or_none(py)
    }

    #[setter]
    fn set_exception(&self, value: &Bound<'_, PyAny>) {
        fill(&self.exception, value);
    }

    #[getter(transport)]
    fn py_transport<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.transport.or_none(py)
    }

    #[setter(transport)]
    fn py_set_transport(&self, value: &Bound<'_, PyAny>) {
        fill(&self.transport, value);
    }

    #[getter]
    fn get_loop<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.owner.or_none(py)
    }

    #[setter]
    fn set_loop(&self, value: &Bound<'_, PyAny>) {
        fill(&self.owner, value);
    }

    #[getter(limit)]
    fn py_limit(&self) -> usize {
        self.limit.get()
    }

    #[setter(limit)]
    fn py_set_limit(&self, value: usize) {
        self.limit.set(value);
    }

    #[getter]
    fn eof(&self) -> bool {
        self.is_eof.get()
    }

    #[setter]
    fn set_eof(&self, value: bool) {
        self.is_eof.set(value);
    }

    #[getter]
    fn paused(&self) -> bool {
        self.is_paused.get()
    }

    #[setter]
    fn set_paused(&self, value: bool) {
        self.is_paused.set(value);
    }

    #[getter]
    fn plain(&self) -> bool {
        self.is_plain.get()
    }

    #[setter]
    fn set_plain(&self, value: bool) {
        self.is_plain.set(value);
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.len(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in self.slots() {
            slot.show(&visit)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.slots().into_iter().for_each(Slot::clear);
    }
}
