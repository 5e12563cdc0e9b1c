//! The `[model]` tables of the text encoders: BERT, RoBERTa, DistilBERT.
//! Owns the words, which are `transformers`' for BERT in all three, and the sizes of presets; builds nothing.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `kind = "bert"`
pub type BertConfig = EncoderConfig<BertPreset>;
/// `kind = "roberta"`
pub type RobertaConfig = EncoderConfig<RobertaPreset>;
/// `kind = "distilbert"`
pub type DistilBertConfig = EncoderConfig<DistilBertPreset>;

/// A text encoder. Sizes come from the pretrained folder's `config.json`, where a key given here must agree with it,
/// dropouts apart; or from a preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound(serialize = "P: Serialize", deserialize = "P: Deserialize<'de>"))]
pub struct EncoderConfig<P> {
    /// Weights to start from: a Hugging Face folder with `config.json` and `model.safetensors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub pretrained: Option<PathBuf>,
    /// Sizes by name, for training from scratch; a size given here replaces the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<P>,
    /// Width of the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub hidden_size: Option<usize>,
    /// Encoder layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub num_hidden_layers: Option<usize>,
    /// Attention heads; divides `hidden_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub num_attention_heads: Option<usize>,
    /// Width of the feed-forward layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub intermediate_size: Option<usize>,
    /// Longest sequence that has position embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 1_000_000))]
    pub max_position_embeddings: Option<usize>,
    /// Dropout after embeddings, attention output and feed-forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub hidden_dropout_prob: Option<f64>,
    /// Dropout of attention weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub attention_probs_dropout_prob: Option<f64>,
    /// Dropout before the classification head; by default `hidden_dropout_prob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub classifier_dropout: Option<f64>,
}

impl<P: Copy + Into<EncoderPreset>> EncoderConfig<P> {
    /// The same with the preset's sizes in place of its name.
    pub(crate) fn resolved(&self) -> EncoderConfig<EncoderPreset> {
        EncoderConfig {
            preset: self.preset.map(Into::into),
            pretrained: self.pretrained.clone(),
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
            hidden_dropout_prob: self.hidden_dropout_prob,
            attention_probs_dropout_prob: self.attention_probs_dropout_prob,
            classifier_dropout: self.classifier_dropout,
        }
    }
}

/// What a preset says. Dropouts are the family's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderPreset {
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Width of the encoder.
    pub hidden_size: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
}

fn shape(num_hidden_layers: usize, hidden_size: usize, num_attention_heads: usize) -> EncoderPreset {
    EncoderPreset { num_hidden_layers, hidden_size, num_attention_heads }
}

/// Published sizes of BERT; the feed-forward layer is four times as wide as the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BertPreset {
    /// 2 layers, 128 wide (Turc et al., 2019).
    BertTiny,
    /// 4 layers, 256 wide.
    BertMini,
    /// 4 layers, 512 wide.
    BertSmall,
    /// 8 layers, 512 wide.
    BertMedium,
    /// 12 layers, 768 wide.
    BertBase,
    /// 24 layers, 1024 wide.
    BertLarge,
}

impl From<BertPreset> for EncoderPreset {
    fn from(preset: BertPreset) -> Self {
        match preset {
            BertPreset::BertTiny => shape(2, 128, 2),
            BertPreset::BertMini => shape(4, 256, 4),
            BertPreset::BertSmall => shape(4, 512, 8),
            BertPreset::BertMedium => shape(8, 512, 8),
            BertPreset::BertBase => shape(12, 768, 12),
            BertPreset::BertLarge => shape(24, 1024, 16),
        }
    }
}

/// Published sizes of RoBERTa.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RobertaPreset {
    /// 12 layers, 768 wide.
    RobertaBase,
    /// 24 layers, 1024 wide.
    RobertaLarge,
}

impl From<RobertaPreset> for EncoderPreset {
    fn from(preset: RobertaPreset) -> Self {
        match preset {
            RobertaPreset::RobertaBase => shape(12, 768, 12),
            RobertaPreset::RobertaLarge => shape(24, 1024, 16),
        }
    }
}

/// Published sizes of DistilBERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DistilBertPreset {
    /// 6 layers, 768 wide.
    #[serde(rename = "distilbert_base")]
    DistilbertBase,
}

impl From<DistilBertPreset> for EncoderPreset {
    fn from(preset: DistilBertPreset) -> Self {
        match preset {
            DistilBertPreset::DistilbertBase => shape(6, 768, 12),
        }
    }
}
