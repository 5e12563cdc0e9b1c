//! What flows through a net: `Batch` in, `Output` out, both on a device.
//! Owns the tensor forms of data; never host samples (kiln-data) or losses (kiln-nn).
//! kiln-data's `collate` makes batches, `Net::apply` turns their input into an output.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `T` tokens, `F` features, `K` classes.

use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

/// Token ids of a padded batch.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `[B, T]` vocabulary indices.
    pub ids: Tensor<2, Int>,
    /// `[B, T]`, true where a token is real, false where it is padding.
    pub mask: Tensor<2, Bool>,
    /// `[B, T]` segment of each token (0 or 1; BERT's `token_type_ids`).
    pub types: Tensor<2, Int>,
}

/// A model's input on a device.
#[derive(Debug, Clone)]
pub enum Input {
    /// `[B, C, H, W]`
    Image(Tensor<4>),
    /// `[B, T]` ids with mask and segments.
    Tokens(Tokens),
    /// Rows of numbers and categories.
    Table(Table),
}

/// Rows of a table. One of the two is there at least.
#[derive(Debug, Clone)]
pub struct Table {
    /// `[B, F]` numeric columns.
    pub numbers: Option<Tensor<2>>,
    /// `[B, N]` indices of categorical columns, each below its column's cardinality.
    pub categories: Option<Tensor<2, Int>>,
}

impl Input {
    /// The word for this kind of input in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Input::Image(_) => "image",
            Input::Tokens(_) => "tokens",
            Input::Table(_) => "table",
        }
    }
}

/// The shape of one input without its batch dimension: what a model is built for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InputSpec {
    /// Pixels `[C, H, W]`.
    Image {
        /// `C`
        channels: usize,
        /// `H`
        height: usize,
        /// `W`
        width: usize,
    },
    /// At most `max_length` ids below `vocab_size`.
    Tokens {
        /// `V`, the tokenizer's vocabulary with added tokens.
        vocab_size: usize,
        /// Longest sequence after truncation.
        max_length: usize,
        /// The id that fills padding.
        pad_id: u32,
    },
    /// `F` numbers and `N` categories.
    Table {
        /// `F`
        features: usize,
        /// Values that each categorical column may have, the one for unknown values included.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cardinalities: Vec<usize>,
    },
}

/// What a net answers.
#[derive(Debug, Clone)]
pub enum Output {
    /// `[B, K]`: unnormalised class scores, or the numbers of a regression.
    Logits(Tensor<2>),
    /// `[B, T, K]`: unnormalised class or vocabulary scores of every token.
    TokenLogits(Tensor<3>),
}

impl Output {
    /// The word for this kind of answer in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Output::Logits(_) => "one answer a sample",
            Output::TokenLogits(_) => "one answer a token",
        }
    }
}

impl From<Tensor<2>> for Output {
    fn from(logits: Tensor<2>) -> Self {
        Output::Logits(logits)
    }
}

impl From<Tensor<3>> for Output {
    fn from(logits: Tensor<3>) -> Self {
        Output::TokenLogits(logits)
    }
}

/// The target of a token that is not scored, as PyTorch's `ignore_index`.
pub const IGNORE: i64 = -100;

/// What a batch's answers are compared with.
#[derive(Debug, Clone)]
pub enum Target {
    /// `[B]` class indices.
    Classes(Tensor<1, Int>),
    /// `[B, K]`, 1 where the class applies, else 0.
    MultiHot(Tensor<2>),
    /// `[B, K]` shares of the classes, which add up to 1 in each row.
    Soft(Tensor<2>),
    /// `[B, K]` numbers.
    Values(Tensor<2>),
    /// `[B, T]` class or vocabulary index of each token, [`IGNORE`] where none is scored. For causal language
    /// modelling position `t` holds token `t + 1`.
    Tokens(Tensor<2, Int>),
}

/// A net was given a kind of input it cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model reads {expected} input, but the data gives {got}")]
pub struct WrongInput {
    /// What the net reads.
    pub expected: &'static str,
    /// What it was given.
    pub got: &'static str,
}

/// Samples gathered on a device.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The model's input, `B` samples.
    pub input: Input,
    /// `None` where the data has no labels.
    pub target: Option<Target>,
    /// `B`
    pub size: usize,
    /// What a mean loss is a mean over: samples, or tokens whose target is not [`IGNORE`].
    pub weight: u64,
}
