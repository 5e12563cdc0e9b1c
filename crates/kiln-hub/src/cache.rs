//! A model's folder in the cache that `huggingface_hub` shares: `blobs` by tag, `snapshots` of links by commit, `refs`.
//! Owns that layout and that no half file is ever in a snapshot; never opens the network.
//! Hands snapshot folders to pull.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo};
use kiln_core::files::{FileError, read_text, write_atomic};

use crate::wanted::{self, Wanted};

pub(crate) struct Folder {
    /// `models--org--name`.
    pub(crate) path: PathBuf,
    locks: PathBuf,
    revision: String,
    hf: CacheRepo,
}

impl Folder {
    pub(crate) fn new(cache: &Path, repo: &Repo) -> Self {
        let name = repo.folder_name();
        Self {
            path: cache.join(&name),
            locks: cache.join(".locks").join(&name),
            revision: repo.revision().to_owned(),
            hf: Cache::new(cache.into()).repo(repo.clone()),
        }
    }

    pub(crate) fn blob(&self, tag: &str) -> PathBuf {
        self.hf.blob_path(tag)
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.hf.pointer_path(commit)
    }

    fn reference(&self) -> PathBuf {
        self.path.join("refs").join(&self.revision)
    }

    /// The commit that the revision was when it was last pulled; a commit is itself.
    pub(crate) fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        read_text(&self.reference()).ok().map(|text| text.trim().to_owned()).filter(|c| is_commit(c))
    }

    /// The snapshot of the revision, if all that is wanted is there.
    pub(crate) fn whole(&self) -> Option<PathBuf> {
        let snapshot = self.snapshot(&self.commit()?);
        let there = fs::read_dir(&snapshot).ok()?.flatten();
        // A link whose file is gone does not count.
        let names: Vec<String> = there
            .filter(|entry| entry.path().is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let wanted = Wanted::among(&names).ok()?;
        if wanted.is_sharded() {
            let index = read_text(&snapshot.join(&wanted.weights)).ok()?;
            let shards = wanted::shards(&index).ok()?;
            return shards.iter().all(|shard| names.contains(shard)).then_some(snapshot);
        }
        Some(snapshot)
    }

    /// Keeps other processes, of kiln or Python, from the same blob until the answer is dropped.
    pub(crate) fn lock(&self, tag: &str) -> Result<File, FileError> {
        make(&self.locks)?;
        let path = self.locks.join(format!("{tag}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(FileError::at(&path, "create"))?;
        file.lock().map_err(FileError::at(&path, "lock"))?;
        Ok(file)
    }

    /// Puts a whole blob under its name into the snapshot.
    pub(crate) fn link(&self, commit: &str, file: &str, tag: &str) -> Result<PathBuf, FileError> {
        let snapshot = self.snapshot(commit);
        make(&snapshot)?;
        let path = snapshot.join(file);
        let blob = Path::new("..").join("..").join("blobs").join(tag);
        if fs::read_link(&path).is_ok_and(|there| there == blob) {
            return Ok(path);
        }
        let new = snapshot.join(format!(".{file}.{}", std::process::id()));
        let _ = fs::remove_file(&new); // left by a process that was killed
        point(&blob, &new).map_err(FileError::at(&path, "link"))?;
        fs::rename(&new, &path).map_err(FileError::at(&path, "rename into place"))?;
        Ok(path)
    }

    /// Notes which commit the revision is now.
    pub(crate) fn remember(&self, commit: &str) -> Result<(), FileError> {
        if self.revision == commit {
            return Ok(());
        }
        let path = self.reference();
        path.parent().map_or(Ok(()), make)?;
        write_atomic(&path, commit.as_bytes())
    }
}

/// A folder with all above it.
pub(crate) fn make(folder: &Path) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(FileError::at(folder, "create"))
}

/// Forty hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(unix)]
fn point(blob: &Path, new: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(blob, new)
}

/// Links need a right that not every user has there: a copy does as well.
#[cfg(not(unix))]
fn point(blob: &Path, new: &Path) -> std::io::Result<()> {
    let from = new.parent().unwrap_or(Path::new("")).join(blob);
    fs::copy(from, new).map(|_| ())
}
