//! Tells the sources which interpreter they are built for, as `cfg(Py_3_13)` and `cfg(Py_GIL_DISABLED)`.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
