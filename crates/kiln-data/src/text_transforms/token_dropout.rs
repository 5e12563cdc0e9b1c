//! Token dropout: tokens that are not shown to the model in training (as word dropout of Iyyer et al., 2015).
//! Owns the draws; the special tokens are the tokenizer's and always stay.

use kiln_core::TaskKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::eda::tenth;
use super::{Sequence, Stage, TextOp, Texts};
use crate::draw::{Generator, chance};
use crate::order::below;
use crate::transforms::Faults;

/// Drop each token with probability `p`, after texts are cut to `max_length`; special tokens stay, and one other at least
/// (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenDropout {
    /// Probability that a token is dropped.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
    /// What becomes of it.
    #[serde(default)]
    pub dropped: DroppedAs,
}

/// What becomes of a dropped token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DroppedAs {
    /// It is gone, and the text shorter.
    #[default]
    Removed,
    /// The tokenizer's mask token stands in its place.
    Mask,
}

impl TextOp for TokenDropout {
    fn check(&self, of: &Texts<'_>, faults: &mut Faults) {
        faults.share("p", self.p);
        let masked = of.task == Some(TaskKind::MaskedLanguageModeling);
        let problem = "a masked language model has its tokens hidden already";
        faults.add_if(masked, "", problem, "leave it out; task.mlm_probability says how many are hidden");
    }

    fn augment_tokens(&self, tokens: &mut Sequence, rng: &mut Generator) {
        let places: Vec<usize> = (0..tokens.ids.len()).filter(|&at| !tokens.special[at]).collect();
        let mut dropped: Vec<usize> = places.iter().copied().filter(|_| chance(rng, self.p)).collect();
        if dropped.len() == places.len() && !places.is_empty() {
            dropped.remove(below(rng, places.len()));
        }
        match (self.dropped, tokens.mask) {
            (DroppedAs::Mask, Some(mask)) => dropped.into_iter().for_each(|at| tokens.ids[at] = mask),
            (DroppedAs::Mask, None) => {} // refused where the tokenizer is opened
            (DroppedAs::Removed, _) => {
                dropped.into_iter().rev().for_each(|at| {
                    tokens.ids.remove(at);
                    tokens.types.remove(at);
                    tokens.special.remove(at);
                });
            }
        }
    }

    fn stage(&self) -> Stage {
        Stage::Tokens
    }
}
