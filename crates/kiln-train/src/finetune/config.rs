//! The `[finetune]` table: what trains, when, and at which rate.
//! Owns the words and their defaults; `finetune` resolves them against a model.

use kiln_core::Every;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What trains, when, and at which rate. Patterns are globs over parameter names; `*` also crosses dots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FinetuneConfig {
    /// Parameters that stay as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The only parameters that train; all others stay as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train_only: Vec<String>,
    /// Gradual unfreezing (Howard and Ruder, 2018): the head trains first, and after each such span one layer below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfreeze_every: Option<Every>,
    /// Factor of the learning rate from each layer to the one below it; the head has the full rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-6, max = 1.0))]
    pub layer_decay: Option<f64>,
    /// Parameters with their own rate or decay; the last group that matches wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
}

/// `[[finetune.groups]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupConfig {
    /// The group's parameters.
    pub parameters: Vec<String>,
    /// Peak learning rate instead of the optimizer's; layer decay does not apply to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub learning_rate: Option<f64>,
    /// Weight decay instead of the optimizer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: Option<f64>,
}
