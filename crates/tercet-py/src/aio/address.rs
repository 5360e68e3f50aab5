//! Addresses of sockets, as Python writes them.

use std::net::{Ipv4Addr, Ipv6Addr};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};

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

    /// Where it lies, and its length.
    pub(super) fn span(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.len)
    }

    fn bytes(&self) -> &[u8] {
        let len = (self.len as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: the storage is that large, and was all zeros where nobody has written.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), len) }
    }

    /// Whether it is that of nobody in particular, as of a Unix socket that is not bound.
    pub(super) fn is_unnamed(&self) -> bool {
        self.len == 0
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }

    /// A number that is the same for the same address.
    pub(super) fn hash(&self) -> usize {
        self.bytes().iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)))
    }

    /// What a socket of the internet makes of an address whose host is a literal. `None` is for others to find out.
    pub(super) fn from_python(family: i32, address: &Bound<'_, PyAny>) -> Option<Self> {
        let parts = address.cast_exact::<PyTuple>().ok()?;
        let host = parts.get_item(0).ok()?;
        let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned();
        let number = |place: usize| parts.get_item(place).ok()?.cast_exact::<PyInt>().ok()?.extract::<u32>().ok();
        let port = u16::try_from(number(1)?).ok()?.to_be();
        let mut made = Self::default();
        match family {
            libc::AF_INET if parts.len() == 2 => {
                let place = (&raw mut made.storage).cast::<libc::sockaddr_in>();
                let host: Ipv4Addr = host.parse().ok()?;
                // SAFETY: the storage has room for it.
                unsafe {
                    (*place).sin_family = libc::AF_INET as libc::sa_family_t;
                    (*place).sin_port = port;
                    (*place).sin_addr.s_addr = u32::from(host).to_be();
                }
                made.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            libc::AF_INET6 if (2..=4).contains(&parts.len()) => {
                let place = (&raw mut made.storage).cast::<libc::sockaddr_in6>();
                let host: Ipv6Addr = host.parse().ok()?;
                let flow = if parts.len() > 2 { number(2).filter(|flow| *flow <= 0xF_FFFF)? } else { 0 };
                let scope = if parts.len() > 3 { number(3)? } else { 0 };
                // SAFETY: the storage has room for it.
                unsafe {
                    (*place).sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    (*place).sin6_port = port;
                    (*place).sin6_addr.s6_addr = host.octets();
                    (*place).sin6_flowinfo = flow.to_be();
                    (*place).sin6_scope_id = scope;
                }
                made.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
            _ => return None,
        }
        Some(made)
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
