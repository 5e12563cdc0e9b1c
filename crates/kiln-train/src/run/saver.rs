//! The thread that writes checkpoints while the loop trains on: one save at a time, each with the pruning that follows it.
//! Owns the thread; what is saved, and what a failure means, `run/saving.rs` says. Never touches a device.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};

use kiln_core::files::FileError;

use crate::checkpoint::{self, CheckpointError};
use crate::snapshot::Snapshot;

/// One save.
#[derive(Debug)]
pub(crate) struct Job {
    /// What is saved.
    pub(crate) snapshot: Snapshot,
    /// The config that goes with it.
    pub(crate) config: String,
    /// Logs that must be durable as far as the snapshot says before it is.
    pub(crate) logs: Vec<(PathBuf, File)>,
    /// Newest checkpoints that stay.
    pub(crate) keep_last: usize,
    /// Steps of others that stay.
    pub(crate) keep: Vec<u64>,
}

/// What became of a save.
pub(crate) type Answer = Result<Saved, CheckpointError>;

/// A checkpoint that is on the disk.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Its folder.
    pub(crate) path: PathBuf,
    /// Why older ones could not be removed: it is whole all the same, and the next save tries again.
    pub(crate) left: Option<FileError>,
}

/// The thread, from the first save on, and whether it has one under way.
#[derive(Debug)]
pub(crate) struct Saver {
    checkpoints: PathBuf,
    thread: Option<Thread>,
    busy: bool,
}

#[derive(Debug)]
struct Thread {
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    handle: JoinHandle<()>,
}

impl Saver {
    /// Of a run's folder of checkpoints.
    pub(crate) fn new(checkpoints: PathBuf) -> Self {
        Self { checkpoints, thread: None, busy: false }
    }

    /// Begins a save. The caller has waited for the one before.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn begin(&mut self, job: Job) -> Result<(), CheckpointError> {
        if self.thread.is_none() {
            self.thread = Some(Thread::start(self.checkpoints.clone())?);
        }
        let sent = self.thread.as_ref().is_some_and(|thread| thread.jobs.send(job).is_ok());
        self.busy = sent;
        if sent { Ok(()) } else { Err(ended(&self.checkpoints)) }
    }

    /// What became of the save that is under way, where it is done.
    pub(crate) fn poll(&mut self) -> Option<Answer> {
        let thread = self.thread.as_ref().filter(|_| self.busy)?;
        let answer = match thread.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(ended(&self.checkpoints)),
        };
        self.busy = false;
        Some(answer)
    }

    /// As [`Saver::poll`], when it is done.
    pub(crate) fn wait(&mut self) -> Option<Answer> {
        let thread = self.thread.as_ref().filter(|_| self.busy)?;
        self.busy = false;
        Some(thread.answers.recv().unwrap_or_else(|_| Err(ended(&self.checkpoints))))
    }
}

/// A save that is under way is finished whatever ends the run.
impl Drop for Saver {
    fn drop(&mut self) {
        if let Some(Thread { jobs, handle, .. }) = self.thread.take() {
            drop(jobs);
            let _ = handle.join();
        }
    }
}

impl Thread {
    fn start(checkpoints: PathBuf) -> Result<Self, CheckpointError> {
        let (jobs, next) = channel::<Job>();
        let (done, answers) = channel();
        let folder = checkpoints.clone();
        let work = move || {
            while let Ok(job) = next.recv() {
                if done.send(save(&folder, job)).is_err() {
                    break;
                }
            }
        };
        let handle = Builder::new().name("kiln-save".into()).spawn(work);
        let handle = handle.map_err(FileError::at(&checkpoints, "start the thread that saves to"))?;
        Ok(Self { jobs, answers, handle })
    }
}

fn save(checkpoints: &Path, job: Job) -> Answer {
    for (path, log) in &job.logs {
        log.sync_data().map_err(FileError::at(path, "sync"))?;
    }
    let path = checkpoint::save(checkpoints, job.snapshot, &job.config)?;
    let left = checkpoint::prune(checkpoints, job.keep_last, &job.keep).err();
    Ok(Saved { path, left })
}

fn ended(checkpoints: &Path) -> CheckpointError {
    FileError::at(checkpoints, "save to")(io::Error::other("the thread that saves has ended")).into()
}
