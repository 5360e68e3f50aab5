//! Reading the memory of another process.
//!
//! `process_vm_readv` copies pages without stopping their owner. What it returns is as old as the
//! call and may be torn where the owner writes meanwhile, so every reader here checks what it
//! follows: a pointer that leads nowhere is an answer, never a crash.

use std::io;

/// Most pieces read in one call.
const MOST_PARTS: usize = 128;

/// The memory of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pid: libc::pid_t,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid: pid as libc::pid_t }
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

    /// `N` bytes at each of `addresses`, in one call; it ends before the first that cannot be read.
    pub(crate) fn gather<const N: usize>(self, addresses: &[u64]) -> Vec<[u8; N]> {
        let mut found = Vec::with_capacity(addresses.len());
        for part in addresses.chunks(MOST_PARTS) {
            let mut buffers = vec![[0; N]; part.len()];
            let local = libc::iovec { iov_base: buffers.as_mut_ptr().cast(), iov_len: N * part.len() };
            let remote: Vec<_> =
                part.iter().map(|&at| libc::iovec { iov_base: at as *mut libc::c_void, iov_len: N }).collect();
            // SAFETY: `local` describes exactly `buffers`, which lives and is not otherwise used until
            // the call returns; the remote addresses are only interpreted by the kernel.
            let read = unsafe {
                libc::process_vm_readv(self.pid, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
            };
            let whole = usize::try_from(read).unwrap_or(0) / N;
            buffers.truncate(whole);
            found.append(&mut buffers);
            if whole < part.len() {
                break;
            }
        }
        found
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
    fn gathers_up_to_the_first_that_leads_nowhere() {
        let words = [1_u64, 2, 3];
        let at = |index: usize| &raw const words[index] as u64;
        let memory = Memory::of(std::process::id());
        let all = memory.gather::<8>(&[at(2), at(0), at(1)]);
        assert_eq!(all.iter().map(|bytes| word_at(bytes, 0)).collect::<Vec<_>>(), [3, 1, 2]);
        assert_eq!(memory.gather::<8>(&[at(1), 8, at(0)]).len(), 1);
    }

    #[test]
    fn a_pointer_that_leads_nowhere_is_an_error() {
        assert!(Memory::of(std::process::id()).word(8).is_err());
    }
}
