//! The number formats that a net computes in.
//! Owns their words; `kiln_nn::precision` makes ops follow them. Weights, optimizer state, norms, softmax, losses and sums
//! are float32 in every one.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the inputs of matrix products and convolutions are rounded to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits: 24 of precision.
    #[default]
    F32,
    /// 16 bits: bfloat16, 8 of precision and the range of float32.
    Bf16,
    /// 16 bits: IEEE half, 11 of precision, to 65504. Training scales the loss, so that small gradients are not zero.
    F16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The word in configs.
    pub fn word(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// By its word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.word() == word)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
