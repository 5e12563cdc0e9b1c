//! Reading a config file and the files it `extends`, merged into one tree.
//! Owns the chain and its cycles; later files win. Hands the merged tree and its sources on.

use std::fs;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::place::{Place, Source};
use super::tree::{self, Node, Table, Value};

/// The key that names the file to start from.
pub(crate) const EXTENDS: &str = "extends";

pub(crate) struct Chain<'a> {
    pub(crate) sources: Vec<Source>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) lookup: super::env::Lookup<'a>,
    open: Vec<PathBuf>,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(lookup: super::env::Lookup<'a>) -> Self {
        Self { sources: Vec::new(), faults: Vec::new(), lookup, open: Vec::new() }
    }

    /// Reads `path`, which `from` extends, with all it extends itself.
    pub(crate) fn read(&mut self, path: &Path, from: Option<Place>) -> Option<Table> {
        let text = match read(path) {
            Ok(text) => text,
            Err(fault) => {
                self.fault(*fault, from.as_ref());
                return None;
            }
        };
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if self.open.contains(&real) {
            let fault = Fault::new("extends_cycle", format!("`{}` extends itself", path.display()));
            self.fault(fault.label("this closes the circle"), from.as_ref());
            return None;
        }
        self.open.push(real);
        let table = self.text(path, text, from);
        self.open.pop();
        table
    }

    /// The same for a text that was read already.
    pub(crate) fn text(&mut self, path: &Path, text: String, from: Option<Place>) -> Option<Table> {
        self.sources.push(Source::file(path, text, from));
        let source = self.sources.len() - 1;
        let mut table = tree::parse(&self.sources, source, &mut self.faults)?;
        let Some(entry) = table.remove(EXTENDS) else { return Some(table) };
        let mut base = self.base(path, entry.node)?;
        base.merge(table);
        Some(base)
    }

    fn base(&mut self, path: &Path, mut extends: Node) -> Option<Table> {
        let before = self.faults.len();
        super::env::interpolate(&mut extends, self.lookup, &self.sources, &mut self.faults);
        if self.faults.len() > before {
            return None;
        }
        match &extends.value {
            Value::Text(base) => {
                let base = path.parent().unwrap_or(Path::new("")).join(base);
                self.read(&base, extends.place)
            }
            _ => {
                let label = format!("expected a string, got {}", extends.type_name());
                let fault = Fault::new("wrong_type", "wrong type for `extends`").label(label);
                self.fault(fault.note("for example: extends = \"base.toml\""), extends.place.as_ref());
                None
            }
        }
    }

    fn fault(&mut self, fault: Fault, place: Option<&Place>) {
        let fault = match place {
            Some(place) => fault.at(&self.sources, place),
            None => fault,
        };
        self.faults.push(fault);
    }
}

/// The text of a config, which is never this large: what is may be somebody's data.
fn read(path: &Path) -> Result<String, Box<Fault>> {
    const LARGEST: u64 = 1 << 24;
    let unreadable = |error| {
        Box::new(Fault::new("unreadable", format!("cannot read config `{}`: {error}", path.display())))
    };
    let no_config = |why: &str| Box::new(tree::no_config(&path.display().to_string(), why));
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > LARGEST {
        return Err(no_config(&format!("it has {} MiB", length >> 20)));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        no_config(&format!("it is no text (byte {:#04x} at offset {at})", error.as_bytes()[at]))
    })
}
