//! From errors in Rust to exceptions in Python: one `match`, one exception for each kind.

use pyo3::PyErr;
use pyo3::exceptions::{PyOSError, PyValueError};

/// What can go wrong behind the door.
#[derive(Debug)]
pub(crate) enum Error {
    /// A text is not what it should be.
    Json(serde_json::Error),
    /// This process cannot be looked at.
    Sampler(tercet_sampler::Error),
    /// Memory cannot be shared with another process.
    Memory(tercet_shm::Error),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<tercet_sampler::Error> for Error {
    fn from(error: tercet_sampler::Error) -> Self {
        Self::Sampler(error)
    }
}

impl From<tercet_shm::Error> for Error {
    fn from(error: tercet_shm::Error) -> Self {
        Self::Memory(error)
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Json(error) => PyValueError::new_err(format!("not a profile: {error}")),
            Error::Sampler(error) => PyOSError::new_err(error.to_string()),
            Error::Memory(error) => PyOSError::new_err(error.to_string()),
        }
    }
}
