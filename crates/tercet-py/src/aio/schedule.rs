//! `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at`: the hottest methods, so their arguments are taken by hand.
//!
//! Rules of re-entrance: the arguments are the caller's and live until it returns; what debug mode asks of Python is asked before
//! anything is changed.

use std::ffi::c_char;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::core::LoopCore;
use super::errand::Errand;
use super::handle::{self, Later};
use super::kind;
use super::object::Raw;
use super::{task, watch};
use crate::door::called;

/// What a method was called with.
pub(super) struct Arguments<'a> {
    pub(super) positional: &'a [Raw],
    context: Raw,
}

impl<'a> Arguments<'a> {
    /// Takes what CPython gives. The only keyword is `context`.
    ///
    /// # Safety
    /// The arguments are those that CPython called with.
    pub(super) unsafe fn of(
        name: &str,
        args: *const Raw,
        count: isize,
        keywords: Raw,
        needed: &[&str],
    ) -> PyResult<Self> {
        let count = count as usize;
        // SAFETY: CPython gives so many arguments, and after them one for each keyword.
        let positional = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(args, count) } };
        let mut context = std::ptr::null_mut();
        if !keywords.is_null() {
            // SAFETY: CPython gives a tuple of strings.
            for place in 0..unsafe { ffi::PyTuple_GET_SIZE(keywords) } {
                // SAFETY: the place is in the tuple, and so many arguments follow.
                unsafe {
                    let keyword = ffi::PyTuple_GET_ITEM(keywords, place);
                    if ffi::PyUnicode_CompareWithASCIIString(keyword, c"context".as_ptr().cast::<c_char>()) != 0 {
                        let keyword = ffi::PyUnicode_AsUTF8(keyword);
                        let keyword = std::ffi::CStr::from_ptr(keyword).to_string_lossy();
                        let words = format!("{name}() got an unexpected keyword argument '{keyword}'");
                        return Err(PyTypeError::new_err(words));
                    }
                    context = *args.add(count + place as usize);
                }
            }
        }
        if count < needed.len() {
            return Err(missing(name, &needed[count..]));
        }
        Ok(Self { positional, context })
    }

    /// The call that is to be made, of the callback that stands at a place.
    pub(super) fn later(&self, owner: Raw, place: usize) -> Later<'a> {
        let callback = self.positional[place];
        Later { owner, callback, args: &self.positional[place + 1..], context: self.context }
    }
}

fn missing(name: &str, names: &[&str]) -> PyErr {
    let list = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(" and ");
    let plural = if names.len() == 1 { "" } else { "s" };
    PyTypeError::new_err(format!("{name}() missing {} required positional argument{plural}: {list}", names.len()))
}

/// The loop that a method was called on.
///
/// # Safety
/// CPython has called a method of the class, and nobody lets go of the object before it returns.
pub(super) unsafe fn owner_of(py: Python<'_>, object: Raw) -> Bound<'_, LoopCore> {
    // SAFETY: as asked for above; a method's descriptor has checked the type.
    unsafe { Bound::from_borrowed_ptr(py, object).cast_into_unchecked() }
}

/// What debug mode asks before a call is scheduled.
fn check(owner: &Bound<'_, LoopCore>, later: &Later<'_>, name: &str, is_of_any_thread: bool) -> PyResult<()> {
    if !is_of_any_thread {
        owner.call_method0("_check_thread")?;
    }
    // SAFETY: the caller owns the callback.
    let callback = unsafe { Bound::from_borrowed_ptr(owner.py(), later.callback) };
    owner.call_method1("_check_callback", (callback, name)).map(drop)
}

/// Notes where a handle was made: debug mode.
pub(super) fn trace(owner: &Bound<'_, LoopCore>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
    handle.setattr("_source_traceback", owner.call_method0("_stack")?)
}

fn soon(py: Python<'_>, object: Raw, arguments: &Arguments<'_>) -> PyResult<Raw> {
    // SAFETY: CPython calls the method.
    let owner = unsafe { owner_of(py, object) };
    let core = owner.get();
    core.check_open()?;
    let later = arguments.later(object, 0);
    if core.is_debugging() {
        check(&owner, &later, "call_soon", false)?;
    }
    #[cfg(Py_GIL_DISABLED)]
    if !core.is_mine() {
        let words = "Non-thread-safe operation invoked on an event loop other than the current one";
        return Err(pyo3::exceptions::PyRuntimeError::new_err(words));
    }
    let handle = later.handle(py, core.is_running())?;
    if core.is_debugging() {
        trace(&owner, &handle)?;
    }
    core.soon(Errand::new(handle.clone(), handle::run));
    Ok(handle.into_ptr())
}

fn soon_threadsafe(py: Python<'_>, object: Raw, arguments: &Arguments<'_>) -> PyResult<Raw> {
    // SAFETY: CPython calls the method.
    let owner = unsafe { owner_of(py, object) };
    let core = owner.get();
    core.check_open()?;
    let later = arguments.later(object, 0);
    if core.is_debugging() {
        check(&owner, &later, "call_soon_threadsafe", true)?;
    }
    let handle = later.handle(py, core.is_running())?;
    if core.is_debugging() {
        trace(&owner, &handle)?;
    }
    // Where this thread may touch the loop, the order among its own calls is kept.
    if cfg!(not(Py_GIL_DISABLED)) && core.is_mine() {
        core.soon(Errand::new(handle.clone(), handle::run));
    } else {
        core.post(handle.clone());
    }
    Ok(handle.into_ptr())
}

/// A time of the loop's clock in nanoseconds, rounded up so that nothing is early.
fn nanoseconds(when: f64) -> u64 {
    // A float that is too large becomes the largest number, and what is no number becomes 0.
    (when * 1e9).ceil() as u64
}

fn at<'py>(
    owner: &Bound<'py, LoopCore>,
    when: Bound<'py, PyAny>,
    later: &Later<'_>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let core = owner.get();
    core.check_open()?;
    if core.is_debugging() {
        check(owner, later, name, false)?;
    }
    let deadline_ns = nanoseconds(when.extract::<f64>()?);
    let timer = later.timer(owner.py(), when, core.is_running())?;
    if core.is_debugging() {
        trace(owner, &timer)?;
    }
    core.timers.with(|timers| timers.push(deadline_ns, timer.clone().unbind()));
    Ok(timer)
}

fn refuse_none(value: Raw, words: &'static str) -> PyResult<()> {
    // SAFETY: None lives for ever.
    if value == unsafe { ffi::Py_None() } {
        return Err(PyTypeError::new_err(words));
    }
    Ok(())
}

macro_rules! fast {
    ($($function:ident, $name:literal, $needed:expr, |$py:ident, $object:ident, $arguments:ident| $body:expr;)*) => {
        $(unsafe extern "C" fn $function($object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
            // SAFETY: CPython calls it, with the arguments as they are.
            unsafe {
                called(std::ptr::null_mut(), |$py| {
                    let $arguments = Arguments::of($name, args, count, keywords, &$needed)?;
                    $body
                })
            }
        })*
    };
}

fast! {
    call_soon, "call_soon", ["callback"], |py, object, arguments| soon(py, object, &arguments);
    call_soon_threadsafe, "call_soon_threadsafe", ["callback"], |py, object, arguments| {
        soon_threadsafe(py, object, &arguments)
    };
    call_at, "call_at", ["when", "callback"], |py, object, arguments| {
        refuse_none(arguments.positional[0], "when cannot be None")?;
        let when = Bound::from_borrowed_ptr(py, arguments.positional[0]);
        at(&owner_of(py, object), when, &arguments.later(object, 1), "call_at").map(Bound::into_ptr)
    };
    call_later, "call_later", ["delay", "callback"], |py, object, arguments| {
        refuse_none(arguments.positional[0], "delay must not be None")?;
        let delay = Bound::from_borrowed_ptr(py, arguments.positional[0]);
        let now = pyo3::types::PyFloat::new(py, tercet_reactor::clock_ns() as f64 / 1e9);
        let when = now.add(delay)?;
        at(&owner_of(py, object), when, &arguments.later(object, 1), "call_later").map(Bound::into_ptr)
    };
    add_reader, "_add_reader", ["fd", "callback"], |py, object, arguments| {
        watch::add(py, object, &arguments, tercet_reactor::Direction::Read)
    };
    add_writer, "_add_writer", ["fd", "callback"], |py, object, arguments| {
        watch::add(py, object, &arguments, tercet_reactor::Direction::Write)
    };
}

/// Gives the class the methods whose arguments are taken by hand.
pub(crate) fn add_fast_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    let methods = [
        kind::method_fast(
            c"call_soon",
            call_soon,
            c"call_soon($self, /, callback, *args, context=None)\n--\n\nCall a function in the next turn.",
        ),
        kind::method_fast(
            c"call_soon_threadsafe",
            call_soon_threadsafe,
            c"call_soon_threadsafe($self, /, callback, *args, context=None)\n--\n\nThe same, from any thread.",
        ),
        kind::method_fast(
            c"call_later",
            call_later,
            c"call_later($self, /, delay, callback, *args, context=None)\n--\n\nCall a function after so many seconds.",
        ),
        kind::method_fast(
            c"call_at",
            call_at,
            c"call_at($self, /, when, callback, *args, context=None)\n--\n\nCall a function at a time of the loop's clock.",
        ),
        kind::method_fast(
            c"_add_reader",
            add_reader,
            c"_add_reader($self, /, fd, callback, *args)\n--\n\nCall a function whenever a descriptor can be read from.",
        ),
        kind::method_fast(
            c"_add_writer",
            add_writer,
            c"_add_writer($self, /, fd, callback, *args)\n--\n\nCall a function whenever a descriptor can be written to.",
        ),
    ];
    let methods: Vec<_> = methods.into_iter().chain(task::methods()).collect();
    let count = methods.len();
    let table: *mut ffi::PyMethodDef = kind::leak(methods, ffi::PyMethodDef::zeroed()).cast();
    for place in 0..count {
        // SAFETY: the table has so many methods, which live for ever, and the class is one of ours.
        unsafe {
            let method = table.add(place);
            let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), method);
            let descriptor = Bound::from_owned_ptr_or_err(class.py(), descriptor)?;
            class.setattr(descriptor.getattr("__name__")?.cast_into::<pyo3::types::PyString>()?, descriptor)?;
        }
    }
    Ok(())
}

/// Arguments of which each may be given by its name.
pub(super) struct Named;

impl Named {
    /// Takes what CPython gives; what was not given is `None`.
    ///
    /// # Safety
    /// The arguments are those that CPython called with.
    pub(super) unsafe fn of<'py, const N: usize>(
        py: Python<'py>,
        function: &str,
        names: [&str; N],
        args: *const Raw,
        count: isize,
        keywords: Raw,
    ) -> PyResult<[Option<Bound<'py, PyAny>>; N]> {
        let count = count as usize;
        if count > N {
            let words = format!("{function}() takes at most {N} arguments ({count} given)");
            return Err(PyTypeError::new_err(words));
        }
        let mut found = [const { None }; N];
        for (place, found) in found.iter_mut().enumerate().take(count) {
            // SAFETY: CPython gives so many arguments, all live.
            *found = Some(unsafe { Bound::from_borrowed_ptr(py, *args.add(place)) });
        }
        // SAFETY: CPython gives a tuple of strings, or null.
        let keywords = unsafe { Bound::from_borrowed_ptr_or_opt(py, keywords) };
        for (place, keyword) in keywords.iter().flat_map(PyAnyMethods::try_iter).flatten().enumerate() {
            let keyword: String = keyword?.extract()?;
            let Some(which) = names.iter().position(|name| *name == keyword) else {
                let words = format!("{function}() got an unexpected keyword argument '{keyword}'");
                return Err(PyTypeError::new_err(words));
            };
            if found[which].is_some() {
                let words = format!("{function}() got multiple values for argument '{keyword}'");
                return Err(PyTypeError::new_err(words));
            }
            // SAFETY: an argument follows for each keyword.
            found[which] = Some(unsafe { Bound::from_borrowed_ptr(py, *args.add(count + place)) });
        }
        Ok(found)
    }
}
