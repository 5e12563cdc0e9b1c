//! The families against their reference implementations, tensor files in and out, and what is refused.

mod common;
mod files;
mod reference;
mod refused;
