//! Why a server does not start, or ends badly.
//! Owns the wording for the person who starts it; what clients are told is `reply`'s.

use std::net::SocketAddr;
use std::path::PathBuf;

use kiln_core::Exit;
use kiln_core::files::FileError;
use kiln_eval::EvalError;

/// Why a server does not start, or ends badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A model.
    #[error("model {name}, version {version}: {error}")]
    Model {
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
        /// What is wrong.
        error: Box<EvalError>,
    },
    /// Two models of one name and version.
    #[error("model {name}, version {version} stands twice")]
    Twice {
        /// The name.
        name: String,
        /// The version.
        version: u64,
    },
    /// A name that no URL can hold.
    #[error("model name {name:?}: expected letters, digits, `-`, `_` and `.`, and no `.` in front")]
    Name {
        /// The name.
        name: String,
    },
    /// An address that others can reach, without a token.
    #[error("{address} can be reached by others, and there is no token")]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// What is no origin.
    #[error("origin {origin:?}: expected a scheme and a host, such as https://app.example, or *")]
    Origin {
        /// What was given.
        origin: String,
    },
    /// A token that is too easy to guess.
    #[error("a token of {got} bytes: expected at least {expected}, of visible ASCII")]
    Token {
        /// Its length.
        got: usize,
        /// The least.
        expected: usize,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An SQLite file that takes no predictions.
    #[error("{}: cannot keep predictions in it: {problem}", path.display())]
    Predictions {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Threads or signals.
    #[error("cannot start the server: {0}")]
    Start(std::io::Error),
    /// The hard limit of a drain.
    #[error("stopped with {connections} connections still open after {seconds} s of draining")]
    Drain {
        /// Open connections.
        connections: usize,
        /// The limit.
        seconds: u64,
    },
}

impl ServeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ServeError::Model { error, .. } => error.hint(),
            ServeError::Twice { .. } => {
                Some("give each a name or version of its own: name=FOLDER or name@2=FOLDER".into())
            }
            ServeError::Name { .. } => Some("give it another name: name=FOLDER".into()),
            ServeError::Open { .. } => Some(
                "put a token into KILN_TOKEN or --token-file, or say --insecure where everyone may ask"
                    .into(),
            ),
            ServeError::Token { .. } => Some("make one with: openssl rand -hex 32".into()),
            ServeError::Listen { .. } => Some("choose another --address, such as 127.0.0.1:8081".into()),
            ServeError::Tls { .. } => Some("give PEM files: --tls-cert CHAIN --tls-key KEY".into()),
            ServeError::Predictions { .. } => {
                Some("name a new .db file, or a .jsonl file for a JSON line each".into())
            }
            ServeError::File(error) => error.hint(),
            ServeError::Drain { .. } => Some("raise --drain, or --deadline-ms may be too long".into()),
            ServeError::Origin { .. } | ServeError::Start(_) => None,
        }
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            ServeError::Model { error, .. } => error.exit(),
            ServeError::Tls { .. } => Exit::Data,
            ServeError::Twice { .. }
            | ServeError::Name { .. }
            | ServeError::Open { .. }
            | ServeError::Origin { .. }
            | ServeError::Token { .. } => Exit::Usage,
            ServeError::Listen { .. } | ServeError::Predictions { .. } | ServeError::File(_) => Exit::Io,
            ServeError::Start(_) | ServeError::Drain { .. } => Exit::Failed,
        }
    }
}
