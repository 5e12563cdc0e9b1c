//! Words at random changed places or gone: random swap and random deletion of EDA (Wei and Zou, 2019).
//! Owns the draws; words are what stands between white space, and a changed text has single blanks between them.
//! Differences from the authors' code: punctuation and case stay, and the two words of a swap always differ in place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, Stage, TextOp, Texts};
use crate::draw::{Generator, chance};
use crate::order::below;
use crate::transforms::Faults;

/// Swap two words of a text, as often as `alpha` of its words, at least once (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomSwap {
    /// Swaps as a share of the text's words, rounded down; at least one swap.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Probability that a text is changed at all.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Leave out each word of a text with probability `alpha`; one word always stays (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomDelete {
    /// Probability that a word goes.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Probability that a text is changed at all.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

pub(super) fn tenth() -> f64 {
    0.1
}

pub(super) fn half() -> f64 {
    0.5
}

/// A change of the words of each text with probability `p`, where it has any; `alpha` says how many.
pub(super) trait WordOp: std::fmt::Debug {
    /// `alpha` and `p`.
    fn shares(&self) -> [f64; 2];

    /// The words after it; there is one at least before.
    fn act(&self, words: Vec<String>, rng: &mut Generator) -> Vec<String>;

    /// Faults of keys of its own.
    fn check_lists(&self, _faults: &mut Faults) {}
}

impl<T: WordOp> TextOp for T {
    fn check(&self, _of: &Texts<'_>, faults: &mut Faults) {
        let [alpha, p] = self.shares();
        faults.share("alpha", alpha);
        faults.share("p", p);
        self.check_lists(faults);
    }

    fn augment(&self, draft: &mut Draft<'_>, rng: &mut Generator) {
        let [_, p] = self.shares();
        for text in &mut draft.texts {
            let words: Vec<String> = text.split_whitespace().map(String::from).collect();
            if chance(rng, p) && !words.is_empty() {
                *text = self.act(words, rng).join(" ");
            }
        }
    }

    fn stage(&self) -> Stage {
        Stage::Random
    }
}

/// How many of `words` words an operation acts on: EDA's `max(1, int(alpha * words))`.
pub(super) fn count(alpha: f64, words: usize) -> usize {
    ((alpha * words as f64) as usize).max(1)
}

impl WordOp for RandomSwap {
    fn shares(&self) -> [f64; 2] {
        [self.alpha, self.p]
    }

    fn act(&self, mut words: Vec<String>, rng: &mut Generator) -> Vec<String> {
        let n = words.len();
        if n > 1 {
            for _ in 0..count(self.alpha, n) {
                let first = below(rng, n);
                let second = (first + 1 + below(rng, n - 1)) % n;
                words.swap(first, second);
            }
        }
        words
    }
}

impl WordOp for RandomDelete {
    fn shares(&self) -> [f64; 2] {
        [self.alpha, self.p]
    }

    fn act(&self, mut words: Vec<String>, rng: &mut Generator) -> Vec<String> {
        let kept: Vec<bool> = words.iter().map(|_| !chance(rng, self.alpha)).collect();
        if !kept.contains(&true) {
            let one = below(rng, words.len());
            return vec![words.swap_remove(one)];
        }
        words.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(word, _)| word).collect()
    }
}
