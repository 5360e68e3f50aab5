//! Calling what a user has written, in a thread that may not outlive the interpreter.
//!
//! A thread that wants the GIL when the interpreter has ended is ended by CPython (before 3.14) with `pthread_exit`, which
//! unwinds its stack. Rust's frames must not be unwound by anything but a panic: the process would abort. So a thread
//! that is in Rust when it calls Python is *guarded*: it waits for the end of the process instead, which is about to come.
//! That is what CPython 3.14 has its threads do, wherever they are.
//!
//! Glibc asks the handlers of the old `pthread_cleanup_push` before each frame, whether they belong to what is being left.
//! A handler outside the stack belongs to the first frame, so it is called before any is left. Where there is no glibc,
//! `pthread_exit` unwinds nothing.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Lets go of objects, which may be the end of them and run their finalizers.
pub(crate) fn release<'py>(objects: impl IntoIterator<Item = Bound<'py, PyAny>>) {
    guarded(|| objects.into_iter().for_each(drop));
}

/// Does what may run code of Python, such as drawing from an iterator.
pub(crate) fn guarded<R>(work: impl FnOnce() -> R) -> R {
    let _guard = guard::Guard::new();
    work()
}

/// Calls a function as Python does.
pub(crate) fn call<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    guarded(|| function.call(args, kwargs))
}

/// Calls a function with one argument.
pub(crate) fn call_one<'py>(function: &Bound<'py, PyAny>, argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    guarded(|| function.call1((argument,)))
}

#[cfg(target_env = "gnu")]
mod guard {
    use std::cell::Cell;
    use std::ffi::{c_int, c_void};
    use std::marker::PhantomData;

    /// The handler as glibc keeps it: `struct _pthread_cleanup_buffer`.
    #[repr(C)]
    struct Handler {
        routine: Option<extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
        cancel_type: c_int,
        before: *mut Handler,
    }

    unsafe extern "C" {
        fn _pthread_cleanup_push(handler: *mut Handler, routine: extern "C" fn(*mut c_void), argument: *mut c_void);
        fn _pthread_cleanup_pop(handler: *mut Handler, execute: c_int);
    }

    thread_local! {
        static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    }

    /// While there is one, this thread is never unwound from outside.
    pub(super) struct Guard {
        /// None where an outer one guards already. It lies in the heap, away from every stack.
        handler: Option<*mut Handler>,
        /// It belongs to a thread.
        _thread: PhantomData<*mut ()>,
    }

    impl Guard {
        pub(super) fn new() -> Self {
            let handler = (!IS_GUARDED.replace(true)).then(|| {
                let null = std::ptr::null_mut();
                let handler = Box::into_raw(Box::new(Handler {
                    routine: None,
                    argument: null,
                    cancel_type: 0,
                    before: std::ptr::null_mut(),
                }));
                // SAFETY: the handler lives, where it is, until `drop` has taken it off the list.
                unsafe { _pthread_cleanup_push(handler, hang, null) };
                handler
            });
            Self { handler, _thread: PhantomData }
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            let Some(handler) = self.handler else { return };
            IS_GUARDED.set(false);
            // SAFETY: `new` has put it on the list of this thread, and what came later is off it: guards are dropped in order.
            unsafe { _pthread_cleanup_pop(handler, 0) };
            // SAFETY: it came from a box, and nobody knows it any more.
            drop(unsafe { Box::from_raw(handler) });
        }
    }

    /// Waits for the end of the process.
    extern "C" fn hang(_: *mut c_void) {
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(target_env = "gnu"))]
mod guard {
    /// Nothing is unwound here.
    pub(super) struct Guard;

    impl Guard {
        pub(super) fn new() -> Self {
            Self
        }
    }
}
