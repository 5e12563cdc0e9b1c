//! What runs left, read back: one line a run, one run whole, and runs side by side.
//! Owns the reading of run folders; changes none, opens no weights and touches no device. Hands plain values to the
//! command, and draws `curves.svg`.

mod compare;
mod curves;
mod history;
mod overview;
mod settings;

use std::path::{Path, PathBuf};

use kiln_core::RunDir;
use kiln_core::files::FileError;
use kiln_core::run_dir::RunDirError;

pub use compare::{Comparison, SameStep, compare};
pub use curves::{FILE, draw, draw_rates};
pub use history::{Evaluated, History, means};
pub use overview::{Overview, State};
pub use settings::Settings;

use crate::error::TrainError;

/// The runs of a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub runs: Vec<Overview>,
    /// Folders that could not be read, and what is wrong with them.
    pub faults: Vec<(PathBuf, TrainError)>,
}

/// Looks at every folder in `folder`, hidden ones left out, but only at small files of each.
///
/// # Errors
/// `folder` cannot be read, or is itself a run.
pub fn list(folder: &Path) -> Result<Listing, TrainError> {
    if RunDir::is_run(folder) {
        let what = "expected a folder of runs, got a run";
        return Err(TrainError::Unreadable { path: folder.into(), reason: what.into() });
    }
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(folder).map_err(FileError::at(folder, "read"))? {
        let path = entry.map_err(FileError::at(folder, "read"))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || !path.is_dir() {
            continue;
        }
        match Overview::read(&path) {
            Ok(run) => listing.runs.push(run),
            Err(fault) => listing.faults.push((path, fault)),
        }
    }
    listing.runs.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.name.cmp(&b.name)));
    listing.faults.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(listing)
}

/// That a folder holds a run.
fn is_run(path: &Path) -> Result<(), TrainError> {
    match RunDir::is_run(path) {
        true => Ok(()),
        false => Err(RunDirError::NotARun { path: path.into() }.into()),
    }
}

/// A run's file that is not what kiln writes.
fn unreadable(path: &Path, reason: impl std::fmt::Display) -> TrainError {
    TrainError::Unreadable { path: path.into(), reason: format!("cannot be understood: {reason}") }
}
