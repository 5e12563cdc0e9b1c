//! BERT (Devlin et al., 2018), MiniLM too: what tells it from the other encoders.
//! Owns names and defaults; never a forward pass (`net` has the heads, `encoder` the rest).
//! Reference: `transformers`' `BertForSequenceClassification`, `BertForTokenClassification`, `BertForMaskedLM`; a saved
//! folder opens there, and one from there here, `BertForPreTraining` and `BertModel` too.

mod net;

use super::encoder::{Head, Kind, Sizes};
use crate::ModelConfig;

pub(super) static FAMILY: Kind = Kind {
    name: "bert",
    description: "BERT and MiniLM encoders, for text: classes, numbers, tags, hidden words",
    types: &[("bert", "Bert")],
    base: "bert.",
    defaults: Sizes::default,
    keys: &[],
    without: &[],
    positions_after_padding: false,
    heads: |head| match head {
        Head::Sequence => &["classifier", "bert.pooler"],
        Head::Tokens => &["classifier"],
        Head::MaskedLm => &["cls.predictions", "cls"],
        Head::Embedding => &[],
    },
    tied: &[
        ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
    config: |config| match config {
        ModelConfig::Bert(config) => Some(config.resolved()),
        _ => None,
    },
    net: net::new,
};
