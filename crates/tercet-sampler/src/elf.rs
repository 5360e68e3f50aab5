//! Finding the interpreter's data in the files a process has mapped.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use object::read::ReadCache;
use object::{Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol};

use crate::error::{Error, Result};

/// Where a Python binary keeps what the sampler needs, as addresses of its own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbols {
    /// `_PyRuntime`: the interpreter's state.
    pub(crate) runtime: u64,
    /// `Py_Version`: the version as a number (3.11 and later).
    pub(crate) version: Option<u64>,
    /// `PyCode_Type`: the type that every code object points to.
    pub(crate) code_type: Option<u64>,
    /// What to subtract from the address a file is mapped at; `None` when it is not relocated.
    base: Option<u64>,
}

impl Symbols {
    /// What to add to an address of the file, when its first byte is mapped at `mapped`.
    pub(crate) fn bias(&self, mapped: u64) -> u64 {
        self.base.map_or(0, |base| mapped.wrapping_sub(base))
    }
}

/// The symbols of the file at `path`, or `None` when it holds no Python interpreter.
///
/// The answer is remembered for each file, because children mostly run what their parents run.
pub(crate) fn python_symbols(path: &Path, key: FileKey) -> Result<Option<Symbols>> {
    static KNOWN: Mutex<Option<Arc<Known>>> = Mutex::new(None);
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    if let Some(symbols) = known.get(&key) {
        return Ok(*symbols);
    }
    let symbols = parse(path)?;
    let mut grown = Known::clone(&known);
    grown.insert(key, symbols);
    *KNOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(grown));
    Ok(symbols)
}

type Known = HashMap<FileKey, Option<Symbols>>;

/// Device and inode: what a file is, whatever it is called.
pub(crate) type FileKey = (u64, u64);

/// Only the headers and the symbol tables are read: an interpreter with its debug information is
/// tens of megabytes, and a watch begins with this.
fn parse(path: &Path) -> Result<Option<Symbols>> {
    let shown = || path.display().to_string();
    let file = fs::File::open(path).map_err(|source| Error::Io { path: shown(), source })?;
    let cache = ReadCache::new(file);
    let Ok(file) = object::File::parse(&cache) else { return Ok(None) };
    let mut found = Found::default();
    found.gather(file.dynamic_symbols());
    if found.runtime.is_none() {
        found.gather(file.symbols());
    }
    let section = || file.section_by_name(".PyRuntime").map(|section| section.address());
    let Some(runtime) = found.runtime.or_else(section) else { return Ok(None) };
    let lowest = file.segments().map(|segment| segment.address()).min().unwrap_or(0);
    Ok(Some(Symbols {
        runtime,
        version: found.version,
        code_type: found.code_type,
        base: (file.kind() == ObjectKind::Dynamic).then_some(lowest & !0xfff),
    }))
}

#[derive(Default)]
struct Found {
    runtime: Option<u64>,
    version: Option<u64>,
    code_type: Option<u64>,
}

impl Found {
    fn gather<'data, S: ObjectSymbol<'data>>(&mut self, symbols: impl Iterator<Item = S>) {
        for symbol in symbols.filter(ObjectSymbol::is_definition) {
            let slot = match symbol.name_bytes() {
                Ok(b"_PyRuntime") => &mut self.runtime,
                Ok(b"Py_Version") => &mut self.version,
                Ok(b"PyCode_Type") => &mut self.code_type,
                _ => continue,
            };
            *slot = Some(symbol.address());
        }
    }
}
