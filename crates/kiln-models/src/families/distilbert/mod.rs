//! DistilBERT (Sanh et al., 2019): what tells it from the other encoders.
//! Owns names and defaults; never a forward pass (`net` has the heads, `encoder` the rest).
//! Reference: `transformers`' `DistilBertForSequenceClassification`, `...ForTokenClassification` and `...ForMaskedLM`.
//! Differences: positions are learned; those of a checkpoint with sinusoidal ones are read as they are and can train.

mod net;

use super::encoder::{Head, Kind, Sizes};
use crate::ModelConfig;

pub(super) static FAMILY: Kind = Kind {
    name: "distilbert",
    description: "DistilBERT encoders, for text: classes, numbers, tags, hidden words",
    types: &[("distilbert", "DistilBert")],
    base: "distilbert.",
    defaults,
    keys: &[
        ("hidden_size", "dim"),
        ("num_hidden_layers", "n_layers"),
        ("num_attention_heads", "n_heads"),
        ("intermediate_size", "hidden_dim"),
        ("hidden_dropout_prob", "dropout"),
        ("attention_probs_dropout_prob", "attention_dropout"),
        ("hidden_act", "activation"),
        ("classifier_dropout", "seq_classif_dropout"),
    ],
    without: &["type_vocab_size", "layer_norm_eps", "position_embedding_type"],
    positions_after_padding: false,
    heads: |head| match head {
        Head::Sequence => &["classifier", "pre_classifier"],
        Head::Tokens => &["classifier"],
        Head::MaskedLm => &["vocab_projector", "vocab_transform", "vocab_layer_norm"],
        Head::Embedding => &[],
    },
    tied: &[("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight")],
    config: |config| match config {
        ModelConfig::DistilBert(config) => Some(config.resolved()),
        _ => None,
    },
    net: net::new,
};

/// No segments; a dropout of its own before the classifier.
fn defaults() -> Sizes {
    Sizes { num_hidden_layers: 6, type_vocab_size: 0, classifier_dropout: Some(0.2), ..Sizes::default() }
}
