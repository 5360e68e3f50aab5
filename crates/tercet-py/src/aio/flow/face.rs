//! The methods of the classes in `tercet.streams`, and how a transport finds its reader.
//!
//! The classes are Python's, and these methods are put into them as descriptors, so that calls have no tuple and no frame.

use crate::aio::transport::none;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType, PyWeakrefMethods, PyWeakrefReference};

use super::super::kind;
use super::super::object::{Raw, Slot, call_method1};
use super::super::schedule::Named;
use super::super::stream::{self, Wire};
use super::call;
use super::fetch::Deed;
use super::inbox::Inbox;
use crate::door::called;

// Relaxed: set once, while the import lock is held that every reader has held since.
/// `tercet.streams.StreamReader`.
static READER: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
/// `tercet.streams.StreamReaderProtocol`.
static PROTOCOL: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
/// `asyncio.StreamReaderProtocol`.
static FOREIGN: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());

static ADOPT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn has_class(object: &Bound<'_, PyAny>, class: &AtomicPtr<ffi::PyTypeObject>) -> bool {
    // SAFETY: the object lives.
    unsafe { ffi::Py_TYPE(object.as_ptr()) == class.load(Ordering::Relaxed) }
}

/// What a reader of ours consists of.
///
/// # Errors
/// It is no reader of ours.
pub(super) fn inbox_of<'py>(reader: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Inbox>> {
    let py = reader.py();
    // SAFETY: both are live objects.
    let native = unsafe {
        let native = ffi::PyObject_GenericGetAttr(reader.as_ptr(), intern!(py, "_native").as_ptr());
        Bound::from_owned_ptr_or_err(py, native)?
    };
    Ok(native.cast_into::<Inbox>()?)
}

/// Whether it is a transport of ours.
pub(super) fn is_transport(object: &Bound<'_, PyAny>) -> bool {
    stream::is_ours(object)
}

/// Gives a protocol of asyncio's streams, and its reader, classes of ours. Anything else stays what it is.
pub(in super::super) fn adopt(protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    if !has_class(protocol, &FOREIGN) {
        return Ok(());
    }
    match ADOPT.get(protocol.py()) {
        Some(adopt) => adopt.bind(protocol.py()).call1((protocol,)).map(drop),
        None => Ok(()),
    }
}

/// Notes where the data of a protocol go if they need not become an object: the inbox of its reader, and the weak reference that
/// the protocol has to the reader.
pub(in super::super) fn find_reader(protocol: &Bound<'_, PyAny>, feed: &Slot, weak: &Slot) {
    feed.clear();
    weak.clear();
    if !has_class(protocol, &PROTOCOL) {
        return;
    }
    let Ok(reference) = weak_reader_of(protocol) else { return };
    let Some(reader) = reference.cast::<PyWeakrefReference>().ok().and_then(PyWeakrefMethods::upgrade) else { return };
    if let (true, Ok(inbox)) = (has_class(&reader, &READER), inbox_of(&reader)) {
        feed.set(inbox.as_any());
        weak.set(&reference);
    }
}

/// Gives data to the reader that was noted. They go nowhere if nobody has it any more.
pub(in super::super) fn receive(py: Python<'_>, feed: &Slot, weak: &Slot, data: &[u8]) -> PyResult<()> {
    let reader = weak.get(py).and_then(|weak| weak.cast_into::<PyWeakrefReference>().ok()?.upgrade());
    match (reader, feed.get(py)) {
        (Some(_reader), Some(inbox)) => inbox.cast::<Inbox>()?.get().feed(py, data),
        _ => Ok(()),
    }
}

/// The reader of a protocol, which holds it weakly.
fn reader_of<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let weak = weak_reader_of(protocol)?;
    if weak.is_none() {
        return Ok(None);
    }
    Ok(weak.cast_into::<PyWeakrefReference>()?.upgrade())
}

fn weak_reader_of<'py>(protocol: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = protocol.py();
    // SAFETY: both are live objects.
    unsafe {
        let weak = ffi::PyObject_GenericGetAttr(protocol.as_ptr(), intern!(py, "_stream_reader_wr").as_ptr());
        Bound::from_owned_ptr_or_err(py, weak)
    }
}

/// Methods that take one argument or none.
macro_rules! methods {
    ($($name:ident($py:ident, $object:ident $(, $argument:ident)?) $body:block)*) => {
        $(unsafe extern "C" fn $name(object: Raw, argument: Raw) -> Raw {
            // SAFETY: CPython calls it, with an instance of the class and, where it takes one, a live argument.
            unsafe {
                called(std::ptr::null_mut(), |$py| {
                    let $object = Bound::from_borrowed_ptr($py, object);
                    $(let $argument = Bound::from_borrowed_ptr($py, argument);)?
                    let _ = argument;
                    let result: PyResult<Bound<'_, PyAny>> = { $body };
                    result.map(Bound::into_ptr)
                })
            }
        })*
    };
}

methods! {
    feed_data(py, reader, data) { inbox_of(&reader)?.get().feed_object(&data).map(|()| none(py)) }
    feed_eof(py, reader) { inbox_of(&reader)?.get().feed_end(py).map(|()| none(py)) }
    exception(py, reader) { Ok(inbox_of(&reader)?.get().exception.or_none(py)) }
    set_exception(py, reader, error) { inbox_of(&reader)?.get().fail(&error).map(|()| none(py)) }
    set_transport(py, reader, transport) { inbox_of(&reader)?.get().set_transport(&transport).map(|()| none(py)) }
    at_eof(py, reader) {
        let inbox = inbox_of(&reader)?;
        let is_over = inbox.get().is_eof() && inbox.get().len(py) == 0;
        Ok(pyo3::types::PyBool::new(py, is_over).to_owned().into_any())
    }
    readline(py, reader) {
        let _ = py;
        call::make(&reader, Deed::ReadLine, std::ptr::null_mut())
    }
    anext(py, reader) {
        let _ = py;
        call::make(&reader, Deed::Next, std::ptr::null_mut())
    }
    drain(py, writer) {
        let _ = py;
        call::make(&writer, Deed::Drain, std::ptr::null_mut())
    }
    write(py, writer, data) {
        let transport = writer.getattr(intern!(py, "_transport"))?;
        if is_transport(&transport) {
            Wire::new(&transport).write(&data)?;
        } else {
            call_method1(&transport, intern!(py, "write").as_any(), &data)?;
        }
        Ok(none(py))
    }
    data_received(py, protocol, data) {
        let Some(reader) = reader_of(&protocol)? else { return Ok(none(py).into_ptr()) };
        if has_class(&reader, &READER) {
            inbox_of(&reader)?.get().feed_object(&data)?;
        } else {
            call_method1(&reader, intern!(py, "feed_data").as_any(), &data)?;
        }
        Ok(none(py))
    }
}

/// Methods whose one argument may be given by its name.
macro_rules! named {
    ($($name:ident, $shown:literal, $argument:literal, $deed:expr, $is_needed:literal;)*) => {
        $(unsafe extern "C" fn $name(object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
            // SAFETY: CPython calls it, with an instance of the class and the arguments as they are.
            unsafe {
                called(std::ptr::null_mut(), |py| {
                    let reader = Bound::from_borrowed_ptr(py, object);
                    if count == 1 && keywords.is_null() {
                        return call::make(&reader, $deed, *args).map(Bound::into_ptr);
                    }
                    let [argument] = Named::of(py, $shown, [$argument], args, count, keywords)?;
                    if $is_needed && argument.is_none() {
                        let words = concat!($shown, "() missing 1 required positional argument: '", $argument, "'");
                        return Err(PyTypeError::new_err(words));
                    }
                    let argument = argument.as_ref().map_or(std::ptr::null_mut(), Bound::as_ptr);
                    call::make(&reader, $deed, argument).map(Bound::into_ptr)
                })
            }
        })*
    };
}

named! {
    read, "StreamReader.read", "n", Deed::Read, false;
    readexactly, "StreamReader.readexactly", "n", Deed::ReadExactly, true;
    readuntil, "StreamReader.readuntil", "separator", Deed::ReadUntil, false;
}

fn reader_methods() -> Vec<ffi::PyMethodDef> {
    vec![
        kind::method1(c"feed_data", feed_data, c"feed_data($self, data)\n--\n\nSee `asyncio.StreamReader.feed_data`."),
        kind::method0(c"feed_eof", feed_eof, c"feed_eof($self)\n--\n\nSee `asyncio.StreamReader.feed_eof`."),
        kind::method0(c"at_eof", at_eof, c"at_eof($self)\n--\n\nSee `asyncio.StreamReader.at_eof`."),
        kind::method0(c"exception", exception, c"exception($self)\n--\n\nSee `asyncio.StreamReader.exception`."),
        kind::method1(
            c"set_exception",
            set_exception,
            c"set_exception($self, exc)\n--\n\nSee `asyncio.StreamReader.set_exception`.",
        ),
        kind::method1(
            c"set_transport",
            set_transport,
            c"set_transport($self, transport)\n--\n\nSee `asyncio.StreamReader.set_transport`.",
        ),
        kind::method_fast(c"read", read, c"read($self, n=-1)\n--\n\nSee `asyncio.StreamReader.read`."),
        kind::method_fast(
            c"readexactly",
            readexactly,
            c"readexactly($self, n)\n--\n\nSee `asyncio.StreamReader.readexactly`.",
        ),
        kind::method_fast(
            c"readuntil",
            readuntil,
            c"readuntil($self, separator=b'\\n')\n--\n\nSee `asyncio.StreamReader.readuntil`.",
        ),
        kind::method0(c"readline", readline, c"readline($self)\n--\n\nSee `asyncio.StreamReader.readline`."),
        kind::method0(c"__anext__", anext, c"__anext__($self)\n--\n\nThe next line."),
    ]
}

fn give(class: &Bound<'_, PyType>, methods: Vec<ffi::PyMethodDef>) -> PyResult<()> {
    let count = methods.len();
    let table: *mut ffi::PyMethodDef = kind::leak(methods, ffi::PyMethodDef::zeroed()).cast();
    for place in 0..count {
        // SAFETY: the table has so many methods, which live for ever, and the class lives.
        let descriptor = unsafe {
            let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), table.add(place));
            Bound::from_owned_ptr_or_err(class.py(), descriptor)?
        };
        class.setattr(descriptor.getattr("__name__")?.cast_into::<PyString>()?, descriptor)?;
    }
    Ok(())
}

/// Give the classes of `tercet.streams` their native methods; once.
#[pyfunction]
pub(crate) fn equip(
    reader: &Bound<'_, PyType>,
    writer: &Bound<'_, PyType>,
    protocol: &Bound<'_, PyType>,
    foreign_protocol: &Bound<'_, PyType>,
    adopt: Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = reader.py();
    if ADOPT.set(py, adopt.unbind()).is_err() {
        return Ok(());
    }
    call::prepare(py)?;
    give(reader, reader_methods())?;
    let write_doc = c"write($self, data)\n--\n\nSee `asyncio.StreamWriter.write`.";
    let drain_doc = c"drain($self)\n--\n\nSee `asyncio.StreamWriter.drain`.";
    give(writer, vec![kind::method1(c"write", write, write_doc), kind::method0(c"drain", drain, drain_doc)])?;
    let received_doc = c"data_received($self, data)\n--\n\nGive data to the reader.";
    give(protocol, vec![kind::method1(c"data_received", data_received, received_doc)])?;
    for (place, class) in [(&READER, reader), (&PROTOCOL, protocol), (&FOREIGN, foreign_protocol)] {
        place.store(class.clone().into_ptr().cast(), Ordering::Relaxed);
    }
    Ok(())
}
