//! Models from and to the Hugging Face Hub: a name -> a folder in the cache that Python's `huggingface_hub` shares, and
//! a model folder -> a commit. Owns the fence around `hf-hub` and HTTP (feature `hub`); never reads a weight.
//! Hands folders to the command.
//!
//! `hf-hub` 0.5 gives the Hub's addresses, answers and cache layout. It neither pushes, nor works offline, nor verifies
//! what came, so the transfer is kiln's own, over the HTTP client that `hf-hub` brings.

mod error;
mod name;
mod settings;
mod words;

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod digest;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod lfs;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "hub")]
mod push;
#[cfg(feature = "hub")]
mod wanted;
#[cfg(not(feature = "hub"))]
mod without;

pub use error::HubError;
pub use name::Name;
#[cfg(feature = "hub")]
pub use pull::pull;
#[cfg(feature = "hub")]
pub use push::push;
pub use settings::Settings;
#[cfg(not(feature = "hub"))]
pub use without::{pull, push};
pub use words::{Pulled, Push, Pushed};

/// Whether this build reaches the Hub.
pub const BUILT: bool = cfg!(feature = "hub");
