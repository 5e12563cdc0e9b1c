//! Faults of a config and how they read: message, place, source line, caret, remedy.
//! Owns the rendering (rustc's form, no colour); must never decide what is a fault. Hands a `Report` to the caller.

use std::fmt;

use serde::Serialize;

use super::place::{Place, Source};
use crate::Exit;

/// One thing wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault, for machines: `unknown_key`, `wrong_type`, `out_of_range`, ...
    pub code: &'static str,
    /// What is wrong, naming the key.
    pub message: String,
    /// Where it is written.
    pub at: Option<At>,
    /// Short text under the caret: expected and got, or a guess at what was meant.
    pub label: Option<String>,
    /// Remedies and lists of what is allowed.
    pub notes: Vec<String>,
}

/// A place in a config file or in an override, with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Path as given, or `command line`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    text: String,
    width: usize,
    command_line: bool,
    included_from: Option<String>,
    order: usize,
}

/// A fault as one flat object, for `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultRecord {
    /// Kind of fault.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Path as given, or `command line`.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// All faults of a config, in the order they are written. Displays as the user reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), at: None, label: None, notes: Vec::new() }
    }

    pub(crate) fn at(mut self, sources: &[Source], place: &Place) -> Self {
        self.at = At::of(sources, place);
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        self.notes.extend((!note.is_empty()).then_some(note));
        self
    }

    /// The fault for machines.
    pub fn record(&self) -> FaultRecord {
        let hint: Vec<&str> = self.label.iter().chain(&self.notes).map(String::as_str).collect();
        let in_file = self.at.as_ref().filter(|at| !at.command_line);
        FaultRecord {
            code: self.code.into(),
            message: self.message.clone(),
            file: self.at.as_ref().map(|at| at.file.clone()),
            line: in_file.map(|at| at.line),
            column: in_file.map(|at| at.column),
            hint: (!hint.is_empty()).then(|| hint.join("; ")),
        }
    }
}

impl At {
    fn of(sources: &[Source], place: &Place) -> Option<Self> {
        let source = sources.get(place.source)?;
        let (line, column) = source.line_column(place.span.start);
        let text = source.line(line).replace('\t', " ");
        let spanned = source.text.get(place.span.clone()).unwrap_or("");
        let wanted = spanned.lines().next().unwrap_or("").chars().count();
        let included_from = source
            .included_from
            .as_ref()
            .and_then(|from| sources.get(from.source).map(|parent| parent.describe(&from.span)));
        Some(Self {
            file: source.name.clone(),
            line,
            column,
            width: wanted.clamp(1, (text.chars().count() + 1).saturating_sub(column).max(1)),
            text,
            command_line: source.command_line,
            included_from,
            order: place.source,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        let mut gutter = 1;
        if let Some(at) = &self.at {
            let number = if at.command_line { String::new() } else { at.line.to_string() };
            gutter = number.len().max(1);
            let pad = " ".repeat(gutter);
            write!(f, "\n{pad}--> {}", at.file)?;
            if !at.command_line {
                write!(f, ":{}:{}", at.line, at.column)?;
            }
            if let Some(from) = &at.included_from {
                write!(f, " (included from {from})")?;
            }
            let (before, caret) = (" ".repeat(at.column - 1), "^".repeat(at.width));
            write!(f, "\n{pad} |\n{number:>gutter$} | {}\n{pad} | {before}{caret}", at.text)?;
            if let Some(label) = &self.label {
                write!(f, " {label}")?;
            }
        } else if let Some(label) = &self.label {
            write!(f, "\n  = {label}")?;
        }
        for note in &self.notes {
            write!(f, "\n{} = {note}", " ".repeat(gutter))?;
        }
        Ok(())
    }
}

impl Report {
    /// Faults in the order they are written: by file, line and column, those of the command line last.
    pub fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| {
            fault.at.as_ref().map_or((false, 0, 0, 0), |at| (at.command_line, at.order, at.line, at.column))
        });
        Self { faults }
    }

    /// `Data` where nothing but files and their content is wrong, else `Usage`.
    pub fn exit(&self) -> Exit {
        let of_data = |fault: &Fault| [MISSING_FILE, BAD_DATA].contains(&fault.code);
        if !self.faults.is_empty() && self.faults.iter().all(of_data) { Exit::Data } else { Exit::Usage }
    }
}

/// Code of a fault that is not in the config but in what it names: a data or weights path that is not there.
pub const MISSING_FILE: &str = "missing_file";

/// Code of a fault in the content of the data that the config names.
pub const BAD_DATA: &str = "bad_data";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            write!(f, "{fault}\n\n")?;
        }
        let n = self.faults.len();
        write!(f, "{n} error{}; nothing was started", if n == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Report {}
