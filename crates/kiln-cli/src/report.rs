//! How the command says that something failed: once, on stderr, with a remedy and the right exit code.
//! Libraries return typed errors; verbs turn them into a `Failure`.

use std::io::{self, Write};

use kiln_core::Exit;

/// A failure as the user reads it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The whole story, with file, place, expected and got.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// What the process ends with.
    pub(crate) exit: Exit,
}

/// What every verb answers.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints a failure and gives its exit code. A message that already begins with `error` (config faults render
/// their own) is printed as it is.
#[expect(clippy::print_stderr, reason = "the one place that reports failures")]
pub(crate) fn print(failure: &Failure) -> Exit {
    let prefix = if failure.message.starts_with("error") { "" } else { "error: " };
    eprintln!("{prefix}{}", failure.message);
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
    failure.exit
}

/// Talk: progress, notes, tables for people. Goes to stderr; a closed stderr is no reason to fail.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
