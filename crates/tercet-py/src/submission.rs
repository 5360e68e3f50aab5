//! How a call gets from the caller's thread to a worker: packed, put on the desk, and sent from there at once.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use tercet_sched::Wakes;

use crate::call;
use crate::desk::{Chores, Order};
use crate::error::Error;
use crate::freight::{Freight, Store};
use crate::future::{Future, Outcome};
use crate::limits::Limits;
use crate::names;
use crate::office::Office;
use crate::plain;
use crate::pool;

/// How many calls of one `map` are sent together.
const TOGETHER: usize = 64;

impl Office {
    /// Schedules a call.
    pub(crate) fn submit(
        self: &Arc<Self>,
        limits: Limits,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<Future>> {
        let store = self.prepare(function)?;
        let (future, order) = self.take_on(store.as_ref(), limits, function, args, kwargs)?;
        self.send(function.py(), order)?;
        Ok(future.unbind())
    }

    /// Schedules a call with each tuple of arguments of an iterator.
    pub(crate) fn submit_each<'py>(
        self: &Arc<Self>,
        limits: Limits,
        function: &Bound<'py, PyAny>,
        items: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = function.py();
        let store = self.prepare(function)?;
        let futures = PyList::empty(py);
        let mut orders = Vec::with_capacity(TOGETHER);
        let mut items = items.try_iter()?;
        // The first goes alone, so that a worker begins while the next ones are packed.
        let mut most = 1;
        let drawn = loop {
            let args = match call::guarded(|| items.next()) {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok(item)) => item.cast_into::<PyTuple>()?,
            };
            let (future, order) = self.take_on(store.as_ref(), limits, function, &args, None)?;
            futures.append(future)?;
            orders.extend(order);
            if orders.len() >= most {
                most = TOGETHER;
                self.send(py, orders.drain(..))?;
            }
        };
        // What was drawn before the iterator failed runs, as in the standard library.
        self.send(py, orders)?;
        drawn.map(|()| futures)
    }

    /// What comes before a task: nobody is told of it yet.
    fn prepare(self: &Arc<Self>, function: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Store>>> {
        let py = function.py();
        self.check(py)?;
        if self.broken.get().is_some() || self.desk().is_closed() {
            return Err(self.refusal(py));
        }
        self.begin(py, function)?;
        Ok(self.desk().store.clone())
    }

    /// A future for a call, and what is sent for it. What cannot be packed has an error already.
    fn take_on<'py>(
        &self,
        store: Option<&Arc<Store>>,
        limits: Limits,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, Future>, Option<Order>)> {
        let future = names::future_type(function.py())?.call0()?.cast_into::<Future>()?;
        match self.pack(store, function, args, kwargs) {
            Ok(call) => {
                future.get().belongs_to(pool::OF_PROCESSES | u64::from(self.generation));
                Ok((future.clone(), Some(Order { future: future.unbind(), call, limits })))
            }
            Err(error) => {
                // As in the standard library, the future has the error.
                Future::start(&future)?;
                drop(Future::finish(&future, Outcome::Error(error.into_value(function.py()).into_any()))?);
                Ok((future, None))
            }
        }
    }

    fn pack(
        &self,
        store: Option<&Arc<Store>>,
        function: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Freight> {
        let py = function.py();
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        let named = if kwargs.is_none() { self.repertoire.find(function)? } else { None };
        let Some(named) = named else {
            let pack = names::pack(py)?;
            return Freight::load(&call::guarded(|| pack.call1((function, args, kwargs)))?, store);
        };
        let packed = match plain::dump_args(args) {
            Some(bytes) => Freight::short(bytes?),
            None => Freight::load(&call::call_one(&names::pack_args(py)?, args)?, store)?,
        };
        Ok(packed.of(named))
    }

    /// Hands tasks over, and has them sent to whoever is free.
    fn send(self: &Arc<Self>, py: Python<'_>, orders: impl IntoIterator<Item = Order>) -> PyResult<()> {
        let mut chores = Chores::default();
        let mut wakes = Wakes::new();
        let mut desk = self.desk();
        if desk.is_closed() {
            // While the call was packed, which may run Python and let other threads in, nobody was left to send it.
            drop(desk);
            return Err(self.refusal(py));
        }
        for order in orders {
            desk.has_limits |= order.limits.timeout.is_some();
            desk.fleet.submit(order);
        }
        desk.dispatch(&self.bell, &mut chores, &mut wakes);
        let wants_leader = desk.wants_leader();
        drop(desk);
        drop((wakes, std::mem::take(&mut chores.dropped)));
        self.attend(py, chores);
        if wants_leader {
            self.bell.ring().map_err(Error::from)?;
        }
        Ok(())
    }
}
