//! BERT's heads: pooler and classifier, classifier of every token, masked language model.
//! Devlin et al., 2018; names and arithmetic of `transformers`' classes of the same names. Differences: the first real
//! token is pooled, which is the first token unless padding stands on the left.
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden, `V` vocabulary, `K` classes.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, Net, Tokens};
use kiln_nn::{Dropout, LayerNorm, Linear, linear::tied};

use crate::families::encoder::{Activation, Encoder, Head, Sizes, linear, norm};

const NAMES: &[(&str, &str)] = &[("layer_norm", "LayerNorm"), ("self_", "self")];

pub(super) fn new(sizes: &Sizes, head: Head, classes: usize, device: &Device) -> Box<dyn Net> {
    let bert = |pooled| Encoder::new(sizes, pooled, device);
    let classifier = || linear(sizes.hidden_size, classes, sizes, device);
    let dropout = Dropout::new(sizes.classifier_dropout.unwrap_or(sizes.hidden_dropout_prob));
    match head {
        Head::Sequence => {
            Box::new(BertForSequenceClassification { bert: bert(true), classifier: classifier(), dropout })
        }
        Head::Tokens => {
            Box::new(BertForTokenClassification { bert: bert(false), classifier: classifier(), dropout })
        }
        Head::MaskedLm => Box::new(BertForMaskedLM { bert: bert(false), cls: Cls::new(sizes, device) }),
        Head::Embedding => Box::new(BertModel { bert: bert(false) }),
    }
}

#[derive(Module, Debug)]
struct BertForSequenceClassification {
    bert: Encoder,
    classifier: Linear,
    dropout: Dropout,
}

impl Forward for BertForSequenceClassification {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, K]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        self.classifier.forward(self.dropout.forward(self.bert.pool(&x)))
    }
}

#[derive(Module, Debug)]
struct BertForTokenClassification {
    bert: Encoder,
    classifier: Linear,
    dropout: Dropout,
}

impl Forward for BertForTokenClassification {
    type In = Tokens;
    type Out = Tensor<3>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, T, K]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        self.classifier.forward(self.dropout.forward(self.bert.encode(&x)))
    }
}

#[derive(Module, Debug)]
struct Transform {
    dense: Linear,
    layer_norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

#[derive(Module, Debug)]
struct Predictions {
    bias: Param<Tensor<1>>,
    transform: Transform,
}

#[derive(Module, Debug)]
struct Cls {
    predictions: Predictions,
}

impl Cls {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let transform = Transform {
            dense: linear(sizes.hidden_size, sizes.hidden_size, sizes, device),
            layer_norm: norm(sizes, device),
            activation: sizes.activation(),
        };
        let bias = Initializer::Zeros.init([sizes.vocab_size], device);
        Self { predictions: Predictions { bias, transform } }
    }
}

#[derive(Module, Debug)]
struct BertForMaskedLM {
    bert: Encoder,
    cls: Cls,
}

impl Forward for BertForMaskedLM {
    type In = Tokens;
    type Out = Tensor<3>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, T, V]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        let Predictions { bias, transform } = &self.cls.predictions;
        let hidden = transform.activation.forward(transform.dense.forward(self.bert.encode(&x)));
        tied(transform.layer_norm.forward(hidden), &self.bert.words().weight, Some(bias))
    }
}

#[derive(Module, Debug)]
struct BertModel {
    bert: Encoder,
}

impl Forward for BertModel {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to sentence embeddings `[B, D]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        self.bert.embed(&x)
    }
}
