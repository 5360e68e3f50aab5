//! The far side of a pool of processes: what a worker process runs.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tercet_shm::{Access, Arena, Bell, Bells, Holder, Peer, Segment, State, Want, Woken, WorkerEnd, now_ns};

use crate::call;
use crate::door::Door;
use crate::error::Error;
use crate::freight::{self, Freight, Packed, Parcel, Store};
use crate::names;
use crate::parcel::{Fault, Head, Incoming, Kind, Message, Outgoing};
use crate::plain;

/// Serve a pool until it says that this process may leave.
///
/// Parameters
/// ----------
/// fds
///     The descriptors: of the memory, of the bell that wakes this process, and of the one that wakes the pool; and where large
///     buffers travel by handle, of the pool's slabs, this worker's ledger of them, this worker's slabs, and the pool's
///     ledger of those.
/// settle
///     Called first; if it raises, the pool is told that this worker is unfit.
/// run
///     Called with a call that is packed with its function; returns whether it failed, and what it came to, packed.
/// parcel
///     The module `tercet.parcel`, or a copy of it, for a worker that is told of functions.
#[pyfunction]
#[pyo3(signature = (fds, settle, run, parcel=None))]
pub(crate) fn serve(
    py: Python<'_>,
    fds: Vec<RawFd>,
    settle: &Bound<'_, PyAny>,
    run: Bound<'_, PyAny>,
    parcel: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    // SAFETY: the caller passes descriptors that nobody else in this process owns.
    let fds: Vec<OwnedFd> = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    names::watch_forks(py)?;
    let servant = Servant::new(fds).map_err(Error::from)?;
    let hands = Hands { run, parcel: parcel.map(Parcels::of).transpose()? };
    servant.ok_or_else(|| PyValueError::new_err("a worker is given 3 or 7 descriptors"))?.work(py, settle, &hands)
}

/// How long a result may lie in the ring before the pool is woken for it, while there are more tasks to run.
const UNHEARD_NS: u64 = 100_000;

/// What is done in Python.
struct Hands<'py> {
    /// `run(parcel)`: runs a call that is packed with its function. Whether it failed, and what it came to, packed.
    run: Bound<'py, PyAny>,
    parcel: Option<Parcels<'py>>,
}

/// Functions of `tercet.parcel`.
struct Parcels<'py> {
    /// `pack_result(value)`: whether that failed, and a result that is not plain, packed.
    pack_result: Bound<'py, PyAny>,
    /// `pack_error(error)`.
    pack_error: Bound<'py, PyAny>,
}

impl<'py> Parcels<'py> {
    fn of(parcel: &Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(Self { pack_result: parcel.getattr("pack_result")?, pack_error: parcel.getattr("pack_error")? })
    }
}

/// A function that the pool has told of.
struct Learned {
    bytes: Py<PyBytes>,
    /// What they stand for, once it was found.
    function: Option<Py<PyAny>>,
}

struct Servant {
    end: WorkerEnd,
    incoming: Incoming,
    /// When the first result was committed for which nobody was woken.
    unheard_since_ns: Option<u64>,
    /// Where the pool's large buffers are read.
    holder: Option<Holder>,
    /// Where its own go, and the number of the pool there.
    store: Option<(Arc<Store>, Peer)>,
    functions: BTreeMap<u32, Learned>,
}

impl Servant {
    fn new(fds: Vec<OwnedFd>) -> Result<Option<Self>, tercet_shm::Error> {
        let mut fds = fds.into_iter();
        let (Some(segment), Some(mine), Some(theirs)) = (fds.next(), fds.next(), fds.next()) else { return Ok(None) };
        let bells = Bells { mine: Bell::from(mine), theirs: Bell::from(theirs) };
        let end = WorkerEnd::open(&Segment::from_fd(segment, Access::ReadWrite)?, bells)?;
        let mut servant = Self {
            end,
            incoming: Incoming::default(),
            unheard_since_ns: None,
            holder: None,
            store: None,
            functions: BTreeMap::new(),
        };
        if let (Some(data), Some(ledger), Some(own), Some(account)) = (fds.next(), fds.next(), fds.next(), fds.next()) {
            servant.holder = Some(Holder::open(data, ledger)?);
            let mut arena = Arena::over(Segment::from_fd(own, Access::ReadWrite)?, freight::warm_bytes());
            let pool = arena.enrol_with(Segment::from_fd(account, Access::ReadWrite)?)?;
            servant.store = Some((Store::new(arena), pool));
        }
        Ok(Some(servant))
    }

    fn work(&mut self, py: Python<'_>, settle: &Bound<'_, PyAny>, hands: &Hands<'_>) -> PyResult<()> {
        if let Err(error) = settle.call0() {
            let words = format!("{}: {}", error.get_type(py).name()?, error.value(py));
            return self.tell(py, Kind::Unfit, words.as_bytes());
        }
        self.tell(py, Kind::Ready, b"")?;
        self.end.log.enter(State::Running);
        while let Some(message) = self.next(py)? {
            match message.head.kind {
                Kind::Call => self.run(py, message, hands)?,
                Kind::Function => {
                    let learned = Learned { bytes: PyBytes::new(py, &message.bytes).unbind(), function: None };
                    drop(self.functions.insert(message.head.place, learned));
                }
                Kind::Leave => break,
                _ => return Err(Fault::Garbled.into()),
            }
        }
        self.end.log.enter(State::Leaving);
        self.flush()
    }

    fn run(&mut self, py: Python<'_>, message: Message, hands: &Hands<'_>) -> PyResult<()> {
        let number = NonZeroU64::new(message.head.number).ok_or(Fault::Garbled)?;
        let place = message.head.place;
        // What it was lent goes back when this is dropped, whether it is run or not.
        let call = Arc::new(Packed::open(message, self.holder.as_ref())?);
        if !self.end.log.claim(number) {
            return self.send(py, Head::new(number.get(), Kind::Back), b"");
        }
        let began_ns = now_ns();
        self.end.log.begin(number, began_ns);
        let (has_failed, packed) = if place == 0 {
            hands.run.call1((Parcel::new(call),))?.extract()?
        } else {
            let parcel = hands.parcel.as_ref().ok_or(Fault::Garbled)?;
            match self.call(py, place, call) {
                Ok(value) if plain::is_plain(&value) => (false, plain::dumps(&value)?.into_any()),
                Ok(value) => parcel.pack_result.call1((value,))?.extract()?,
                Err(error) => (true, parcel.pack_error.call1((error.into_value(py),))?),
            }
        };
        let ended_ns = now_ns();
        let freight = Freight::load(&packed, self.store.as_ref().map(|(store, _)| store))?;
        drop(packed);
        let kind = if has_failed { Kind::Error } else { Kind::Value };
        let mut head = freight.head(number.get(), kind);
        head.spent_us = u32::try_from((ended_ns - began_ns) / 1000).unwrap_or(u32::MAX);
        if let Some(bytes) = freight.plain() {
            self.send(py, head, bytes)?;
        } else {
            let peer = self.store.as_ref().map(|(_, pool)| *pool);
            self.send(py, head, &freight.message(peer).map_err(Error::from)?)?;
        }
        self.end.log.finish();
        let since = *self.unheard_since_ns.get_or_insert(ended_ns);
        if ended_ns - since >= UNHEARD_NS { self.flush() } else { Ok(()) }
    }

    /// Calls the function at a place with packed arguments.
    fn call<'py>(&mut self, py: Python<'py>, place: u32, packed: Arc<Packed>) -> PyResult<Bound<'py, PyAny>> {
        let learned = self.functions.get_mut(&place).ok_or(Fault::Garbled)?;
        let function = if let Some(function) = &learned.function {
            function.bind(py).clone()
        } else {
            let function = plain::loads(learned.bytes.bind(py))?;
            learned.function = Some(function.clone().unbind());
            function
        };
        let args = packed.rebuild(py)?.cast_into::<PyTuple>()?;
        // What it was lent may go back as soon as nobody looks at it any more.
        drop(packed);
        call::call(&function, &args, None)
    }

    /// The next message, waiting for it if need be.
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<Message>> {
        loop {
            if let Some(message) = self.incoming.next(&mut self.end.port.incoming)? {
                return Ok(Some(message));
            }
            self.end.log.enter(State::Resting);
            self.rest(py)?;
            self.end.log.enter(State::Running);
        }
    }

    /// Waits for a message. After a while of rest, memory goes back to the system.
    fn rest(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some((store, _)) = self.store.clone() else { return self.wait(py, Want::Frame, None).map(drop) };
        if self.wait(py, Want::Frame, Some(Instant::now() + freight::REST))? == Woken::TimedOut {
            store.trim();
            self.wait(py, Want::Frame, None)?;
        }
        Ok(())
    }

    /// Tells the pool about this worker.
    fn tell(&mut self, py: Python<'_>, kind: Kind, bytes: &[u8]) -> PyResult<()> {
        self.send(py, Head::new(0, kind), bytes)?;
        self.flush()
    }

    /// Puts a message into the ring, where the pool sees it if it is awake.
    fn send(&mut self, py: Python<'_>, head: Head, bytes: &[u8]) -> PyResult<()> {
        let mut outgoing = Outgoing::new(head, bytes.len());
        while !outgoing.push(bytes, &mut self.end.port.outgoing).map_err(Error::from)? {
            let room = outgoing.wants(&self.end.port.outgoing);
            self.wait(py, Want::Room(room), None)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> PyResult<()> {
        self.unheard_since_ns = None;
        self.end.port.flush().map_err(Error::from)?;
        Ok(())
    }

    fn wait(&mut self, py: Python<'_>, want: Want, until: Option<Instant>) -> PyResult<Woken> {
        self.unheard_since_ns = None;
        let port = &mut self.end.port;
        let woken = py.outside(|| port.wait(want, &[], until)).map_err(Error::from)?;
        py.check_signals()?;
        Ok(woken)
    }
}

/// Have the kernel end this process when its parent ends, in whatever way; or no longer.
#[pyfunction]
#[pyo3(signature = (ends = true))]
pub(crate) fn end_with_parent(ends: bool) -> PyResult<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(ends.then_some(rustix::process::Signal::KILL))
        .map_err(|errno| PyOSError::new_err(std::io::Error::from(errno).to_string()))?;
    Ok(())
}
