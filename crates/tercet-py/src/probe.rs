//! The probe, as Python sees it.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::door::Door;
use crate::error::Error;

/// Looks at one thread of this process at a time, from a native thread that never takes the GIL.
///
/// Parameters
/// ----------
/// hz
///     Looks per second.
///
/// Raises
/// ------
/// OSError
///     When the interpreter of this process cannot be read.
///
/// Examples
/// --------
/// >>> import threading
/// >>> probe = Probe()
/// >>> probe.watch(threading.get_native_id())
/// >>> sum(range(100_000))
/// 4999950000
/// >>> sorted(probe.read())
/// ['cpu_s', 'queue_delay_s', 'samples', 'shares', 'wall_s']
/// >>> probe.stop()
#[pyclass(frozen, module = "tercet._tercet")]
pub(crate) struct Probe {
    native: std::sync::Mutex<Option<tercet_sampler::Probe>>,
}

impl Probe {
    fn with<T: Default>(&self, act: impl FnOnce(&tercet_sampler::Probe) -> T) -> T {
        let native = self.native.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        native.as_ref().map(act).unwrap_or_default()
    }
}

#[pymethods]
impl Probe {
    #[new]
    #[pyo3(signature = (hz=1000.0))]
    fn new(hz: f64) -> Result<Self, Error> {
        Ok(Self { native: std::sync::Mutex::new(Some(tercet_sampler::Probe::new(hz)?)) })
    }

    /// Forget what was seen and watch the thread with this native number.
    fn watch(&self, native_tid: u32) {
        self.with(|probe| probe.watch(native_tid));
    }

    /// Return what was seen since `watch`.
    ///
    /// Returns
    /// -------
    /// dict
    ///     `samples`; `shares`, a share of them for each kind; and in seconds `wall_s`, `cpu_s` by the
    ///     kernel's clock of the thread, and `queue_delay_s`.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reading = self.with(tercet_sampler::Probe::read);
        let shares = PyDict::new(py);
        for (kind, share) in reading.shares.ranked() {
            shares.set_item(kind.name(), share)?;
        }
        let found = PyDict::new(py);
        found.set_item("samples", reading.samples)?;
        found.set_item("shares", shares)?;
        found.set_item("wall_s", reading.wall_s)?;
        found.set_item("cpu_s", reading.cpu_s)?;
        found.set_item("queue_delay_s", reading.queue_delay_s)?;
        Ok(found)
    }

    /// Stop watching until the next `watch`.
    fn rest(&self) {
        self.with(tercet_sampler::Probe::rest);
    }

    /// End the native thread; the probe sees nothing any more.
    fn stop(&self, py: Python<'_>) {
        let native = self.native.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        py.outside(move || drop(native));
    }
}
