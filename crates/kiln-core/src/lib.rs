//! The nouns every room of kiln shares: batches, nets, weights by name, seeds, durations, files, runs, events,
//! devices and config diagnostics. Owns no pixels, tokens or HTTP; hands its types to every other crate.

pub mod adapter;
pub mod batch;
pub mod config;
pub mod device;
pub mod event;
pub mod every;
pub mod exit;
pub mod files;
pub mod gradients;
pub mod markup;
pub mod memory;
pub mod net;
pub mod precision;
pub mod run_dir;
pub mod seed;
pub mod state;
pub mod task;

pub use batch::{Batch, IGNORE, Input, InputSpec, Output, Table, Target, Tokens, WrongInput};
pub use every::Every;
pub use exit::Exit;
pub use gradients::Gradients;
pub use net::{Forward, FromInput, KvCache, Net};
pub use precision::Precision;
pub use run_dir::RunDir;
pub use state::{LoadReport, Mismatch, StateDict};
pub use task::{LossKind, MaskingConfig, RegressionConfig, TaskConfig, TaskKind};
