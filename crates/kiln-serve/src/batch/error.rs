//! Why a job of predictions could not be started or finished.
//! Owns the errors of jobs and wraps those of the rooms below; prints nothing.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_core::files::FileError;
use kiln_data::DataError;
use kiln_eval::EvalError;

/// Why there is no file of answers.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// The inputs.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An ending that no format has.
    #[error("{}: expected a file that ends in {expected}", path.display())]
    Ending {
        /// The file asked for.
        path: PathBuf,
        /// The endings there are.
        expected: String,
    },
    /// The output is there already.
    #[error("{}: exists already{}", path.display(), why)]
    Exists {
        /// The file.
        path: PathBuf,
        /// What is known of it.
        why: String,
    },
    /// A job was stopped and nobody said what becomes of it.
    #[error("{}: {rows} inputs were answered here before this job was stopped", path.display())]
    Stopped {
        /// The folder of its parts.
        path: PathBuf,
        /// Inputs answered.
        rows: u64,
    },
    /// The parts are of another job.
    #[error("{}: these answers are of another job: {what} was {before}, now {now}", path.display())]
    Another {
        /// The folder of its parts.
        path: PathBuf,
        /// What differs.
        what: String,
        /// As it was.
        before: String,
        /// As it is.
        now: String,
    },
    /// Another process writes.
    #[error("{}: another process is writing these answers", path.display())]
    Locked {
        /// The folder of its parts.
        path: PathBuf,
    },
    /// A file of the job is not what was written.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A column to keep that is called as a field of the answers.
    #[error("the column \"{name}\" to keep is called as a field of the answers")]
    Name {
        /// The name.
        name: String,
    },
    /// More columns than the format holds.
    #[error("{}: the answers have {got} columns, and this format holds {most}", path.display())]
    Wide {
        /// The output.
        path: PathBuf,
        /// Columns.
        got: usize,
        /// Columns that fit.
        most: usize,
    },
    /// The format's writer failed.
    #[error("{}: cannot write: {problem}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the writer said.
        problem: String,
    },
}

impl BatchError {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            BatchError::File(_) | BatchError::Write { .. } => Exit::Io,
            BatchError::Data(error) => error.exit(),
            BatchError::Eval(error) => error.exit(),
            BatchError::Damaged { .. } => Exit::Data,
            BatchError::Locked { .. } => Exit::Locked,
            BatchError::Ending { .. }
            | BatchError::Exists { .. }
            | BatchError::Stopped { .. }
            | BatchError::Another { .. }
            | BatchError::Name { .. }
            | BatchError::Wide { .. } => Exit::Usage,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            BatchError::File(error) => error.hint(),
            BatchError::Data(error) => error.hint(),
            BatchError::Eval(error) => error.hint(),
            BatchError::Ending { .. } => None,
            BatchError::Exists { .. } => Some("choose another file, or replace it with --overwrite".into()),
            BatchError::Stopped { .. } => Some("go on with --resume, or begin again with --overwrite".into()),
            BatchError::Another { .. } => {
                Some("repeat the command of before to go on, or begin again with --overwrite".into())
            }
            BatchError::Locked { .. } => Some("wait for it, or choose another file".into()),
            BatchError::Damaged { .. } => Some("begin again with --overwrite".into()),
            BatchError::Name { name } => Some(format!("give it another name: --keep {name}=true_{name}")),
            BatchError::Wide { .. } => {
                Some("keep the best labels only with --top-k, or write .jsonl, .csv or .parquet".into())
            }
            BatchError::Write { .. } => {
                Some("the parts are kept: mend what is wrong, then go on with --resume".into())
            }
        }
    }
}
