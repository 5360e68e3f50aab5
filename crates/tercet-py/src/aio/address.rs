//! Addresses of sockets, as Python writes them.

use std::net::{Ipv4Addr, Ipv6Addr};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// An address as the system gives it.
#[derive(Clone, Copy)]
pub(super) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Default for Address {
    fn default() -> Self {
        // SAFETY: all zeros is a valid address, of no family.
        Self { storage: unsafe { std::mem::zeroed() }, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }
}

impl Address {
    /// Where the system puts an address, and its length.
    pub(super) fn parts(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }

    /// The address of a socket's own end, or of the other one. `None` where there is none (any more).
    pub(super) fn of(fd: i32, is_peer: bool) -> Option<Self> {
        let mut address = Self::default();
        let (storage, len) = address.parts();
        let ask = if is_peer { libc::getpeername } else { libc::getsockname };
        // SAFETY: there is room for any address.
        (unsafe { ask(fd, storage, len) } == 0).then_some(address)
    }

    /// What Python's sockets say.
    pub(super) fn to_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let storage = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says what it is.
                let address = unsafe { &*storage.cast::<libc::sockaddr_in>() };
                let host = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).to_string();
                Ok((host, u16::from_be(address.sin_port)).into_pyobject(py)?.into_any())
            }
            libc::AF_INET6 => {
                // SAFETY: the family says what it is.
                let address = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
                let host = Ipv6Addr::from(address.sin6_addr.s6_addr).to_string();
                let flow = u32::from_be(address.sin6_flowinfo);
                let port = u16::from_be(address.sin6_port);
                Ok((host, port, flow, address.sin6_scope_id).into_pyobject(py)?.into_any())
            }
            libc::AF_UNIX => {
                // SAFETY: the family says what it is.
                let address = unsafe { &*storage.cast::<libc::sockaddr_un>() };
                let len = (self.len as usize).saturating_sub(std::mem::offset_of!(libc::sockaddr_un, sun_path));
                let path: Vec<u8> = address.sun_path.iter().take(len).map(|byte| *byte as u8).collect();
                if path.first() == Some(&0) {
                    return Ok(PyBytes::new(py, &path).into_any());
                }
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                let path = std::ffi::CString::new(&path[..end])?;
                // SAFETY: the text ends with a zero.
                let path = unsafe { pyo3::ffi::PyUnicode_DecodeFSDefault(path.as_ptr()) };
                // SAFETY: it is a new reference, or null with an exception set.
                unsafe { Bound::from_owned_ptr_or_err(py, path) }
            }
            _ => Ok(PyString::new(py, "").into_any()),
        }
    }
}
