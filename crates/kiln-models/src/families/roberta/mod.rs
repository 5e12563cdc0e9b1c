//! RoBERTa (Liu et al., 2019), XLM-R (Conneau et al., 2019) and CamemBERT (Martin et al., 2019): what tells them from the
//! other encoders. Owns names and defaults; never a forward pass (`net` has the heads, `encoder` the rest).
//! Reference: `transformers`' `RobertaForSequenceClassification`, `...ForTokenClassification` and `...ForMaskedLM`, and the
//! same of `XLMRoberta` and `Camembert`, which differ in name alone. Differences: positions follow the mask, not the ids,
//! so that a padding token inside a text has a position.

mod net;

use super::encoder::{Head, Kind, Sizes};
use crate::ModelConfig;

pub(super) static FAMILY: Kind = Kind {
    name: "roberta",
    description: "RoBERTa, XLM-R and CamemBERT encoders, for text: classes, numbers, tags, hidden words",
    types: &[("roberta", "Roberta"), ("xlm-roberta", "XLMRoberta"), ("camembert", "Camembert")],
    base: "roberta.",
    defaults,
    keys: &[],
    without: &["position_embedding_type"],
    positions_after_padding: true,
    heads: |head| match head {
        Head::Sequence => &["classifier.out_proj", "classifier"],
        Head::Tokens => &["classifier"],
        Head::MaskedLm => &["lm_head"],
        Head::Embedding => &[],
    },
    tied: &[
        ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
        ("lm_head.decoder.bias", "lm_head.bias"),
    ],
    config: |config| match config {
        ModelConfig::Roberta(config) => Some(config.resolved()),
        _ => None,
    },
    net: net::new,
};

/// The published checkpoints': one segment, 512 tokens behind the padding's position.
fn defaults() -> Sizes {
    Sizes {
        vocab_size: 50265,
        max_position_embeddings: 514,
        type_vocab_size: 1,
        layer_norm_eps: 1e-5,
        pad_token_id: 1,
        bos_token_id: Some(0),
        eos_token_id: Some(2),
        ..Sizes::default()
    }
}
