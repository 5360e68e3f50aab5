//! Accepting connections for a server.
//!
//! Each connection gets a protocol and a transport at once; there is no task and no socket object in between. The transport's
//! `connection_made` comes in the next turn, as with `asyncio`.
//!
//! Rules of re-entrance: the factory may close the server. So each connection asks again whether the socket still
//! listens.

use std::io;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};
use tercet_reactor::Direction;

use super::address::Address;
use super::core::LoopCore;
use super::errand::Errand;
use super::object::{Raw, ends_the_loop, os_error};
use super::stream::{self, Plan};
use super::turn::Turn;

/// A socket that listens, and for whom.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Listener {
    factory: Py<PyAny>,
    socket: Py<PyAny>,
    server: Option<Py<PyAny>>,
    context: Py<PyAny>,
    backlog: i64,
    fd: i32,
}

/// Begins to accept connections.
pub(super) fn listen<'py>(
    owner: &Bound<'py, LoopCore>,
    factory: Bound<'py, PyAny>,
    socket: Bound<'py, PyAny>,
    server: Option<Bound<'py, PyAny>>,
    backlog: i64,
) -> PyResult<()> {
    let py = owner.py();
    let fd = super::watch::descriptor(&socket)?;
    let family = socket.getattr("family")?.extract::<i32>()?;
    let is_of_internet = family == libc::AF_INET || family == libc::AF_INET6;
    if is_of_internet {
        // The sockets of connections inherit it.
        set_no_delay(fd);
    }
    let context = crate::names::copy_context(py)?.call0()?.unbind();
    let server = server.map(Bound::unbind);
    let (factory, socket) = (factory.unbind(), socket.unbind());
    let listener = Listener { factory, socket, server, context, backlog, fd };
    let listener = Bound::new(py, listener)?;
    let old = owner.get().watch(py, fd, Direction::Read, Errand::new(listener.into_any(), acceptable))?;
    drop(old);
    Ok(())
}

/// Has small writes sent at once, whatever the socket's protocol number says. A socket that knows nothing of it is none of TCP.
pub(super) fn set_no_delay(fd: i32) {
    let yes: libc::c_int = 1;
    // SAFETY: the pointer is to a number of that size.
    unsafe {
        let len = size_of_val(&yes) as libc::socklen_t;
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const yes).cast(), len);
    }
}

/// Connections wait.
fn acceptable(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: the errand owns the listener.
    let listener = unsafe { Bound::from_borrowed_ptr(turn.py, object) }.cast_into::<Listener>()?;
    for _ in 0..listener.get().backlog.max(1) {
        let mut address = Address::default();
        match accept(listener.get().fd, &mut address) {
            Ok(Some(fd)) => connect(turn, listener.get(), fd, &address)?,
            Ok(None) => break,
            Err(error) => {
                refuse(turn, &listener, &error)?;
                break;
            }
        }
        let is_listening = turn.core.slots.with(|slots| {
            slots.watch(listener.get().fd, Direction::Read).is_some_and(|errand| errand.object.is(&listener))
        });
        if !is_listening {
            break;
        }
    }
    Ok(())
}

fn accept(fd: i32, address: &mut Address) -> io::Result<Option<i32>> {
    let (storage, len) = address.parts();
    // SAFETY: there is room for any address.
    let accepted = unsafe { libc::accept4(fd, storage, len, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) };
    if accepted >= 0 {
        return Ok(Some(accepted));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => Ok(None),
        _ => Err(error),
    }
}

/// A descriptor that is closed unless somebody takes it.
struct Accepted(i32);

impl Drop for Accepted {
    fn drop(&mut self) {
        // SAFETY: the descriptor is nobody else's.
        unsafe { libc::close(self.0) };
    }
}

fn connect(turn: &Turn<'_>, listener: &Listener, fd: i32, address: &Address) -> PyResult<()> {
    let py = turn.py;
    let accepted = Accepted(fd);
    turn.enter(listener.context.as_ptr())?;
    let mut protocol = None;
    let made = listener.factory.bind(py).call0().and_then(|made| {
        protocol = Some(made.clone());
        let extra = PyDict::new(py);
        extra.set_item(intern!(py, "peername"), address.to_python(py)?)?;
        let server = listener.server.as_ref().map(|server| server.bind(py).clone());
        let plan = Plan {
            owner: &turn.owner,
            fd,
            socket: None,
            protocol: made,
            waiter: None,
            extra: Some(extra.into_any()),
            server,
        };
        stream::make(plan)
    });
    match made {
        Ok(_) => {
            std::mem::forget(accepted);
            Ok(())
        }
        Err(error) if ends_the_loop(py, &error) => Err(error),
        Err(error) => {
            if !turn.core.is_debugging() {
                return Ok(());
            }
            turn.leave();
            let context = PyDict::new(py);
            context.set_item("message", "Error on transport creation for incoming connection")?;
            context.set_item("exception", error.value(py))?;
            if let Some(protocol) = protocol {
                context.set_item("protocol", protocol)?;
            }
            turn.owner.call_method1("call_exception_handler", (context,)).map(drop)
        }
    }
}

/// A connection cannot be accepted. Where the system lacks something, it is tried again in a while.
fn refuse(turn: &Turn<'_>, listener: &Bound<'_, Listener>, error: &io::Error) -> PyResult<()> {
    let py = turn.py;
    turn.leave();
    let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    let lacks_something = error.raw_os_error().is_some_and(|code| lacks.contains(&code));
    let error = os_error(py, error).into_value(py);
    let fields = listener.get();
    if !lacks_something {
        let context = PyDict::new(py);
        context.set_item("message", "Exception in callback accept")?;
        context.set_item("exception", error)?;
        return turn.owner.call_method1("call_exception_handler", (context,)).map(drop);
    }
    let watch = turn.core.unwatch(fields.fd, Direction::Read);
    drop(watch);
    let again = (error, &fields.socket, &fields.factory, &fields.server, fields.backlog);
    turn.owner.call_method1("_accept_later", again).map(drop)
}

#[pymethods]
impl Listener {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.factory)?;
        visit.call(&self.socket)?;
        visit.call(&self.context)?;
        visit.call(&self.server)
    }
}
