//! Memory that processes share, for Python to read and write in place.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use pyo3::ffi;
use pyo3::prelude::*;
use tercet_shm::{Cell, file_number};

use crate::error::Error;
use crate::view;

/// Bytes that processes share, zeros at first.
///
/// Parameters
/// ----------
/// size
///     How many.
#[pyclass(module = "tercet._tercet", frozen)]
pub(crate) struct Memory(Cell);

#[pymethods]
impl Memory {
    #[new]
    fn new(size: usize) -> PyResult<Self> {
        Ok(Self(Cell::new(size).map_err(Error::from)?))
    }

    /// Return memory that another process has made; the descriptor is its own from now on.
    #[staticmethod]
    fn _from_fd(fd: RawFd, offset: usize, size: usize) -> PyResult<Self> {
        // SAFETY: the caller passes a descriptor that nobody else in this process owns.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Cell::from_fd(file, offset, size).map_err(Error::from)?))
    }

    /// Return the descriptor of the segment that it lies in.
    fn fileno(&self) -> RawFd {
        self.0.segment().as_fd().as_raw_fd()
    }

    /// Where it begins in that segment.
    #[getter]
    fn offset(&self) -> usize {
        self.0.offset()
    }

    /// Where it begins in this process.
    #[getter]
    fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let cell = &slf.get().0;
        // SAFETY: the cell lives as long as the object and is shared for writing; who may when is the program's affair.
        unsafe { view::fill(slf, view, flags, cell.as_ptr(), cell.len()) }
    }
}

/// Return the number by which all processes know the file behind a descriptor.
#[pyfunction]
pub(crate) fn memory_number(fd: RawFd) -> PyResult<u64> {
    // SAFETY: it is only looked at, during this call; if there is no such descriptor the system says so.
    let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd.max(0)) };
    Ok(file_number(file).map_err(Error::from)?)
}
