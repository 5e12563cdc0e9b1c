//! What of a config may change when a run goes on, and `changes.jsonl`, which says what did and at which step.
//! Owns the list and the file; what a change means for the run's position, `resume` says.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use kiln_core::config::Resolved;
use kiln_core::files::FileError;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The record's name in a run folder.
pub const FILE: &str = "changes.jsonl";

/// Keys that touch no number of any step, and hold for one process: they are not recorded.
const PASSING: &[&str] = &[
    "run_name",
    "output_dir",
    "device",
    "deterministic",
    "train.activation_checkpointing",
    "data.allow_leakage",
    "data.loader.workers",
    "data.loader.prefetch",
    "data.loader.cache",
    "data.loader.cache_max_mb",
    "data.loader.cache_dir",
    "data.loader.max_in_flight_mb",
];

/// Keys that may change from one step to the next, and are recorded with it.
const DECLARED: &[&str] = &[
    "checkpoint.every",
    "checkpoint.keep_best",
    "checkpoint.keep_last",
    "checkpoint.on_error",
    "data.loader.batch_size",
    "data.loader.eval_batch_size",
    "evaluate.every",
    "log.histograms",
    "log.peak_tflops",
    "log.tensorboard",
    "log.update_ratio_every",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "train.early_stopping_patience",
    "train.epochs",
    "train.gradient_accumulation_steps",
    "train.logging_steps",
    "train.max_grad_norm",
    "train.max_minutes",
    "train.max_steps",
    "train.on_nonfinite",
    "train.on_out_of_memory",
    "train.token_budget",
];

/// One value that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The dotted key.
    pub key: String,
    /// What it was, as TOML; `not set` where it was absent.
    pub was: String,
    /// What it is.
    pub is: String,
}

/// A line of `changes.jsonl`: a resume that changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Optimizer steps done before.
    pub step: u64,
    /// What changed.
    pub changes: Vec<Change>,
}

/// What is to be recorded of the difference between two configs.
///
/// # Errors
/// A key differs that must not.
pub(crate) fn declared(run: &Path, saved: &Resolved, now: &Resolved) -> Result<Vec<Change>, TrainError> {
    let differences = saved.differences(now).into_iter().map(|(key, was, is)| Change { key, was, is });
    let differences: Vec<Change> =
        differences.filter(|change| !PASSING.contains(&change.key.as_str())).collect();
    let refused: Vec<String> = differences
        .iter()
        .filter(|change| !DECLARED.contains(&change.key.as_str()))
        .map(|Change { key, was, is }| format!("  {key}: the run has {was}, now {is}"))
        .collect();
    match refused.is_empty() {
        true => Ok(differences),
        false => Err(TrainError::Changed {
            run: run.to_path_buf(),
            what: "config",
            differences: refused.join("\n"),
        }),
    }
}

/// The keys that may change, for a person.
pub(crate) fn allowed() -> String {
    [DECLARED, PASSING].concat().join(", ")
}

/// Adds a line to a run's record, durably.
///
/// # Errors
/// The system refuses.
pub(crate) fn record(run: &Path, changed: &Changed) -> Result<(), FileError> {
    let path = run.join(FILE);
    let mut line = serde_json::to_vec(changed).map_err(|e| FileError::at(&path, "write")(e.into()))?;
    line.push(b'\n');
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::at(&path, "open"))?;
    file.write_all(&line).and_then(|()| file.sync_all()).map_err(FileError::at(&path, "write"))
}

/// A run's record; empty where nothing changed.
///
/// # Errors
/// The file cannot be read or understood.
pub fn read(run: &Path) -> Result<Vec<Changed>, TrainError> {
    let path = run.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = kiln_core::files::read_text(&path)?;
    let line = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| TrainError::Unreadable {
            path: path.clone(),
            reason: format!("line {}: {e}", i + 1),
        })
    };
    text.lines().enumerate().map(line).collect()
}
