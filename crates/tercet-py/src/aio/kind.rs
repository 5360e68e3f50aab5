//! Types made by hand, below a class of the standard library's.
//!
//! `PyO3` makes types whose base is its own or a builtin. A base that was written in Python has a size that is known only at run
//! time, and instances begin with its fields.

use std::ffi::{CStr, c_int, c_void};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::object::{Raw, Slot};

pub(super) const NO_MEMBER: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: std::ptr::null(),
    get: None,
    set: None,
    doc: std::ptr::null(),
    closure: std::ptr::null_mut(),
};

/// Where fields of ours begin: behind those of the base, aligned as any type of ours may need.
pub(super) fn offset_behind(base: &Bound<'_, PyAny>) -> PyResult<usize> {
    let base = base.cast::<PyType>()?;
    let size: usize = base.getattr("__basicsize__")?.extract()?;
    Ok(size.next_multiple_of(align_of::<u64>()))
}

/// Where a member that a class has in `__slots__` lies in its instances. `None` for what is no such thing.
pub(super) fn offset_of_member(descriptor: &Bound<'_, PyAny>) -> Option<usize> {
    let member = descriptor.as_ptr().cast::<ffi::PyMemberDescrObject>();
    // SAFETY: the type says what it is, and the table that it points to lives as long as the class.
    unsafe {
        let is_member = descriptor.get_type_ptr() == &raw mut ffi::PyMemberDescr_Type;
        is_member.then(|| (*(*member).d_member).offset).and_then(|offset| offset.try_into().ok())
    }
}

/// Makes a type, below a class or several. Its instances are made by us alone.
pub(super) fn make<'py>(
    py: Python<'py>,
    name: &'static CStr,
    base: &Bound<'py, PyAny>,
    size: usize,
    slots: &mut [ffi::PyType_Slot],
) -> PyResult<Bound<'py, PyAny>> {
    let size = c_int::try_from(size).map_err(|_| PyTypeError::new_err("the base class is too large"))?;
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec is complete, ends with an empty slot, and what it points to lives for ever; the base is a type, or a tuple of types.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr())) }
}

pub(super) fn slot(number: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: number, pfunc: function }
}

/// Gives a table its end, and the life of the process.
pub(super) fn leak<T>(mut table: Vec<T>, end: T) -> *mut c_void {
    table.push(end);
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}

/// An attribute that can be read.
pub(super) fn getter(name: &'static CStr, get: ffi::getter) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), ..NO_MEMBER }
}

/// An attribute that can be read and written.
pub(super) fn member(name: &'static CStr, get: ffi::getter, set: ffi::setter) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef { name: name.as_ptr(), get: Some(get), set: Some(set), ..NO_MEMBER }
}

/// A method without arguments.
pub(super) fn method0(name: &'static CStr, function: ffi::PyCFunction, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

/// A method with one argument.
pub(super) fn method1(name: &'static CStr, function: ffi::PyCFunction, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_flags: ffi::METH_O, ..method0(name, function, doc) }
}

/// A method with any arguments, which come as an array.
pub(super) fn method_fast(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// Tells those who hold weak references that the object is about to go.
///
/// # Safety
/// The object is being deallocated, and its type may have weak references.
pub(super) unsafe fn clear_weakrefs(object: Raw) {
    // SAFETY: as asked for above; an offset of zero says that there are none, and since Python 3.12 one below zero that the
    // place is in front of the object.
    unsafe {
        let offset = (*ffi::Py_TYPE(object)).tp_weaklistoffset;
        if offset != 0 && !(*object.byte_offset(offset).cast::<Raw>()).is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
    }
}

/// Shows the collector an object's type and what stands in its fields.
///
/// # Safety
/// The collector calls the `tp_traverse` that calls this, with these arguments; the fields are those of the object.
pub(super) unsafe fn traverse<'a>(
    object: Raw,
    slots: impl IntoIterator<Item = &'a Slot>,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: as asked for above.
    let class = unsafe { visit(ffi::Py_TYPE(object).cast(), arg) };
    if class != 0 {
        return class;
    }
    slots.into_iter().map(|slot| slot.visit(visit, arg)).find(|code| *code != 0).unwrap_or(0)
}

/// Gives back the memory of an object, and its hold on its type.
///
/// # Safety
/// The object is being deallocated; its fields are empty.
pub(super) unsafe fn free(object: Raw) {
    // SAFETY: as asked for above; instances of such types own a reference to their type.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

/// The table that says where weak references are, and where a dictionary for the attributes of others.
pub(super) fn places(weak_references: usize, dict: usize) -> *mut c_void {
    let places = vec![place(c"__weaklistoffset__", weak_references), place(c"__dictoffset__", dict)];
    leak(places, ffi::PyMemberDef::default())
}

fn place(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset as isize,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

/// Does what an object does before it goes. An error that is pending is kept; a new one has nobody to go to, and is shown.
///
/// # Safety
/// CPython calls the `tp_finalize` that calls this, with this object.
pub(super) unsafe fn finalize(object: Raw, act: impl FnOnce(Python<'_>) -> PyResult<()>) {
    // SAFETY: as asked for above; whoever finalizes is attached.
    unsafe {
        let pending = Pending::take();
        crate::door::called((), act);
        if !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_WriteUnraisable(object);
        }
        pending.restore();
    }
}

/// An error that is raised already, kept while something else is done.
struct Pending([Raw; 3]);

impl Pending {
    /// # Safety
    /// The thread is attached.
    #[cfg_attr(Py_3_12, expect(deprecated, reason = "what came in its place is not in 3.11"))]
    unsafe fn take() -> Self {
        let mut parts = [std::ptr::null_mut(); 3];
        let [class, value, trace] = &mut parts;
        // SAFETY: as asked for above; the three places are ours.
        unsafe { ffi::PyErr_Fetch(class, value, trace) };
        Self(parts)
    }

    /// # Safety
    /// The thread is attached.
    #[cfg_attr(Py_3_12, expect(deprecated, reason = "what came in its place is not in 3.11"))]
    unsafe fn restore(self) {
        let [class, value, trace] = self.0;
        // SAFETY: as asked for above; the references are owned.
        unsafe { ffi::PyErr_Restore(class, value, trace) };
    }
}
