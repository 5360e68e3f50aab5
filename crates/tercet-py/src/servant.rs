//! The far side of a pool of processes: what a worker process runs.

use std::num::NonZeroU64;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tercet_shm::{Access, Bell, Bells, Segment, State, Want, WorkerEnd, now_ns};

use crate::door::Door;
use crate::error::Error;
use crate::parcel::{Fault, Head, Incoming, Kind, Message, Outgoing, Parcel};

/// Serve a pool until it says that this process may leave.
///
/// Parameters
/// ----------
/// segment, mine, theirs
///     The descriptors of the memory, of the bell that wakes this process, and of the one that wakes the pool.
/// settle
///     Called first; if it raises, the pool is told that this worker is unfit.
/// run
///     Called with the bytes of a call; returns whether it failed, and the bytes of what it came to.
#[pyfunction]
pub(crate) fn serve(
    py: Python<'_>,
    segment: RawFd,
    mine: RawFd,
    theirs: RawFd,
    settle: &Bound<'_, PyAny>,
    run: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: the caller passes three descriptors that nobody else in this process owns.
    let [segment, mine, theirs] = [segment, mine, theirs].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let bells = Bells { mine: Bell::from(mine), theirs: Bell::from(theirs) };
    let end = WorkerEnd::open(&Segment::from_fd(segment, Access::ReadWrite).map_err(Error::from)?, bells)
        .map_err(Error::from)?;
    Servant { end, incoming: Incoming::default(), unheard_since_ns: None }.work(py, settle, run)
}

/// How long a result may lie in the ring before the pool is woken for it, while there are more tasks to run.
const UNHEARD_NS: u64 = 100_000;

struct Servant {
    end: WorkerEnd,
    incoming: Incoming,
    /// When the first result was committed for which nobody was woken.
    unheard_since_ns: Option<u64>,
}

impl Servant {
    fn work(&mut self, py: Python<'_>, settle: &Bound<'_, PyAny>, run: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Err(error) = settle.call0() {
            let words = format!("{}: {}", error.get_type(py).name()?, error.value(py));
            return self.tell(py, Kind::Unfit, words.as_bytes());
        }
        self.tell(py, Kind::Ready, b"")?;
        self.end.log.enter(State::Running);
        while let Some(message) = self.next(py)? {
            match message.head.kind {
                Kind::Call => self.run(py, message, run)?,
                Kind::Leave => break,
                _ => return Err(Fault::Garbled.into()),
            }
        }
        self.end.log.enter(State::Leaving);
        self.flush()
    }

    fn run(&mut self, py: Python<'_>, message: Message, run: &Bound<'_, PyAny>) -> PyResult<()> {
        let number = NonZeroU64::new(message.head.number).ok_or(Fault::Garbled)?;
        if !self.end.log.claim(number) {
            return self.send(py, Head::new(number.get(), Kind::Back), b"");
        }
        let began_ns = now_ns();
        self.end.log.begin(number, began_ns);
        let (has_failed, packed): (bool, Bound<'_, PyBytes>) =
            run.call1((Parcel::new(Arc::new(message.bytes)),))?.extract()?;
        let kind = if has_failed { Kind::Error } else { Kind::Value };
        let ended_ns = now_ns();
        let spent_us = u32::try_from((ended_ns - began_ns) / 1000).unwrap_or(u32::MAX);
        self.send(py, Head { number: number.get(), kind, spent_us }, packed.as_bytes())?;
        self.end.log.finish();
        let since = *self.unheard_since_ns.get_or_insert(ended_ns);
        if ended_ns - since >= UNHEARD_NS { self.flush() } else { Ok(()) }
    }

    /// The next message, waiting for it if need be.
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<Message>> {
        loop {
            if let Some(message) = self.incoming.next(&mut self.end.port.incoming)? {
                return Ok(Some(message));
            }
            self.end.log.enter(State::Resting);
            self.wait(py, Want::Frame)?;
            self.end.log.enter(State::Running);
        }
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
            self.wait(py, Want::Room(room))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> PyResult<()> {
        self.unheard_since_ns = None;
        self.end.port.flush().map_err(Error::from)?;
        Ok(())
    }

    fn wait(&mut self, py: Python<'_>, want: Want) -> PyResult<()> {
        self.unheard_since_ns = None;
        let port = &mut self.end.port;
        py.outside(|| port.wait(want, &[], None)).map_err(Error::from)?;
        py.check_signals()
    }
}

/// Have the kernel end this process when its parent ends, in whatever way.
#[pyfunction]
pub(crate) fn end_with_parent() -> PyResult<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|errno| PyOSError::new_err(std::io::Error::from(errno).to_string()))?;
    Ok(())
}
