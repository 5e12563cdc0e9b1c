//! One run: config, optimizers, schedules, the loop, checkpoints, resume.
//!
//! `load` reads a config, `setup` makes a [`Run`] of it (or finds the one to resume), `run` is the loop, `finish`
//! leaves the model, `runs` looks at what runs left. `selftest` kills and resumes one. `bench` times the same parts. A checkpoint (`checkpoint`, `progress`) holds everything that the next step depends on.

pub mod average;
mod bad_samples;
pub mod bench;
pub mod changes;
pub mod checkpoint;
pub mod config;
mod distillation;
mod error;
pub mod finetune;
mod finish;
pub mod init;
pub mod load;
pub mod loss;
mod metrics_log;
pub mod optim;
mod pace;
pub mod pass;
mod plan;
pub mod plateau;
pub mod progress;
mod resume;
mod run;
mod run_log;
pub mod runs;
pub mod schedule;
pub mod selftest;
mod setup;
pub mod snapshot;
mod stall;
mod tensorboard;

pub use error::{OutOfMemory, TrainError};
pub use finish::{Outcome, Summary};
pub use plan::Plan;
pub use run::{
    DryRun, End, RateCurve, RatePoint, Replay, ReplayedBatch, Run, Session, Sweep, Trouble, dry_run, lr_find,
    replay,
};
pub use selftest::{Compared, Resumed, Trial, resume as selftest_resume};
pub use setup::Start;
