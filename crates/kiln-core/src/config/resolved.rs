//! A config with every value filled in and where each came from.
//! Owns its printing, hash and comparison; must never change a value. Hands texts to run folders, `config show` and faults.

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::fault::Fault;
use super::place::{Place, Source};
use super::print;
use super::tree::{Entry, Node, Table, Value};
use super::walk::{from_json, join};

/// The resolved values, their origins and the texts they were read from.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub(crate) root: Node,
    pub(crate) sources: Vec<Source>,
    pub(crate) unhashed: &'static [&'static str],
}

/// Where a resolved value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// A config file, as given, and the line from 1.
    File(String, usize),
    /// A `key=value` override.
    CommandLine,
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(name, line) => write!(f, "{name}:{line}"),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

impl Resolved {
    pub(crate) fn new(root: Table, sources: Vec<Source>, unhashed: &'static [&'static str]) -> Self {
        Self { root: Node::new(Value::Table(root), None), sources, unhashed }
    }

    /// The whole config as TOML that loads to the same values.
    pub fn to_toml(&self) -> String {
        print::toml(&self.root, None)
    }

    /// The same with `# origin` at each line's end, aligned.
    pub fn annotated(&self) -> String {
        print::toml(&self.root, Some(&|node| self.origin(node).to_string()))
    }

    /// One `{"value": ..., "origin": ...}` per dotted key.
    pub fn to_json(&self) -> Json {
        let entry = |(key, node): (String, &Node)| {
            (key, json!({ "value": json(node), "origin": self.origin(node).to_string() }))
        };
        Json::Object(self.leaves().into_iter().map(entry).collect::<Map<_, _>>())
    }

    /// BLAKE3 of the values that make the training what it is, in hexadecimal: the same for any order, comments,
    /// formatting, split into files or name of the run.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (key, value) in self.hashed() {
            hasher.update(key.as_bytes()).update(b"=").update(value.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Hashed values that differ, as (dotted key, here, in `other`); an absent one reads `not set`.
    pub fn diff(&self, other: &Resolved) -> Vec<(String, String, String)> {
        differing(&self.hashed(), &other.hashed())
    }

    /// As [`Resolved::diff`], of all values.
    pub fn differences(&self, other: &Resolved) -> Vec<(String, String, String)> {
        differing(&self.printed(), &other.printed())
    }

    /// Whether somebody set the key (a file, the environment or the command line).
    pub fn is_set(&self, key: &str) -> bool {
        self.find(key).is_some_and(|node| node.place.is_some())
    }

    /// Gives a key a default that depends on other values; what somebody set stays.
    pub fn set_default(&mut self, key: &str, value: impl Into<Json>) {
        self.put(key, &value.into(), false);
    }

    /// Replaces what somebody set by what it stands for.
    pub fn expand(&mut self, key: &str, value: impl Into<Json>) {
        self.put(key, &value.into(), true);
    }

    fn put(&mut self, key: &str, value: &Json, over: bool) {
        let Some(value) = from_json(value) else { return };
        let (tables, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut node = &mut self.root;
        for segment in tables.split('.').filter(|segment| !segment.is_empty()) {
            let Value::Table(table) = &mut node.value else { return };
            let Some(entry) = table.entry_mut(segment) else { return };
            node = &mut entry.node;
        }
        let Value::Table(table) = &mut node.value else { return };
        match table.entry_mut(last) {
            Some(entry) if entry.node.place.is_some() && !over => {}
            Some(entry) => entry.node = value,
            None => table.entries.push(Entry { key: last.to_owned(), key_place: None, node: value }),
        }
    }

    /// A fault at the value of a dotted key; where it is not set, at the table it would be in.
    pub fn fault(&self, key: &str, message: impl Into<String>, help: impl Into<String>) -> Fault {
        self.fault_of("conflict", key, message, help)
    }

    /// The same with a code of its own.
    pub fn fault_of(
        &self,
        code: &'static str,
        key: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Fault {
        let mut place = Place { source: 0, span: 0..0 };
        let mut node = Some(&self.root);
        for segment in key.split('.') {
            node = node.and_then(|node| node.child(segment));
            if let Some(found) = node.and_then(|node| node.place.as_ref()) {
                place = found.clone();
            }
        }
        Fault::new(code, message).at(&self.sources, &place).note(help)
    }

    fn find(&self, key: &str) -> Option<&Node> {
        key.split('.').try_fold(&self.root, |node, segment| node.child(segment))
    }

    /// The value of a dotted key as text, strings without quotes; `None` where there is no such value.
    pub fn text(&self, key: &str) -> Option<String> {
        self.find(key).map(|node| match &node.value {
            Value::Text(text) => text.clone(),
            _ => print::inline(node),
        })
    }

    /// A path's text before it was taken from the folder of the file that it is written in.
    pub fn path_as_written(&self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        let folder = self.find(key)?.place.as_ref().map(|place| &self.sources[place.source].folder)?;
        let here = std::env::current_dir().ok()?.join(folder);
        let (text, relative) = (Path::new(&text), Path::new(&text).strip_prefix(folder));
        let written = text.strip_prefix(here).or(relative).unwrap_or(text);
        Some(written.display().to_string())
    }

    /// Where the value of a dotted key came from; `None` where there is no such value.
    pub fn origin_of(&self, key: &str) -> Option<Origin> {
        self.find(key).map(|node| self.origin(node))
    }

    fn origin(&self, node: &Node) -> Origin {
        if let Value::Array(items) = &node.value {
            let elsewhere = |item: &&Node| item.variable.is_some() || item.source() != node.source();
            if let Some(item) = items.iter().find(elsewhere) {
                return self.origin(item);
            }
        }
        match (&node.place, &node.variable) {
            (Some(place), _) if self.sources[place.source].command_line => Origin::CommandLine,
            (_, Some(variable)) => Origin::Environment(variable.clone()),
            (Some(place), None) => {
                let source = &self.sources[place.source];
                Origin::File(source.name.clone(), source.line_column(place.span.start).0)
            }
            (None, None) => Origin::Default,
        }
    }

    fn hashed(&self) -> Vec<(String, String)> {
        self.printed().into_iter().filter(|(key, _)| !self.unhashed.contains(&key.as_str())).collect()
    }

    fn printed(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> =
            self.leaves().into_iter().map(|(key, node)| (key, print::inline(node))).collect();
        all.sort();
        all
    }

    fn leaves(&self) -> Vec<(String, &Node)> {
        let mut leaves = Vec::new();
        collect(&self.root, "", &mut leaves);
        leaves
    }
}

/// Sorted (key, value) pairs that differ, as (key, here, there).
fn differing(mine: &[(String, String)], theirs: &[(String, String)]) -> Vec<(String, String, String)> {
    let find = |all: &[(String, String)], key: &str| {
        all.iter().find(|(k, _)| k == key).map_or_else(|| "not set".to_owned(), |(_, v)| v.clone())
    };
    let mut keys: Vec<&String> = mine.iter().chain(theirs).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let compared = keys.into_iter().map(|key| (key.clone(), find(mine, key), find(theirs, key)));
    compared.filter(|(_, mine, theirs)| mine != theirs).collect()
}

impl Node {
    fn source(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.source)
    }
}

fn collect<'a>(node: &'a Node, path: &str, leaves: &mut Vec<(String, &'a Node)>) {
    match &node.value {
        Value::Table(table) => {
            table.entries.iter().for_each(|e| collect(&e.node, &join(path, &e.key), leaves))
        }
        Value::Array(items) if items.iter().any(|item| item.table().is_some()) => {
            items.iter().enumerate().for_each(|(i, item)| collect(item, &join(path, &i.to_string()), leaves));
        }
        _ => leaves.push((path.to_owned(), node)),
    }
}

/// The value for serde.
pub(crate) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Text(text) => Json::String(text.clone()),
        Value::Other(_) => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Bool(yes) => Json::Bool(*yes),
        Value::Array(items) => Json::Array(items.iter().map(json).collect()),
        Value::Table(table) => {
            Json::Object(table.entries.iter().map(|e| (e.key.clone(), json(&e.node))).collect())
        }
    }
}
