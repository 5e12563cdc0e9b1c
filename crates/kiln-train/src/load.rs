//! A config file -> a `Config` without faults: schema faults and cross-field rules in one report.
//! Owns which keys are hashed and which rules apply when; starts nothing and touches no device. Hands `Loaded` to verbs
//! and the loop.

mod brought;
mod check;
mod data_rules;
mod encoder_rules;
mod finetune_rules;
mod loader_rules;
mod loss_rules;
mod memory;
mod model_rules;
mod place_rules;
mod schedule_rules;
mod text_rules;
mod train_rules;

use std::path::Path;

use kiln_core::config::{Fault, Reading, Report, Spec};
use serde_json::{Value, json};

pub use check::check;
pub use kiln_core::config::Resolved;
pub use memory::Memory;

use crate::config::Config;

/// A config without faults.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The same values with their origins.
    pub resolved: Resolved,
    /// What a person should know of it: defaults that were taken from files.
    pub notes: Vec<String>,
    /// What a run takes, where [`check`] could count it without reading the samples.
    pub memory: Option<Memory>,
}

/// Keys that change where and how fast a run goes, not what it computes: left out of the hash.
const UNHASHED: &[&str] = &[
    "run_name",
    "output_dir",
    "device",
    "deterministic",
    "data.allow_leakage",
    "data.loader.cache",
    "data.loader.cache_max_mb",
    "data.loader.cache_dir",
    "data.loader.max_in_flight_mb",
    "train.max_minutes",
    "train.on_nonfinite",
    "train.on_out_of_memory",
    "train.activation_checkpointing",
    "log.tensorboard",
    "log.histograms",
    "log.update_ratio_every",
    "log.peak_tflops",
];

const BATCH_SIZE: &str = "data.loader.batch_size";

/// Keys of which an override displaces the other.
const EXCLUSIVE: &[(&str, &str)] = &[
    ("train.epochs", "train.max_steps"),
    ("data.path", "data.train"),
    ("data.validation", "data.validation_fraction"),
    ("data.test", "data.test_fraction"),
    ("data.text", "data.features"),
    ("data.text", "data.image"),
    ("data.image", "data.features"),
];

/// Reads a config with its overrides, and looks whether the files that it names exist.
///
/// # Errors
/// Every fault: of syntax, schema and rules, and missing files.
pub fn load(path: &Path, overrides: &[String]) -> Result<Loaded, Report> {
    finish(spec().read(path, overrides), true)
}

/// Reads a config with its overrides, whether the data it names are there or not.
///
/// # Errors
/// Every fault of syntax, schema and rules.
pub fn resolve(path: &Path, overrides: &[String]) -> Result<Loaded, Report> {
    finish(spec().read(path, overrides), false)
}

/// Reads back what `Resolved::to_toml` wrote, whether the data it names are still there or not; `origin` is the file
/// shown in faults.
///
/// # Errors
/// Every fault of syntax, schema and rules.
pub fn from_resolved_toml(text: &str, origin: &Path) -> Result<Loaded, Report> {
    finish(spec().read_text(text, origin, &[]), false)
}

/// As [`load`], from a text; `origin` is the file shown in faults, and its folder is where relative paths start.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, origin: &Path, overrides: &[String]) -> Result<Loaded, Report> {
    finish(spec().read_text(text, origin, overrides), true)
}

/// JSON Schema of a config file, with descriptions and defaults.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    let extends = json!({
        "description": "Config file to start from, relative to this one; what is said here wins.",
        "type": "string",
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("extends".into(), extends);
    }
    schema
}

fn spec() -> Spec {
    Spec { schema: schema(), unhashed: UNHASHED, exclusive: EXCLUSIVE }
}

fn finish(reading: Reading<Config>, look_for_files: bool) -> Result<Loaded, Report> {
    let Reading { config, mut resolved, mut faults } = reading;
    let Some(mut config) = config else { return Err(Report::new(faults)) };
    let mut rules = Rules { config: &config, resolved: &resolved, faults: Vec::new(), source: None };
    rules.top();
    rules.data();
    rules.text_transforms();
    rules.model();
    rules.optimizer();
    rules.finetune();
    rules.schedule();
    rules.train();
    rules.metric();
    if look_for_files {
        rules.files();
    }
    let keep_best = rules.keep_best();
    faults.append(&mut rules.faults);
    if !faults.is_empty() {
        return Err(Report::new(faults));
    }
    config.checkpoint.keep_best = keep_best;
    resolved.set_default("checkpoint.keep_best", json!(keep_best));
    if let Some(transforms) = brought::expanded(&config.data) {
        resolved.expand("data.transforms", json!(transforms));
        config.data.set_transforms(transforms);
    }
    if let Some(tokens) = config.data.loader().max_tokens.filter(|_| !resolved.is_set(BATCH_SIZE)) {
        // No text has fewer tokens than one, and no batch may be larger than the schema's most.
        let most = tokens.min(1_000_000);
        resolved.set_default(BATCH_SIZE, most);
        config.data.loader_mut().batch_size = most;
    }
    let mut notes = Vec::new();
    match brought::transforms(&config, resolved.is_set("data.transforms")) {
        Ok(None) => notes.extend(brought::not_normalised(&config)),
        Ok(Some(transforms)) => {
            let json = serde_json::to_value(&transforms).unwrap_or_default();
            notes
                .push(format!("images are prepared as the pretrained folder says: data.transforms = {json}"));
            resolved.set_default("data.transforms", json);
            config.data.set_transforms(transforms);
        }
        Err(filter) => {
            let message =
                format!("the pretrained folder wants its images resized with {filter}, which kiln lacks");
            let fault =
                resolved.fault("model.pretrained", message, "say data.transforms, for example with bicubic");
            return Err(Report::new(vec![fault]));
        }
    }
    if let Some(normalizers) = brought::text_transforms(&config, resolved.is_set("data.text_transforms")) {
        let json = serde_json::to_value(&normalizers).unwrap_or_default();
        notes.push(format!("texts are normalised as the pretrained model's: data.text_transforms = {json}"));
        resolved.set_default("data.text_transforms", json);
        config.data.set_text_transforms(normalizers);
    }
    Ok(Loaded { config, resolved, notes, memory: None })
}

/// What no single key can say. Each rule adds a fault at the key to change, with a remedy.
struct Rules<'a> {
    config: &'a Config,
    resolved: &'a Resolved,
    faults: Vec<Fault>,
    /// Which of `data.sources` the keys of `data` are looked at for.
    source: Option<usize>,
}

impl Rules<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(self.resolved.fault(&self.place(key), message, remedy));
    }

    /// Where a key is written: in the source that is looked at, where that has it.
    fn place(&self, key: &str) -> String {
        let own = self.source.and_then(|k| match key.strip_prefix("data") {
            Some("") => Some(format!("data.sources.{k}")),
            Some(rest) => Some(format!("data.sources.{k}{rest}")).filter(|own| self.resolved.is_set(own)),
            None => None,
        });
        own.unwrap_or_else(|| key.into())
    }

    fn fault_if(&mut self, wrong: bool, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        if wrong {
            self.fault(key, message, remedy);
        }
    }
}

#[cfg(test)]
mod tests;
