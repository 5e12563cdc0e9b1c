//! The text transforms of a config as one program for training, evaluation and prediction.
//! Owns which act when; never tokenizes. Hands texts to the tokenizer, and tokens to the loader.

use std::sync::Arc;

use kiln_core::seed::{Purpose, mix};
use tokenizers::Encoding;

use super::{Draft, DroppedAs, Sequence, Stage, TextTransform, Texts, text_faults};
use crate::batch::Features;
use crate::error::DataError;
use crate::label::Label;
use crate::order::generator;
use crate::split::Raw;
use crate::text_program::TextProgram;
use crate::transforms::Fault;

/// A list of transforms, and the classes that a label-changing one speaks of.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextTransforms {
    list: Arc<[TextTransform]>,
    classes: Arc<[String]>,
}

impl TextTransforms {
    /// Of samples as `of` says; `mask` where the tokenizer has a token that hides others.
    pub(crate) fn new(list: &[TextTransform], of: &Texts<'_>, mask: bool) -> Result<Self, DataError> {
        if let Some((i, Fault { key, problem, remedy })) = text_faults(list, of).into_iter().next() {
            let dot = if key.is_empty() { "" } else { "." };
            return Err(DataError::config(&format!("text_transforms[{i}]{dot}{key}"), problem, remedy));
        }
        let masks =
            |t: &TextTransform| matches!(t, TextTransform::TokenDropout(t) if t.dropped == DroppedAs::Mask);
        if let (Some(i), false) = (list.iter().position(masks), mask) {
            let problem = "this tokenizer has no mask token";
            let remedy = "set dropped = \"removed\"";
            return Err(DataError::config(&format!("text_transforms[{i}].dropped"), problem, remedy));
        }
        let classes = of.classes.unwrap_or_default().into();
        Ok(Self { list: list.into(), classes })
    }

    /// The same where the classes are known.
    pub(crate) fn for_classes(&self, of: &Texts<'_>) -> Result<Self, DataError> {
        Self::new(&self.list, of, true) // the tokenizer was seen before
    }

    pub(crate) fn list(&self) -> &[TextTransform] {
        &self.list
    }

    /// As evaluation and prediction read a sample.
    pub(crate) fn normalized(&self, raw: Raw) -> Raw {
        if !self.list.iter().any(|t| t.op().stage() == Stage::Normalize) {
            return raw;
        }
        let own = |text: String| self.list.iter().fold(text, |text, t| t.op().normalize(text));
        match raw {
            Raw::Text(text) => Raw::Text(own(text)),
            Raw::Pair(a, b) => Raw::Pair(own(a), own(b)),
            Raw::Words(words) => Raw::Words(words.into_iter().map(own).collect()),
            other => other,
        }
    }

    /// As training reads a sample of this seed: in the order of the list, each on the last one's text.
    pub(crate) fn augmented(&self, raw: Raw, label: &Label, seed: u64) -> (Raw, Label) {
        let texts = match raw {
            Raw::Text(text) if !self.list.is_empty() => vec![text],
            Raw::Pair(a, b) if !self.list.is_empty() => vec![a, b],
            raw => return (self.normalized(raw), label.clone()),
        };
        // A stream of its own: a masked language model draws from `generator(seed)`.
        let mut rng = generator(mix(seed, Purpose::Augment, &[0]));
        let mut draft = Draft { texts, class: label.class(), classes: &self.classes };
        for transform in self.list.iter() {
            draft.texts.iter_mut().for_each(|text| *text = transform.op().normalize(std::mem::take(text)));
            transform.op().augment(&mut draft, &mut rng);
        }
        let label = draft.class.map_or_else(|| label.clone(), Label::Class);
        let mut texts = draft.texts.into_iter();
        let raw = match (texts.next(), texts.next()) {
            (Some(first), Some(second)) => Raw::Pair(first, second),
            (first, _) => Raw::Text(first.unwrap_or_default()),
        };
        (raw, label)
    }

    /// Whether training changes tokens.
    pub(crate) fn acts_on_tokens(&self) -> bool {
        self.list.iter().any(|t| t.op().stage() == Stage::Tokens)
    }

    /// The tokens of a sample of this seed, changed as training changes them.
    pub(crate) fn augmented_tokens(&self, encoding: &Encoding, text: &TextProgram, seed: u64) -> Features {
        let mut rng = generator(mix(seed, Purpose::Augment, &[1]));
        let (ids, types) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
        let framing = encoding.get_special_tokens_mask().iter();
        let special =
            ids.iter().zip(framing).map(|(id, own)| *own == 1 || text.special.contains(id)).collect();
        let mask = text.mask.as_ref().map(|(id, _)| *id);
        let mut tokens = Sequence { ids, types, special, mask };
        self.list.iter().for_each(|t| t.op().augment_tokens(&mut tokens, &mut rng));
        Features::Tokens { ids: tokens.ids, types: tokens.types }
    }
}
