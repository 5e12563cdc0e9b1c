//! The text transforms of `data.text_transforms`: the list of them, and what each can do.
//! Owns the list and the rules of order; never tokenizes (text_program.rs does). A new transform is one type that is a
//! `TextOp`, and one line in the list below.
//!
//! Normalisers act in training, evaluation and prediction alike and are part of the stored program. Random ones act in
//! training only, on draws from the sample's own generator.

mod eda;
mod insert;
mod normalize;
mod pattern;
mod program;
mod rewrite;
mod token_dropout;

#[cfg(test)]
mod tests;

use std::fmt::Debug;

use kiln_core::TaskKind;

pub use eda::{RandomDelete, RandomSwap};
pub use insert::{RandomInsert, ReplaceSynonyms};
pub use normalize::{CollapseWhitespace, Lowercase, Replace, StripAccents, UnicodeForm, UnicodeNormalize};
pub use pattern::Pattern;
pub(crate) use program::TextTransforms;
pub use rewrite::{Part, Rewrite};
pub use token_dropout::{DroppedAs, TokenDropout};

use crate::draw::Generator;
use crate::kinds::kinds;
use crate::transforms::{Fault, Faults};

/// What a transform does.
pub(crate) trait TextOp: Debug {
    /// Faults of its own keys.
    fn check(&self, of: &Texts<'_>, faults: &mut Faults);

    /// Everywhere.
    fn normalize(&self, text: String) -> String {
        text
    }

    /// Training.
    fn augment(&self, _draft: &mut Draft<'_>, _rng: &mut Generator) {}

    /// Training, on the tokens and segments of a sample.
    fn augment_tokens(&self, _tokens: &mut Sequence, _rng: &mut Generator) {}

    fn stage(&self) -> Stage;
}

/// What a transform acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A text or a word of a sentence in words, always the same way.
    Normalize,
    /// Texts at random.
    Random,
    /// Token ids at random.
    Tokens,
}

/// A sample in training before it is tokenized.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// One text, or the two of a pair.
    pub(crate) texts: Vec<String>,
    /// The sample's class, where it has one.
    pub(crate) class: Option<usize>,
    /// Names of the classes in index order.
    pub(crate) classes: &'a [String],
}

/// A sample in training after it was tokenized.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) ids: Vec<u32>,
    /// Segments.
    pub(crate) types: Vec<u32>,
    /// Which tokens are special ones.
    pub(crate) special: Vec<bool>,
    /// The token that hides another.
    pub(crate) mask: Option<u32>,
}

/// What a list of text transforms is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'a> {
    /// What is learned of the texts; `None` where nothing is learned any more.
    pub task: Option<TaskKind>,
    /// Whether samples are sentences in words, each with its tag.
    pub words: bool,
    /// Whether samples are pairs of texts.
    pub pair: bool,
    /// Names of the classes, where they are known.
    pub classes: Option<&'a [String]>,
}

kinds! {
    /// One text transform. Each is documented at its type, of which this is the list.
    pub enum TextTransform: TextOp {
        UnicodeNormalize,
        Lowercase,
        StripAccents,
        CollapseWhitespace,
        Replace,
        RandomSwap,
        RandomDelete,
        RandomInsert,
        ReplaceSynonyms,
        Rewrite,
        TokenDropout,
    }
}

impl TextTransform {
    /// Whether it acts in evaluation and prediction too.
    pub fn is_normalizer(&self) -> bool {
        self.op().stage() == Stage::Normalize
    }
}

/// Every fault of a list of text transforms, each with the place of its transform from 0.
pub fn text_faults(transforms: &[TextTransform], of: &Texts<'_>) -> Vec<(usize, Fault)> {
    let mut all = Vec::new();
    for (i, transform) in transforms.iter().enumerate() {
        let mut own = Faults::default();
        transform.op().check(of, &mut own);
        fits(transforms, i, of, &mut own);
        all.extend(own.into_iter().map(|fault| (i, fault)));
    }
    all
}

/// Whether a transform may stand where it stands, for these samples.
fn fits(transforms: &[TextTransform], i: usize, of: &Texts<'_>, faults: &mut Faults) {
    let stage = transforms[i].op().stage();
    let early = stage == Stage::Tokens && transforms[i + 1..].iter().any(|t| t.op().stage() != stage);
    let remedy = "move token_dropout to the end: it acts on tokens, the others on text";
    faults.add_if(early, "", "token_dropout stands before another transform", remedy);
    let tags = of.words && stage != Stage::Normalize;
    let problem = "a random transform of sentences in words would part the words from their tags";
    faults.add_if(tags, "", problem, "keep the normalisers only, or give texts: data.text");
}
