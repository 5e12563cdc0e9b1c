//! How a checkpoint comes onto the disk: room first, then every file into a hidden sibling, hashed as it is written and
//! synced, the manifest last, then the rename. Owns the order of these; never what a checkpoint means (`checkpoint`), nor
//! when one is due. Runs beside the loop (`run/saver.rs`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use kiln_core::files::{FileError, free_space, sync_folder, write_synced};

use super::{
    AVERAGE, CONFIG, CheckpointError, Entry, FORMATS, MANIFEST, MODEL, Manifest, OPTIMIZER, PROGRESS, aside,
    folder, tidy,
};
use crate::snapshot::{Snapshot, Tensors, WriteError};

/// Bytes that go to the system at once; larger tensors go by themselves.
const BUFFER: usize = 1 << 20;
/// For what is not a tensor, and for what a file system keeps beside files.
const MARGIN: u64 = 64 * 1024;

/// Saves under `checkpoints/step-N` and answers that folder. An earlier checkpoint of the same step is replaced.
///
/// # Errors
/// No room, or whatever the system reports (a full disk, a read-only folder, a run folder that is gone); nothing that was
/// there is harmed, and the half-written folder is removed, now or at the next save.
pub fn save(checkpoints: &Path, snapshot: Snapshot, config: &str) -> Result<PathBuf, CheckpointError> {
    if !checkpoints.exists() {
        // Not the folders above: a run folder that is gone may be a disk that is gone.
        fs::create_dir(checkpoints).map_err(FileError::at(checkpoints, "create"))?;
    }
    tidy(checkpoints)?;
    room(checkpoints, snapshot.bytes())?;
    let step = snapshot.progress.step;
    let target = folder(checkpoints, step);
    let temporary = checkpoints.join(format!(".step-{step:08}.tmp"));
    let result = write_all(&temporary, snapshot, config).and_then(|()| commit(&temporary, &target));
    if result.is_err() {
        let _ = fs::remove_dir_all(&temporary); // the error that is reported is the first one
    }
    result.map(|()| target)
}

/// That the disk has room for tensors of so many bytes, as far as the system says.
///
/// # Errors
/// It has not.
pub(crate) fn room(checkpoints: &Path, tensors: u64) -> Result<(), CheckpointError> {
    let needed = tensors + MARGIN;
    match free_space(checkpoints) {
        Some(free) if free < needed => {
            Err(CheckpointError::NoRoom { path: checkpoints.to_path_buf(), needed, free })
        }
        _ => Ok(()),
    }
}

fn write_all(folder: &Path, snapshot: Snapshot, config: &str) -> Result<(), CheckpointError> {
    fs::create_dir(folder).map_err(FileError::at(folder, "create"))?;
    let unreadable =
        |path: &str, reason: String| CheckpointError::Unreadable { path: folder.join(path), reason };
    let Snapshot { model, optimizer, average, progress } = snapshot;
    let text = serde_json::to_vec_pretty(&progress).map_err(|e| unreadable(PROGRESS, e.to_string()))?;
    let mut manifest = Manifest {
        format: *FORMATS.end(),
        kiln: env!("CARGO_PKG_VERSION").into(),
        step: progress.step,
        files: BTreeMap::new(),
    };
    let mut put = |name: &str, content: Content<'_>| -> Result<(), CheckpointError> {
        manifest.files.insert(name.into(), written(&folder.join(name), content)?);
        Ok(())
    };
    put(MODEL, Content::Tensors(model))?;
    put(OPTIMIZER, Content::Tensors(optimizer))?;
    if let Some(average) = average {
        put(AVERAGE, Content::Tensors(average))?;
    }
    put(PROGRESS, Content::Text(&text))?;
    put(CONFIG, Content::Text(config.as_bytes()))?;
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| unreadable(MANIFEST, e.to_string()))?;
    write_synced(&folder.join(MANIFEST), &manifest)?;
    Ok(sync_folder(folder)?)
}

enum Content<'a> {
    Tensors(Tensors),
    Text(&'a [u8]),
}

/// Writes a new file durably, and answers what the manifest says of it.
fn written(path: &Path, content: Content<'_>) -> Result<Entry, CheckpointError> {
    let file = File::create(path).map_err(FileError::at(path, "create"))?;
    let mut out =
        Hashing { inner: BufWriter::with_capacity(BUFFER, file), hasher: blake3::Hasher::new(), bytes: 0 };
    let result = match content {
        Content::Text(text) => out.write_all(text).map_err(WriteError::from),
        Content::Tensors(tensors) => tensors.write(&mut out),
    };
    result.map_err(|e| match e {
        WriteError::Io(e) => FileError::at(path, "write")(e).into(),
        WriteError::Weights(e) => {
            CheckpointError::Unreadable { path: path.to_path_buf(), reason: e.to_string() }
        }
    })?;
    let entry = Entry { bytes: out.bytes, blake3: out.hasher.finalize().to_hex().to_string() };
    let file = out.inner.into_inner().map_err(|e| FileError::at(path, "write")(e.into_error()))?;
    file.sync_all().map_err(FileError::at(path, "sync"))?;
    Ok(entry)
}

/// Hashes what goes through it.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Gives the finished folder its name. A folder cannot be replaced in one step, so an old one of the same step
/// moves aside first; `tidy` moves it back after a crash between the two renames.
fn commit(temporary: &Path, target: &Path) -> Result<(), CheckpointError> {
    let old = aside(target);
    if target.exists() {
        fs::rename(target, &old).map_err(FileError::at(target, "move aside"))?;
    }
    if let Err(e) = fs::rename(temporary, target) {
        let _ = fs::rename(&old, target); // what was there is better than nothing
        return Err(FileError::at(target, "rename into place")(e).into());
    }
    if let Some(parent) = target.parent() {
        sync_folder(parent)?;
    }
    let _ = fs::remove_dir_all(&old);
    Ok(())
}
