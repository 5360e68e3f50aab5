//! The hot half of TLS: what is done for each message. The rest is `asyncio`'s own `SSLProtocol`.
//!
//! `tercet.loop_tls.TlsProtocol` is both in one object: attributes of the same names shadow `asyncio`'s, so that what it has in Python
//! (the handshake, the shutdown, timeouts, errors) and what is here see the same state.
//!
//! ```text
//!   socket -> the loop's buffer -> incoming BIO -> SSL.read -> the loop's buffer again -> bytes -> data_received
//!   write -> SSL.write -> outgoing BIO -> bytes -> the outbox of the transport, sent at the end of the turn
//! ```
//!
//! OpenSSL is asked through the C methods of `_ssl`, bound once, and only where [`RecordMeter`] knows of a whole record: to be told that
//! there is none raises an exception.
//!
//! Rules of re-entrance
//! --------------------
//! - Any method of the protocol may do anything to the transport. State is read again after each call.
//! - The loop's buffer holds data only between two calls of `_ssl`, which calls no Python of the loop's thread meanwhile.

use std::cell::Cell;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use tercet_reactor::RecordMeter;

use super::core::{BUFFER, LoopCore};
use super::object::{Flags, Own, Slot, call_method0, call_method1};
use super::stream;

/// How much one call of OpenSSL's can bring: a whole record.
const RECORD: usize = 1 << 14;

/// What can be true of a connection.
mod flag {
    /// Data can be exchanged.
    pub(super) const WRAPPED: u16 = 1;
    /// What has come is still read, before the connection is shut down.
    pub(super) const FLUSHING: u16 = 2;
    pub(super) const BUFFERED: u16 = 4;
    pub(super) const APP_READING_PAUSED: u16 = 8;
    pub(super) const SSL_WRITING_PAUSED: u16 = 16;
    pub(super) const SSL_READING_PAUSED: u16 = 32;
    pub(super) const APP_WRITING_PAUSED: u16 = 64;
    /// Reading ended while there was more.
    pub(super) const HAS_MORE: u16 = 128;
    /// The class of the `ssl.SSLObject` is a program's own: it may keep what it is given, so memory of the loop's is not for it.
    pub(super) const FOREIGN: u16 = 256;
}

/// The native half of a TLS connection. `asyncio` calls it through the class in Python.
#[pyclass(module = "tercet._tercet", subclass, frozen)]
pub(crate) struct TlsCore {
    owner: Slot,
    transport: Slot,
    app_protocol: Slot,
    app_get_buffer: Slot,
    app_buffer_updated: Slot,
    state: Slot,
    incoming: Slot,
    outgoing: Slot,
    ssl: Slot,
    backlog: Slot,
    /// Methods of the four, bound.
    feed: Slot,
    drain: Slot,
    read: Slot,
    write: Slot,
    flags: Flags,
    incoming_high: Cell<usize>,
    incoming_low: Cell<usize>,
    outgoing_high: Cell<usize>,
    outgoing_low: Cell<usize>,
    backlog_size: Cell<usize>,
    meter: Own<RecordMeter>,
}

// SAFETY: the cells are touched by the thread of the loop, or by one that holds the GIL.
unsafe impl Send for TlsCore {}
// SAFETY: as above.
unsafe impl Sync for TlsCore {}

impl Drop for TlsCore {
    fn drop(&mut self) {
        self.all().into_iter().for_each(Slot::clear);
    }
}

/// What one look at the data comes to.
enum Read {
    /// So much is in the loop's buffer; whether there is no more for now.
    Data(usize, bool),
    /// The peer has said that there will be no more; so much came before.
    End(usize),
}

fn names_of_states(py: Python<'_>) -> PyResult<&[Py<PyAny>; 2]> {
    static STATES: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();
    STATES.get_or_try_init(py, || {
        let states = py.import("asyncio.sslproto")?.getattr("SSLProtocolState")?;
        Ok([states.getattr("WRAPPED")?.unbind(), states.getattr("FLUSHING")?.unbind()])
    })
}

/// The errors that say that there is nothing for now.
fn says_later(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    static LATER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let later = LATER
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("asyncio.sslproto")?.getattr("SSLAgainErrors")?.unbind()))?;
    Ok(error.matches(py, later.bind(py))?)
}

fn memory(py: Python<'_>, start: *mut u8, len: usize, flags: i32) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the caller keeps the memory while the view is used.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromMemory(start.cast(), len as isize, flags)) }
}

/// Calls with up to two arguments, without a tuple.
fn call<'py, const N: usize>(
    function: &Slot,
    py: Python<'py>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let function = function.or_none(py);
    let arguments = arguments.map(Bound::as_ptr);
    // SAFETY: all are live objects; the flag is not set, so nothing before the first is touched.
    unsafe {
        let result = ffi::PyObject_Vectorcall(function.as_ptr(), arguments.as_ptr(), N, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, result)
    }
}

impl TlsCore {
    fn all(&self) -> [&Slot; 14] {
        let Self { owner, transport, app_protocol, app_get_buffer, app_buffer_updated, state, incoming, .. } = self;
        let Self { outgoing, ssl, backlog, feed, drain, read, write, .. } = self;
        [
            owner,
            transport,
            app_protocol,
            app_get_buffer,
            app_buffer_updated,
            state,
            incoming,
            outgoing,
            ssl,
            backlog,
            feed,
            drain,
            read,
            write,
        ]
    }

    fn core<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, LoopCore>> {
        Ok(self.owner.or_none(py).cast_into::<LoopCore>()?)
    }

    /// How much has come that OpenSSL has not taken yet.
    fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        self.incoming.or_none(py).getattr(intern!(py, "pending"))?.extract()
    }

    /// Gives OpenSSL what has come. The data are in the loop's buffer, or wherever else nobody writes meanwhile.
    fn take_in(&self, py: Python<'_>, start: *mut u8, len: usize) -> PyResult<()> {
        // SAFETY: the caller has so many bytes there.
        let data = unsafe { std::slice::from_raw_parts(start, len) };
        self.meter.with(|meter| meter.feed(data));
        let view = memory(py, start, len, ffi::PyBUF_READ)?;
        call(&self.feed, py, [&view]).map(drop)
    }

    /// Whether OpenSSL has a whole record to decrypt.
    fn has_record(&self, py: Python<'_>) -> PyResult<bool> {
        let pending = self.pending(py)?;
        Ok(self.meter.with(|meter| meter.has_record(pending)))
    }

    /// Decrypts into memory, as much as there is and fits.
    fn read_into(&self, py: Python<'_>, start: *mut u8, room: usize, least: usize) -> PyResult<Read> {
        let mut count = 0;
        while room - count >= least {
            // SAFETY: so much room is left.
            let view = memory(py, unsafe { start.add(count) }, room - count, ffi::PyBUF_WRITE)?;
            let wanted = (room - count).into_pyobject(py)?;
            match call(&self.read, py, [wanted.as_any(), &view]) {
                Ok(read) => {
                    let read: usize = read.extract()?;
                    if read == 0 {
                        return Ok(Read::End(count));
                    }
                    count += read;
                    // What does not fit stays inside of OpenSSL, where nobody sees it.
                    if count < room && !self.has_record(py)? {
                        return Ok(Read::Data(count, true));
                    }
                }
                Err(error) if says_later(py, &error)? => return Ok(Read::Data(count, true)),
                Err(error) => return Err(error),
            }
        }
        Ok(Read::Data(count, false))
    }

    fn may_read(&self) -> bool {
        self.flags.has(flag::WRAPPED | flag::FLUSHING) && !self.flags.has(flag::APP_READING_PAUSED)
    }
}

/// A connection that somebody acts upon, and owns meanwhile.
struct Secure<'a, 'py> {
    py: Python<'py>,
    object: &'a Bound<'py, TlsCore>,
    core: &'a TlsCore,
}

impl<'a, 'py> Secure<'a, 'py> {
    fn new(object: &'a Bound<'py, TlsCore>) -> Self {
        Self { py: object.py(), object, core: object.get() }
    }

    /// Data have come and OpenSSL has them.
    fn received(&self) -> PyResult<()> {
        if !self.core.flags.has(flag::WRAPPED) {
            return self.object.call_method0(intern!(self.py, "_go_on")).map(drop);
        }
        if self.core.flags.has(flag::HAS_MORE | flag::FOREIGN) || self.core.has_record(self.py)? {
            return self.do_read();
        }
        self.control_reading()
    }

    /// What `_do_read` of `asyncio` does.
    fn do_read(&self) -> PyResult<()> {
        if !self.core.flags.has(flag::WRAPPED | flag::FLUSHING) {
            return Ok(());
        }
        if self.core.flags.has(flag::FOREIGN) {
            return self.object.call_method0(intern!(self.py, "_read_slowly")).map(drop);
        }
        match self.read_and_write() {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&self, error: PyErr) -> PyResult<()> {
        // What ends the loop is no error of the connection's; nor is what is no `Exception`.
        let is_for_all =
            error.is_instance_of::<PyKeyboardInterrupt>(self.py) || error.is_instance_of::<PySystemExit>(self.py);
        if is_for_all || !error.is_instance_of::<pyo3::exceptions::PyException>(self.py) {
            return Err(error);
        }
        let words = "Fatal error on SSL protocol";
        self.object.call_method1("_fatal_error", (error.into_value(self.py), words)).map(drop)
    }

    fn read_and_write(&self) -> PyResult<()> {
        if !self.core.flags.has(flag::APP_READING_PAUSED) {
            if self.core.flags.has(flag::BUFFERED) {
                self.read_buffered()?;
            } else {
                self.read_bytes()?;
            }
            if self.core.backlog.or_none(self.py).is_truthy()? {
                self.object.call_method0(intern!(self.py, "_do_write"))?;
            } else {
                self.send_out()?;
            }
        }
        self.control_reading()
    }

    /// Gives the protocol what has come, as bytes.
    fn read_bytes(&self) -> PyResult<()> {
        let owner = self.core.core(self.py)?;
        while self.core.may_read() {
            let start = owner.get().with_buffer(<[u8]>::as_mut_ptr);
            self.core.flags.put(flag::HAS_MORE, true);
            let read = self.core.read_into(self.py, start, BUFFER, RECORD)?;
            let (count, is_all, is_end) = match read {
                Read::Data(count, is_all) => (count, is_all, false),
                Read::End(count) => (count, true, true),
            };
            self.core.flags.put(flag::HAS_MORE, !is_all);
            if count > 0 {
                // SAFETY: the buffer stays where it is, and making bytes runs nothing that could write to it.
                let data = PyBytes::new(self.py, unsafe { std::slice::from_raw_parts(start, count) });
                let protocol = self.core.app_protocol.or_none(self.py);
                call_method1(&protocol, intern!(self.py, "data_received").as_any(), data.as_any())?;
            }
            if is_end {
                return self.end();
            }
            if is_all {
                break;
            }
        }
        Ok(())
    }

    /// Gives the protocol what has come, in its own buffer.
    fn read_buffered(&self) -> PyResult<()> {
        let py = self.py;
        let hint = self.core.pending(py)?.into_pyobject(py)?;
        let buffer = call(&self.core.app_get_buffer, py, [hint.as_any()])?;
        let wanted = buffer.len()?;
        let view = super::reading::Memory::of(&buffer)?;
        let (start, room) = (view.0.buf.cast::<u8>(), wanted.min(view.0.len as usize));
        let read = if room == 0 { Read::Data(0, true) } else { self.core.read_into(py, start, room, 1)? };
        drop(view);
        drop(buffer);
        let (count, is_all, is_end) = match read {
            Read::Data(count, is_all) => (count, is_all, false),
            Read::End(count) => (count, true, true),
        };
        self.core.flags.put(flag::HAS_MORE, !is_all);
        if !is_all {
            // The buffer is full: there may be more.
            let again = self.object.getattr(intern!(py, "_do_read"))?;
            self.core.owner.or_none(py).call_method1(intern!(py, "call_soon"), (again,))?;
        }
        if count > 0 {
            call(&self.core.app_buffer_updated, py, [count.into_pyobject(py)?.as_any()])?;
        }
        if is_end { self.end() } else { Ok(()) }
    }

    /// The peer has closed its side.
    fn end(&self) -> PyResult<()> {
        call_method0(self.object.as_any(), intern!(self.py, "_call_eof_received").as_any())?;
        call_method0(self.object.as_any(), intern!(self.py, "_start_shutdown").as_any()).map(drop)
    }

    /// Gives the transport what OpenSSL has to send.
    fn send_out(&self) -> PyResult<()> {
        let py = self.py;
        if self.core.flags.has(flag::SSL_WRITING_PAUSED) {
            return self.control_writing();
        }
        let data = call(&self.core.drain, py, [])?;
        if data.len()? > 0 {
            let transport = self.core.transport.or_none(py);
            match stream::as_wire(&transport) {
                Some(wire) => wire.write(&data)?,
                None => transport.call_method1(intern!(py, "write"), (data,)).map(drop)?,
            }
        }
        self.control_writing()
    }

    /// Asks the protocol to pause or to go on with writing.
    fn control_writing(&self) -> PyResult<()> {
        let py = self.py;
        let core = self.core;
        let mut size = core.backlog_size.get();
        if core.flags.has(flag::SSL_WRITING_PAUSED) {
            size += core.outgoing.or_none(py).getattr(intern!(py, "pending"))?.extract::<usize>()?;
        }
        let is_paused = core.flags.has(flag::APP_WRITING_PAUSED);
        let is_time = if is_paused { size <= core.outgoing_low.get() } else { size >= core.outgoing_high.get() };
        if is_time { self.object.call_method0(intern!(py, "_control_app_writing")).map(drop) } else { Ok(()) }
    }

    /// Asks the transport to pause or to go on with reading.
    fn control_reading(&self) -> PyResult<()> {
        let core = self.core;
        let size = core.pending(self.py)?;
        let is_paused = core.flags.has(flag::SSL_READING_PAUSED);
        let is_time = if is_paused { size <= core.incoming_low.get() } else { size >= core.incoming_high.get() };
        if is_time { self.object.call_method0(intern!(self.py, "_control_ssl_reading")).map(drop) } else { Ok(()) }
    }

    /// Encrypts one piece and sends it. Returns whether that was possible; otherwise the slow half does it.
    fn write_now(&self, data: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = self.py;
        if !self.core.flags.has(flag::WRAPPED) || self.core.backlog.or_none(py).is_truthy()? {
            return Ok(false);
        }
        let len = data.len()?;
        match call(&self.core.write, py, [data]) {
            Ok(count) if count.extract::<usize>()? == len => match self.send_out() {
                Ok(()) => Ok(true),
                Err(error) => self.fail(error).map(|()| true),
            },
            // It never takes a part of what memory has room for.
            Ok(count) => {
                let rest = PyMemoryView::from(data)?.get_item(pyo3::types::PySlice::new(
                    py,
                    count.extract()?,
                    len as isize,
                    1,
                ))?;
                self.object.call_method1(intern!(py, "_write_appdata"), ((rest,),)).map(|_| true)
            }
            Err(error) if says_later(py, &error)? => Ok(false),
            Err(error) => self.fail(error).map(|()| true),
        }
    }
}

fn is_data(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>()
}

/// Takes what the transport has received: the way past `get_buffer` and `buffer_updated`.
pub(super) fn received(object: &Bound<'_, PyAny>, start: *mut u8, len: usize) -> PyResult<()> {
    let object = object.cast::<TlsCore>()?;
    let secure = Secure::new(object);
    secure.core.take_in(secure.py, start, len)?;
    secure.received()
}

/// Whether a protocol is the native half of a TLS connection.
pub(super) fn is_ours(protocol: &Bound<'_, PyAny>) -> bool {
    protocol.is_instance_of::<TlsCore>()
}

/// The attributes that `asyncio`'s half sees under its own names, and the methods that take the place of its own.
macro_rules! face {
    (objects { $($get:ident $set:ident $name:literal $field:ident;)* }
     flags { $($get_flag:ident $set_flag:ident $flag_name:literal $flag:ident;)* }
     sizes { $($get_size:ident $set_size:ident $size_name:literal $size:ident;)* }
     methods { $($methods:tt)* }) => {
        #[pymethods]
        impl TlsCore {
            $(#[getter($name)]
            fn $get<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
                self.$field.or_none(py)
            }

            #[setter($name)]
            fn $set(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
                self.changed($name, &value)?;
                self.$field.fill(value);
                Ok(())
            })*

            $(#[getter($flag_name)]
            fn $get_flag(&self) -> bool {
                self.flags.has(flag::$flag)
            }

            #[setter($flag_name)]
            fn $set_flag(&self, value: bool) {
                self.flags.put(flag::$flag, value);
            })*

            $(#[getter($size_name)]
            fn $get_size(&self) -> usize {
                self.$size.get()
            }

            #[setter($size_name)]
            fn $set_size(&self, value: usize) {
                self.$size.set(value);
            })*

            $($methods)*
        }
    };
}

face! {
    objects {
        get_loop set_loop "_loop" owner;
        get_transport set_transport "_transport" transport;
        get_app_protocol set_app_protocol "_app_protocol" app_protocol;
        get_get_buffer set_get_buffer "_app_protocol_get_buffer" app_get_buffer;
        get_buffer_updated set_buffer_updated "_app_protocol_buffer_updated" app_buffer_updated;
        get_state set_state "_state" state;
        get_incoming set_incoming "_incoming" incoming;
        get_outgoing set_outgoing "_outgoing" outgoing;
        get_sslobj set_sslobj "_sslobj" ssl;
        get_backlog set_backlog "_write_backlog" backlog;
    }
    flags {
        get_is_buffer set_is_buffer "_app_protocol_is_buffer" BUFFERED;
        get_app_reading set_app_reading "_app_reading_paused" APP_READING_PAUSED;
        get_ssl_writing set_ssl_writing "_ssl_writing_paused" SSL_WRITING_PAUSED;
        get_ssl_reading set_ssl_reading "_ssl_reading_paused" SSL_READING_PAUSED;
        get_app_writing set_app_writing "_app_writing_paused" APP_WRITING_PAUSED;
    }
    sizes {
        get_incoming_high set_incoming_high "_incoming_high_water" incoming_high;
        get_incoming_low set_incoming_low "_incoming_low_water" incoming_low;
        get_outgoing_high set_outgoing_high "_outgoing_high_water" outgoing_high;
        get_outgoing_low set_outgoing_low "_outgoing_low_water" outgoing_low;
        get_backlog_size set_backlog_size "_write_buffer_size" backlog_size;
    }
    methods {
        #[new]
        #[pyo3(signature = (*_args, **_kwargs))]
        fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
            let (empty, zero) = (|| Slot::empty(), || Cell::new(0));
            Self {
                owner: empty(),
                transport: empty(),
                app_protocol: empty(),
                app_get_buffer: empty(),
                app_buffer_updated: empty(),
                state: empty(),
                incoming: empty(),
                outgoing: empty(),
                ssl: empty(),
                backlog: empty(),
                feed: empty(),
                drain: empty(),
                read: empty(),
                write: empty(),
                flags: Flags::new(0),
                incoming_high: zero(),
                incoming_low: zero(),
                outgoing_high: zero(),
                outgoing_low: zero(),
                backlog_size: zero(),
                meter: Own::new(RecordMeter::default()),
            }
        }

        /// Take what a transport of somebody else's has received.
        fn _take(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
            let view = super::reading::Memory::view(data, ffi::PyBUF_SIMPLE)?;
            let result = slf.get().take_in(slf.py(), view.0.buf.cast(), view.0.len as usize);
            drop(view);
            result.and_then(|()| Secure::new(slf).received())
        }

        /// Give the protocol what has come.
        fn _do_read(slf: &Bound<'_, Self>) -> PyResult<()> {
            Secure::new(slf).do_read()
        }

        /// Give the transport what is to be sent.
        fn _process_outgoing(slf: &Bound<'_, Self>) -> PyResult<()> {
            Secure::new(slf).send_out()
        }

        /// Write data: the `write` of the transport that the program sees.
        fn _write_one<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyAny>) -> PyResult<()> {
            if !is_data(data) {
                let class = data.get_type().name()?;
                return Err(PyTypeError::new_err(format!("data: expecting a bytes-like instance, got {class}")));
            }
            if data.len()? == 0 || Secure::new(slf).write_now(data)? {
                return Ok(());
            }
            slf.call_method1(intern!(slf.py(), "_write_appdata"), ((data,),)).map(drop)
        }

        fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
            // SAFETY: the fields own live objects or are null, and nobody fills or clears them while the collector looks.
            self.all().into_iter().try_for_each(|slot| slot.show(&visit))
        }

        fn __clear__(&self) {
            self.all().into_iter().for_each(Slot::clear);
        }
    }
}

impl TlsCore {
    /// Keeps what belongs to an attribute that is about to be set.
    fn changed(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = value.py();
        match name {
            "_state" => {
                let [wrapped, flushing] = names_of_states(py)?;
                self.flags.put(flag::WRAPPED, value.is(wrapped));
                self.flags.put(flag::FLUSHING, value.is(flushing));
            }
            "_incoming" => self.feed.fill(value.getattr("write")?),
            "_outgoing" => self.drain.fill(value.getattr("read")?),
            "_sslobj" => {
                let inner = inner_of(value)?;
                self.flags.put(flag::FOREIGN, inner.is(value));
                self.read.fill(inner.getattr("read")?);
                self.write.fill(inner.getattr("write")?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The object of `_ssl`'s behind an `ssl.SSLObject`, unless a class below that has its own way to read and write.
fn inner_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let plain = object.py().import("ssl")?.getattr("SSLObject")?;
    let class = object.get_type();
    for name in ["read", "write"] {
        if !class.getattr_opt(name)?.is_some_and(|method| plain.getattr(name).is_ok_and(|usual| usual.is(&method))) {
            return Ok(object.clone());
        }
    }
    Ok(object.getattr_opt("_sslobj")?.filter(|inner| !inner.is_none()).unwrap_or_else(|| object.clone()))
}
