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
use crate::parcel::{Fault, Incoming, Kind, Message, Outgoing, Parcel};

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
    Servant { end, incoming: Incoming::default() }.work(py, settle, run)
}

struct Servant {
    end: WorkerEnd,
    incoming: Incoming,
}

impl Servant {
    fn work(&mut self, py: Python<'_>, settle: &Bound<'_, PyAny>, run: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Err(error) = settle.call0() {
            let words = format!("{}: {}", error.get_type(py).name()?, error.value(py));
            self.send(py, 0, Kind::Unfit, words.as_bytes())?;
            return Ok(());
        }
        self.send(py, 0, Kind::Ready, b"")?;
        self.end.log.enter(State::Running);
        while let Some(message) = self.next(py)? {
            match message.kind {
                Kind::Call => self.run(py, message, run)?,
                Kind::Leave => break,
                _ => return Err(Fault::Garbled.into()),
            }
        }
        self.end.log.enter(State::Leaving);
        Ok(())
    }

    fn run(&mut self, py: Python<'_>, message: Message, run: &Bound<'_, PyAny>) -> PyResult<()> {
        let number = NonZeroU64::new(message.number).ok_or(Fault::Garbled)?;
        self.end.log.begin(number, now_ns());
        let (has_failed, packed): (bool, Bound<'_, PyBytes>) =
            run.call1((Parcel::new(Arc::new(message.bytes)),))?.extract()?;
        let kind = if has_failed { Kind::Error } else { Kind::Value };
        self.send(py, message.number, kind, packed.as_bytes())?;
        self.end.log.finish();
        Ok(())
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

    fn send(&mut self, py: Python<'_>, number: u64, kind: Kind, bytes: &[u8]) -> PyResult<()> {
        let mut outgoing = Outgoing::new(number, kind, bytes.len());
        let mut has_begun = false;
        while !outgoing.push(bytes, &mut self.end.port.outgoing, &mut has_begun).map_err(Error::from)? {
            let room = outgoing.wants(&self.end.port.outgoing);
            self.wait(py, Want::Room(room))?;
        }
        self.end.port.flush().map_err(Error::from)?;
        Ok(())
    }

    fn wait(&mut self, py: Python<'_>, want: Want) -> PyResult<()> {
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
