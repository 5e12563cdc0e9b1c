//! Why a run could not start or go on, with the exit code and the remedy of each.

use std::io;
use std::path::{Path, PathBuf};

use kiln_core::Precision;
use kiln_core::config::Report;
use kiln_core::device::DeviceError;
use kiln_core::files::FileError;
use kiln_core::run_dir::RunDirError;
use kiln_core::{Exit, WrongInput};
use kiln_data::DataError;
use kiln_eval::EvalError;
use kiln_models::ModelError;

use crate::checkpoint::CheckpointError;
use crate::optim::StateError;

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Faults in the config, rendered.
    #[error("{0}")]
    Config(Box<Report>),
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot be built or its weights not loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Scoring failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The run folder cannot be made or held.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A checkpoint cannot be saved or loaded.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A save failed, and the run does not go on without.
    #[error("the checkpoint of step {step} could not be saved: {source}")]
    Unsaved {
        /// The run folder.
        run: PathBuf,
        /// Its optimizer step.
        step: u64,
        /// The newest checkpoint that was committed before, where there is one.
        newest: Option<PathBuf>,
        /// Why.
        source: Box<CheckpointError>,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The data is not what the model reads.
    #[error(transparent)]
    WrongInput(#[from] WrongInput),
    /// The checkpoint's optimizer state is not this optimizer's.
    #[error("{}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: StateError,
    },
    /// The checkpoint's weights are not this model's.
    #[error("{}: the weights are not this model's: {report}", path.display())]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        report: String,
    },
    /// A loss or gradient is not finite. The weights are those of the step before.
    #[error(
        "step {step}: the {what} is {value}{because}; stopped before it reached the weights (samples: {samples})"
    )]
    NonFinite {
        /// The optimizer step, from 1.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
        /// NaN or infinity.
        value: f32,
        /// Why the run ends although another policy was wished; empty where it was not.
        because: String,
        /// Names of the samples of the step.
        samples: String,
    },
    /// Finite gradients have made a weight that is not finite.
    #[error("`{name}` is not finite after step {step} (samples of that step: {samples})")]
    NonFiniteWeights {
        /// The optimizer step, from 1; 0 where the run began so.
        step: u64,
        /// The first such parameter or running statistic.
        name: String,
        /// Names of the samples of the step.
        samples: String,
    },
    /// The device gives no numbers any more, or a thread of its own is gone.
    #[error("the computation broke off: {reason}{}", newest(checkpoint.as_deref()))]
    BrokeOff {
        /// What the device, or the thread, says.
        reason: String,
        /// The newest checkpoint of the run.
        checkpoint: Option<PathBuf>,
    },
    /// A device's memory ran out.
    #[error("memory ran out: {}{}", .0.reason, newest(.0.checkpoint.as_deref()))]
    OutOfMemory(Box<OutOfMemory>),
    /// The device lacks the number format.
    #[error("precision {precision}: {device} cannot compute in it")]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// The device's word.
        device: String,
    },
    /// The device does not give the same bits each time.
    #[error("`deterministic` cannot be kept on {device}: {why}")]
    Nondeterministic {
        /// The device's word.
        device: String,
        /// What differs.
        why: &'static str,
    },
    /// The device's graphs cannot hold blocks that are run again.
    #[error("train.activation_checkpointing: {device} keeps every activation")]
    Checkpointing {
        /// The device's word.
        device: String,
    },
    /// A teacher that this run cannot learn from.
    #[error("`distillation.teacher`: {problem}")]
    Teacher {
        /// What does not fit.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Gradients overflow in float16 however small the loss is made.
    #[error("step {step}: gradients overflow in f16 at a loss scale of 1 (samples: {samples})")]
    Overflow {
        /// The optimizer step, from 1.
        step: u64,
        /// Names of the first samples of the step.
        samples: String,
    },
    /// The config names no training samples.
    #[error("the data has no training samples")]
    NoTrainingSamples,
    /// `drop_last` leaves nothing.
    #[error("no full batch to train on: {samples} training samples, batch_size {batch_size}, drop_last")]
    NoBatch {
        /// Training samples.
        samples: usize,
        /// Samples a batch.
        batch_size: usize,
    },
    /// A sample without a class cannot be trained on.
    #[error("{0}: expected a class to train on, got none")]
    Unlabelled(String),
    /// Resuming with something that must not change.
    #[error("{}: cannot resume with another {what}:\n{differences}", run.display())]
    Changed {
        /// The run folder.
        run: PathBuf,
        /// Config or data.
        what: &'static str,
        /// One line a difference.
        differences: String,
    },
    /// A file of a run is not what kiln writes there.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A step that the run has not.
    #[error("{}: --step {step}: expected 1 to {total}, the steps of this run", run.display())]
    NoSuchStep {
        /// The run folder.
        run: PathBuf,
        /// What was asked for.
        step: u64,
        /// Steps of the run.
        total: u64,
    },
    /// A step that was taken with another config than the run has now.
    #[error("{}: --step {step}: {keys} changed after step {changed}, and the run has the new config", run.display())]
    OlderConfig {
        /// The run folder.
        run: PathBuf,
        /// What was asked for.
        step: u64,
        /// The keys that changed.
        keys: String,
        /// The step after which they did.
        changed: u64,
    },
    /// A run of a selftest did not get where it should.
    #[error("{0}")]
    Selftest(String),
    /// There is nothing to resume.
    #[error("{0}")]
    NothingToResume(String),
}

impl From<Report> for TrainError {
    fn from(report: Report) -> Self {
        TrainError::Config(Box::new(report))
    }
}

impl TrainError {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            TrainError::Config(report) => report.exit(),
            TrainError::Device(e) => e.exit(),
            TrainError::Data(e) => e.exit(),
            TrainError::Model(e) => e.exit(),
            TrainError::Eval(e) => e.exit(),
            TrainError::RunDir(RunDirError::Held { .. }) => Exit::Locked,
            TrainError::RunDir(RunDirError::Exists { .. } | RunDirError::NotARun { .. }) => Exit::Usage,
            TrainError::RunDir(RunDirError::File(_))
            | TrainError::File(_)
            | TrainError::Checkpoint(_)
            | TrainError::Unsaved { .. } => Exit::Io,
            TrainError::WrongInput(_)
            | TrainError::Teacher { .. }
            | TrainError::Changed { .. }
            | TrainError::NoSuchStep { .. }
            | TrainError::OlderConfig { .. }
            | TrainError::NothingToResume(_) => Exit::Usage,
            TrainError::Unreadable { .. }
            | TrainError::State { .. }
            | TrainError::Weights { .. }
            | TrainError::Unlabelled(_)
            | TrainError::NoTrainingSamples
            | TrainError::NoBatch { .. } => Exit::Data,
            TrainError::Precision { .. }
            | TrainError::Checkpointing { .. }
            | TrainError::Nondeterministic { .. } => Exit::Device,
            TrainError::OutOfMemory(_) => Exit::Memory,
            TrainError::NonFinite { .. }
            | TrainError::NonFiniteWeights { .. }
            | TrainError::BrokeOff { .. }
            | TrainError::Selftest(_)
            | TrainError::Overflow { .. } => Exit::Failed,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrainError::Device(e) => Some(e.hint()),
            TrainError::Data(e) => e.hint(),
            TrainError::Model(e) => e.hint(),
            TrainError::Eval(e) => e.hint(),
            TrainError::File(e) | TrainError::RunDir(RunDirError::File(e)) => e.hint(),
            TrainError::Checkpoint(CheckpointError::File(e)) => e.hint(),
            TrainError::Checkpoint(CheckpointError::Format { kiln, .. }) => Some(format!(
                "go on with kiln {kiln}, or start a new run; this is kiln {}",
                env!("CARGO_PKG_VERSION")
            )),
            TrainError::Unsaved { run, newest, source, .. } => {
                Some(unsaved_hint(run, newest.as_deref(), source))
            }
            TrainError::Checkpoint(_) => Some("no checkpoint of this run loads; start a new run".into()),
            TrainError::RunDir(RunDirError::Held { .. }) => {
                Some("wait for it, stop it, or start another run without --resume".into())
            }
            TrainError::RunDir(RunDirError::Exists { path }) => Some(format!(
                "choose another run_name, or continue it: kiln train --resume {}",
                path.display()
            )),
            TrainError::RunDir(RunDirError::NotARun { path }) => checkpoint_hint(path),
            TrainError::NonFinite { step, .. } => Some(format!(
                "look at it: kiln replay RUN --step {step}; lower learning_rate or set train.max_grad_norm; or go on without \
                 such steps: train.on_nonfinite=skip. The last checkpoint is intact"
            )),
            TrainError::NonFiniteWeights { .. } => Some(
                "lower learning_rate or set train.max_grad_norm; or go back and on without such steps: \
                 train.on_nonfinite=rewind. The last checkpoint is intact"
                    .into(),
            ),
            TrainError::BrokeOff { .. } => Some(
                "kiln train --resume RUN goes on from the newest checkpoint; look at the device with kiln doctor".into(),
            ),
            TrainError::OutOfMemory(what) => Some(match &what.smaller {
                Some(words) => format!(
                    "kiln train {} {} goes on with the same steps; train.on_out_of_memory=halve does so by itself",
                    what.run.display(),
                    words.join(" ")
                ),
                None => "a single sample is too large: take a smaller net, shorter texts, smaller images".into(),
            }),
            TrainError::Nondeterministic { .. } => {
                Some("set device = \"cpu\" or \"wgpu:0\", or leave `deterministic` out".into())
            }
            TrainError::Precision { .. } => Some("set precision=f32, or another device".into()),
            TrainError::Teacher { remedy, .. } => Some((*remedy).into()),
            TrainError::Checkpointing { .. } => {
                Some("set train.activation_checkpointing=false, or another device".into())
            }
            TrainError::Overflow { .. } => Some(
                "set precision=bf16, which has the range of f32, or f32; the last checkpoint is intact"
                    .into(),
            ),
            TrainError::NoBatch { samples, .. } => Some(format!(
                "set data.loader.batch_size to {samples} or less, or data.loader.drop_last=false"
            )),
            TrainError::NoTrainingSamples => Some("give data.train, or data.path with a train split".into()),
            TrainError::OlderConfig { changed, .. } => {
                Some(format!("steps from {} on can be replayed", changed + 1))
            }
            TrainError::Changed { what: "config", .. } => Some(format!(
                "start a new run for these; a run that goes on may change {}",
                crate::changes::allowed()
            )),
            TrainError::Changed { .. } => {
                Some("start a new run for changed data (leave out --resume)".into())
            }
            _ => None,
        }
    }
}

/// What there is to say of memory that ran out.
#[derive(Debug)]
pub struct OutOfMemory {
    /// What the device says.
    pub reason: String,
    /// The run folder.
    pub run: PathBuf,
    /// The newest checkpoint of the run.
    pub checkpoint: Option<PathBuf>,
    /// Overrides with which a step takes less, if there are any.
    pub smaller: Option<[String; 2]>,
    /// Whether the config asks to go on with them.
    pub restart: bool,
}

fn newest(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(path) => format!("; the newest checkpoint is {}", path.display()),
        None => String::new(),
    }
}

/// What stands in the way of saving, and what is left to go on from.
fn unsaved_hint(run: &Path, newest: Option<&Path>, source: &CheckpointError) -> String {
    let cause = match source {
        CheckpointError::NoRoom { .. } => {
            "free some space on that disk, or keep fewer checkpoints (checkpoint.keep_last)"
        }
        CheckpointError::File(e) => match e.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space on that disk, or keep fewer checkpoints (checkpoint.keep_last)"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "make that disk writable",
            io::ErrorKind::NotFound => "bring the run folder back",
            _ => "look after that disk",
        },
        _ => "look after that disk",
    };
    let run = run.display();
    match newest {
        Some(newest) => format!("{cause}; {} is intact: kiln train --resume {run}", newest.display()),
        None => format!("{cause}; then kiln train --resume {run}, which starts from the beginning"),
    }
}

/// For somebody who named a run's checkpoint: the run.
fn checkpoint_hint(path: &Path) -> Option<String> {
    let run = path.parent()?.parent()?;
    path.join("manifest.json").exists().then(|| {
        format!(
            "this is a checkpoint; its run goes on from the newest one: kiln train --resume {}",
            run.display()
        )
    })
}
