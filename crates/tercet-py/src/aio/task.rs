//! `create_task` and `create_future`: every coroutine that is started and most that wait pass through them.
//!
//! What they make are the standard library's own classes, looked up in its modules each time, since programs and tests put others there.
//! A loop with a task factory or in debug mode, and arguments that not every version knows, are for `asyncio`'s own method.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyString, PyTuple};

use super::kind;
use super::object::Raw;
use super::schedule::owner_of;
use crate::door::called;

/// More keywords than any version has.
const MOST_KEYWORDS: usize = 4;

/// What is looked up once.
struct Names {
    tasks: Py<PyModule>,
    futures: Py<PyModule>,
    /// `("loop",)`
    only_loop: Py<PyTuple>,
    /// The method of `asyncio`.
    standard: Py<PyAny>,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

impl Names {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        NAMES.get_or_try_init(py, || {
            Ok(Self {
                tasks: py.import("asyncio.tasks")?.unbind(),
                futures: py.import("asyncio.futures")?.unbind(),
                only_loop: PyTuple::new(py, [intern!(py, "loop")])?.unbind(),
                standard: py.import("asyncio.base_events")?.getattr("BaseEventLoop")?.getattr("create_task")?.unbind(),
            })
        })
    }
}

unsafe extern "C" fn create_future(object: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the class.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let names = Names::get(py)?;
            let class = names.futures.bind(py).getattr(intern!(py, "Future"))?;
            let args = [std::ptr::null_mut(), object];
            let flags = ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
            let made = ffi::PyObject_Vectorcall(class.as_ptr(), args.as_ptr().add(1), flags, names.only_loop.as_ptr());
            Bound::from_owned_ptr_or_err(py, made).map(Bound::into_ptr)
        })
    }
}

unsafe extern "C" fn create_task(object: Raw, args: *const Raw, count: isize, keywords: Raw) -> Raw {
    // SAFETY: CPython calls it, with the arguments as they are.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let names = Names::get(py)?;
            let given =
                Bound::from_borrowed_ptr_or_opt(py, keywords).map(|given| given.cast_into_unchecked::<PyTuple>());
            let is_plain = count == 1 && given.as_ref().is_none_or(is_known_to_all);
            if !is_plain || !makes_tasks(py, object)? {
                return create_by_asyncio(py, names, object, args, count, keywords);
            }
            let class = names.tasks.bind(py).getattr(intern!(py, "Task"))?;
            // The coroutine, the loop, and what was given by name.
            let mut all = [std::ptr::null_mut(); MOST_KEYWORDS + 3];
            all[1] = *args;
            all[2] = object;
            let mut all_names = names.only_loop.bind(py).clone();
            if let Some(given) = given {
                for place in 0..given.len() {
                    all[3 + place] = *args.add(1 + place);
                }
                let given = given.iter().map(|name| name.cast_into_unchecked::<PyString>());
                all_names =
                    PyTuple::new(py, std::iter::once(intern!(py, "loop").clone()).chain(given).collect::<Vec<_>>())?;
            }
            let count = 1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
            let made = ffi::PyObject_Vectorcall(class.as_ptr(), all.as_ptr().add(1), count, all_names.as_ptr());
            Bound::from_owned_ptr_or_err(py, made).map(Bound::into_ptr)
        })
    }
}

/// Whether every version takes these keywords.
fn is_known_to_all(given: &Bound<'_, PyTuple>) -> bool {
    let is_known = |name: Bound<'_, PyAny>| {
        name.cast::<PyString>().is_ok_and(|name| name.to_str().is_ok_and(|name| matches!(name, "name" | "context")))
    };
    given.len() <= MOST_KEYWORDS && given.iter().all(is_known)
}

/// Whether the loop makes tasks itself: it is open, nobody debugs it, and there is no factory.
///
/// # Safety
/// The object is a loop of ours.
unsafe fn makes_tasks(py: Python<'_>, object: Raw) -> PyResult<bool> {
    // SAFETY: as asked for above.
    let owner = unsafe { owner_of(py, object) };
    let core = owner.get();
    core.check_open()?;
    Ok(!core.is_debugging() && owner.getattr(intern!(py, "_task_factory"))?.is_none())
}

/// # Safety
/// The arguments are those that CPython called with.
unsafe fn create_by_asyncio(
    py: Python<'_>,
    names: &Names,
    object: Raw,
    args: *const Raw,
    count: isize,
    keywords: Raw,
) -> PyResult<Raw> {
    // SAFETY: as asked for above; one argument follows for each keyword.
    unsafe {
        let by_name = if keywords.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(keywords) };
        let mut all = vec![std::ptr::null_mut(), object];
        all.extend((0..count + by_name).map(|place| *args.add(place as usize)));
        let count = (count as usize + 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        let made = ffi::PyObject_Vectorcall(names.standard.as_ptr(), all.as_ptr().add(1), count, keywords);
        Bound::from_owned_ptr_or_err(py, made).map(Bound::into_ptr)
    }
}

pub(super) fn methods() -> [ffi::PyMethodDef; 2] {
    [
        kind::method0(
            c"create_future",
            create_future,
            c"create_future($self, /)\n--\n\nReturn a new future of this loop.",
        ),
        kind::method_fast(
            c"create_task",
            create_task,
            c"create_task($self, coro, **kwargs)\n--\n\nSchedule a coroutine, and return its task.",
        ),
    ]
}
