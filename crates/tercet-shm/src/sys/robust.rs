//! Linux: a mutex that the death of its owner opens.
//!
//! Some facts about robust mutexes
//! -------------------------------
//! - Each thread keeps a list of those it holds, in its own memory; the kernel walks it when the thread dies, by whatever
//!   death, marks each of them and wakes a sleeper. No process number is ever compared, so none can be mistaken for an older one.
//! - The next one to lock is told. It has the lock, and vouches for what the lock protects.
//! - The C library has the list, so the lock must be its own. Its wait goes on after a signal: it is cut into pieces here.
//! - The list runs through the shared memory while a lock is held. So processes that share one must trust each other.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::sync::Shared;

/// So often it is tried before the thread goes to sleep: most holders copy a few bytes.
const TRIES: u32 = 100;

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Robust(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: it consists of integers and is reached through the C library alone, which is made for that.
unsafe impl Shared for Robust {}
// SAFETY: it is a mutex.
unsafe impl Send for Robust {}
// SAFETY: it is a mutex.
unsafe impl Sync for Robust {}

/// It is held. Dropped, it is free; it stays with its thread.
#[derive(Debug)]
pub(crate) struct Hold<'a>(&'a Robust, PhantomData<*const ()>);

impl Robust {
    /// Makes it a mutex. The caller is the only one who has the memory yet.
    pub(crate) fn init(&self) -> Result<(), Error> {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are made before they are used and given back after; the mutex is nobody else's yet.
        let codes = unsafe {
            [
                libc::pthread_mutexattr_init(attributes),
                libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED),
                libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST),
                libc::pthread_mutex_init(self.0.get(), attributes),
                libc::pthread_mutexattr_destroy(attributes),
            ]
        };
        codes.into_iter().find(|code| *code != 0).map_or(Ok(()), |code| Err(failed("make a lock", code)))
    }

    /// Takes it if it is free.
    pub(crate) fn try_lock(&self) -> Result<Option<Hold<'_>>, Error> {
        // SAFETY: `init` made it a mutex before anybody else had it.
        self.held(unsafe { libc::pthread_mutex_trylock(self.0.get()) })
    }

    /// Takes it, or gives up after a while. A signal does not end the wait, so the while should be short.
    pub(crate) fn lock(&self, patience: Duration) -> Result<Option<Hold<'_>>, Error> {
        for _ in 0..TRIES {
            if let Some(hold) = self.try_lock()? {
                return Ok(Some(hold));
            }
            std::hint::spin_loop();
        }
        let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + patience;
        let until = libc::timespec {
            tv_sec: libc::time_t::try_from(until.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(until.subsec_nanos() as i32),
        };
        // SAFETY: as in `try_lock`, and the time is there to be read.
        self.held(unsafe { libc::pthread_mutex_timedlock(self.0.get(), &raw const until) })
    }

    fn held(&self, code: libc::c_int) -> Result<Option<Hold<'_>>, Error> {
        match code {
            0 => Ok(Some(Hold(self, PhantomData))),
            libc::EOWNERDEAD => {
                // What it protects is whole at every instruction: there is nothing to mend.
                // SAFETY: this thread holds it.
                unsafe { libc::pthread_mutex_consistent(self.0.get()) };
                Ok(Some(Hold(self, PhantomData)))
            }
            libc::EBUSY | libc::ETIMEDOUT => Ok(None),
            code => Err(failed("take a lock", code)),
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread holds it.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}

fn failed(attempt: &'static str, code: libc::c_int) -> Error {
    Error::System { attempt, source: std::io::Error::from_raw_os_error(code) }
}
