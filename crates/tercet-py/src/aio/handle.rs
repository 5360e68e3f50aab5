//! Handles: `asyncio.Handle` and `asyncio.TimerHandle` as the loop makes them.
//!
//! Both are real subclasses, so that what `asyncio` has in Python (`__repr__`, comparisons, `get_context`) works on ours. The base's own
//! places hold the fields of the same names, and attributes shadow them; the other fields lie behind.
//!
//! The collector
//! -------------
//! Most handles live for a turn and are of one owner, the loop. For the collector to look at each of them again and again costs more than
//! to make and run it. So a handle that is scheduled while the loop runs is *loose*: the collector does not know of it, and takes what
//! it holds as held by somebody who lives, as the loop does. It is told of the handle when the loop lets go of it and somebody else does
//! not ([`settle`]), and of all that wait when the loop ends its run. So no handle that could be part of garbage is loose.
//!
//! The copy of a context that is made for a loose handle is loose as well: nobody else has it. The collector is told of it before anybody
//! else can have it, which is before the callback runs and where it is asked for, and before it goes, since CPython takes it for known then.
//!
//! Rules of re-entrance
//! --------------------
//! - The callback may cancel its own handle. While it runs, its fields stay: `cancel` only marks the handle, and
//!   `run` empties it afterwards.
//! - Nothing is borrowed across the call but what the fields own, and the handle is owned by whoever runs it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::core::LoopCore;
use super::kind;
use super::object::{Raw, Slot, ends_the_loop};
use super::spare::Spares;
use super::turn::Turn;
use crate::door::called;

// Relaxed: all four are set once, while a lock is held that every reader has held since.
static PLAIN: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
static TIMER: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());
static SPARE_PLAIN: Spares = Spares::new();
static SPARE_TIMER: Spares = Spares::new();
/// Where [`Named`] lies, and where [`More`].
static NAMED: AtomicUsize = AtomicUsize::new(0);
static MORE: AtomicUsize = AtomicUsize::new(0);

/// So many arguments have a place; more are a tuple in the first.
const INLINE: usize = 3;
const TUPLE: u8 = u8::MAX;

const CANCELLED: u8 = 1;
const RUNNING: u8 = 2;
const IS_TIMER: u8 = 4;
const SCHEDULED: u8 = 8;
/// The collector does not know of it.
const LOOSE: u8 = 16;
/// Nor of its context.
const LOOSE_CONTEXT: u8 = 32;

/// The fields that the base has places for, in its order, which is that of their names.
#[repr(C)]
struct Named {
    /// Stays empty.
    args: Slot,
    callback: Slot,
    /// Stays empty.
    cancelled: Slot,
    context: Slot,
    owner: Slot,
    repr: Slot,
    source_traceback: Slot,
}

/// Their names.
const NAMES: [&str; 7] = ["_args", "_callback", "_cancelled", "_context", "_loop", "_repr", "_source_traceback"];

/// The fields that lie behind those of the base.
#[repr(C)]
struct More {
    /// CPython may write to the place before the first argument during a call.
    before: Cell<Raw>,
    args: [Slot; INLINE],
    when: Slot,
    count: Cell<u8>,
    flags: Cell<u8>,
}

/// The fields of a handle.
#[derive(Clone, Copy)]
pub(super) struct Handle<'a> {
    named: &'a Named,
    more: &'a More,
}

/// Makes both types; once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    let events = py.import("asyncio.events")?;
    let (plain, timer) = (events.getattr("Handle")?, events.getattr("TimerHandle")?);
    let behind = kind::offset_behind(&timer)?.max(kind::offset_behind(&plain)?);
    // A version whose handles look different gets fields of our own.
    let (named, more) = if has_places(&plain)? { (HEAD, behind) } else { (behind, behind + size_of::<Named>()) };
    NAMED.store(named, Ordering::Relaxed);
    MORE.store(more, Ordering::Relaxed);
    let size = more + size_of::<More>();
    let plain = kind::make(py, c"tercet._tercet.Handle", &plain, size, &mut slots(false))?;
    let timer = kind::make(py, c"tercet._tercet.TimerHandle", &timer, size, &mut slots(true))?;
    PLAIN.store(plain.into_ptr().cast(), Ordering::Relaxed);
    TIMER.store(timer.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

/// What every object begins with.
const HEAD: usize = size_of::<ffi::PyObject>();

/// Whether the base class has a place for each of the named fields, in their order.
fn has_places(base: &Bound<'_, PyAny>) -> PyResult<bool> {
    for (place, name) in NAMES.iter().enumerate() {
        let expected = HEAD + place * size_of::<Slot>();
        if kind::offset_of_member(&base.getattr(*name)?) != Some(expected) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn slots(is_timer: bool) -> Vec<ffi::PyType_Slot> {
    let mut members = vec![
        kind::getter(c"_callback", get_callback),
        kind::getter(c"_args", get_args),
        kind::getter(c"_cancelled", get_cancelled),
        kind::getter(c"_context", get_context),
        kind::getter(c"_loop", get_loop),
        kind::member(c"_source_traceback", get_source_traceback, set_source_traceback),
        kind::member(c"_repr", get_repr, set_repr),
    ];
    let mut methods = vec![
        kind::method0(c"cancel", cancel, c"cancel($self, /)\n--\n\nCall the callback off."),
        kind::method0(
            c"cancelled",
            get_cancelled_method,
            c"cancelled($self, /)\n--\n\nReturn whether it was called off.",
        ),
        kind::method0(c"_run", run_alone, c"_run($self, /)\n--\n\nCall the callback now."),
    ];
    if is_timer {
        members.push(kind::getter(c"_when", get_when));
        members.push(kind::getter(c"_scheduled", get_scheduled));
        methods.push(kind::method0(
            c"when",
            when_method,
            c"when($self, /)\n--\n\nReturn when it is due, by the loop's clock.",
        ));
    }
    let mut slots = vec![
        kind::slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        kind::slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        kind::slot(ffi::Py_tp_clear, clear as *mut c_void),
        kind::slot(ffi::Py_tp_getset, kind::leak(members, kind::NO_MEMBER)),
        kind::slot(ffi::Py_tp_methods, kind::leak(methods, ffi::PyMethodDef::zeroed())),
    ];
    slots.push(kind::slot(0, std::ptr::null_mut()));
    slots
}

impl<'a> Handle<'a> {
    /// The fields of a handle of ours.
    ///
    /// # Safety
    /// The object is one that [`make`] made, and lives as long as the result is used.
    pub(super) unsafe fn of(object: Raw) -> Self {
        // SAFETY: the fields lie there in every instance of both types.
        unsafe {
            Self {
                named: &*object.byte_add(NAMED.load(Ordering::Relaxed)).cast::<Named>(),
                more: &*object.byte_add(MORE.load(Ordering::Relaxed)).cast::<More>(),
            }
        }
    }

    fn has(self, flag: u8) -> bool {
        self.more.flags.get() & flag != 0
    }

    fn mark(self, flag: u8) {
        self.more.flags.set(self.more.flags.get() | flag);
    }

    fn unmark(self, flag: u8) {
        self.more.flags.set(self.more.flags.get() & !flag);
    }

    pub(super) fn is_cancelled(self) -> bool {
        self.has(CANCELLED)
    }

    /// Says that it is no more in the heap of timers.
    pub(super) fn leave_the_heap(self) {
        self.unmark(SCHEDULED);
    }

    fn all(self) -> [&'a Slot; 9] {
        let [first, second, third] = &self.more.args;
        let Named { callback, context, owner, source_traceback, repr, .. } = self.named;
        [callback, context, owner, first, second, third, &self.more.when, source_traceback, repr]
    }

    /// Tells the collector of the context, if it does not know of it.
    fn settle_context(self) {
        if self.has(LOOSE_CONTEXT) {
            self.unmark(LOOSE_CONTEXT);
            // SAFETY: the field owns a context, which `make` has taken out of the collector's sight.
            unsafe { ffi::PyObject_GC_Track(self.named.context.raw().cast()) };
        }
    }

    fn forget_the_call(self) {
        let args = self.more.count.replace(0);
        self.named.callback.clear();
        if args != 0 {
            self.more.args.iter().for_each(Slot::clear);
        }
    }

    fn args(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self.more.count.get() {
            TUPLE => Ok(self.more.args[0].or_none(py)),
            count => {
                let args = self.more.args[..usize::from(count)].iter().map(|arg| arg.or_none(py));
                Ok(PyTuple::new(py, args.collect::<Vec<_>>())?.into_any())
            }
        }
    }
}

/// A call that is to be made later.
pub(super) struct Later<'a> {
    pub(super) owner: Raw,
    pub(super) callback: Raw,
    pub(super) args: &'a [Raw],
    /// Null or None for a copy of the current one.
    pub(super) context: Raw,
}

impl Later<'_> {
    /// Makes a handle. A loose one is about to enter a queue of a loop that runs.
    pub(super) fn handle<'py>(&self, py: Python<'py>, is_loose: bool) -> PyResult<Bound<'py, PyAny>> {
        self.make(py, PLAIN.load(Ordering::Relaxed), None, is_loose)
    }

    /// Makes the handle of a timer, which is about to enter the heap.
    pub(super) fn timer<'py>(
        &self,
        py: Python<'py>,
        when: Bound<'py, PyAny>,
        is_loose: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.make(py, TIMER.load(Ordering::Relaxed), Some(when), is_loose)
    }

    fn make<'py>(
        &self,
        py: Python<'py>,
        class: *mut ffi::PyTypeObject,
        when: Option<Bound<'py, PyAny>>,
        is_loose: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the types are made before any loop is; the instance is made all zeros, which is a valid `Handle`, and the
        // references are to live objects.
        let handle = unsafe {
            let copies = self.context.is_null() || self.context == ffi::Py_None();
            let context = if copies {
                let copy = ffi::PyContext_CopyCurrent();
                if copy.is_null() {
                    return Err(PyErr::fetch(py));
                }
                copy
            } else {
                ffi::Py_NewRef(self.context)
            };
            let object = spares(when.is_some()).make(py, class).inspect_err(|_| ffi::Py_DECREF(context))?;
            let size = MORE.load(Ordering::Relaxed) + size_of::<More>();
            object.byte_add(HEAD).cast::<u8>().write_bytes(0, size - HEAD);
            let handle = Handle::of(object);
            fill(&handle.named.callback, ffi::Py_NewRef(self.callback));
            fill(&handle.named.context, context);
            fill(&handle.named.owner, ffi::Py_NewRef(self.owner));
            if self.args.len() <= INLINE {
                for (place, arg) in handle.more.args.iter().zip(self.args) {
                    fill(place, ffi::Py_NewRef(*arg));
                }
                handle.more.count.set(self.args.len() as u8);
            }
            if let Some(when) = when {
                fill(&handle.more.when, when.into_ptr());
                handle.mark(IS_TIMER | SCHEDULED);
            }
            if is_loose {
                handle.mark(LOOSE);
                if copies {
                    ffi::PyObject_GC_UnTrack(context.cast());
                    handle.mark(LOOSE_CONTEXT);
                }
            } else {
                ffi::PyObject_GC_Track(object.cast());
            }
            Bound::from_owned_ptr(py, object)
        };
        if self.args.len() > INLINE {
            // SAFETY: as above.
            let args = self.args.iter().map(|arg| unsafe { Bound::from_borrowed_ptr(py, *arg) });
            let args = PyTuple::new(py, args.collect::<Vec<_>>())?;
            // SAFETY: as above.
            let fields = unsafe { Handle::of(handle.as_ptr()) };
            fields.more.args[0].fill(args.into_any());
            fields.more.count.set(TUPLE);
        }
        Ok(handle)
    }
}

/// Where the memory of handles of a type is kept.
fn spares(is_timer: bool) -> &'static Spares {
    if is_timer { &SPARE_TIMER } else { &SPARE_PLAIN }
}

/// Fills a field that is empty, which needs no look at what was there.
fn fill(slot: &Slot, owned: Raw) {
    // SAFETY: the slot is of an instance that nobody else has seen, and is null.
    unsafe { std::ptr::from_ref(slot).cast_mut().write(Slot::of(owned)) };
}

/// Whether a handle is one of ours.
pub(super) fn is_ours(handle: &Bound<'_, PyAny>) -> bool {
    let class = handle.get_type_ptr();
    class == PLAIN.load(Ordering::Relaxed) || class == TIMER.load(Ordering::Relaxed)
}

/// Tells the collector of a handle that the loop lets go of, unless that is the end of it.
///
/// # Safety
/// The handle is one of ours. The caller is attached and owns a reference, the loop's own.
pub(super) unsafe fn settle(object: Raw) {
    // SAFETY: as asked for above.
    unsafe {
        if ffi::Py_REFCNT(object) > 1 {
            tell_the_collector(object);
        }
    }
}

/// Tells the collector of a handle, if it does not know of it.
///
/// # Safety
/// The handle is one of ours and lives; the caller is attached.
pub(super) unsafe fn tell_the_collector(object: Raw) {
    // SAFETY: as asked for above; a loose handle is not tracked, and all its fields are written.
    unsafe {
        let handle = Handle::of(object);
        if handle.has(LOOSE) {
            handle.settle_context();
            handle.unmark(LOOSE);
            ffi::PyObject_GC_Track(object.cast());
        }
    }
}

/// Calls the callback in its context. What it raises goes to the exception handler.
pub(super) fn run(turn: &Turn<'_>, object: Raw) -> PyResult<()> {
    // SAFETY: whoever makes such an errand makes it of a handle of ours.
    let handle = unsafe { Handle::of(object) };
    let result = if handle.is_cancelled() {
        Ok(())
    } else if turn.core.is_debugging() {
        turn.timed(object, || run_now(turn, object, handle))
    } else {
        run_now(turn, object, handle)
    };
    // SAFETY: the errand owns the handle and is about to let go of it.
    unsafe { settle(object) };
    result
}

fn run_now(turn: &Turn<'_>, object: Raw, handle: Handle<'_>) -> PyResult<()> {
    handle.settle_context();
    let result = turn.enter(handle.named.context.raw()).and_then(|()| call(turn.py, handle));
    match result {
        Ok(()) => Ok(()),
        Err(error) if ends_the_loop(turn.py, &error) => Err(error),
        Err(error) => {
            turn.leave();
            // SAFETY: the object lives, as the errand says.
            let object = unsafe { Bound::from_borrowed_ptr(turn.py, object) };
            turn.report("_report_callback", &object, error)
        }
    }
}

fn call(py: Python<'_>, handle: Handle<'_>) -> PyResult<()> {
    let is_outermost = !handle.has(RUNNING);
    handle.mark(RUNNING);
    let callback = handle.named.callback.raw();
    // SAFETY: while it is marked as running, the fields of a handle stay, and so do the objects that they own.
    let result = unsafe {
        match handle.more.count.get() {
            TUPLE => ffi::PyObject_Call(callback, handle.more.args[0].raw(), std::ptr::null_mut()),
            count => {
                let args = handle.more.args.as_ptr().cast::<Raw>();
                let count = usize::from(count) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
                ffi::PyObject_Vectorcall(callback, args, count, std::ptr::null_mut())
            }
        }
    };
    // The error is fetched before anything is let go of.
    let result = if result.is_null() { Err(PyErr::fetch(py)) } else { Ok(result) };
    if is_outermost {
        handle.unmark(RUNNING);
        if handle.is_cancelled() {
            handle.forget_the_call();
        }
    }
    // SAFETY: the call has given a new reference.
    result.map(|result| unsafe { ffi::Py_DECREF(result) })
}

// --- what CPython calls ---------------------------------------------------------------------------------------

macro_rules! getters {
    ($($name:ident = |$py:ident, $handle:ident| $value:expr;)*) => {
        $(unsafe extern "C" fn $name(object: Raw, _: *mut c_void) -> Raw {
            // SAFETY: CPython calls it, with an instance of the type.
            unsafe {
                called(std::ptr::null_mut(), |$py| {
                    let $handle = Handle::of(object);
                    Ok($value.into_ptr())
                })
            }
        })*
    };
}

getters! {
    get_callback = |py, handle| handle.named.callback.or_none(py);
    get_args = |py, handle| if handle.named.callback.is_empty() { py.None().into_bound(py) } else { handle.args(py)? };
    get_cancelled = |py, handle| pyo3::types::PyBool::new(py, handle.is_cancelled()).to_owned();
    get_context = |py, handle| {
        handle.settle_context();
        handle.named.context.or_none(py)
    };
    get_loop = |py, handle| handle.named.owner.or_none(py);
    get_source_traceback = |py, handle| handle.named.source_traceback.or_none(py);
    get_repr = |py, handle| handle.named.repr.or_none(py);
    get_when = |py, handle| handle.more.when.or_none(py);
    get_scheduled = |py, handle| pyo3::types::PyBool::new(py, handle.has(SCHEDULED)).to_owned();
}

macro_rules! setters {
    ($($name:ident = $field:ident;)*) => {
        $(unsafe extern "C" fn $name(object: Raw, value: Raw, _: *mut c_void) -> c_int {
            // SAFETY: CPython calls it, with an instance of the type and a live object, or null to delete.
            unsafe {
                called(-1, |py| {
                    match Bound::from_borrowed_ptr_or_opt(py, value) {
                        Some(value) => Handle::of(object).named.$field.set(&value),
                        None => Handle::of(object).named.$field.clear(),
                    }
                    Ok(0)
                })
            }
        })*
    };
}

setters! {
    set_source_traceback = source_traceback;
    set_repr = repr;
}

unsafe extern "C" fn get_cancelled_method(object: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe { get_cancelled(object, std::ptr::null_mut()) }
}

unsafe extern "C" fn when_method(object: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe { get_when(object, std::ptr::null_mut()) }
}

unsafe extern "C" fn cancel(object: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let handle = Handle::of(object);
            if handle.is_cancelled() {
                return Ok(ffi::Py_NewRef(ffi::Py_None()));
            }
            handle.mark(CANCELLED);
            // Nobody but us fills the field, and only with loops.
            let core = handle.named.owner.get(py).map(|owner| owner.cast_into_unchecked::<LoopCore>());
            if let Some(core) = core {
                if core.get().is_debugging() {
                    let shown = Bound::from_borrowed_ptr(py, object).repr()?;
                    handle.named.repr.set(&shown);
                }
                if handle.has(SCHEDULED) {
                    core.get().call_off(py);
                }
            }
            if !handle.has(RUNNING) {
                handle.forget_the_call();
            }
            Ok(ffi::Py_NewRef(ffi::Py_None()))
        })
    }
}

/// Runs outside of the loop's turn, for those who call `handle._run()` themselves.
unsafe extern "C" fn run_alone(object: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls it, with an instance of the type.
    unsafe {
        called(std::ptr::null_mut(), |py| {
            let handle = Handle::of(object);
            let owner = handle.named.owner.or_none(py);
            let Ok(core) = owner.cast::<LoopCore>() else {
                return Err(PyTypeError::new_err("the handle belongs to no loop"));
            };
            if !handle.is_cancelled() {
                let turn = Turn::new(core);
                let result = run_now(&turn, object, handle);
                turn.leave();
                result?;
            }
            Ok(ffi::Py_NewRef(ffi::Py_None()))
        })
    }
}

unsafe extern "C" fn dealloc(object: Raw) {
    // SAFETY: CPython calls it once, when nobody has the object any more.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        kind::clear_weakrefs(object);
        let handle = Handle::of(object);
        handle.settle_context();
        let is_timer = handle.has(IS_TIMER);
        handle.all().into_iter().for_each(Slot::clear);
        if !spares(is_timer).keep(object) {
            kind::free(object);
        }
    }
}

unsafe extern "C" fn traverse(object: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type.
    unsafe { kind::traverse(object, Handle::of(object).all(), visit, arg) }
}

unsafe extern "C" fn clear(object: Raw) -> c_int {
    // SAFETY: the collector calls it, with an instance of the type that is garbage.
    unsafe { Handle::of(object).all().into_iter().for_each(Slot::clear) };
    0
}
