//! The extension module `tercet._tercet`: the only crate that names pyo3.
//!
//! It is thin. Python reaches Rust through the functions below; everything that may take a while
//! passes [`door`], which lets other Python threads run meanwhile.

#![expect(clippy::doc_markdown, clippy::doc_link_with_quotes, reason = "these are Python's docstrings")]

mod aio;
mod blank;
mod call;
mod colleague;
mod desk;
mod door;
mod error;
mod freight;
mod future;
mod gather;
mod limits;
mod lull;
mod memory;
mod message;
mod names;
mod office;
mod parcel;
mod pause;
mod plain;
mod pool;
mod probe;
mod process_pool;
mod repertoire;
mod semlock;
mod servant;
mod shared_queue;
mod spread;
mod submission;
mod view;
mod waits;
mod worker;

use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tercet_model::Profile;

use crate::door::Door;

/// The native half of tercet.
#[pymodule(gil_used = false)]
mod _tercet {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{build_info, decide, machine, main};
    #[pymodule_export]
    use crate::aio::flow::{Inbox, equip};
    #[pymodule_export]
    use crate::aio::guard::{close_guard, is_guarding};
    #[pymodule_export]
    use crate::aio::{LoopCore, Operation, TlsCore};
    #[pymodule_export]
    use crate::freight::Parcel;
    #[pymodule_export]
    use crate::future::Future;
    #[pymodule_export]
    use crate::gather::{Completions, wait};
    #[pymodule_export]
    use crate::memory::{Memory, memory_number};
    #[pymodule_export]
    use crate::message::{receive_message, send_message};
    #[pymodule_export]
    use crate::pool::{ThreadPool, close_all_pools, forget_threads};
    #[pymodule_export]
    use crate::probe::Probe;
    #[pymodule_export]
    use crate::process_pool::{Leader, ProcessPool};
    #[pymodule_export]
    use crate::semlock::{SemLock, SharedEvent};
    #[pymodule_export]
    use crate::servant::{end_with_parent, serve};
    #[pymodule_export]
    use crate::shared_queue::SharedQueue;
    #[pymodule_export]
    use crate::spread::MapIterator;
    #[pymodule_export]
    use crate::worker::Work;
    #[expect(non_upper_case_globals, reason = "it is the name that Python knows")]
    #[pymodule_export]
    const __version__: &str = super::VERSION;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::aio::add_fast_methods(&module.py().get_type::<LoopCore>())
    }
}

/// Run the command line and return its exit code.
///
/// Parameters
/// ----------
/// arguments
///     The words of the command line; the first is the name of the program.
/// python
///     The interpreter that programs are launched with.
#[pyfunction]
#[pyo3(signature = (arguments, python=None))]
fn main(py: Python<'_>, arguments: Vec<OsString>, python: Option<OsString>) -> u8 {
    py.outside(|| tercet_cli::run(arguments, python))
}

/// Decide what to do about a profile.
///
/// Parameters
/// ----------
/// profile
///     A profile as a JSON object; what is left out counts as unknown.
///
/// Returns
/// -------
/// str
///     The verdict as a JSON object.
///
/// Raises
/// ------
/// ValueError
///     When the text is no profile.
#[pyfunction]
fn decide(profile: &str) -> Result<String, error::Error> {
    let profile: Profile = serde_json::from_str(profile)?;
    Ok(serde_json::to_string(&tercet_model::decide(&profile))?)
}

/// Return the limits of this machine.
///
/// Returns
/// -------
/// dict
///     `cores`: the processors this process may use, its affinity and quotas taken into account;
///     `has_gil`: whether the GIL is on at this moment.
#[pyfunction]
fn machine(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let system = py.import("sys")?;
    let has_gil = match system.getattr_opt("_is_gil_enabled")? {
        Some(ask) => ask.call0()?.extract()?,
        None => true,
    };
    let found = PyDict::new(py);
    found.set_item("cores", tercet_sampler::machine(std::process::id()).cores)?;
    found.set_item("has_gil", has_gil)?;
    Ok(found)
}

/// Return the version of tercet and how it was built, for a report of a fault.
///
/// Returns
/// -------
/// dict
///     `version`; `profile`, `debug` or `release`; `target`, the processor and system it was built for.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let found = PyDict::new(py);
    found.set_item("version", VERSION)?;
    found.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    found.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    Ok(found)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
