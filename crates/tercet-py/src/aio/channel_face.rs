//! The methods and attributes that the transports of datagrams and of pipes have in common: what CPython calls, and nothing but the way in.
//!
//! The attributes with an underscore are those that `asyncio` itself, and what is built on it, reads of its own transports.

use std::ffi::c_void;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tercet_reactor::Direction;

use super::channel::{Kind, Line, flag};
use super::kind;
use super::object::Raw;
use super::schedule::Named;
use super::transport::{Transport, none, truth, water};
use crate::door::called;

/// Functions that CPython calls as methods with one argument or none.
macro_rules! line_methods {
    ($($name:ident($line:ident $(, $argument:ident)?) $body:block)*) => {
        $(unsafe extern "C" fn $name(object: Raw, argument: Raw) -> Raw {
            // SAFETY: CPython calls it, with an instance of the type and, where it takes one, a live argument.
            unsafe {
                crate::door::called(std::ptr::null_mut(), |py| {
                    let $line = Line::of(py, object);
                    $(let $argument = Bound::from_borrowed_ptr(py, argument);)?
                    let _ = argument;
                    let result: PyResult<Bound<'_, PyAny>> = { $body };
                    result.map(Bound::into_ptr)
                })
            }
        })*
    };
}
pub(super) use line_methods;

line_methods! {
    close(line) {
        line.close()?;
        Ok(none(line.py))
    }
    abort(line) {
        line.force_close(None)?;
        Ok(none(line.py))
    }
    force_close(line, error) {
        line.force_close((!error.is_none()).then_some(&error))?;
        Ok(none(line.py))
    }
    is_closing(line) { Ok(truth(line.py, line.channel.flags.has(flag::CLOSING))) }
    is_reading(line) { Ok(truth(line.py, line.is_reading())) }
    pause_reading(line) {
        if line.is_reading() {
            line.channel.flags.mark(flag::PAUSED);
            line.unwatch(Direction::Read)?;
            line.debug("%r pauses reading")?;
        }
        Ok(none(line.py))
    }
    resume_reading(line) {
        if line.channel.flags.has(flag::PAUSED) && !line.channel.flags.has(flag::CLOSING) {
            line.channel.flags.unmark(flag::PAUSED);
            line.read_on()?;
            line.debug("%r resumes reading")?;
        }
        Ok(none(line.py))
    }
    get_protocol(line) { Ok(line.protocol()) }
    set_protocol(line, protocol) {
        line.channel.protocol.set(&protocol);
        Ok(none(line.py))
    }
    get_write_buffer_size(line) { Ok(line.channel.unsent_bytes().into_pyobject(line.py)?.into_any()) }
    get_write_buffer_limits(line) {
        Ok((line.channel.low.get(), line.channel.high.get()).into_pyobject(line.py)?.into_any())
    }
}

unsafe extern "C" fn set_limits(object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
    // SAFETY: CPython calls it, with the arguments as they are.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let line = Line::of(py, object);
            let [high, low] = Named::of(py, "set_write_buffer_limits", ["high", "low"], args, count, keywords)?;
            let (high, low) = water(high.as_ref(), low.as_ref(), 64 * 1024)?;
            line.channel.high.set(high);
            line.channel.low.set(low);
            line.maybe_pause()?;
            Ok(none(py).into_ptr())
        })
    }
}

/// `repr(transport)`.
pub(super) unsafe extern "C" fn repr(object: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let line = Line::of(py, object);
            let channel = line.channel;
            let (name, reads, writes) = match channel.kind.get() {
                Kind::Datagram => ("DatagramTransport", true, true),
                Kind::ReadPipe => ("ReadPipeTransport", true, false),
                Kind::WritePipe => ("WritePipeTransport", false, true),
            };
            let mut words = vec![name.to_owned()];
            if channel.fd.get() < 0 {
                words.push("closed".into());
            } else {
                if channel.flags.has(flag::CLOSING) {
                    words.push("closing".into());
                }
                words.push(format!("fd={}", channel.fd.get()));
                if line.owner()?.get().is_closed.get() {
                    words.push("open".into());
                }
                if reads {
                    let is_polling = channel.flags.has(flag::STARTED) && line.is_reading();
                    words.push(if is_polling { "read=polling" } else { "read=idle" }.into());
                }
                if writes {
                    let state = if channel.flags.has(flag::BLOCKED) { "polling" } else { "idle" };
                    words.push(format!("write=<{state}, bufsize={}>", channel.unsent_bytes()));
                }
            }
            Ok(PyString::new(py, &format!("<{}>", words.join(" "))).into_ptr())
        })
    }
}

macro_rules! attributes {
    ($($name:ident($line:ident) $body:block)*) => {
        $(unsafe extern "C" fn $name(object: Raw, _: *mut c_void) -> Raw {
            // SAFETY: CPython calls it, with an instance of the type.
            unsafe {
                called(std::ptr::null_mut(), |py| {
                    let $line = Line::of(py, object);
                    let result: PyResult<Bound<'_, PyAny>> = { $body };
                    result.map(Bound::into_ptr)
                })
            }
        })*
    };
}

attributes! {
    get_file(line) { Ok(line.channel.file.or_none(line.py)) }
    get_fileno(line) {
        let fd = line.channel.fd.get();
        if fd < 0 { Ok(none(line.py)) } else { Ok(fd.into_pyobject(line.py)?.into_any()) }
    }
    get_loop(line) { Ok(line.channel.owner.or_none(line.py)) }
    get_extra(line) { Ok(line.channel.extra.or_none(line.py)) }
    get_closing(line) { Ok(truth(line.py, line.channel.flags.has(flag::CLOSING))) }
    get_paused(line) { Ok(truth(line.py, line.channel.flags.has(flag::PAUSED))) }
    get_protocol_paused(line) { Ok(truth(line.py, line.channel.flags.has(flag::PROTOCOL_PAUSED))) }
    get_conn_lost(line) { Ok(line.channel.lost_count.get().into_pyobject(line.py)?.into_any()) }
    get_protocol_attribute(line) { Ok(line.protocol()) }
    get_address(line) { Ok(line.channel.address.or_none(line.py)) }
}

/// Replaces the socket or pipe. Whoever sets it to None takes it away: it is closed elsewhere.
unsafe extern "C" fn set_file(object: Raw, value: Raw, _: *mut c_void) -> std::ffi::c_int {
    // SAFETY: CPython calls it, with an instance of the type and a live object, or null to delete.
    unsafe {
        called(-1, |py| {
            let line = Line::of(py, object);
            match Bound::from_borrowed_ptr_or_opt(py, value).filter(|value| !value.is_none()) {
                Some(value) => line.channel.file.set(&value),
                None => drop(line.let_go()),
            }
            Ok(0)
        })
    }
}

pub(super) fn attributes() -> Vec<ffi::PyGetSetDef> {
    vec![
        kind::getter(c"_sock", get_file),
        kind::getter(c"_sock_fd", get_fileno),
        kind::member(c"_pipe", get_file, set_file),
        kind::getter(c"_fileno", get_fileno),
        kind::getter(c"_loop", get_loop),
        kind::getter(c"_extra", get_extra),
        kind::getter(c"_closing", get_closing),
        kind::getter(c"_paused", get_paused),
        kind::getter(c"_protocol_paused", get_protocol_paused),
        kind::getter(c"_conn_lost", get_conn_lost),
        kind::getter(c"_protocol", get_protocol_attribute),
        kind::getter(c"_address", get_address),
        kind::member(c"__dict__", ffi::PyObject_GenericGetDict, ffi::PyObject_GenericSetDict),
    ]
}

const DOC: &std::ffi::CStr = c"See `asyncio.BaseTransport`.";

/// What all three kinds have.
pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    let plain: [(&'static std::ffi::CStr, ffi::PyCFunction); 3] =
        [(c"close", close), (c"is_closing", is_closing), (c"get_protocol", get_protocol)];
    let mut methods: Vec<_> = plain.into_iter().map(|(name, function)| kind::method0(name, function, DOC)).collect();
    methods.push(kind::method1(c"set_protocol", set_protocol, DOC));
    methods
}

/// What those have that read.
pub(super) fn reading_methods() -> Vec<ffi::PyMethodDef> {
    vec![
        kind::method0(c"is_reading", is_reading, DOC),
        kind::method0(c"pause_reading", pause_reading, DOC),
        kind::method0(c"resume_reading", resume_reading, DOC),
    ]
}

/// What those have that write.
pub(super) fn writing_methods() -> Vec<ffi::PyMethodDef> {
    vec![
        kind::method0(c"abort", abort, DOC),
        kind::method1(c"_force_close", force_close, DOC),
        kind::method0(c"get_write_buffer_size", get_write_buffer_size, DOC),
        kind::method0(c"get_write_buffer_limits", get_write_buffer_limits, DOC),
        kind::method_fast(c"set_write_buffer_limits", set_limits, DOC),
    ]
}
