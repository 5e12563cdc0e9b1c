//! Rows of a table that cannot be used, where `data.loader.on_bad_sample` lets them be left out: which, and why.
//! Owns the list; decides nothing (the loader counts and leaves out). The table source keeps them in their places.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rows::row;
use crate::error::DataError;

/// Why a row cannot be used.
#[derive(Debug, Clone)]
struct Why {
    line: u64,
    expected: String,
    got: String,
    remedy: String,
}

/// The faulty rows of one file by their place.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    /// Whether there may be any: else the first is an error.
    allowed: bool,
    rows: Mutex<BTreeMap<usize, Why>>,
}

impl Faulty {
    pub(crate) fn new(allowed: bool) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Keeps a fault of the row at `place`; the line it stands in. Other errors, and faults where none are allowed, come
    /// back.
    pub(crate) fn keep(&self, place: usize, error: DataError) -> Result<u64, DataError> {
        match error {
            DataError::Row { line, expected, got, remedy, .. } if self.allowed => {
                self.lock().entry(place).or_insert(Why { line, expected, got, remedy });
                Ok(line)
            }
            error => Err(error),
        }
    }

    /// The refusal of a faulty row.
    pub(crate) fn check(&self, place: usize, path: &Path) -> Result<(), DataError> {
        match self.lock().get(&place) {
            Some(why) => Err(row(path, why.line, &why.expected, &why.got, &why.remedy)),
            None => Ok(()),
        }
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed
    }

    pub(crate) fn contains(&self, place: usize) -> bool {
        self.allowed && self.lock().contains_key(&place)
    }

    /// A thread that panicked has left the map whole: each change is one call.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Why>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
