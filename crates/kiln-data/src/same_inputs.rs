//! Whether two programs make the same numbers of a sample, so that one model can read the other's batches.
//! Owns the comparison; changes neither.

use kiln_core::InputSpec;

use crate::preprocessor::{Preprocessor, Program};
use crate::table_program::TableProgram;

impl Preprocessor {
    /// Why a model that was trained behind `self` cannot read batches that `other` prepared; `None` where it can. Random
    /// transforms may differ, and texts may be cut shorter.
    pub fn cannot_read(&self, other: &Preprocessor) -> Option<String> {
        match (&self.program, &other.program) {
            (Program::Image(own), Program::Image(others)) => {
                let size = |program: &Preprocessor| program.input().clone();
                if size(self) != size(other) {
                    return Some(format!("it reads {}, the batches have {}", shape(self), shape(other)));
                }
                let (own, others) = (own.normalization(), others.normalization());
                (own != others).then(|| {
                    format!(
                        "its images are normalised with mean {:?} and std {:?}, those of the batches with {:?} and {:?}",
                        own.0, own.1, others.0, others.1
                    )
                })
            }
            (Program::Text { text: own, .. }, Program::Text { text: others, .. }) => {
                if own.vocab_size != others.vocab_size {
                    let (own, others) = (own.vocab_size, others.vocab_size);
                    return Some(format!("its tokenizer has {own} tokens, that of the batches {others}"));
                }
                let ids = 0..own.vocab_size as u32;
                if let Some(id) = ids.into_iter().find(|id| own.token(*id) != others.token(*id)) {
                    let word = |token: Option<String>| token.unwrap_or_default();
                    let (own, others) = (word(own.token(id)), word(others.token(id)));
                    return Some(format!(
                        "token {id} is {own:?} in its tokenizer and {others:?} in that of the batches"
                    ));
                }
                (own.max_length < others.max_length).then(|| {
                    let (own, others) = (own.max_length, others.max_length);
                    format!("its texts have at most {own} tokens, those of the batches {others}")
                })
            }
            (Program::Table(own), Program::Table(others)) => tables(own, others),
            _ => Some(format!("it reads {}, the batches have {}", shape(self), shape(other))),
        }
    }
}

fn tables(own: &TableProgram, others: &TableProgram) -> Option<String> {
    let same = own == others;
    (!same).then(|| "its columns, categories or scales are not those of the batches".to_string())
}

fn shape(program: &Preprocessor) -> String {
    match program.input() {
        InputSpec::Image { channels, height, width } => format!("images of {channels}x{height}x{width}"),
        InputSpec::Tokens { .. } => "texts".into(),
        InputSpec::Table { features, cardinalities } => {
            format!("rows of {features} numbers and {} categories", cardinalities.len())
        }
    }
}
