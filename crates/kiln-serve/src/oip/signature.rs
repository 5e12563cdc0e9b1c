//! The tensors by which a model is asked and answers.
//! Owns their names, types and shapes, as the metadata lists them; -1 is the number of inputs.
//!
//! | model reads | inputs |
//! |---|---|
//! | a text, or two | `text` BYTES `[-1]`, and `text_pair` |
//! | an image | `image` BYTES `[-1]`: whole files; base64 in JSON |
//! | rows | `numbers` FP32 `[-1, F]` and `categories` BYTES `[-1, N]`; or each column by its name, FP32 or BYTES `[-1]` |
//! | a text, prepared | `input_ids`, `attention_mask` and, if need be, `token_type_ids` INT64 `[-1, -1]` in place of the texts |
//! | an image, prepared | `pixel_values` FP32 `[-1, C, H, W]` in place of `image` |
//!
//! `[-1, 1]` stands for `[-1]` everywhere.

use kiln_core::TaskKind;
use kiln_data::Reads;
use kiln_eval::Takes;
use serde::Serialize;

use crate::served::Served;

pub(super) const TEXT: &str = "text";
pub(super) const TEXT_PAIR: &str = "text_pair";
pub(super) const IMAGE: &str = "image";
pub(super) const NUMBERS: &str = "numbers";
pub(super) const CATEGORIES: &str = "categories";
pub(super) const INPUT_IDS: &str = "input_ids";
pub(super) const MASK: &str = "attention_mask";
pub(super) const TYPES: &str = "token_type_ids";
pub(super) const PIXELS: &str = "pixel_values";
pub(super) const LOGITS: &str = "logits";
pub(super) const BYTES: &str = "BYTES";
pub(super) const FP32: &str = "FP32";
pub(super) const INT64: &str = "INT64";

/// One tensor's name, type and shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Slot {
    pub(super) name: &'static str,
    pub(super) datatype: &'static str,
    pub(super) shape: Vec<i64>,
}

fn slot(name: &'static str, datatype: &'static str, width: Option<usize>) -> Slot {
    let shape = std::iter::once(-1).chain(width.map(|k| k as i64)).collect();
    Slot { name, datatype, shape }
}

/// What the model is asked by.
pub(super) fn inputs(served: &Served) -> Vec<Slot> {
    raw(served).into_iter().chain(prepared(served)).collect()
}

/// Tensors in place of the raw ones.
fn prepared(served: &Served) -> Vec<Slot> {
    let tokens = |name| Slot { name, datatype: INT64, shape: vec![-1, -1] };
    match served.takes {
        Some(Takes::Tokens { .. }) => [INPUT_IDS, MASK, TYPES].map(tokens).to_vec(),
        Some(Takes::Pixels(shape)) => {
            let shape = std::iter::once(-1).chain(shape.map(|d| d as i64)).collect();
            vec![Slot { name: PIXELS, datatype: FP32, shape }]
        }
        None => Vec::new(),
    }
}

fn raw(served: &Served) -> Vec<Slot> {
    match &served.reads {
        Reads::Image => vec![slot(IMAGE, BYTES, None)],
        Reads::Text { pair: false } => vec![slot(TEXT, BYTES, None)],
        Reads::Text { pair: true } => vec![slot(TEXT, BYTES, None), slot(TEXT_PAIR, BYTES, None)],
        Reads::Row { numbers, categories } => {
            let numbers = (!numbers.is_empty()).then(|| slot(NUMBERS, FP32, Some(numbers.len())));
            let categories =
                (!categories.is_empty()).then(|| slot(CATEGORIES, BYTES, Some(categories.len())));
            numbers.into_iter().chain(categories).collect()
        }
    }
}

/// What it answers. `labels` and `prediction` hold JSON; `logits` is what the net answers before that becomes probabilities, or
/// numbers in the label's own units.
pub(super) fn outputs(served: &Served) -> Vec<Slot> {
    let k = Some(served.classes.len());
    let logits = slot(LOGITS, FP32, k);
    match served.task {
        TaskKind::Classification => {
            let probabilities = slot("probabilities", FP32, k);
            vec![slot("label", BYTES, None), slot("score", FP32, None), probabilities, logits]
        }
        TaskKind::MultiLabelClassification => {
            vec![slot("labels", BYTES, None), slot("probabilities", FP32, k), logits]
        }
        TaskKind::Regression => vec![slot("values", FP32, k), logits],
        TaskKind::CausalLanguageModeling => {
            let tokens = slot("tokens", INT64, None);
            vec![slot(TEXT, BYTES, None), tokens, slot("finish_reason", BYTES, None)]
        }
        _ => vec![slot("prediction", BYTES, None)],
    }
}
