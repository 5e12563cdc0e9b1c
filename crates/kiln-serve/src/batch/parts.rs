//! The answers of a job that is not complete: a folder of parts, each committed whole.
//! Owns that folder, its lock and what is counted in it; never makes an answer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use kiln_core::files::{FileError, sync_folder, write_atomic};
use serde_json::{Map, Value};

use super::{BatchError, ERROR, Identity, Job, Start, beside, folder_of, pretty};

/// See the module.
#[derive(Debug)]
pub(super) struct Parts {
    folder: PathBuf,
    _lock: File,
    count: usize,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

/// The folder of parts of an output.
fn folder(output: &Path) -> PathBuf {
    beside(output, "parts")
}

/// Whether an output has parts.
pub(super) fn is_there(output: &Path) -> bool {
    folder(output).join(JOB).is_file()
}

const JOB: &str = "job.json";
const LOCK: &str = "lock";

impl Parts {
    /// Takes the parts that are there, or begins with none.
    pub(super) fn open(job: &Job<'_>) -> Result<Self, BatchError> {
        let folder = folder(job.output);
        fs::create_dir_all(&folder).map_err(FileError::at(&folder, "create"))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).open(&path);
        let lock = lock.map_err(FileError::at(&path, "create"))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => BatchError::Locked { path: folder.clone() },
            TryLockError::Error(e) => FileError::at(&path, "lock")(e).into(),
        })?;
        let mut parts = Self { folder, _lock: lock, count: 0, answered: 0, failed: 0 };
        if job.start == Start::Overwrite {
            parts.clear()?;
        }
        let head = parts.folder.join(JOB);
        if head.is_file() && parts.part(0).is_file() {
            parts.take(job, &head)?;
        } else {
            parts.clear()?; // a part without a job is nobody's, and a job without a part has nothing to lose
            let identity = serde_json::to_value(&job.identity).unwrap_or_default();
            write_atomic(&head, pretty(&identity).as_bytes())?;
            sync_folder(folder_of(job.output))?;
        }
        Ok(parts)
    }

    /// Counts the parts of a job that was stopped.
    fn take(&mut self, job: &Job<'_>, head: &Path) -> Result<(), BatchError> {
        let damaged = |path: &Path, problem: String| BatchError::Damaged { path: path.into(), problem };
        let before: Identity = serde_json::from_slice(&kiln_core::files::read(head)?)
            .map_err(|e| damaged(head, e.to_string()))?;
        if let Some((what, before, now)) = job.identity.differs(&before) {
            return Err(BatchError::Another { path: self.folder.clone(), what, before, now });
        }
        let mut short = None;
        while self.part(self.count).is_file() {
            let path = self.part(self.count);
            if let Some(short) = short {
                let problem = format!("part {short} before it is short");
                return Err(damaged(&path, problem));
            }
            let mut rows = 0;
            for line in lines(&path)? {
                self.add(&line?);
                rows += 1;
            }
            if rows != job.window {
                short = Some(self.count);
            }
            self.count += 1;
        }
        match job.start {
            Start::New if self.count > 0 => {
                Err(BatchError::Stopped { path: self.folder.clone(), rows: self.rows() })
            }
            _ => Ok(()),
        }
    }

    /// Removes every part.
    fn clear(&self) -> Result<(), BatchError> {
        let entries = fs::read_dir(&self.folder).map_err(FileError::at(&self.folder, "list"))?;
        for entry in entries {
            let path = entry.map_err(FileError::at(&self.folder, "list"))?.path();
            if path.file_name().is_some_and(|name| name != LOCK) {
                fs::remove_file(&path).map_err(FileError::at(&path, "remove"))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, line: &Map<String, Value>) {
        match line.contains_key(ERROR) {
            true => self.failed += 1,
            false => self.answered += 1,
        }
    }

    /// Inputs committed, answered or not.
    pub(super) fn rows(&self) -> u64 {
        self.answered + self.failed
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn part(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number:08}.jsonl"))
    }

    /// Adds a part; when this returns, a power cut does not take it back.
    pub(super) fn commit(&mut self, rows: &[Map<String, Value>]) -> Result<(), BatchError> {
        let mut text = String::new();
        for row in rows {
            text.push_str(&Value::Object(row.clone()).to_string());
            text.push('\n');
        }
        write_atomic(&self.part(self.count), text.as_bytes())?;
        rows.iter().for_each(|row| self.add(row));
        self.count += 1;
        Ok(())
    }

    /// Every line of every part, in order.
    fn all(&self) -> impl Iterator<Item = Result<Map<String, Value>, BatchError>> + '_ {
        (0..self.count).flat_map(|number| {
            let (lines, fault) = match lines(&self.part(number)) {
                Ok(lines) => (Some(lines), None),
                Err(fault) => (None, Some(Err(fault))),
            };
            lines.into_iter().flatten().chain(fault)
        })
    }

    /// The lines with an answer, in order.
    pub(super) fn answers(&self) -> impl Iterator<Item = Result<Map<String, Value>, BatchError>> + '_ {
        self.all().filter(|line| line.as_ref().is_ok_and(|line| !line.contains_key(ERROR)) || line.is_err())
    }

    /// Writes the lines without an answer to a file, which is not there where there are none. Answers the reason of the
    /// first.
    pub(super) fn failures(&self, path: &Path) -> Result<Option<String>, BatchError> {
        if self.failed == 0 {
            return match fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(FileError::at(path, "remove")(e).into())
                }
                _ => Ok(None),
            };
        }
        let (fresh, mut first) = (self.folder.join("failures"), None);
        let file = File::create(&fresh).map_err(FileError::at(&fresh, "create"))?;
        let mut out = BufWriter::new(file);
        for line in self.all() {
            let line = line?;
            let Some(reason) = line.get(ERROR) else { continue };
            first.get_or_insert_with(|| reason.as_str().unwrap_or_default().to_string());
            writeln!(out, "{}", Value::Object(line)).map_err(FileError::at(&fresh, "write"))?;
        }
        out.flush().map_err(FileError::at(&fresh, "write"))?;
        out.get_ref().sync_all().map_err(FileError::at(&fresh, "sync"))?;
        fs::rename(&fresh, path).map_err(FileError::at(path, "write"))?;
        Ok(first)
    }

    /// Removes the folder: the job is complete.
    pub(super) fn remove(self) -> Result<(), BatchError> {
        // The job goes first: parts without one are nobody's.
        let job = self.folder.join(JOB);
        fs::remove_file(&job).map_err(FileError::at(&job, "remove"))?;
        fs::remove_dir_all(&self.folder).map_err(FileError::at(&self.folder, "remove"))?;
        Ok(())
    }
}

/// The lines of a part.
fn lines(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Map<String, Value>, BatchError>> + use<>, BatchError> {
    let (path, file) = (path.to_path_buf(), File::open(path).map_err(FileError::at(path, "open"))?);
    Ok(BufReader::new(file).lines().enumerate().map(move |(k, line)| {
        let line = line.map_err(FileError::at(&path, "read"))?;
        serde_json::from_str(&line).map_err(|e| BatchError::Damaged {
            path: path.clone(),
            problem: format!("line {} is no object: {e}", k + 1),
        })
    }))
}
