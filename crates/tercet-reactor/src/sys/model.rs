//! loom: a bell that can be waited for on its own.

use loom::sync::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Bell(Mutex<bool>, Condvar);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(false), Condvar::new())
    }

    pub(crate) fn ring(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    pub(crate) fn wait(&self) {
        let mut is_rung = self.0.lock().unwrap();
        while !*is_rung {
            is_rung = self.1.wait(is_rung).unwrap();
        }
        *is_rung = false;
    }
}
