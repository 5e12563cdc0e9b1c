//! The families against their reference implementations, tensor files in and out, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // helpers of tests are tests too

mod adapters;
mod checkpoint;
mod common;
mod costs;
mod drop_path;
mod encoders;
mod files;
mod reference;
mod refused;
mod vision;
