//! Normalisers: the same text always becomes the same text, in training, evaluation and prediction.
//! Owns their rules, each that of Python's standard library; draws nothing.

use std::sync::OnceLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::{Pattern, Stage, TextOp, Texts};
use crate::transforms::Faults;

/// A normalisation form of Unicode (Standard Annex 15), as Python's `unicodedata.normalize`. In training, evaluation and
/// prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnicodeNormalize {
    /// The form.
    #[serde(default)]
    pub form: UnicodeForm,
}

/// Normalisation forms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnicodeForm {
    /// Composed: one character for a letter with its marks, where there is one.
    #[default]
    Nfc,
    /// Decomposed: a letter, then its marks.
    Nfd,
    /// Composed, and compatibility characters replaced: ligatures, full-width letters, superscripts.
    Nfkc,
    /// Decomposed, and compatibility characters replaced.
    Nfkd,
}

/// Lower case, as Python's `str.lower`: a capital sigma at a word's end becomes a final one. In training, evaluation and
/// prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lowercase {}

/// Letters without their marks, as BERT's uncased models strip them (decomposed, nonspacing marks removed), composed
/// again. In training, evaluation and prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StripAccents {}

/// One blank for each run of white space, none at the ends, as Python's `" ".join(text.split())`. In training, evaluation
/// and prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CollapseWhitespace {}

/// Every match of a pattern replaced, as addresses of the web by one word. In training, evaluation and prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Replace {
    /// What is replaced.
    pub pattern: Pattern,
    /// What stands in its place; `${1}` is the first group of the pattern.
    pub replacement: String,
}

impl TextOp for UnicodeNormalize {
    fn check(&self, _of: &Texts<'_>, _faults: &mut Faults) {}

    fn normalize(&self, text: String) -> String {
        if text.is_ascii() {
            return text; // every form leaves it
        }
        match self.form {
            UnicodeForm::Nfc => text.nfc().collect(),
            UnicodeForm::Nfd => text.nfd().collect(),
            UnicodeForm::Nfkc => text.nfkc().collect(),
            UnicodeForm::Nfkd => text.nfkd().collect(),
        }
    }

    fn stage(&self) -> Stage {
        Stage::Normalize
    }
}

impl TextOp for Lowercase {
    fn check(&self, _of: &Texts<'_>, _faults: &mut Faults) {}

    fn normalize(&self, text: String) -> String {
        text.to_lowercase()
    }

    fn stage(&self) -> Stage {
        Stage::Normalize
    }
}

impl TextOp for StripAccents {
    fn check(&self, _of: &Texts<'_>, _faults: &mut Faults) {}

    fn normalize(&self, text: String) -> String {
        static MARKS: OnceLock<Option<Regex>> = OnceLock::new();
        match MARKS.get_or_init(|| Regex::new(r"\p{Mn}+").ok()) {
            Some(marks) if !text.is_ascii() => {
                let apart: String = text.nfd().collect();
                marks.replace_all(&apart, "").nfc().collect()
            }
            _ => text,
        }
    }

    fn stage(&self) -> Stage {
        Stage::Normalize
    }
}

impl TextOp for CollapseWhitespace {
    fn check(&self, _of: &Texts<'_>, _faults: &mut Faults) {}

    fn normalize(&self, text: String) -> String {
        // Python also counts the four separators of ASCII.
        let blank = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
        text.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    fn stage(&self) -> Stage {
        Stage::Normalize
    }
}

impl TextOp for Replace {
    fn check(&self, _of: &Texts<'_>, faults: &mut Faults) {
        self.pattern.check("replacement", &self.replacement, faults);
    }

    fn normalize(&self, text: String) -> String {
        match self.pattern.regex() {
            Some(regex) => regex.replace_all(&text, self.replacement.as_str()).into_owned(),
            None => text,
        }
    }

    fn stage(&self) -> Stage {
        Stage::Normalize
    }
}
