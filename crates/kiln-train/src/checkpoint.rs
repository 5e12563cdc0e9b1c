//! Checkpoints: one folder each, committed by a manifest with BLAKE3 hashes. Everything is written into a hidden
//! sibling, synced, then renamed, so that a folder called `step-N` is always whole when it appears; hashes are
//! checked on load, and a damaged newest checkpoint gives way to the one before it.
//!
//! ```text
//! checkpoints/step-00000100/
//!   model.safetensors       parameters and running statistics by PyTorch name
//!   optimizer.safetensors   moments and step counts by parameter name
//!   average.safetensors     the averaged weights, where the run has any
//!   progress.json           position, metric state, best so far, seed, config hash
//!   config.toml             the resolved config
//!   manifest.json           name, size and hash of each; written last
//! ```

mod save;

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use kiln_core::StateDict;
use kiln_core::files::FileError;
use kiln_models::weights;
use serde::{Deserialize, Serialize};

pub(crate) use save::room;
pub use save::save;

use crate::progress::Progress;

/// Formats that are read; the last is the one that is written. 1 had one best result, 2 has as many as are kept.
const FORMATS: RangeInclusive<u32> = 1..=2;
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AVERAGE: &str = "average.safetensors";
const PROGRESS: &str = "progress.json";
const CONFIG: &str = "config.toml";
const MANIFEST: &str = "manifest.json";
const ASIDE: &str = ".old.tmp";

/// Everything a run needs to go on.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Parameters and running statistics.
    pub model: StateDict,
    /// Moments and step counts.
    pub optimizer: StateDict,
    /// Averaged parameters and running statistics, after the first average.
    pub average: Option<StateDict>,
    /// Where the run is.
    pub progress: Progress,
}

/// Why a checkpoint could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk has no room for it; nothing was written.
    #[error(
        "{}: no room for a checkpoint: expected {} free, got {}",
        path.display(), readable_bytes(*needed), readable_bytes(*free)
    )]
    NoRoom {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Bytes of the checkpoint.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Another version of kiln wrote it, in a format that this one does not read.
    #[error(
        "{}: kiln {kiln} wrote it: expected checkpoint format {} to {}, got {got}",
        path.display(), FORMATS.start(), FORMATS.end()
    )]
    Format {
        /// The manifest.
        path: PathBuf,
        /// The version that wrote it.
        kiln: String,
        /// Its format.
        got: u64,
    },
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what the manifest says.
    #[error("{}: {what}: expected {expected}, got {got}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which property.
        what: &'static str,
        /// What the manifest says.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A file could not be understood although its hash is right.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    kiln: String,
    step: u64,
    files: BTreeMap<String, Entry>,
}

/// What every format's manifest says.
#[derive(Debug, Deserialize)]
struct Head {
    format: u64,
    #[serde(default = "unknown")]
    kiln: String,
}

fn unknown() -> String {
    "of an unknown version".into()
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    blake3: String,
}

/// The checkpoint of optimizer step `step`.
pub fn folder(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step:08}"))
}

/// Removes what a killed save or prune left behind, and gives a checkpoint that was moved aside its name back when
/// nothing took its place. Only the holder of the run calls it.
///
/// # Errors
/// The folder cannot be read or changed.
pub fn tidy(checkpoints: &Path) -> Result<(), FileError> {
    if !checkpoints.exists() {
        return Ok(());
    }
    for path in entries(checkpoints)? {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if let Some(original) = name.strip_suffix(ASIDE).map(|n| checkpoints.join(n))
            && !original.exists()
            && load(&path).is_ok()
        {
            fs::rename(&path, &original).map_err(FileError::at(&path, "move back"))?;
        } else if name.ends_with(".tmp") {
            fs::remove_dir_all(&path).map_err(FileError::at(&path, "remove"))?;
        }
    }
    Ok(())
}

/// Steps that have a committed checkpoint, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn steps(checkpoints: &Path) -> Result<Vec<u64>, FileError> {
    if !checkpoints.exists() {
        return Ok(Vec::new());
    }
    let mut steps: Vec<u64> = entries(checkpoints)?.iter().filter_map(|p| step_of(p)).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// What a checkpoint is called while it makes room.
fn aside(checkpoint: &Path) -> PathBuf {
    let mut name = checkpoint.as_os_str().to_owned();
    name.push(ASIDE);
    PathBuf::from(name)
}

fn step_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let read = fs::read_dir(folder).map_err(FileError::at(folder, "read"))?;
    read.map(|e| e.map(|e| e.path()).map_err(FileError::at(folder, "read"))).collect()
}

/// Loads a checkpoint folder, checking every file against the manifest first.
///
/// # Errors
/// A file is missing, damaged or of a newer format.
pub fn load(folder: &Path) -> Result<Checkpoint, CheckpointError> {
    let manifest_path = folder.join(MANIFEST);
    let bytes = kiln_core::files::read(&manifest_path)?;
    let Head { format, kiln } = parse(&manifest_path, &bytes)?; // another format may have another manifest
    let Some(format) = u32::try_from(format).ok().filter(|format| FORMATS.contains(format)) else {
        return Err(CheckpointError::Format { path: manifest_path, kiln, got: format });
    };
    let manifest: Manifest = parse(&manifest_path, &bytes)?;
    let read = |name: &str| -> Result<Vec<u8>, CheckpointError> {
        let path = folder.join(name);
        let entry = manifest.files.get(name).ok_or_else(|| CheckpointError::Unreadable {
            path: manifest_path.clone(),
            reason: format!("{name} is not listed"),
        })?;
        let bytes = kiln_core::files::read(&path)?;
        verify(&path, &bytes, entry)?;
        Ok(bytes)
    };
    let tensors = |name: &str| -> Result<StateDict, CheckpointError> {
        let path = folder.join(name);
        weights::from_safetensors(&read(name)?, &path)
            .map_err(|e| CheckpointError::Unreadable { path, reason: e.to_string() })
    };
    read(CONFIG)?;
    let progress = upgraded(parse(&folder.join(PROGRESS), &read(PROGRESS)?)?, format);
    let average = manifest.files.contains_key(AVERAGE).then(|| tensors(AVERAGE)).transpose()?;
    Ok(Checkpoint { model: tensors(MODEL)?, optimizer: tensors(OPTIMIZER)?, average, progress })
}

/// Progress of an earlier format as the present one has it.
fn upgraded(progress: Progress, format: u32) -> Progress {
    let kept = match format {
        1 => progress.best.iter().cloned().collect(),
        _ => progress.kept,
    };
    Progress { kept, ..progress }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, CheckpointError> {
    serde_json::from_slice(bytes)
        .map_err(|e| CheckpointError::Unreadable { path: path.to_path_buf(), reason: e.to_string() })
}

fn verify(path: &Path, bytes: &[u8], entry: &Entry) -> Result<(), CheckpointError> {
    let damaged = |what, expected: String, got: String| {
        Err(CheckpointError::Damaged { path: path.to_path_buf(), what, expected, got })
    };
    if bytes.len() as u64 != entry.bytes {
        return damaged("size in bytes", entry.bytes.to_string(), bytes.len().to_string());
    }
    let hash = blake3::hash(bytes).to_hex().to_string();
    if hash != entry.blake3 {
        return damaged("BLAKE3 hash", entry.blake3.clone(), hash);
    }
    Ok(())
}

/// The newest checkpoint that loads, with the faults of newer ones that did not.
#[derive(Debug)]
pub struct Latest {
    /// Where it is.
    pub folder: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// Newer ones that are damaged.
    pub damaged: Vec<CheckpointError>,
}

/// Finds the newest checkpoint that loads; `None` where there is none at all.
///
/// # Errors
/// There are checkpoints and none of them loads: the newest one's fault. The newest is of another kiln's format.
pub fn latest(checkpoints: &Path) -> Result<Option<Latest>, CheckpointError> {
    let mut damaged = Vec::new();
    for step in steps(checkpoints)?.into_iter().rev() {
        let folder = folder(checkpoints, step);
        match load(&folder) {
            Ok(checkpoint) => return Ok(Some(Latest { folder, checkpoint, damaged })),
            // Whole, and of no use here: an older one would silently undo what was trained since.
            Err(e @ CheckpointError::Format { .. }) => return Err(e),
            Err(e) => damaged.push(e),
        }
    }
    match damaged.into_iter().next() {
        Some(newest) => Err(newest),
        None => Ok(None),
    }
}

/// Removes all but the `keep_last` newest checkpoints and those of the steps `best`.
///
/// # Errors
/// A folder cannot be removed.
pub fn prune(checkpoints: &Path, keep_last: usize, best: &[u64]) -> Result<(), FileError> {
    let steps = steps(checkpoints)?;
    for step in &steps[..steps.len().saturating_sub(keep_last)] {
        if !best.contains(step) {
            // Renamed first: a half-removed folder must not look like a checkpoint.
            let path = folder(checkpoints, *step);
            let old = aside(&path);
            fs::rename(&path, &old).map_err(FileError::at(&path, "move aside"))?;
            fs::remove_dir_all(&old).map_err(FileError::at(&old, "remove"))?;
        }
    }
    Ok(())
}

/// Bytes as a person reads them.
pub(crate) fn readable_bytes(bytes: u64) -> String {
    let (unit, size) = match bytes {
        0..1_048_576 => ("KiB", 1024.0),
        1_048_576..1_073_741_824 => ("MiB", 1_048_576.0),
        _ => ("GiB", 1_073_741_824.0),
    };
    format!("{:.1} {unit}", bytes as f64 / size)
}
