//! Reading the memory of another process.
//!
//! `process_vm_readv` copies pages without stopping their owner. What it returns is as old as the
//! call and may be torn where the owner writes meanwhile, so every reader here checks what it
//! follows: a pointer that leads nowhere is an answer, never a crash.

use std::io;

/// The memory of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pid: libc::pid_t,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid: pid.cast_signed() }
    }

    /// Fills `buffer` from `address`; an error when any part of it cannot be read.
    pub(crate) fn read(self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        // SAFETY: `local` describes exactly the exclusively borrowed `buffer`, one entry each side;
        // the remote address is only interpreted by the kernel, which checks it.
        let read = unsafe { libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0) };
        match usize::try_from(read) {
            Ok(count) if count == buffer.len() => Ok(()),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// `N` bytes at `first` and, in the same call, `M` bytes at `second` when they can be read.
    pub(crate) fn pair<const N: usize, const M: usize>(
        self,
        first: u64,
        second: u64,
    ) -> io::Result<([u8; N], Option<[u8; M]>)> {
        let (mut one, mut two) = ([0; N], [0; M]);
        let local = [
            libc::iovec { iov_base: one.as_mut_ptr().cast(), iov_len: N },
            libc::iovec { iov_base: two.as_mut_ptr().cast(), iov_len: M },
        ];
        let remote = [
            libc::iovec { iov_base: first as *mut libc::c_void, iov_len: N },
            libc::iovec { iov_base: second as *mut libc::c_void, iov_len: M },
        ];
        // SAFETY: `local` describes exactly the two arrays, which live and are not otherwise used
        // until the call returns; the remote addresses are only interpreted by the kernel.
        let read = unsafe { libc::process_vm_readv(self.pid, local.as_ptr(), 2, remote.as_ptr(), 2, 0) };
        match usize::try_from(read) {
            Ok(count) if count == N + M => Ok((one, Some(two))),
            Ok(count) if count >= N => Ok((one, None)),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// `N` bytes at `address`.
    pub(crate) fn bytes<const N: usize>(self, address: u64) -> io::Result<[u8; N]> {
        let mut buffer = [0; N];
        self.read(address, &mut buffer)?;
        Ok(buffer)
    }

    /// The 64-bit word at `address`.
    pub(crate) fn word(self, address: u64) -> io::Result<u64> {
        self.bytes(address).map(u64::from_ne_bytes)
    }

    /// `length` bytes at `address`.
    pub(crate) fn vec(self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        self.read(address, &mut buffer)?;
        Ok(buffer)
    }
}

/// The 64-bit word at `offset` of bytes that were read; zero where they end before it.
pub(crate) fn word_at(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..offset + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// The signed 32-bit word at `offset` of bytes that were read; zero where they end before it.
pub(crate) fn int_at(bytes: &[u8], offset: usize) -> i32 {
    bytes.get(offset..offset + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_very_process() {
        let word: u64 = 0x7465_7263_6574;
        let memory = Memory::of(std::process::id());
        assert_eq!(memory.word(&raw const word as u64).unwrap(), word);
    }

    #[test]
    fn a_pointer_that_leads_nowhere_is_an_error() {
        assert!(Memory::of(std::process::id()).word(8).is_err());
    }
}
