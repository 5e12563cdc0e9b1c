//! A config as written: values with the place of each key and value.
//! Owns parsing of TOML into that tree and its deep merge; must never know the schema. Hands the tree to the walk.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::place::{Place, Source};

/// A value, where it is written, and the environment variable that filled it in.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// `None`: a default.
    pub(crate) place: Option<Place>,
    pub(crate) variable: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// What TOML has and no config means, such as a date: always a wrong type, known by this name.
    Other(&'static str),
    Array(Vec<Node>),
    Table(Table),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Entries in the order of the schema once walked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Option<Place>,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, place: Option<Place>) -> Self {
        Self { value, place, variable: None }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The child under a key or, in an array, an index.
    pub(crate) fn child(&self, segment: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(table) => table.get(segment),
            Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// "a string", as in "expected an integer, got a string".
    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Other(name) => name,
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.key == key)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let i = self.entries.iter().position(|e| e.key == key)?;
        Some(self.entries.remove(i))
    }

    pub(crate) fn set(&mut self, entry: Entry) {
        match self.entry_mut(&entry.key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    fn kind(&self) -> Option<&Value> {
        self.get("kind").map(|node| &node.value)
    }

    /// Lays `over` on top: tables merge deeply, all else replaces; a table of another `kind` replaces too, because
    /// the keys of one kind mean nothing to the other.
    pub(crate) fn merge(&mut self, over: Table) {
        for entry in over.entries {
            match (self.entry_mut(&entry.key), entry) {
                (Some(old), new) => old.merge(new),
                (None, new) => self.entries.push(new),
            }
        }
    }
}

impl Entry {
    fn merge(&mut self, new: Entry) {
        match (&mut self.node.value, new.node.value) {
            (Value::Table(old), Value::Table(table)) if same_kind(old, &table) => {
                old.merge(table);
                self.node.place = new.node.place;
            }
            (_, value) => self.node = Node { value, ..new.node },
        }
        self.key_place = new.key_place;
    }
}

fn same_kind(old: &Table, new: &Table) -> bool {
    new.kind().is_none() || old.kind().is_none() || old.kind() == new.kind()
}

/// Parses source number `source`. Syntax faults are all reported; the tree is given where it can be relied on, that
/// is, with no fault but duplicate keys.
pub(crate) fn parse(sources: &[Source], source: usize, faults: &mut Vec<Fault>) -> Option<Table> {
    let (table, errors) = DeTable::parse_recoverable(&sources[source].text);
    if let Some(first) = errors.first().filter(|_| is_no_config(&sources[source].text, errors.len())) {
        let place = Place { source, span: first.span().unwrap_or(0..0) };
        faults.push(no_config(&sources[source].name, "its lines are not `key = value`").at(sources, &place));
        return None;
    }
    let mut usable = true;
    for error in &errors {
        let duplicate = error.message() == "duplicate key";
        usable &= duplicate;
        let code = if duplicate { "duplicate_key" } else { "syntax" };
        let place = Place { source, span: error.span().unwrap_or(0..0) };
        let message = match duplicate {
            true => format!("duplicate key `{}`", sources[source].text.get(place.span.clone()).unwrap_or("")),
            false => "not valid TOML".to_owned(),
        };
        let label = if duplicate { "already set above; keep one" } else { error.message() };
        faults.push(Fault::new(code, message).at(sources, &place).label(label));
    }
    let reader = Spans { source, offset: 0 };
    usable.then(|| reader.table(table.get_ref()))
}

/// Whether a text with faults of syntax is no config at all: no line is like one of TOML, or most are not.
fn is_no_config(text: &str, errors: usize) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = |c: char| c.is_alphanumeric() || "_-.\"' ".contains(c);
    let is_toml = |line: &str| {
        let entry = line.split_once('=').is_some_and(|(left, _)| !left.is_empty() && left.chars().all(key));
        let header = line.trim_matches(['[', ']']);
        entry || (line.starts_with('[') && !header.is_empty() && header.chars().all(key))
    };
    let (mut all, mut like) = (0, 0);
    lines.for_each(|line| (all, like) = (all + 1, like + usize::from(is_toml(line))));
    like == 0 || (errors > 3 && errors * 2 > all)
}

/// A file that was given as a config and is something else.
pub(crate) fn no_config(name: &str, why: &str) -> Fault {
    Fault::new("no_config", format!("`{name}` is not a config: {why}"))
        .note("a config is a TOML file; data are named in its [data] table, weights in [model]")
}

/// One TOML value that stands at byte `offset` of a source, as in an override.
pub(crate) fn parse_value(text: &str, source: usize, offset: usize) -> Result<Node, String> {
    let parsed = DeValue::parse(text).map_err(|error| error.message().to_owned())?;
    Ok(Spans { source, offset }.node(parsed.get_ref(), parsed.span()))
}

struct Spans {
    source: usize,
    offset: usize,
}

impl Spans {
    fn place(&self, span: Range<usize>) -> Option<Place> {
        Some(Place { source: self.source, span: span.start + self.offset..span.end + self.offset })
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_place: self.place(key.span()),
            node: self.node(value.get_ref(), value.span()),
        });
        Table { entries: entries.collect() }
    }

    fn node(&self, value: &DeValue<'_>, span: Range<usize>) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => integer(number.as_str(), number.radix()),
            DeValue::Float(number) => number.as_str().parse().map_or(Value::Other("no number"), Value::Float),
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.node(item.get_ref(), item.span())).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node::new(value, self.place(span))
    }
}

fn integer(digits: &str, radix: u32) -> Value {
    i64::from_str_radix(digits, radix).map_or(Value::Other("an integer beyond 64 bits"), Value::Integer)
}
