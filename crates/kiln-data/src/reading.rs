//! What the answers for single tokens are about: the words of a text, the places to fill, the names of tokens.
//! Owns the way back from tokens to characters; answers nothing itself. kiln-eval's tasks ask.

use tokenizers::Encoding;

use crate::batch::Features;
use crate::error::DataError;
use crate::preprocessor::{Preprocessor, Program};
use crate::split::Raw;

/// A word of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The place of its first token.
    pub token: usize,
    /// Its first character.
    pub start: usize,
    /// The character after its last.
    pub end: usize,
}

/// A text and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The text; words that came one by one stand between blanks.
    pub text: String,
    /// The words that the model sees.
    pub words: Vec<Word>,
    /// How many words `max_length` cut off.
    pub cut: usize,
}

impl Preprocessor {
    /// The words of a text as the model sees them: those of a sentence that comes in words, else those that the
    /// tokenizer splits a text into. `None` where the sample is no single text.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub fn reading(&self, raw: &Raw) -> Result<Option<Reading>, DataError> {
        let Program::Text { text: program, .. } = &self.program else { return Ok(None) };
        let raw = program.transforms.normalized(raw.clone());
        let Some(encoding) = program.encode(&raw).transpose()? else { return Ok(None) };
        Ok(match &raw {
            Raw::Text(text) => {
                let mut words = words(&encoding, |_, offsets| offsets);
                let chars: Vec<char> = text.chars().collect();
                words.iter_mut().for_each(|word| trim(word, &chars));
                words.retain(|word| word.start < word.end);
                Some(Reading { text: text.clone(), words, cut: cut(&encoding) })
            }
            Raw::Words(own) => {
                let starts: Vec<usize> = own
                    .iter()
                    .scan(0, |at, word| {
                        let start = *at;
                        *at += word.chars().count() + 1;
                        Some(start)
                    })
                    .collect();
                let span = |word: usize, _| {
                    let start = starts.get(word).copied().unwrap_or_default();
                    (start, start + own.get(word).map_or(0, |word| word.chars().count()))
                };
                Some(Reading { text: own.join(" "), words: words(&encoding, span), cut: cut(&encoding) })
            }
            _ => None,
        })
    }

    /// The mask token and its name, where the vocabulary has one.
    pub fn mask_token(&self) -> Option<(u32, &str)> {
        match &self.program {
            Program::Text { text, .. } => text.mask.as_ref().map(|(id, token)| (*id, token.as_str())),
            Program::Image(_) | Program::Table(_) | Program::Corpus(_) => None,
        }
    }

    /// The places of a prepared text that hold the mask token.
    pub fn masks(&self, features: &Features) -> Vec<usize> {
        match (self.mask_token(), features) {
            (Some((mask, _)), Features::Tokens { ids, .. }) => {
                ids.iter().enumerate().filter(|(_, id)| **id == mask).map(|(place, _)| place).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.program {
            Program::Text { text, .. } | Program::Corpus(text) => text.token(id),
            Program::Image(_) | Program::Table(_) => None,
        }
    }
}

/// Each word by its first token; `span` is given the word's number and its first token's characters.
fn words(encoding: &Encoding, span: impl Fn(usize, (usize, usize)) -> (usize, usize)) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut before = None;
    let tokens = encoding.get_word_ids().iter().zip(encoding.get_offsets()).enumerate();
    for (token, (word, offsets)) in tokens {
        let Some(number) = *word else { continue };
        let (start, end) = span(number as usize, *offsets);
        match words.last_mut() {
            Some(last) if before == Some(number) => last.end = last.end.max(end),
            _ => words.push(Word { token, start, end }),
        }
        before = Some(number);
    }
    words
}

/// Takes blanks off a word's ends: byte-level tokenizers count the one before a word to it, and others as words.
fn trim(word: &mut Word, text: &[char]) {
    let blank = |place: usize| text.get(place).is_none_or(|c| c.is_whitespace());
    while word.start < word.end && blank(word.start) {
        word.start += 1;
    }
    while word.start < word.end && blank(word.end - 1) {
        word.end -= 1;
    }
}

/// Words whose first token was cut off.
fn cut(encoding: &Encoding) -> usize {
    let kept = encoding.get_word_ids().iter().flatten().max().map_or(-1, |word| i64::from(*word));
    let all = encoding.get_overflowing().iter().flat_map(|rest| rest.get_word_ids().iter().flatten());
    all.max().map_or(0, |last| usize::try_from(i64::from(*last) - kept).unwrap_or(0))
}
