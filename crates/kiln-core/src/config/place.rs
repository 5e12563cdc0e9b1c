//! Where a value was written: a source text (file or command-line override) and a byte range in it.
//! Owns line and column arithmetic; must never read files. Hands places to faults and origins.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A text that config values were read from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As shown to the user: the path as given, or `command line`.
    pub(crate) name: String,
    pub(crate) text: String,
    /// What relative paths written in it are relative to.
    pub(crate) folder: PathBuf,
    pub(crate) command_line: bool,
    /// The `extends` value that brought it in.
    pub(crate) included_from: Option<Place>,
}

/// A byte range in one of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: usize,
    pub(crate) span: Range<usize>,
}

impl Source {
    pub(crate) fn file(path: &Path, text: String, included_from: Option<Place>) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self { name: path.display().to_string(), text, folder, command_line: false, included_from }
    }

    pub(crate) fn command_line(text: &str) -> Self {
        Self {
            name: "command line".into(),
            text: text.into(),
            folder: PathBuf::new(),
            command_line: true,
            included_from: None,
        }
    }

    /// Line and column of a byte offset, both from 1; columns count characters.
    pub(crate) fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The line (from 1) without its end.
    pub(crate) fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line - 1).unwrap_or("")
    }

    /// `file:line:column`, or `command line`.
    pub(crate) fn describe(&self, span: &Range<usize>) -> String {
        let (line, column) = self.line_column(span.start);
        if self.command_line { self.name.clone() } else { format!("{}:{line}:{column}", self.name) }
    }
}
