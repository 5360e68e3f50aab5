//! The methods and attributes of the transport: what CPython calls, and nothing but the way in.
//!
//! The attributes with an underscore are those that `asyncio` itself, and what is built on it, reads of its own transports.

use std::ffi::c_void;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tercet_reactor::Direction;

use super::kind;
use super::object::Raw;
use super::schedule::Named;
use super::stream::{Wire, flag};
use super::transport::{Transport, none, truth, water};
use crate::door::called;

macro_rules! methods {
    ($($name:ident($wire:ident $(, $argument:ident)?) $body:block)*) => {
        $(unsafe extern "C" fn $name(object: Raw, argument: Raw) -> Raw {
            // SAFETY: CPython calls it, with an instance of the type and, where it takes one, a live argument.
            unsafe {
                called(std::ptr::null_mut(), |py| {
                    let $wire = Wire::of(py, object);
                    $(let $argument = Bound::from_borrowed_ptr(py, argument);)?
                    let _ = argument;
                    let result: PyResult<Bound<'_, PyAny>> = { $body };
                    result.map(Bound::into_ptr)
                })
            }
        })*
    };
}

methods! {
    write(wire, data) { wire.write(&data).map(|()| none(py_of(&wire))) }
    write_lines(wire, list) { wire.write_lines(&list).map(|()| none(py_of(&wire))) }
    write_eof(wire) { wire.write_eof().map(|()| none(py_of(&wire))) }
    can_write_eof(wire) { Ok(truth(wire.py, true)) }
    close(wire) { wire.close().map(|()| none(py_of(&wire))) }
    abort(wire) {
        // What asyncio would have sent by now is sent.
        wire.flush()?;
        wire.force_close(None).map(|()| none(py_of(&wire)))
    }
    force_close(wire, error) {
        // As above: TLS ends connections so.
        wire.flush()?;
        let error = (!error.is_none()).then_some(&error);
        wire.force_close(error).map(|()| none(py_of(&wire)))
    }
    is_closing(wire) { Ok(truth(wire.py, wire.stream.flags.has(flag::CLOSING))) }
    is_reading(wire) { Ok(truth(wire.py, wire.is_reading())) }
    pause_reading(wire) {
        if wire.is_reading() {
            wire.stream.flags.mark(flag::PAUSED);
            wire.unwatch(Direction::Read)?;
            wire.debug("%r pauses reading")?;
        }
        Ok(none(wire.py))
    }
    resume_reading(wire) {
        if wire.stream.flags.has(flag::PAUSED) && !wire.stream.flags.has(flag::CLOSING) {
            wire.stream.flags.unmark(flag::PAUSED);
            wire.read_on()?;
            wire.debug("%r resumes reading")?;
        }
        Ok(none(wire.py))
    }
    get_protocol(wire) { Ok(wire.stream.protocol.or_none(wire.py)) }
    set_protocol(wire, protocol) { wire.set_protocol(&protocol).map(|()| none(py_of(&wire))) }
    get_write_buffer_size(wire) { Ok(wire.unsent_bytes()?.into_pyobject(wire.py)?.into_any()) }
    get_write_buffer_limits(wire) {
        Ok((wire.stream.low.get(), wire.stream.high.get()).into_pyobject(wire.py)?.into_any())
    }
    make_empty_waiter(wire) { make_waiter(&wire) }
    reset_empty_waiter(wire) {
        wire.stream.empty_waiter.clear();
        Ok(none(wire.py))
    }
}

fn py_of<'py>(wire: &Wire<'py>) -> Python<'py> {
    wire.py
}

fn make_waiter<'py>(wire: &Wire<'py>) -> PyResult<Bound<'py, PyAny>> {
    if !wire.stream.empty_waiter.is_empty() {
        return Err(PyRuntimeError::new_err("Empty waiter is already set"));
    }
    wire.flush()?;
    let waiter = wire.owner()?.call_method0("create_future")?;
    wire.stream.empty_waiter.set(&waiter);
    if wire.unsent_bytes()? == 0 {
        waiter.call_method1("set_result", (wire.py.None(),))?;
    }
    Ok(waiter)
}

fn limits(wire: &Wire<'_>, high: Option<&Bound<'_, PyAny>>, low: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let (high, low) = water(high, low, 64 * 1024)?;
    wire.stream.high.set(high);
    wire.stream.low.set(low);
    wire.flush()?;
    wire.maybe_pause()
}

fn extra_info<'py>(
    wire: &Wire<'py>,
    name: &Bound<'py, PyAny>,
    default: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = wire.py;
    let extra = wire.extra()?;
    if let Some(found) = extra.get_item(name)? {
        return Ok(found);
    }
    if let Ok(name) = name.cast::<PyString>() {
        match name.to_str()? {
            "sockname" => wire.note_address(name.as_any(), false)?,
            "peername" => wire.note_address(name.as_any(), true)?,
            "socket" => {
                if let Some(socket) = wire.python_socket()? {
                    let shown = py.import("asyncio.trsock")?.getattr("TransportSocket")?.call1((socket,))?;
                    extra.set_item(name, shown)?;
                }
            }
            _ => {}
        }
    }
    Ok(extra.get_item(name)?.unwrap_or(default))
}

unsafe extern "C" fn get_extra_info(object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
    // SAFETY: CPython calls it, with the arguments as they are.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let wire = Wire::of(py, object);
            let [name, default] = Named::of(py, "get_extra_info", ["name", "default"], args, count, keywords)?;
            let Some(name) = name else {
                return Err(PyTypeError::new_err("get_extra_info() missing 1 required positional argument: 'name'"));
            };
            extra_info(&wire, &name, default.unwrap_or_else(|| none(py))).map(Bound::into_ptr)
        })
    }
}

unsafe extern "C" fn set_limits(object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
    // SAFETY: CPython calls it, with the arguments as they are.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let wire = Wire::of(py, object);
            let [high, low] = Named::of(py, "set_write_buffer_limits", ["high", "low"], args, count, keywords)?;
            limits(&wire, high.as_ref(), low.as_ref())?;
            Ok(none(py).into_ptr())
        })
    }
}

/// `repr(transport)`.
pub(super) unsafe extern "C" fn repr(object: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let wire = Wire::of(py, object);
            let stream = wire.stream;
            let mut words = vec!["StreamTransport".to_owned()];
            if stream.fd.get() < 0 {
                words.push("closed".into());
            } else if stream.flags.has(flag::CLOSING) {
                words.push("closing".into());
            }
            if stream.fd.get() >= 0 {
                words.push(format!("fd={}", stream.fd.get()));
                let is_polling = stream.flags.has(flag::STARTED) && wire.is_reading();
                words.push(if is_polling { "read=polling" } else { "read=idle" }.into());
                let state = if stream.flags.has(flag::BLOCKED) { "polling" } else { "idle" };
                words.push(format!("write=<{state}, bufsize={}>", stream.outbox.with(|outbox| outbox.len())));
            }
            Ok(PyString::new(py, &format!("<{}>", words.join(" "))).into_ptr())
        })
    }
}

macro_rules! attributes {
    ($($name:ident($wire:ident) $body:block)*) => {
        $(unsafe extern "C" fn $name(object: Raw, _: *mut c_void) -> Raw {
            // SAFETY: CPython calls it, with an instance of the type.
            unsafe {
                called(std::ptr::null_mut(), |py| {
                    let $wire = Wire::of(py, object);
                    let result: PyResult<Bound<'_, PyAny>> = { $body };
                    result.map(Bound::into_ptr)
                })
            }
        })*
    };
}

attributes! {
    get_sock(wire) { Ok(wire.python_socket()?.unwrap_or_else(|| none(wire.py))) }
    get_sock_fd(wire) { Ok(wire.stream.fd.get().into_pyobject(wire.py)?.into_any()) }
    get_loop(wire) { Ok(wire.stream.owner.or_none(wire.py)) }
    get_server(wire) { Ok(wire.stream.server.or_none(wire.py)) }
    get_extra(wire) {
        for name in [intern!(wire.py, "socket"), intern!(wire.py, "sockname"), intern!(wire.py, "peername")] {
            extra_info(&wire, name.as_any(), none(wire.py))?;
        }
        Ok(wire.extra()?.into_any())
    }
    get_closing(wire) { Ok(truth(wire.py, wire.stream.flags.has(flag::CLOSING))) }
    get_paused(wire) { Ok(truth(wire.py, wire.stream.flags.has(flag::PAUSED))) }
    get_eof(wire) { Ok(truth(wire.py, wire.stream.flags.has(flag::EOF))) }
    get_protocol_paused(wire) { Ok(truth(wire.py, wire.stream.flags.has(flag::PROTOCOL_PAUSED))) }
    get_conn_lost(wire) { Ok(wire.stream.lost_count.get().into_pyobject(wire.py)?.into_any()) }
    get_protocol_attribute(wire) { Ok(wire.stream.protocol.or_none(wire.py)) }
    get_high_water(wire) { Ok(wire.stream.high.get().into_pyobject(wire.py)?.into_any()) }
    get_low_water(wire) { Ok(wire.stream.low.get().into_pyobject(wire.py)?.into_any()) }
}

pub(super) fn attributes() -> Vec<ffi::PyGetSetDef> {
    vec![
        kind::getter(c"_sock", get_sock),
        kind::getter(c"_sock_fd", get_sock_fd),
        kind::getter(c"_loop", get_loop),
        kind::getter(c"_server", get_server),
        kind::getter(c"_extra", get_extra),
        kind::getter(c"_closing", get_closing),
        kind::getter(c"_paused", get_paused),
        kind::getter(c"_eof", get_eof),
        kind::getter(c"_protocol_paused", get_protocol_paused),
        kind::getter(c"_conn_lost", get_conn_lost),
        kind::getter(c"_protocol", get_protocol_attribute),
        kind::getter(c"_high_water", get_high_water),
        kind::getter(c"_low_water", get_low_water),
    ]
}

pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    let plain: [(&'static std::ffi::CStr, ffi::PyCFunction); 13] = [
        (c"write_eof", write_eof),
        (c"can_write_eof", can_write_eof),
        (c"close", close),
        (c"abort", abort),
        (c"is_closing", is_closing),
        (c"is_reading", is_reading),
        (c"pause_reading", pause_reading),
        (c"resume_reading", resume_reading),
        (c"get_protocol", get_protocol),
        (c"get_write_buffer_size", get_write_buffer_size),
        (c"get_write_buffer_limits", get_write_buffer_limits),
        (c"_make_empty_waiter", make_empty_waiter),
        (c"_reset_empty_waiter", reset_empty_waiter),
    ];
    let doc = c"See `asyncio.Transport`.";
    let mut methods: Vec<_> = plain.into_iter().map(|(name, function)| kind::method0(name, function, doc)).collect();
    methods.extend([
        kind::method1(c"write", write, doc),
        kind::method1(c"writelines", write_lines, doc),
        kind::method1(c"set_protocol", set_protocol, doc),
        kind::method1(c"_force_close", force_close, doc),
        kind::method_fast(c"get_extra_info", get_extra_info, doc),
        kind::method_fast(c"set_write_buffer_limits", set_limits, doc),
    ]);
    methods
}
