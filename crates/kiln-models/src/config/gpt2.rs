//! `[model] kind = "gpt2"`: sizes, form and weights of a GPT-2.
//! Owns the words and their defaults; builds nothing. The family reads them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `kind = "gpt2"`. Sizes come from the pretrained folder's `config.json`, the preset, or these keys; a key given here
/// must agree with the folder or preset, dropout apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gpt2Config {
    /// Weights to start from: a Hugging Face folder with `config.json` and `model.safetensors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// A published size, with 1,024 positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Gpt2Preset>,
    /// Decoder blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub n_layer: Option<usize>,
    /// Attention heads; divides `n_embd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub n_head: Option<usize>,
    /// Width of the decoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub n_embd: Option<usize>,
    /// Longest sequence that has position embeddings; by default the data's block or longest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub n_positions: Option<usize>,
    /// Of the feed-forward layers; by default `gelu_new`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_function: Option<Gpt2Activation>,
    /// Linear layers and norms have biases (GPT-2); `false` for none (nanoGPT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// Dropout after embeddings, of attention weights and of what each block adds; by default the folder's, or 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: Option<f64>,
}

/// The published sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Gpt2Preset {
    /// 124 M parameters.
    #[serde(rename = "gpt2")]
    Gpt2,
    /// 355 M parameters.
    #[serde(rename = "gpt2-medium")]
    Medium,
    /// 774 M parameters.
    #[serde(rename = "gpt2-large")]
    Large,
    /// 1,558 M parameters.
    #[serde(rename = "gpt2-xl")]
    Xl,
}

/// Activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gpt2Activation {
    /// The tanh approximation of GELU (GPT-2).
    #[default]
    GeluNew,
    /// GELU by the error function (nanoGPT).
    Gelu,
}

impl Gpt2Activation {
    /// `transformers`' word.
    pub fn name(self) -> &'static str {
        match self {
            Gpt2Activation::GeluNew => "gelu_new",
            Gpt2Activation::Gelu => "gelu",
        }
    }

    /// By `transformers`' word.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::GeluNew, Self::Gelu].into_iter().find(|a| a.name() == name)
    }
}
