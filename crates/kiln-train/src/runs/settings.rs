//! A run's config as plain values: a summary in a few words, and keys to compare.
//! Owns no rule: a config of another version of kiln is shown as it is.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_core::TaskConfig;
use kiln_eval::tasks::{self, LOSS, Metric};
use serde_json::Value;

use super::unreadable;
use crate::error::TrainError;

/// The resolved config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings(Value);

impl Settings {
    /// Reads a run's `config.toml`.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = kiln_core::files::read_text(path)?;
        let value: Value = toml::from_str(&text).map_err(|e| unreadable(path, e.message()))?;
        Ok(Self(value))
    }

    /// The value of a dotted key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        key.split('.').try_fold(&self.0, |value, segment| value.get(segment))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The last part of the path at a dotted key.
    fn name(&self, key: &str) -> Option<String> {
        let path = Path::new(self.text(key)?);
        path.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// Every value that is no table, by dotted key; lists of tables by number.
    pub fn leaves(&self) -> BTreeMap<String, Value> {
        let mut leaves = BTreeMap::new();
        collect(&self.0, "", &mut leaves);
        leaves
    }

    /// The word of `[task] kind`.
    pub fn task(&self) -> &str {
        self.text("task.kind").unwrap_or("classification")
    }

    /// What it was trained on, in a word or two: `idx digits`, `csv 3 sources`.
    pub fn data(&self) -> String {
        let sources = self.get("data.sources").and_then(Value::as_array).map_or(0, Vec::len);
        let named = match sources {
            0 => self.name("data.path").or_else(|| self.name("data.train")),
            1 => self.name("data.sources.0.path"),
            n => Some(format!("{n} sources")),
        };
        [self.text("data.kind").map(String::from), named].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// The net in a word or two: `resnet resnet18`, `bert all-MiniLM-L6-v2`.
    pub fn model(&self) -> String {
        let named = self.text("model.preset").map(String::from).or_else(|| self.name("model.pretrained"));
        [self.text("model.kind").map(String::from), named].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// The number that chose the best checkpoint.
    pub fn metric(&self) -> Metric {
        let task = self.get("task").and_then(|task| serde_json::from_value::<TaskConfig>(task.clone()).ok());
        let Ok(task) = tasks::of(task.unwrap_or_default().kind()) else { return LOSS };
        let named = self.text("evaluate.metric_for_best_model").and_then(|name| task.metric(name));
        named.or_else(|| task.metrics().first().copied()).unwrap_or(LOSS)
    }
}

fn collect(value: &Value, path: &str, leaves: &mut BTreeMap<String, Value>) {
    let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| collect(value, &join(key), leaves)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(k, item)| collect(item, &join(&k.to_string()), leaves));
        }
        leaf => {
            leaves.insert(path.to_string(), leaf.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        Settings(toml::from_str(toml).unwrap())
    }

    #[test]
    fn a_word_or_two_of_data_and_model() {
        let s = settings(
            "[data]\nkind = \"csv\"\ntrain = \"a/b.csv\"\n[model]\nkind = \"bert\"\npretrained = \"x/mini\"",
        );
        assert_eq!(
            (s.data().as_str(), s.model().as_str(), s.task()),
            ("csv b.csv", "bert mini", "classification")
        );
        assert_eq!(s.metric().name, "accuracy");
        let s = settings(
            "task.kind = \"regression\"\nevaluate.metric_for_best_model = \"loss\"\ndata.kind = \"csv\"\n\
             [[data.sources]]\npath = \"a\"\n[[data.sources]]\npath = \"b\"\n[model]\nkind = \"mlp\"",
        );
        assert_eq!((s.data().as_str(), s.model().as_str(), s.metric()), ("csv 2 sources", "mlp", LOSS));
        let keys: Vec<String> = s.leaves().into_keys().filter(|key| key.starts_with("data")).collect();
        assert_eq!(keys, ["data.kind", "data.sources.0.path", "data.sources.1.path"]);
    }
}
