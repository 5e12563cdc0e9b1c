//! The model card of an export: a `README.md` with the metadata block that the Hugging Face Hub reads, and what a person
//! asks of a model first: task, labels, data, scores, config, files with their hashes.
//! Owns its layout; measures nothing and reads no run (the command hands it what it knows).

use std::fmt::Write;

use kiln_core::{InputSpec, TaskKind};
use serde_json::{Map, Value, json};

use crate::report::number;

/// The file's name.
pub const FILE: &str = "README.md";

/// What a card says. What is not known is left out of it, never made up.
#[derive(Debug, Clone)]
pub struct ModelCard<'a> {
    /// Heading.
    pub title: String,
    /// What it learned; `None` for an encoder that answers embeddings.
    pub task: Option<TaskKind>,
    /// The family's word.
    pub family: &'a str,
    /// Names of labels in index order.
    pub labels: &'a [String],
    /// What it reads.
    pub input: &'a InputSpec,
    /// The data it was trained on, in a word or two.
    pub data: Option<String>,
    /// Scores by split.
    pub scores: Vec<(&'static str, Map<String, Value>)>,
    /// The run's resolved config, TOML.
    pub config: Option<String>,
    /// What was exported and how it was checked, one line each.
    pub export: Vec<String>,
    /// The format's word, a tag.
    pub format: &'static str,
    /// (file, BLAKE3 hash).
    pub hashes: Vec<(String, String)>,
}

impl ModelCard<'_> {
    /// The text of `README.md`.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("---\n{}---\n\n# {}\n\n", self.metadata(), self.title);
        let _ = writeln!(text, "{}, trained with kiln.\n", self.sentence());
        section(&mut text, "Export", self.export.iter().map(|line| format!("- {line}")));
        section(&mut text, "Labels", self.labels.iter().enumerate().map(|(i, l)| format!("- {i}: {l}")));
        section(&mut text, "Data", self.data.iter().cloned());
        let rows = self.scores.iter().flat_map(|(split, scores)| {
            scores.iter().map(move |(name, value)| format!("| {split} | {name} | {} |", number(value)))
        });
        let head = ["| split | metric | value |", "|---|---|---|"].map(String::from);
        let table: Vec<String> = rows.collect();
        section(&mut text, "Scores", head.into_iter().filter(|_| !table.is_empty()).chain(table.clone()));
        section(
            &mut text,
            "Files (BLAKE3)",
            self.hashes.iter().map(|(file, hash)| format!("- `{file}` `{hash}`")),
        );
        let config = self.config.iter().map(|toml| format!("```toml\n{}\n```", toml.trim_end()));
        section(&mut text, "Config", config);
        text
    }

    fn sentence(&self) -> String {
        let reads = match self.input {
            InputSpec::Image { channels, height, width } => {
                format!("images of {height}x{width} pixels and {channels} channels")
            }
            InputSpec::Tokens { max_length, .. } => format!("texts of up to {max_length} tokens"),
            InputSpec::Table { features, cardinalities } => {
                format!("rows of {features} numbers and {} categories", cardinalities.len())
            }
        };
        let learned =
            self.task.map_or("sentence embeddings".into(), |task| task.to_string().replace('_', " "));
        format!("A `{}` for {learned}; it reads {reads}", self.family)
    }

    /// JSON strings and lists are YAML.
    fn metadata(&self) -> String {
        let mut lines = vec![
            "library_name: kiln".to_string(),
            format!("pipeline_tag: {}", self.pipeline()),
            format!("tags: {}", json!(["kiln", self.family, self.format])),
        ];
        if let Some(data) = &self.data {
            let metric = |split: &str, (name, value): (&String, &Value)| {
                let value = value.as_f64()?;
                Some(json!({"type": name, "name": format!("{name} ({split})"), "value": value}))
            };
            let metrics: Vec<Value> = self
                .scores
                .iter()
                .flat_map(|(split, scores)| scores.iter().filter_map(move |one| metric(split, one)))
                .collect();
            if !metrics.is_empty() {
                let dataset = json!({"type": "custom", "name": data});
                let result =
                    json!({"task": {"type": self.pipeline()}, "dataset": dataset, "metrics": metrics});
                let index = json!([{"name": self.title, "results": [result]}]);
                lines.push(format!("model-index: {index}"));
            }
        }
        lines.join("\n") + "\n"
    }

    /// The Hub's word for the task.
    fn pipeline(&self) -> &'static str {
        let Some(task) = self.task else { return "feature-extraction" };
        match (task, self.input) {
            (TaskKind::TokenClassification, _) => "token-classification",
            (TaskKind::MaskedLanguageModeling, _) => "fill-mask",
            (TaskKind::CausalLanguageModeling, _) => "text-generation",
            (TaskKind::Regression, InputSpec::Table { .. }) => "tabular-regression",
            (_, InputSpec::Table { .. }) => "tabular-classification",
            (_, InputSpec::Image { .. }) => "image-classification",
            (_, InputSpec::Tokens { .. }) => "text-classification",
        }
    }
}

/// A section, where there is something in it.
fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let body: Vec<String> = lines.collect();
    if !body.is_empty() {
        let _ = writeln!(text, "## {title}\n\n{}\n", body.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said_and_nothing_else() {
        let labels = ["a: b".to_string(), "no".to_string()];
        let scores =
            Map::from_iter([("accuracy".to_string(), json!(0.5)), ("auroc".to_string(), json!(null))]);
        let card = ModelCard {
            title: "mine".into(),
            task: Some(TaskKind::Classification),
            family: "mlp",
            labels: &labels,
            input: &InputSpec::Table { features: 3, cardinalities: vec![] },
            data: Some("csv rows.csv".into()),
            scores: vec![("test", scores)],
            config: None,
            export: vec!["f32".into()],
            format: "onnx",
            hashes: vec![("model.onnx".into(), "00ff".into())],
        };
        let text = card.to_markdown();
        let (head, body) = text.strip_prefix("---\n").unwrap().split_once("---\n").unwrap();
        assert!(head.contains("pipeline_tag: tabular-classification\n"), "{head}");
        assert!(
            head.contains(r#""metrics":[{"type":"accuracy","name":"accuracy (test)","value":0.5}]"#),
            "{head}"
        );
        assert!(body.contains("- 0: a: b\n") && body.contains("| test | auroc | - |"), "{body}");
        assert!(!body.contains("## Config"), "{body}");
        let bare = ModelCard { data: None, scores: vec![], ..card }.to_markdown();
        assert!(!bare.contains("model-index") && !bare.contains("## Scores"), "{bare}");
    }
}
