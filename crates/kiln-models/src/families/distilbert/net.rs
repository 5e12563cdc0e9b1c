//! DistilBERT's heads: classifier with a layer of its own, classifier of every token, masked language model.
//! Sanh et al., 2019; names and arithmetic of `transformers`' classes of the same names. Differences: the classifier
//! reads the first real token, which is the first token unless padding stands on the left.
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden, `V` vocabulary, `K` classes.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, Net, Tokens};
use kiln_nn::{Dropout, LayerNorm, Linear, linear::tied, relu};

use crate::families::encoder::{Activation, Encoder, Head, Sizes, linear, norm};

/// BERT's modules by DistilBERT's names, the longer ones first.
const NAMES: &[(&str, &str)] = &[
    ("embeddings.layer_norm", "embeddings.LayerNorm"),
    ("encoder.layer", "transformer.layer"),
    ("attention.self_.query", "attention.q_lin"),
    ("attention.self_.key", "attention.k_lin"),
    ("attention.self_.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.layer_norm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.layer_norm", "output_layer_norm"),
];

pub(super) fn new(sizes: &Sizes, head: Head, classes: usize, device: &Device) -> Box<dyn Net> {
    let distilbert = Encoder::new(sizes, false, device);
    let layer = |to| linear(sizes.hidden_size, to, sizes, device);
    match head {
        Head::Sequence => Box::new(DistilBertForSequenceClassification {
            distilbert,
            pre_classifier: layer(sizes.hidden_size),
            classifier: layer(classes),
            dropout: Dropout::new(sizes.classifier_dropout.unwrap_or(sizes.hidden_dropout_prob)),
        }),
        Head::Tokens => Box::new(DistilBertForTokenClassification {
            distilbert,
            classifier: layer(classes),
            dropout: Dropout::new(sizes.hidden_dropout_prob),
        }),
        Head::MaskedLm => Box::new(DistilBertForMaskedLM {
            distilbert,
            vocab_transform: layer(sizes.hidden_size),
            vocab_layer_norm: norm(sizes, device),
            vocab_projector: Projector { bias: Initializer::Zeros.init([sizes.vocab_size], device) },
            activation: sizes.activation(),
        }),
        Head::Embedding => Box::new(DistilBertModel { distilbert }),
    }
}

#[derive(Module, Debug)]
struct DistilBertForSequenceClassification {
    distilbert: Encoder,
    pre_classifier: Linear,
    classifier: Linear,
    dropout: Dropout,
}

impl Forward for DistilBertForSequenceClassification {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, K]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        let hidden = relu(self.pre_classifier.forward(self.distilbert.first(&x)));
        self.classifier.forward(self.dropout.forward(hidden))
    }
}

#[derive(Module, Debug)]
struct DistilBertForTokenClassification {
    distilbert: Encoder,
    classifier: Linear,
    dropout: Dropout,
}

impl Forward for DistilBertForTokenClassification {
    type In = Tokens;
    type Out = Tensor<3>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, T, K]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        self.classifier.forward(self.dropout.forward(self.distilbert.encode(&x)))
    }
}

#[derive(Module, Debug)]
struct Projector {
    bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct DistilBertForMaskedLM {
    distilbert: Encoder,
    vocab_transform: Linear,
    vocab_layer_norm: LayerNorm,
    vocab_projector: Projector,
    #[module(skip)]
    activation: Activation,
}

impl Forward for DistilBertForMaskedLM {
    type In = Tokens;
    type Out = Tensor<3>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, T, V]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        let hidden = self.activation.forward(self.vocab_transform.forward(self.distilbert.encode(&x)));
        let hidden = self.vocab_layer_norm.forward(hidden);
        tied(hidden, &self.distilbert.words().weight, Some(&self.vocab_projector.bias))
    }
}

#[derive(Module, Debug)]
struct DistilBertModel {
    distilbert: Encoder,
}

impl Forward for DistilBertModel {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to sentence embeddings `[B, D]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        self.distilbert.embed(&x)
    }
}
