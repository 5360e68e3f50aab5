//! loom: the memory is this process's own, and every access to it is checked against all others.

use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::sync::{Condvar, Mutex, MutexGuard};

use crate::bell::Woken;
use crate::error::Error;
use crate::sync::{AtomicU32, Ordering, Shared};

#[derive(Debug)]
pub(crate) struct Place<T>(Arc<T>);

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Place<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Words, and beside each a cell that lets loom see who touches it.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(Arc<Words>);

#[derive(Debug)]
struct Words {
    data: Box<[std::cell::UnsafeCell<u64>]>,
    touched: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: `touched` panics where two threads are not in order, before either has the words.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        self.0.data.len() * 8
    }

    pub(crate) fn word(&self, offset: usize) -> u64 {
        self.touch(offset, 8);
        // SAFETY: loom has seen that nobody writes it.
        unsafe { *self.0.data[offset / 8].get() }
    }

    pub(crate) fn set_word(&self, offset: usize, word: u64) {
        self.touch_mut(offset, 8);
        // SAFETY: loom has seen that nobody else is at it.
        unsafe { *self.0.data[offset / 8].get() = word };
    }

    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> &[u8] {
        self.touch(offset, len);
        // SAFETY: the words lie in one run, and the cells touched are those of the range.
        unsafe { std::slice::from_raw_parts(self.0.data.as_ptr().cast::<u8>().add(offset), len) }
    }

    #[expect(clippy::mut_from_ref, reason = "the protocol, not the borrow, tells who may write")]
    pub(crate) unsafe fn slice_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        self.touch_mut(offset, len);
        // SAFETY: the words lie in one run, and the cells touched are those of the range.
        unsafe { std::slice::from_raw_parts_mut(self.0.data.as_ptr().cast::<u8>().cast_mut().add(offset), len) }
    }

    fn touch(&self, offset: usize, len: usize) {
        self.cells(offset, len).iter().for_each(|cell| cell.with(|_| ()));
    }

    fn touch_mut(&self, offset: usize, len: usize) {
        self.cells(offset, len).iter().for_each(|cell| cell.with_mut(|_| ()));
    }

    fn cells(&self, offset: usize, len: usize) -> &[loom::cell::UnsafeCell<()>] {
        &self.0.touched[offset / 8..(offset + len).div_ceil(8)]
    }
}

/// Memory for one `T` and so many bytes.
#[expect(clippy::unnecessary_wraps, reason = "the contract of the backends")]
pub(crate) fn of_one_process<T: Default>(len: usize) -> Result<(Place<T>, Bytes), Error> {
    let data = (0..len / 8).map(|_| std::cell::UnsafeCell::new(0)).collect();
    let touched = (0..len / 8).map(|_| loom::cell::UnsafeCell::new(())).collect();
    Ok((Place(Arc::default()), Bytes(Arc::new(Words { data, touched }))))
}

#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<(Mutex<bool>, Condvar)>);

#[expect(clippy::unnecessary_wraps, reason = "the contract of the backends")]
impl Bell {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self(Arc::new((Mutex::new(false), Condvar::new()))))
    }

    pub(crate) fn ring(&self) -> Result<(), Error> {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
        Ok(())
    }

    pub(crate) fn silence(&self) -> Result<(), Error> {
        *self.0.0.lock().unwrap() = false;
        Ok(())
    }

    pub(crate) fn wait(&self, _others: &[BorrowedFd<'_>], _until: Option<Instant>) -> Result<Woken, Error> {
        let mut is_rung = self.0.0.lock().unwrap();
        while !*is_rung {
            is_rung = self.0.1.wait(is_rung).unwrap();
        }
        *is_rung = false;
        Ok(Woken::Rung)
    }
}

/// A word to sleep on: the kernel's queue of sleepers is a lock and a condition.
#[derive(Debug, Default)]
pub(crate) struct Word {
    word: AtomicU32,
    queue: Mutex<()>,
    woken: Condvar,
}

// SAFETY: the model has no other process.
unsafe impl Shared for Word {}

impl Word {
    pub(crate) fn load(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    pub(crate) fn store(&self, value: u32) {
        self.word.store(value, Ordering::Release);
    }

    pub(crate) fn swap(&self, value: u32) -> u32 {
        self.word.swap(value, Ordering::Relaxed)
    }

    pub(crate) fn replace(&self, old: u32, new: u32) -> Result<u32, u32> {
        self.word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
    }

    pub(crate) fn wait(&self, expected: u32, _until: Option<Instant>) -> Woken {
        let queue = self.queue.lock().unwrap();
        // The kernel reads the word while it holds its queue, and a waker passes the queue after it has written.
        if self.word.load(Ordering::SeqCst) == expected {
            drop(self.woken.wait(queue).unwrap());
        }
        Woken::Rung
    }

    pub(crate) fn wake(&self, most: u32) {
        let queue = self.queue.lock().unwrap();
        if most == 1 {
            self.woken.notify_one();
        } else {
            self.woken.notify_all();
        }
        drop(queue);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Robust(Mutex<()>);

// SAFETY: the model has no other process.
unsafe impl Shared for Robust {}

/// It is held.
pub(crate) struct Hold<'a>(#[allow(dead_code, reason = "its drop is what counts")] MutexGuard<'a, ()>);

#[expect(clippy::unnecessary_wraps, reason = "the contract of the backends")]
impl Robust {
    pub(crate) fn init(&self) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn try_lock(&self) -> Result<Option<Hold<'_>>, Error> {
        Ok(self.0.try_lock().ok().map(Hold))
    }

    pub(crate) fn lock(&self, _patience: Duration) -> Result<Option<Hold<'_>>, Error> {
        Ok(Some(Hold(self.0.lock().unwrap())))
    }
}
