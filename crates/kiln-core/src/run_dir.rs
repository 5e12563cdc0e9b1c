//! A run's folder: made once, never reused or deleted by kiln, held by one process at a time.
//!
//! ```text
//! runs/quickstart-20260102-030405/
//!   config.toml          the resolved config
//!   changes.jsonl        what was changed when it went on, and at which step; where anything was
//!   metrics.jsonl        one line a logged step or evaluation
//!   events.out.tfevents* the same for TensorBoard
//!   curves.svg           learning curves, when the run ended
//!   checkpoints/         step-00000100/ ...
//!   model/               the final model, a Hugging Face style folder
//!   run.lock             held while a process trains
//!   stop                 made by somebody else: save and stop after the current step
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::files::FileError;

/// Why a run folder could not be made or held.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process trains in it.
    #[error("{}: the run is held by {holder}", path.display())]
    Held {
        /// The run folder.
        path: PathBuf,
        /// Process and host, as it wrote them.
        holder: String,
    },
    /// The name was given and is taken.
    #[error("{}: the run folder exists already", path.display())]
    Exists {
        /// The run folder.
        path: PathBuf,
    },
    /// The folder holds no run.
    #[error("{}: no run here: expected the run folder that `kiln train` made", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
}

/// A run folder that this process holds until it is dropped (or the process dies: the lock is the kernel's).
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// The folder that [`RunDir::create`] would make of a name, where that is taken already.
    pub fn taken(output_dir: &Path, name: Option<&str>) -> Option<PathBuf> {
        name.map(|name| output_dir.join(name)).filter(|path| path.exists())
    }

    /// Makes a new run folder in `output_dir` and holds it. With `name` it must not exist; otherwise it is called
    /// after `stem` and the time, with a number behind it where that is taken.
    ///
    /// # Errors
    /// The name is taken, or the system refuses.
    pub fn create(output_dir: &Path, name: Option<&str>, stem: &str) -> Result<Self, RunDirError> {
        fs::create_dir_all(output_dir).map_err(FileError::at(output_dir, "create"))?;
        let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        for attempt in 1.. {
            let path = output_dir.join(match (name, attempt) {
                (Some(name), _) => name.to_string(),
                (None, 1) => format!("{stem}-{stamp}"),
                (None, n) => format!("{stem}-{stamp}-{n}"),
            });
            match fs::create_dir(&path) {
                Ok(()) => {
                    let lock = lock(&path)?;
                    return Ok(Self { path, _lock: lock });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && name.is_none() => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(RunDirError::Exists { path });
                }
                Err(e) => return Err(FileError::at(&path, "create")(e).into()),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Holds an existing run folder.
    ///
    /// # Errors
    /// It holds no run, another process holds it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        let path = path.to_path_buf();
        if !Self::is_run(&path) {
            return Err(RunDirError::NotARun { path });
        }
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Whether a folder holds a run: it has the config, and is not one of a run's checkpoints, which carry it too.
    pub fn is_run(path: &Path) -> bool {
        path.join("config.toml").is_file() && !path.join("manifest.json").exists()
    }

    /// Who trains in a run folder now; `None` where nobody does, or it cannot be told. Takes the lock for a moment only
    /// where the process that the file names may live.
    pub fn holder(path: &Path) -> Option<String> {
        let path = path.join("run.lock");
        let holder = fs::read_to_string(&path).ok()?.trim().to_string();
        let (process, on) = holder.strip_prefix("process ")?.split_once(" on ")?;
        let here = on == host() && Path::new("/proc/self").exists();
        if here && !Path::new("/proc").join(process).exists() {
            return None;
        }
        let held = matches!(File::open(&path).ok()?.try_lock_shared(), Err(TryLockError::WouldBlock));
        held.then_some(holder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved config.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// One JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// A file whose presence asks the process that trains to save and stop.
    pub fn stop(&self) -> PathBuf {
        self.path.join("stop")
    }

    /// The final model.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }
}

/// Takes the kernel's lock on `run.lock` and writes who holds it.
fn lock(run: &Path) -> Result<File, RunDirError> {
    let path = run.join("run.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(FileError::at(&path, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder =
                if holder.trim().is_empty() { "another process".into() } else { holder.trim().to_string() };
            return Err(RunDirError::Held { path: run.to_path_buf(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(FileError::at(&path, "lock")(e).into()),
    }
    let holder = format!("process {} on {}\n", std::process::id(), host());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(FileError::at(&path, "write"))?;
    Ok(file)
}

/// The machine's name, for people who share a run folder over a network.
pub fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map_or_else(|| "this host".into(), |name| name.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_never_reused() {
        let out = tempfile::tempdir().unwrap();
        let a = RunDir::create(out.path(), None, "x").unwrap();
        let b = RunDir::create(out.path(), None, "x").unwrap();
        assert_ne!(a.path(), b.path());
        let _named = RunDir::create(out.path(), Some("mine"), "x").unwrap();
        let again = RunDir::create(out.path(), Some("mine"), "x");
        assert!(matches!(again, Err(RunDirError::Exists { .. })), "{again:?}");
    }

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let out = tempfile::tempdir().unwrap();
        let first = RunDir::create(out.path(), Some("r"), "x").unwrap();
        fs::write(first.config(), "").unwrap();
        let Err(RunDirError::Held { holder, .. }) = RunDir::open(first.path()) else { panic!("not held") };
        assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
        let path = first.path().to_path_buf();
        assert_eq!(RunDir::holder(&path), Some(holder));
        drop(first);
        assert_eq!(RunDir::holder(&path), None, "its process lives, and holds it no more");
        fs::write(path.join("run.lock"), format!("process 999999999 on {}\n", host())).unwrap();
        assert_eq!(RunDir::holder(&path), None);
        RunDir::open(&path).unwrap();
    }

    #[test]
    fn a_folder_without_a_config_is_no_run() {
        let out = tempfile::tempdir().unwrap();
        assert!(matches!(RunDir::open(out.path()), Err(RunDirError::NotARun { .. })));
        for name in ["config.toml", "manifest.json"] {
            fs::write(out.path().join(name), "").unwrap();
        }
        assert!(matches!(RunDir::open(out.path()), Err(RunDirError::NotARun { .. })), "a checkpoint");
    }
}
