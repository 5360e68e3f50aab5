//! Operations on sockets: `sock_recv` and its like.
//!
//! Life cycle
//! ----------
//! 1. [`begin`] tries at once. What succeeds or fails then is over; no future is made and nothing is watched.
//! 2. Otherwise there is an [`Operation`] with a future, which watches the socket and tries again whenever it is ready.
//! 3. When it is done, its watch *rests*: it stays where it is until the loop is about to wait. The next operation on the same socket takes the
//!    place over, and the kernel is told nothing. What still rests then is taken out.
//! 4. Whoever stops waiting calls `abandon`, which takes the watch out at once.
//!
//! A watch that rests keeps the socket object alive, so that another object is another socket: its descriptor may have the same number,
//! and the kernel must be told of it anew.
//!
//! Rules of re-entrance: an operation is over before its future is told, and the future's callbacks come in a later turn.

use std::cell::Cell;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use tercet_reactor::Direction;

use super::core::{BUFFER, LoopCore};
use super::errand::Errand;
use super::object::{Raw, ends_the_loop, os_error};
use super::reading::Memory;
use super::turn::Turn;
use super::watch::descriptor;

/// What is done with a socket.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Receive,
    ReceiveInto,
    SendAll,
    /// A method of the socket's, which does it or says that it would block.
    Call(&'static str, Direction),
}

impl Deed {
    fn named(name: &str) -> PyResult<Self> {
        Ok(match name {
            "recv" => Self::Receive,
            "recv_into" => Self::ReceiveInto,
            "sendall" => Self::SendAll,
            "recvfrom" => Self::Call("recvfrom", Direction::Read),
            "recvfrom_into" => Self::Call("recvfrom_into", Direction::Read),
            "sendto" => Self::Call("sendto", Direction::Write),
            _ => return Err(PyValueError::new_err(format!("no operation on sockets: `{name}`"))),
        })
    }

    fn direction(self) -> Direction {
        match self {
            Self::Receive | Self::ReceiveInto => Direction::Read,
            Self::SendAll => Direction::Write,
            Self::Call(_, direction) => direction,
        }
    }
}

/// An operation that could not be done at once.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Operation {
    owner: Py<LoopCore>,
    deed: Deed,
    socket: Py<PyAny>,
    arguments: Py<PyTuple>,
    /// What is waited for.
    #[pyo3(get)]
    future: Py<PyAny>,
    fd: i32,
    sent: Cell<usize>,
    is_over: Cell<bool>,
}

// SAFETY: the cells are touched by the thread of the loop, or by one that holds the GIL.
unsafe impl Sync for Operation {}

/// Tries. `None` is for later.
fn attempt<'py>(
    core: &LoopCore,
    deed: Deed,
    socket: &Bound<'py, PyAny>,
    fd: i32,
    arguments: &Bound<'py, PyTuple>,
    sent: &Cell<usize>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = socket.py();
    if deed.direction() == Direction::Write {
        core.has_spoken();
    }
    match deed {
        Deed::Receive => {
            let size = arguments.get_item(0)?;
            match size.extract::<usize>() {
                Ok(size) if size <= BUFFER => receive(py, core, fd, size),
                _ => call(socket, "recv", arguments),
            }
        }
        Deed::ReceiveInto => {
            let memory = Memory::of(&arguments.get_item(0)?)?;
            let (start, len) = memory.span();
            // SAFETY: there is so much room, and the buffer is held.
            let count = unsafe { libc::recv(fd, start.cast(), len, libc::MSG_DONTWAIT) };
            drop(memory);
            Ok(counted(py, count)?.map(|count| count.into_pyobject(py)).transpose()?.map(Bound::into_any))
        }
        Deed::SendAll => send_all(&arguments.get_item(0)?, fd, sent),
        Deed::Call(name, _) => call(socket, name, arguments),
    }
}

/// What a system call has counted. `None` is for later.
fn counted(py: Python<'_>, count: isize) -> PyResult<Option<usize>> {
    if count >= 0 {
        return Ok(Some(count as usize));
    }
    let error = std::io::Error::last_os_error();
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => Ok(None),
        _ => Err(os_error(py, &error)),
    }
}

fn receive<'py>(py: Python<'py>, core: &LoopCore, fd: i32, size: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (start, count) = core.with_buffer(|buffer| {
        let start = buffer.as_mut_ptr();
        // SAFETY: the buffer has room for as much as any size that comes here.
        (start, unsafe { libc::recv(fd, start.cast(), size, libc::MSG_DONTWAIT) })
    });
    // SAFETY: the buffer stays where it is, and making bytes runs nothing that could read into it.
    let bytes = |count| unsafe { PyBytes::new(py, std::slice::from_raw_parts(start, count)) };
    Ok(counted(py, count)?.map(|count| bytes(count).into_any()))
}

fn send_all<'py>(data: &Bound<'py, PyAny>, fd: i32, sent: &Cell<usize>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = data.py();
    let memory = Memory::readable(data)?;
    let (start, len) = memory.span();
    let left = len.saturating_sub(sent.get());
    // SAFETY: so many bytes are left, and the buffer is held.
    let count = unsafe { libc::send(fd, start.add(len - left).cast(), left, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    drop(memory);
    sent.set(sent.get() + counted(py, count)?.unwrap_or_default());
    Ok((sent.get() >= len).then(|| py.None().into_bound(py)))
}

fn call<'py>(
    socket: &Bound<'py, PyAny>,
    name: &str,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match socket.call_method1(name, arguments) {
        Ok(result) => Ok(Some(result)),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(socket.py())
                || error.is_instance_of::<PyInterruptedError>(socket.py()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Does something with a socket: returns what came of it, or an operation to wait for.
pub(super) fn begin<'py>(
    owner: &Bound<'py, LoopCore>,
    name: &str,
    socket: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let core = owner.get();
    let deed = Deed::named(name)?;
    // A closed socket says so itself.
    let fd = match descriptor(socket) {
        Ok(fd) => fd,
        Err(error) if error.is_instance_of::<PyValueError>(py) => {
            return Err(super::object::errno_error(py, libc::EBADF));
        }
        Err(error) => return Err(error),
    };
    let sent = Cell::new(0);
    if let Some(result) = attempt(core, deed, socket, fd, arguments, &sent)? {
        return Ok(result);
    }
    core.check_open()?;
    if !takes_over(core, fd, deed.direction(), socket) {
        owner.call_method1("_ensure_fd_no_transport", (fd,))?;
    }
    let operation = Operation {
        owner: owner.clone().unbind(),
        deed,
        socket: socket.clone().unbind(),
        arguments: arguments.clone().unbind(),
        future: owner.call_method0(intern!(py, "create_future"))?.unbind(),
        fd,
        sent,
        is_over: Cell::new(false),
    };
    let operation = Bound::new(py, operation)?.into_any();
    let old = core.watch(py, fd, deed.direction(), Errand::new(operation.clone(), progress))?;
    drop(old);
    Ok(operation)
}

/// Whether the watch of a descriptor rests after an operation on the same socket.
fn takes_over(core: &LoopCore, fd: i32, direction: Direction, socket: &Bound<'_, PyAny>) -> bool {
    core.slots.with(|slots| {
        slots.watch(fd, direction).is_some_and(|errand| {
            errand.is(progress) && {
                let operation = operation_of(errand);
                operation.is_over.get() && operation.socket.is(socket)
            }
        })
    })
}

fn operation_of(errand: &Errand) -> &Operation {
    // SAFETY: errands that are done by `progress` are made of operations; both are one pointer to the same object.
    unsafe { &*std::ptr::from_ref(&errand.object).cast::<Py<Operation>>() }.get()
}

/// Whether a watch rests, and what is to take its place is not an operation on the same socket.
pub(super) fn is_rest_of_another(old: &Errand, new: &Errand) -> bool {
    let is_same = || new.is(progress) && operation_of(new).socket.is(&operation_of(old).socket);
    is_resting(old) && !is_same()
}

/// Whether an errand is an operation whose watch rests.
pub(super) fn is_resting(errand: &Errand) -> bool {
    errand.is(progress) && operation_of(errand).is_over.get()
}

/// The socket is ready: tries again.
pub(super) fn progress(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    let py = turn.py;
    // SAFETY: the errand owns the operation.
    let operation = unsafe { Bound::from_borrowed_ptr(py, object).cast_into_unchecked::<Operation>() };
    let fields = operation.get();
    let future = fields.future.bind(py);
    if fields.is_over.get() || future.call_method0(intern!(py, "done"))?.is_truthy()? {
        fields.finish(turn.core);
        return Ok(());
    }
    let (socket, arguments) = (fields.socket.bind(py), fields.arguments.bind(py));
    match attempt(turn.core, fields.deed, socket, fields.fd, arguments, &fields.sent) {
        Ok(None) => Ok(()),
        Ok(Some(result)) => {
            fields.finish(turn.core);
            future.call_method1(intern!(py, "set_result"), (result,)).map(drop)
        }
        Err(error) if ends_the_loop(py, &error) => Err(error),
        Err(error) => {
            fields.finish(turn.core);
            future.call_method1(intern!(py, "set_exception"), (error.into_value(py),)).map(drop)
        }
    }
}

/// Takes out what no operation has taken over since the last wait.
pub(super) fn end_rests(turn: &Turn<'_>) {
    if turn.core.resting.with(|resting| resting.is_empty()) {
        return;
    }
    let resting = turn.core.resting.with(std::mem::take);
    for (fd, direction) in resting {
        let ended = turn.core.slots.with(|slots| {
            if slots.watch(fd, direction).is_some_and(is_resting) { slots.take(fd, direction) } else { None }
        });
        drop(ended);
    }
}

impl Operation {
    /// It is over; its watch rests.
    fn finish(&self, core: &LoopCore) {
        if !self.is_over.replace(true) {
            core.resting.with(|resting| resting.push((self.fd, self.deed.direction())));
        }
    }
}

#[pymethods]
impl Operation {
    /// Stop waiting: the socket is watched no more.
    fn abandon(slf: &Bound<'_, Self>) -> PyResult<()> {
        let fields = slf.get();
        let owner = fields.owner.bind(slf.py());
        let core = owner.get();
        if fields.is_over.replace(true) || core.is_closed.get() {
            return Ok(());
        }
        let direction = fields.deed.direction();
        let is_mine =
            core.slots.with(|slots| slots.watch(fields.fd, direction).is_some_and(|errand| errand.object.is(slf)));
        if is_mine {
            let errand = core.unwatch(fields.fd, direction);
            core.settle(fields.fd);
            return errand.map(drop).ok_or_else(|| PyRuntimeError::new_err("the watch is gone"));
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        visit.call(&self.socket)?;
        visit.call(&self.arguments)?;
        visit.call(&self.future)
    }
}

impl Memory {
    /// Where it is and how much.
    fn span(&self) -> (*mut u8, usize) {
        (self.0.buf.cast(), self.0.len as usize)
    }

    /// Memory of a Python object that is only read.
    fn readable(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::view(object, ffi::PyBUF_SIMPLE)
    }
}
