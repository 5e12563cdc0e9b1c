//! What can go wrong between a name and a folder.
//! Owns the words, the remedies and the exit code of each fault; never prints.
//! The command shows them.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_core::files::FileError;

/// A model could not be pulled or pushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A text that names no model.
    #[error("{text:?} is not a model's name on the Hub: {why}")]
    Name {
        /// What was written.
        text: String,
        /// Which rule it breaks.
        why: String,
    },
    /// This binary cannot reach the Hub.
    #[error("{name}: this kiln was built without the Hugging Face Hub")]
    NotBuilt {
        /// What was asked for.
        name: String,
    },
    /// Nothing of that name, as far as this token can see.
    #[error("{name}: no such model at {endpoint} (status {status})")]
    NoModel {
        /// What was asked for.
        name: String,
        /// Which Hub answered.
        endpoint: String,
        /// What it answered.
        status: u16,
    },
    /// The model is there, the branch, tag or commit is not.
    #[error("{name}: the model has no branch, tag or commit {revision:?}")]
    NoRevision {
        /// The model.
        name: String,
        /// What was asked for.
        revision: String,
    },
    /// The Hub wants to know who asks, or knows and says no.
    #[error("{name}: {endpoint} refuses access (status {status}, {})", if *token { "with a token" } else { "without a token" })]
    Denied {
        /// The model.
        name: String,
        /// Which Hub answered.
        endpoint: String,
        /// What it answered.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// The model has no such file.
    #[error("{name}: the model has no file {file}")]
    NoFile {
        /// The model.
        name: String,
        /// The file.
        file: String,
    },
    /// The model has nothing that kiln reads.
    #[error("{name}: no {what} among its files: {files}")]
    Unfit {
        /// The model.
        name: String,
        /// What was looked for.
        what: &'static str,
        /// What is there.
        files: String,
    },
    /// Offline, and the cache does not hold it.
    #[error("{name}: not in the cache, and HF_HUB_OFFLINE forbids to ask the Hub; looked in {}", cache.display())]
    Offline {
        /// The model.
        name: String,
        /// The model's folder in the cache.
        cache: PathBuf,
    },
    /// No answer.
    #[error("cannot reach {url}: {message}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the network said.
        message: String,
    },
    /// An answer that is no success.
    #[error("{url} answered {status}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// The Hub's words.
        message: String,
    },
    /// A success that makes no sense.
    #[error("{url} answered something unexpected: {message}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// The connection was cut, also after several tries.
    #[error("{file}: the download was cut after {got} of {expected} bytes")]
    Cut {
        /// The file.
        file: String,
        /// Bytes that are here.
        got: u64,
        /// Bytes that there are.
        expected: u64,
    },
    /// All bytes came, and they are others.
    #[error("{file}: what came is not what the Hub has: expected {expected}, got {got}")]
    Damaged {
        /// The file.
        file: String,
        /// The Hub's checksum.
        expected: String,
        /// The checksum of what came.
        got: String,
    },
    /// Pushing without saying who pushes.
    #[error("a push needs a token, and there is none")]
    NoToken,
    /// Pushing while offline.
    #[error("HF_HUB_OFFLINE is set: a push needs the Hub")]
    PushOffline,
    /// Nothing to push.
    #[error("{}: no model to push: there is no config.json or adapter_config.json", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl HubError {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Name { .. } | Self::NotBuilt { .. } | Self::NoToken | Self::PushOffline => Exit::Usage,
            Self::NoModel { .. }
            | Self::NoRevision { .. }
            | Self::Denied { .. }
            | Self::NoFile { .. }
            | Self::Unfit { .. }
            | Self::NoFolder { .. }
            | Self::Offline { .. } => Exit::Data,
            Self::Status { status, .. } if *status < 500 => Exit::Failed,
            _ => Exit::Io,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Name { .. } => "write org/name, or org/name@revision for a branch, tag or commit",
            Self::NotBuilt { .. } => "cargo build --release -p kiln-cli --features hub, or give a folder",
            Self::NoModel { .. } => {
                "look at the spelling; a private model needs HF_TOKEN, a token of somebody who may read it"
            }
            Self::NoRevision { .. } => "the model's page lists its branches, tags and commits",
            Self::Denied { token: false, .. } => {
                "set HF_TOKEN to a token of somebody who may do this (huggingface.co/settings/tokens)"
            }
            Self::Denied { .. } => {
                "the token's owner needs that right; a gated model's terms are accepted on its page"
            }
            Self::NoFile { .. } => "its index names a file that was not uploaded: tell the model's owner",
            Self::Unfit { .. } => "kiln opens folders of config.json with safetensors or PyTorch weights",
            Self::Offline { .. } => "unset HF_HUB_OFFLINE and run `kiln hub pull` once, or set HF_HUB_CACHE",
            Self::Unreachable { .. } => {
                "look at the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses the cache alone"
            }
            Self::Cut { .. } => "try again: it goes on where it was cut",
            Self::Damaged { .. } => "try again; it starts anew",
            Self::NoToken => "set HF_TOKEN to a token that may write (huggingface.co/settings/tokens)",
            Self::PushOffline => "unset it",
            Self::NoFolder { .. } => "give a run that `kiln train` finished, or a model folder",
            Self::Status { .. } | Self::Answer { .. } => "is HF_ENDPOINT a Hub? If so, try again later",
            Self::File(error) => return error.hint(),
        };
        Some(words.into())
    }
}
