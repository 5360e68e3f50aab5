//! The functions that a pool of processes calls: each worker is told once what stands at a place, and tasks name the place.
//!
//! To find a function by its name, which is how a function travels, takes longer than a small task does.
//!
//! Guarantees
//! ----------
//! - Only what travels by its name has a place: it has no state that could change between two tasks.
//! - A place that is given to another function has another edition, so a worker that knows the old one is told.
//! - Nothing here keeps a function alive.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyFunction, PyWeakrefMethods, PyWeakrefReference};

use crate::names;
use crate::plain;

/// How many functions have a place at a time.
const PLACES: usize = 64;
/// A longer name than this is none.
const LONGEST: usize = 1 << 10;

/// A function, as workers are told of it.
#[derive(Debug)]
pub(crate) struct Function {
    /// Where it stands, counted from 1.
    pub(crate) place: u32,
    /// Which function of all that have stood there.
    pub(crate) edition: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The functions that have a place.
#[derive(Default)]
pub(crate) struct Repertoire(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    editions: u64,
}

struct Entry {
    address: usize,
    weak: Py<PyWeakrefReference>,
    function: Arc<Function>,
}

impl Repertoire {
    /// The place of a function, if it can have one.
    pub(crate) fn find(&self, function: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Function>>> {
        let address = function.as_ptr() as usize;
        if let Some(known) = self.known(function.py(), address) {
            return Ok(Some(known));
        }
        if !is_named(function)? {
            return Ok(None);
        }
        let Ok(bytes) = plain::dumps(function) else { return Ok(None) };
        if bytes.as_bytes().len() > LONGEST {
            return Ok(None);
        }
        let weak = PyWeakrefReference::new(function)?.unbind();
        let (added, gone) = self.add(address, weak, bytes.as_bytes().to_vec());
        drop(gone);
        Ok(Some(added))
    }

    fn known(&self, py: Python<'_>, address: usize) -> Option<Arc<Function>> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = list.entries.iter().find(|entry| entry.address == address)?;
        // Another object may stand where one was that is gone.
        entry.weak.bind(py).upgrade().is_some().then(|| Arc::clone(&entry.function))
    }

    /// Gives a function a place; the next one in turn if all are taken.
    fn add(&self, address: usize, weak: Py<PyWeakrefReference>, bytes: Vec<u8>) -> (Arc<Function>, Option<Entry>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.editions += 1;
        let edition = list.editions;
        let same = list.entries.iter().position(|entry| entry.address == address);
        let place = same.unwrap_or_else(|| {
            if list.entries.len() < PLACES { list.entries.len() } else { edition as usize % PLACES }
        });
        let function = Arc::new(Function { place: place as u32 + 1, edition, bytes });
        let entry = Entry { address, weak, function: Arc::clone(&function) };
        let gone = if let Some(old) = list.entries.get_mut(place) {
            Some(std::mem::replace(old, entry))
        } else {
            list.entries.push(entry);
            None
        };
        (function, gone)
    }
}

/// Whether a function is one that Python itself sends by its name.
fn is_named(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let kind = function.get_type();
    if !function.is_exact_instance_of::<PyFunction>() && !function.is_exact_instance_of::<PyCFunction>() {
        return Ok(false);
    }
    // A builtin method travels with the object that it belongs to.
    if let Ok(owner) = function.getattr("__self__") {
        if !owner.is_none() && !owner.is_instance_of::<pyo3::types::PyModule>() {
            return Ok(false);
        }
    }
    Ok(!names::dispatch_table(function.py())?.contains(kind)?)
}
