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

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::StateDict;
use kiln_core::files::{FileError, sync_folder, write_synced};
use kiln_models::weights;
use serde::{Deserialize, Serialize};

use crate::progress::Progress;

const FORMAT: u32 = 1;
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

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    blake3: String,
}

/// The checkpoint of optimizer step `step`.
pub fn folder(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step:08}"))
}

/// Saves under `checkpoints/step-N` and answers that folder. An earlier checkpoint of the same step is replaced.
///
/// # Errors
/// Whatever the system reports (a full disk, a read-only folder); nothing that was there is harmed, and the
/// half-written folder is removed, now or at the next save.
pub fn save(checkpoints: &Path, checkpoint: &Checkpoint, config: &str) -> Result<PathBuf, CheckpointError> {
    fs::create_dir_all(checkpoints).map_err(FileError::at(checkpoints, "create"))?;
    tidy(checkpoints)?;
    let target = folder(checkpoints, checkpoint.progress.step);
    let temporary = checkpoints.join(format!(".step-{:08}.tmp", checkpoint.progress.step));
    let result = write_all(&temporary, checkpoint, config).and_then(|()| commit(&temporary, &target));
    if result.is_err() {
        let _ = fs::remove_dir_all(&temporary); // the error that is reported is the first one
    }
    result.map(|()| target)
}

fn write_all(folder: &Path, checkpoint: &Checkpoint, config: &str) -> Result<(), CheckpointError> {
    fs::create_dir(folder).map_err(FileError::at(folder, "create"))?;
    let unreadable =
        |path: &str, reason: String| CheckpointError::Unreadable { path: folder.join(path), reason };
    let tensors = |name: &str, state: &StateDict| {
        weights::to_safetensors(state, &[("format", "pt")]).map_err(|e| unreadable(name, e.to_string()))
    };
    let progress =
        serde_json::to_vec_pretty(&checkpoint.progress).map_err(|e| unreadable(PROGRESS, e.to_string()))?;
    let mut manifest = Manifest {
        format: FORMAT,
        kiln: env!("CARGO_PKG_VERSION").into(),
        step: checkpoint.progress.step,
        files: BTreeMap::new(),
    };
    let mut put = |name: &str, bytes: &[u8]| -> Result<(), FileError> {
        let entry = Entry { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() };
        manifest.files.insert(name.into(), entry);
        write_synced(&folder.join(name), bytes)
    };
    put(MODEL, &tensors(MODEL, &checkpoint.model)?)?;
    put(OPTIMIZER, &tensors(OPTIMIZER, &checkpoint.optimizer)?)?;
    if let Some(average) = &checkpoint.average {
        put(AVERAGE, &tensors(AVERAGE, average)?)?;
    }
    put(PROGRESS, &progress)?;
    put(CONFIG, config.as_bytes())?;
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| unreadable(MANIFEST, e.to_string()))?;
    write_synced(&folder.join(MANIFEST), &manifest)?;
    Ok(sync_folder(folder)?)
}

/// Gives the finished folder its name. A folder cannot be replaced in one step, so an old one of the same step
/// moves aside first; `tidy` moves it back after a crash between the two renames.
fn commit(temporary: &Path, target: &Path) -> Result<(), CheckpointError> {
    let old = aside(target);
    if target.exists() {
        fs::rename(target, &old).map_err(FileError::at(target, "move aside"))?;
    }
    fs::rename(temporary, target).map_err(FileError::at(target, "rename into place"))?;
    if let Some(parent) = target.parent() {
        sync_folder(parent)?;
    }
    let _ = fs::remove_dir_all(&old);
    Ok(())
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
    let manifest: Manifest = parse(&manifest_path, &kiln_core::files::read(&manifest_path)?)?;
    if manifest.format > FORMAT {
        let (expected, got) = (format!("at most {FORMAT}"), manifest.format.to_string());
        return Err(CheckpointError::Damaged { path: manifest_path, what: "format", expected, got });
    }
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
    let progress = parse(&folder.join(PROGRESS), &read(PROGRESS)?)?;
    let average = manifest.files.contains_key(AVERAGE).then(|| tensors(AVERAGE)).transpose()?;
    Ok(Checkpoint { model: tensors(MODEL)?, optimizer: tensors(OPTIMIZER)?, average, progress })
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
/// There are checkpoints and none of them loads: the newest one's fault.
pub fn latest(checkpoints: &Path) -> Result<Option<Latest>, CheckpointError> {
    let mut damaged = Vec::new();
    for step in steps(checkpoints)?.into_iter().rev() {
        let folder = folder(checkpoints, step);
        match load(&folder) {
            Ok(checkpoint) => return Ok(Some(Latest { folder, checkpoint, damaged })),
            Err(e) => damaged.push(e),
        }
    }
    match damaged.into_iter().next() {
        Some(newest) => Err(newest),
        None => Ok(None),
    }
}

/// Removes all but the `keep_last` newest checkpoints and the one of step `best`.
///
/// # Errors
/// A folder cannot be removed.
pub fn prune(checkpoints: &Path, keep_last: usize, best: Option<u64>) -> Result<(), FileError> {
    let steps = steps(checkpoints)?;
    for step in &steps[..steps.len().saturating_sub(keep_last)] {
        if Some(*step) != best {
            // Renamed first: a half-removed folder must not look like a checkpoint.
            let path = folder(checkpoints, *step);
            let old = aside(&path);
            fs::rename(&path, &old).map_err(FileError::at(&path, "move aside"))?;
            fs::remove_dir_all(&old).map_err(FileError::at(&old, "remove"))?;
        }
    }
    Ok(())
}
