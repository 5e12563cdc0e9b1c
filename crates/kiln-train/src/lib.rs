//! One run: config, optimizers, schedules, the loop, checkpoints, resume.

pub mod config;
pub mod load;
