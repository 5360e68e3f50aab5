//! What is done by a call that is awaited.
//!
//! Each deed is a function that is asked again whenever something has come: it returns what it was asked for, or says what it waits
//! for. What is rare - `read(-1)`, a drain that has to wait, an argument of an unusual class - is done by asyncio's own coroutine,
//! which finds the reader as it expects it.

use pyo3::exceptions::{PyStopAsyncIteration, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyTuple};

use super::super::stream::{Stream, flag};
use super::call::Call;
use super::face::{inbox_of, is_transport};
use super::inbox::Inbox;
use super::intake::find;
use crate::names;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    ReadLine,
    ReadExactly,
    ReadUntil,
    Next,
    Drain,
}

impl Deed {
    /// The name of the method, with its class.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "StreamReader.read",
            Self::ReadLine => "StreamReader.readline",
            Self::ReadExactly => "StreamReader.readexactly",
            Self::ReadUntil => "StreamReader.readuntil",
            Self::Next => "StreamReader.__anext__",
            Self::Drain => "StreamWriter.drain",
        }
    }
}

/// How it goes on.
pub(super) enum Next<'py> {
    Done(Bound<'py, PyAny>),
    /// A future of the reader's.
    Wait(Bound<'py, PyAny>),
    /// A coroutine of asyncio's.
    Elsewhere(Bound<'py, PyAny>),
}

impl<'py> Next<'py> {
    /// Does what a call is for, as far as it can be done.
    pub(super) fn of(call: &Call, py: Python<'py>, is_first: bool) -> PyResult<Self> {
        let subject = call.subject.or_none(py);
        if call.deed.get() == Deed::Drain {
            return drain(&subject);
        }
        let inbox = call.inbox(py)?;
        let reading = Reading { py, call, inbox: inbox.get(), subject, is_first };
        match call.deed.get() {
            Deed::Read => reading.read(),
            Deed::ReadExactly => reading.exactly(),
            Deed::ReadUntil => reading.until_given(),
            Deed::ReadLine => reading.line(),
            Deed::Next | Deed::Drain => match reading.line()? {
                Self::Done(line) if line.len()? == 0 => Err(PyStopAsyncIteration::new_err(())),
                next => Ok(next),
            },
        }
    }
}

/// A number of bytes, if it is one: any number that is too large is as good as the largest.
fn count_of(argument: &Bound<'_, PyAny>) -> Option<isize> {
    argument.is_instance_of::<PyInt>().then(|| {
        // SAFETY: it is a live number; without a class of errors it is cut to what fits.
        unsafe { ffi::PyNumber_AsSsize_t(argument.as_ptr(), std::ptr::null_mut()) }
    })
}

/// What looking for a separator comes to.
enum Found {
    /// Where it ends.
    At(usize),
    NotYet,
    TooLong(&'static str, usize),
}

struct Reading<'a, 'py> {
    py: Python<'py>,
    call: &'a Call,
    inbox: &'a Inbox,
    subject: Bound<'py, PyAny>,
    is_first: bool,
}

impl<'py> Reading<'_, 'py> {
    /// The error of the reader, which is asked for once, at the beginning.
    fn check(&self) -> PyResult<()> {
        match self.inbox.exception.get(self.py) {
            Some(error) if self.is_first => Err(names::raised(error)),
            _ => Ok(()),
        }
    }

    fn wait(&self, name: &str) -> PyResult<Next<'py>> {
        self.inbox.wait(self.py, name).map(Next::Wait)
    }

    fn done(&self, data: Bound<'py, PyBytes>) -> PyResult<Next<'py>> {
        self.inbox.maybe_resume(self.py)?;
        Ok(Next::Done(data.into_any()))
    }

    fn nothing(&self) -> Next<'py> {
        Next::Done(PyBytes::new(self.py, b"").into_any())
    }

    /// Has asyncio's own method do it.
    fn elsewhere(&self, name: &str) -> PyResult<Next<'py>> {
        let argument = self.call.argument.or_none(self.py);
        let method = names::stream_reader(self.py)?.getattr(name)?;
        method.call1((&self.subject, argument)).map(Next::Elsewhere)
    }

    fn read(&self) -> PyResult<Next<'py>> {
        // Without an argument: to the end.
        let count = self.call.argument.get(self.py).map_or(Some(-1), |argument| count_of(&argument));
        let Some(count) = count else { return self.elsewhere("read") };
        self.check()?;
        if count == 0 {
            return Ok(self.nothing());
        }
        let Ok(count) = usize::try_from(count) else {
            let method = names::stream_reader(self.py)?.getattr("read")?;
            return method.call1((&self.subject, -1)).map(Next::Elsewhere);
        };
        if self.is_first && !self.inbox.is_eof() && self.inbox.len(self.py) == 0 {
            return self.wait("read");
        }
        self.done(self.inbox.take(self.py, count)?)
    }

    fn exactly(&self) -> PyResult<Next<'py>> {
        let Some(count) = count_of(&self.call.argument.or_none(self.py)) else { return self.elsewhere("readexactly") };
        let Ok(count) = usize::try_from(count) else {
            return Err(PyValueError::new_err("readexactly size can not be less than zero"));
        };
        self.check()?;
        if count == 0 {
            return Ok(self.nothing());
        }
        if self.inbox.len(self.py) >= count {
            return self.done(self.inbox.take(self.py, count)?);
        }
        if self.inbox.is_eof() {
            let partial = self.inbox.take(self.py, usize::MAX)?;
            return Err(incomplete(partial, Some(count)));
        }
        self.wait("readexactly")
    }

    fn until_given(&self) -> PyResult<Next<'py>> {
        let Some(argument) = self.call.argument.get(self.py) else { return self.until(&[b"\n"]) };
        if let Ok(separator) = argument.cast::<PyBytes>() {
            return self.until(&[separator.as_bytes()]);
        }
        let Ok(separators) = argument.cast::<PyTuple>() else { return self.elsewhere("readuntil") };
        let mut all = Vec::with_capacity(separators.len());
        for separator in separators.iter_borrowed() {
            let Ok(separator) = separator.cast::<PyBytes>() else { return self.elsewhere("readuntil") };
            // SAFETY: the tuple keeps its members, and the call keeps the tuple.
            let bytes =
                unsafe { std::slice::from_raw_parts(separator.as_bytes().as_ptr(), separator.as_bytes().len()) };
            all.push(bytes);
        }
        // Several separators are known since 3.13; before that, and for none, asyncio has an error.
        if self.py.version_info() < (3, 13) || all.is_empty() {
            return self.elsewhere("readuntil");
        }
        all.sort_by_key(|separator| separator.len());
        self.until(&all)
    }

    /// Looks for separators, the shortest first.
    fn search(&self, separators: &[&[u8]]) -> Found {
        let [shortest, .., longest] = separators else {
            return self.search_between(separators, separators[0].len(), separators[0].len());
        };
        self.search_between(separators, shortest.len(), longest.len())
    }

    fn search_between(&self, separators: &[&[u8]], shortest: usize, longest: usize) -> Found {
        let limit = self.inbox.limit();
        let searched = self.call.searched.get();
        let found = self.inbox.look(self.py, |bytes| {
            if bytes.len() < searched + shortest {
                return Err(None);
            }
            let ends = separators
                .iter()
                .filter_map(|separator| find(bytes, separator, searched).map(|begin| (begin + separator.len(), begin)));
            // Of two that end at the same place the first one counts: the shorter.
            ends.min_by_key(|(end, _)| *end).ok_or(Some((bytes.len() + 1).saturating_sub(longest)))
        });
        match found {
            Ok((_, begin)) if begin > limit => {
                Found::TooLong("Separator is found, but chunk is longer than limit", begin)
            }
            Ok((end, _)) => Found::At(end),
            Err(None) => Found::NotYet,
            Err(Some(offset)) if offset > limit => {
                Found::TooLong("Separator is not found, and chunk exceed the limit", offset)
            }
            Err(Some(offset)) => {
                self.call.searched.set(offset);
                Found::NotYet
            }
        }
    }

    fn until(&self, separators: &[&[u8]]) -> PyResult<Next<'py>> {
        if separators[0].is_empty() {
            return Err(PyValueError::new_err("Separator should be at least one-byte string"));
        }
        self.check()?;
        match self.search(separators) {
            Found::At(end) => self.done(self.inbox.take(self.py, end)?),
            Found::TooLong(words, consumed) => Err(overrun(self.py, words, consumed)),
            Found::NotYet if self.inbox.is_eof() => {
                let partial = self.inbox.take(self.py, usize::MAX)?;
                Err(incomplete(partial, None))
            }
            Found::NotYet => self.wait("readuntil"),
        }
    }

    fn line(&self) -> PyResult<Next<'py>> {
        self.check()?;
        match self.search(&[b"\n"]) {
            Found::At(end) => self.done(self.inbox.take(self.py, end)?),
            Found::TooLong(words, consumed) => {
                let has_end = self.inbox.look(self.py, |bytes| bytes.get(consumed) == Some(&b'\n'));
                let count = if has_end { consumed + 1 } else { self.inbox.len(self.py) };
                self.inbox.skip(self.py, count)?;
                self.inbox.maybe_resume(self.py)?;
                let error = PyValueError::new_err(words);
                let context = overrun(self.py, words, consumed).into_value(self.py);
                error.value(self.py).setattr(intern!(self.py, "__context__"), context)?;
                Err(error)
            }
            Found::NotYet if self.inbox.is_eof() => Ok(Next::Done(self.inbox.take(self.py, usize::MAX)?.into_any())),
            Found::NotYet => self.wait("readuntil"),
        }
    }
}

fn incomplete(partial: Bound<'_, PyBytes>, expected: Option<usize>) -> PyErr {
    let made = names::incomplete_read_error(partial.py()).and_then(|class| class.call1((partial, expected)));
    made.map_or_else(|error| error, names::raised)
}

fn overrun(py: Python<'_>, words: &str, consumed: usize) -> PyErr {
    let made = names::limit_overrun_error(py).and_then(|class| class.call1((words, consumed)));
    made.map_or_else(|error| error, names::raised)
}

/// Nothing to wait for if the transport takes more and the reader has no error; else asyncio's own coroutine sees to it.
fn drain<'py>(writer: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
    let py = writer.py();
    if is_flowing(writer)? {
        return Ok(Next::Done(py.None().into_bound(py)));
    }
    names::stream_writer(py)?.getattr("drain")?.call1((writer,)).map(Next::Elsewhere)
}

fn is_flowing(writer: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = writer.py();
    let transport = writer.getattr(intern!(py, "_transport"))?;
    if !is_transport(&transport) {
        return Ok(false);
    }
    // SAFETY: it is a transport of ours and is owned meanwhile.
    let stream = unsafe { Stream::of(transport.as_ptr()) };
    if stream.flags.has(flag::CLOSING | flag::PROTOCOL_PAUSED) || stream.is_lost() {
        return Ok(false);
    }
    // Whoever was given another protocol since then knows nothing of its pauses.
    if stream.protocol.raw() != writer.getattr(intern!(py, "_protocol"))?.as_ptr() {
        return Ok(false);
    }
    let reader = writer.getattr(intern!(py, "_reader"))?;
    Ok(reader.is_none() || inbox_of(&reader).is_ok_and(|inbox| inbox.get().exception.is_empty()))
}
