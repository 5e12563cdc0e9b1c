//! `[loss]`: what training minimises, resolved against the training samples.
//! Owns the words and the balanced weights; the formulas are kiln-eval's tasks'. Scores do not depend on it.

use kiln_core::LossKind;
use kiln_data::{DataError, Dataset, Label, Split};
use kiln_eval::tasks::Loss;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What training minimises.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LossConfig {
    /// The formula; by default the task's own: cross entropy, or for several classes a sample binary cross entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LossKind>,
    /// Exponent of `kind = "focal"`, 2 by default; for no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 20.0))]
    pub gamma: Option<f64>,
    /// `"balanced"`: each class by the inverse of its share of the training samples, as in scikit-learn; or one number a class,
    /// in the order of the classes. With several classes a sample they multiply what a class's positives cost
    /// (PyTorch's `pos_weight`), and `"balanced"` is the number of negatives for each positive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

/// How much each class counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassWeights {
    /// By how rare it is.
    Rule(WeightRule),
    /// One number a class.
    Numbers(Vec<f64>),
}

/// A way to weigh classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// By the inverse of its share.
    Balanced,
}

/// What a config minimises on its training samples.
///
/// # Errors
/// Weights that are not one a class, or a class without a sample to balance.
pub(crate) fn resolve(config: &Config, dataset: &Dataset, train: &Split) -> Result<Loss, DataError> {
    let plain = Loss { label_smoothing: config.train.label_smoothing_factor, ..Loss::default() };
    let Some(LossConfig { kind, gamma, class_weights }) = &config.loss else { return Ok(plain) };
    let loss = Loss { kind: *kind, gamma: gamma.unwrap_or(2.0), ..plain };
    let classes = &dataset.classes;
    let fault = |problem: String, remedy: &str| DataError::Config {
        field: "loss.class_weights".into(),
        problem,
        remedy: remedy.into(),
    };
    let class_weights = match class_weights {
        None => Vec::new(),
        Some(ClassWeights::Numbers(numbers)) if numbers.len() == classes.len() => {
            numbers.iter().map(|weight| *weight as f32).collect()
        }
        Some(ClassWeights::Numbers(numbers)) => {
            let problem = format!("expected {} numbers, one a class, got {}", classes.len(), numbers.len());
            return Err(fault(problem, &format!("the order is {}", classes.join(", "))));
        }
        Some(ClassWeights::Rule(WeightRule::Balanced)) => {
            let counts = counts(train, classes.len());
            if let Some(k) = counts.iter().position(|count| *count == 0) {
                let problem = format!("class \"{}\" has no training sample to balance by", classes[k]);
                return Err(fault(problem, "add samples, or write one number a class"));
            }
            let (n, k) = (train.len() as f64, classes.len() as f64);
            let several = config.task.kind() == kiln_core::TaskKind::MultiLabelClassification;
            let balanced = |count: f64| if several { (n - count) / count } else { n / (k * count) };
            counts.iter().map(|count| balanced(*count as f64) as f32).collect()
        }
    };
    Ok(Loss { class_weights, ..loss })
}

/// Samples of each class; with several a sample, each counts.
fn counts(train: &Split, classes: usize) -> Vec<usize> {
    let mut counts = train.class_counts(classes);
    for i in 0..train.len() {
        if let Label::MultiHot(row) = train.label(i) {
            counts.iter_mut().zip(row).for_each(|(count, is)| *count += usize::from(*is > 0.5));
        }
    }
    counts
}

/// The weights in words, where there are any.
pub(crate) fn described(loss: &Loss, classes: &[String]) -> Option<String> {
    let shown = classes.iter().zip(&loss.class_weights).take(12);
    let words: Vec<String> = shown.map(|(class, weight)| format!("{class} {weight:.3}")).collect();
    let more = if loss.class_weights.len() > words.len() { ", ..." } else { "" };
    (!words.is_empty()).then(|| format!("class weights: {}{more}", words.join(", ")))
}
