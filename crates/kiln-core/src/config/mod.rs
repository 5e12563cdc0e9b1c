//! Config diagnostics: a TOML file, the files it extends, the environment and overrides, laid against a JSON Schema.
//! Owns the order of these and the collection of every fault in one pass; knows no key of any config but `extends`.
//! Hands the typed config, the resolved tree with its origins, and the faults to the room that defines the config.

mod env;
mod fault;
mod files;
mod overrides;
mod place;
mod print;
mod resolved;
mod scalar;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub use fault::{At, BAD_DATA, Fault, FaultRecord, MISSING_FILE, Report};
pub use resolved::{Origin, Resolved};

use files::Chain;
use tree::{Node, Table, Value};

/// What a config may say.
#[derive(Debug, Clone)]
pub struct Spec {
    /// JSON Schema of the config's type, as schemars writes it: `kind` tags tables, `format: path` marks paths,
    /// `format: every` durations.
    pub schema: Json,
    /// Dotted keys that do not change what is trained: left out of hash and comparison.
    pub unhashed: &'static [&'static str],
    /// Pairs of dotted keys that say one thing in two ways: an override of the one takes the place of the other.
    pub exclusive: &'static [(&'static str, &'static str)],
}

/// What was read: the typed config where it could be made, and every fault.
#[derive(Debug)]
pub struct Reading<T> {
    /// `None` only where there are faults.
    pub config: Option<T>,
    /// Every value with its origin.
    pub resolved: Resolved,
    /// Empty for a good config.
    pub faults: Vec<Fault>,
}

impl Spec {
    /// Reads a config file, with `key=value` overrides laid over it.
    pub fn read<T: DeserializeOwned>(&self, path: &Path, overrides: &[String]) -> Reading<T> {
        self.finish(overrides, &process_variable, |chain| chain.read(path, None))
    }

    /// Reads a config from a text; `origin` is the path shown in faults, and relative paths are relative to its folder.
    pub fn read_text<T: DeserializeOwned>(
        &self,
        text: &str,
        origin: &Path,
        overrides: &[String],
    ) -> Reading<T> {
        self.read_text_in(text, origin, overrides, &process_variable)
    }

    fn read_text_in<T: DeserializeOwned>(
        &self,
        text: &str,
        origin: &Path,
        overrides: &[String],
        lookup: env::Lookup<'_>,
    ) -> Reading<T> {
        self.finish(overrides, lookup, |chain| chain.text(origin, text.to_owned(), None))
    }

    fn finish<T: DeserializeOwned>(
        &self,
        overrides: &[String],
        lookup: env::Lookup<'_>,
        read: impl FnOnce(&mut Chain<'_>) -> Option<Table>,
    ) -> Reading<T> {
        let mut chain = Chain::new(lookup);
        let table = read(&mut chain);
        let Chain { mut sources, mut faults, .. } = chain;
        let Some(table) = table else {
            return Reading { config: None, resolved: Resolved::new(Table::default(), sources, &[]), faults };
        };
        let mut root = Node::new(Value::Table(table), None);
        for text in overrides {
            overrides::apply(&mut root, text, &mut sources, &mut faults);
        }
        overrides::displace(&mut root, self.exclusive, &sources);
        // After the overrides: a variable that an override makes unnecessary need not be set.
        env::interpolate(&mut root, lookup, &sources, &mut faults);
        let mut walk = walk::Walk { root: schema::View::root(&self.schema), sources: &sources, faults };
        walk.value(schema::View::root(&self.schema), &mut root, "");
        let faults = walk.faults;
        self.typed(Resolved { root, sources, unhashed: self.unhashed }, faults)
    }

    /// Serde's own refusal is a second net: the schema should have said it before.
    fn typed<T: DeserializeOwned>(&self, resolved: Resolved, mut faults: Vec<Fault>) -> Reading<T> {
        let config = match serde_json::from_value(resolved::json(&resolved.root)) {
            Ok(config) => Some(config),
            Err(_) if !faults.is_empty() => None,
            Err(error) => {
                faults.push(resolved.fault_of("refused", "", error.to_string(), "see `kiln config schema`"));
                None
            }
        };
        Reading { config, resolved, faults }
    }
}

fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
