//! Samples that cannot be used: which, and why.
//! Owns the count a split; decides nothing (the loader does, by `data.loader.on_bad_sample`). Hands the list to the run,
//! which writes it down.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A sample that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSample {
    /// Its place in the split.
    pub index: usize,
    /// Its path, or `file:row`.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The samples of one split that were left out, each once.
#[derive(Debug, Default)]
pub(crate) struct Register(Mutex<BTreeMap<usize, BadSample>>);

impl Register {
    /// How many there are with this one.
    pub(crate) fn add(&self, sample: BadSample) -> usize {
        let mut all = self.lock();
        all.entry(sample.index).or_insert(sample);
        all.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<BadSample> {
        self.lock().values().cloned().collect()
    }

    /// A thread that panicked has left the map whole: each change is one call.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, BadSample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
