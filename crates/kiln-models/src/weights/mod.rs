//! Tensor files in and out: a Hugging Face folder, `.safetensors`, or a PyTorch file, recognised by content.
//! Owns formats and their faults; never names of a net (`pretrained` does) and never runs pickled code.
//! Hands a `StateDict` to whoever loads it.

mod folder;
mod pytorch;
mod safetensors;
mod shards;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_core::StateDict;
use kiln_core::files::FileError;

pub use safetensors::{Outline, from_safetensors, head, to_safetensors};
pub(crate) use shards::write;
pub use shards::{SaveOptions, SaveType};

/// The weights' file in a Hugging Face folder.
pub const SAFETENSORS: &str = "model.safetensors";
/// The index of a Hugging Face folder's shards.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// A tensor file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The file's content is not what its format promises.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, with place, expected and got.
        message: String,
        /// What to do.
        remedy: String,
    },
}

impl WeightsError {
    pub(crate) fn content(path: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        WeightsError::Content { path: path.to_path_buf(), message: message.into(), remedy: remedy.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            WeightsError::Io(error) => error.hint(),
            WeightsError::Content { remedy, .. } => Some(remedy.clone()),
        }
    }
}

/// Reads every tensor of a folder (`model.safetensors`, sharded with an index, or `pytorch_model.bin`; a run folder's
/// `model/` too), a `.safetensors` file, or a PyTorch `.pt/.pth/.th/.bin`. Types and shapes are the file's. The
/// wrappings that training scripts add around names are taken off: a `state_dict` or `model` key, and `module.`.
///
/// # Errors
/// Nothing there, unreadable, truncated, of an unknown format; each names the file and the remedy.
pub fn read(path: &Path) -> Result<StateDict, WeightsError> {
    read_as(path, What::Values)
}

/// As [`read`], from the files' headers: values are read when somebody looks at them, and are zeros where the file is
/// PyTorch's.
///
/// # Errors
/// As [`read`], but for what only the values show.
pub fn outline(path: &Path) -> Result<StateDict, WeightsError> {
    read_as(path, What::Outline)
}

/// What the header of a folder's weights says beside the tensors, as `format`; of shards the first one's. Nothing where
/// the weights are PyTorch's.
///
/// # Errors
/// As [`outline`].
pub fn metadata(folder: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    match folder::first_file(folder)? {
        Some(path) => safetensors::metadata(&path),
        None => Ok(BTreeMap::new()),
    }
}

/// How much of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Values,
    Outline,
}

fn read_as(path: &Path, what: What) -> Result<StateDict, WeightsError> {
    let state = if path.is_dir() { folder::read(path, what)? } else { read_file(path, what)? };
    Ok(strip_all(state, "module."))
}

fn read_file(path: &Path, what: What) -> Result<StateDict, WeightsError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(FileError::at(path, "open"))?;
    file.take(512).read_to_end(&mut head).map_err(FileError::at(path, "read"))?;
    if path.extension().is_some_and(|e| e == "safetensors") || head.get(8) == Some(&b'{') {
        return match what {
            What::Values => from_safetensors(&kiln_core::files::read(path)?, path),
            What::Outline => safetensors::outline(path),
        };
    }
    if head.starts_with(b"version https://git-lfs") {
        let message = "a Git LFS pointer, not the weights themselves";
        return Err(WeightsError::content(path, message, "fetch the file's content with `git lfs pull`"));
    }
    if head.starts_with(b"PK") || head.first() == Some(&0x80) || head.get(257..262) == Some(b"ustar") {
        return pytorch::read(path, what);
    }
    let message = "neither a safetensors nor a PyTorch file";
    Err(WeightsError::content(path, message, "give a .safetensors, or what torch.save wrote"))
}

/// Takes `prefix` off every name if every name has it.
fn strip_all(state: StateDict, prefix: &str) -> StateDict {
    if !state.keys().all(|name| name.starts_with(prefix)) {
        return state;
    }
    state.into_iter().map(|(name, data)| (name[prefix.len()..].to_string(), data)).collect()
}
