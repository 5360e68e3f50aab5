//! What Python sees of the native half: the one block of methods. Each is a sentence that names the file where it is told.
//!
//! Rules of re-entrance: `_release` moves everything out before it lets go of anything.

use std::sync::PoisonError;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use tercet_reactor::{Direction, Timers, clock_ns};

use super::channel::Kind;
use super::core::{LoopCore, this_thread};
use super::errand::Errand;
use super::turn::Turn;
use super::watch::run_foreign;
use super::{datagram, guard, handle, listener, pipe, stream};
use crate::call;

/// Lets the loop go, whatever becomes of its turns.
struct Owned<'a>(&'a LoopCore);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.0.pulse.rest();
        self.0.owner.set(0);
        self.0.tell_the_collector();
    }
}

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(py: Python<'_>, _args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Self::open(py)
    }

    /// Return the loop's clock, in seconds: that of `time.monotonic`.
    #[expect(clippy::unused_self, reason = "it is a method of loops")]
    fn time(&self) -> f64 {
        clock_ns() as f64 / 1e9
    }

    /// Run turns until `stop` is called; one turn where `run_forever` is not what runs.
    ///
    /// `run_forever` of `asyncio` calls it in a loop of its own, which so goes round once.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        let core = slf.get();
        core.check_open()?;
        if core.is_running() {
            return Err(PyRuntimeError::new_err("This event loop is already running"));
        }
        let is_for_ever = !slf.getattr("_thread_id")?.is_none();
        core.owner.set(this_thread());
        let owned = Owned(core);
        let watch = is_for_ever.then(|| guard::watch(slf));
        core.asked_ns.set(0);
        let turn = Turn::new(slf);
        let result = call::guarded(|| {
            loop {
                let result = turn.run();
                if result.is_err() || core.is_stopping.get() || !is_for_ever {
                    break result;
                }
            }
        });
        drop(watch);
        drop(owned);
        result
    }

    /// End `run_forever` when the current turn is over.
    fn stop(&self) {
        self.is_stopping.set(true);
        if !self.is_mine() {
            self.wake();
        }
    }

    #[getter(_stopping)]
    fn py_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    #[setter(_stopping)]
    fn py_set_stopping(&self, value: bool) {
        self.is_stopping.set(value);
    }

    /// Return whether the loop is in debug mode.
    fn get_debug(&self) -> bool {
        self.is_debugging.get()
    }

    #[getter(_debug)]
    fn py_debug(&self) -> bool {
        self.is_debugging.get()
    }

    #[setter(_debug)]
    fn py_set_debug(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.is_debugging.set(value.is_truthy()?);
        Ok(())
    }

    #[getter(_closed)]
    fn py_closed(&self) -> bool {
        self.is_closed.get()
    }

    #[setter(_closed)]
    fn py_set_closed(&self, value: bool) {
        self.is_closed.set(value);
    }

    /// Return the transport that owns a descriptor, or None.
    #[pyo3(name = "_transport_at")]
    fn py_transport_at<'py>(&self, py: Python<'py>, fd: i32) -> Option<Bound<'py, PyAny>> {
        self.transport_at(py, fd)
    }

    /// Say how many seconds the loop may be at one thing until the guard tells of it; None for ever.
    fn _set_patience(&self, seconds: Option<f64>) {
        guard::set_patience(&self.pulse, seconds);
    }

    /// Wake the loop from another thread.
    fn _write_to_self(&self) {
        self.wake();
    }

    /// Let go of everything; the loop is closed.
    fn _release(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_running() {
            return Err(PyRuntimeError::new_err("Cannot close a running event loop"));
        }
        self.is_closed.set(true);
        let letter_box = self.letter_box.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ready = self.ready.with(std::mem::take);
        let timers = self.timers.with(Timers::drain);
        let unsent = self.unsent.with(std::mem::take);
        let selector = self.selector.with(Option::take);
        let watches = selector.as_ref().map(|selector| self.slots.with(|slots| slots.drain(selector)));
        let files = self.files.with(std::mem::take);
        self.buffer.with(Option::take);
        for timer in &timers {
            // SAFETY: the heap holds handles of ours only.
            unsafe { handle::Handle::of(timer.as_ptr()) }.leave_the_heap();
        }
        for transport in unsent {
            stream::forget_unsent(transport.bind(py));
        }
        drop((letter_box, ready, timers, watches, files));
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nothing here calls Python, and the collector runs in no closure of `with`.
        self.ready.with(|ready| ready.iter().try_for_each(|errand| visit.call(&errand.object)))?;
        self.timers.with(|timers| timers.iter().try_for_each(|timer| visit.call(timer)))?;
        self.slots.with(|slots| slots.iter().try_for_each(|errand| visit.call(&errand.object)))?;
        self.files.with(|files| files.values().try_for_each(|file| visit.call(file)))?;
        self.unsent.with(|unsent| unsent.iter().try_for_each(|transport| visit.call(transport)))
    }

    fn __clear__(&self) {
        let ready = self.ready.with(std::mem::take);
        let timers = self.timers.with(Timers::drain);
        let unsent = self.unsent.with(std::mem::take);
        let files = self.files.with(std::mem::take);
        let selector = self.selector.with(|selector| selector.clone());
        let watches = selector.map(|selector| self.slots.with(|slots| slots.drain(&selector)));
        drop((ready, timers, unsent, watches, files));
    }

    /// Call nobody any more when a descriptor can be read from; return whether anybody was.
    fn _remove_reader(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.remove(py, fd, Direction::Read)
    }

    /// Call nobody any more when a descriptor can be written to; return whether anybody was.
    fn _remove_writer(&self, py: Python<'_>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.remove(py, fd, Direction::Write)
    }

    /// Schedule a handle, whoever made it.
    fn _add_callback(slf: &Bound<'_, Self>, handle: Bound<'_, PyAny>) -> PyResult<()> {
        if handle.getattr("_cancelled")?.is_truthy()? {
            return Ok(());
        }
        let act = if handle::is_ours(&handle) { handle::run } else { run_foreign };
        slf.get().soon(Errand::new(handle, act));
        Ok(())
    }

    /// Return the descriptors that are watched, each with whether for reads and whether for writes.
    fn _watched(&self) -> Vec<(i32, bool, bool)> {
        self.slots.with(|slots| slots.interests().map(|(fd, interest)| (fd, interest.read, interest.write)).collect())
    }

    /// Make a transport for a connected socket. It starts in the next turn.
    #[pyo3(signature = (sock, protocol, waiter=None, extra=None, server=None))]
    fn _make_stream_transport<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<Bound<'py, PyAny>>,
        server: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let fd = super::watch::descriptor(&sock)?;
        listener::set_no_delay(fd);
        stream::make(stream::Plan { owner: slf, fd, socket: Some(sock), protocol, waiter, extra, server })
    }

    /// Accept connections for a server.
    fn _listen<'py>(
        slf: &Bound<'py, Self>,
        protocol_factory: Bound<'py, PyAny>,
        sock: Bound<'py, PyAny>,
        server: Option<Bound<'py, PyAny>>,
        backlog: i64,
    ) -> PyResult<()> {
        listener::listen(slf, protocol_factory, sock, server, backlog)
    }

    /// Make a transport for a socket of datagrams. It starts in the next turn.
    #[pyo3(name = "_make_datagrams", signature = (sock, protocol, address=None, waiter=None, extra=None))]
    fn make_datagrams<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAny>>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        datagram::make(slf, sock, protocol, address, waiter, extra)
    }

    /// Make a transport that reads from a pipe. It starts in the next turn.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_pipe_reader<'py>(
        slf: &Bound<'py, Self>,
        pipe: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        pipe::make(slf, Kind::ReadPipe, pipe, protocol, waiter, extra)
    }

    /// Make a transport that writes to a pipe. It starts in the next turn.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_pipe_writer<'py>(
        slf: &Bound<'py, Self>,
        pipe: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        waiter: Option<Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        pipe::make(slf, Kind::WritePipe, pipe, protocol, waiter, extra)
    }

    /// Take a descriptor from its transport for a while, or give it back.
    fn _lend(&self, transport: &Bound<'_, PyAny>, away: bool) -> PyResult<()> {
        let fd = transport.getattr("_sock_fd")?.extract()?;
        self.set_transport(fd, if away { std::ptr::null_mut() } else { transport.as_ptr() });
        Ok(())
    }

    /// Do something with a socket: return what came of it, or an operation whose future is to be waited for.
    #[pyo3(signature = (name, sock, *args))]
    fn _operate<'py>(
        slf: &Bound<'py, Self>,
        name: &str,
        sock: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        super::socket::begin(slf, name, sock, args)
    }
}
