//! RoBERTa's heads: two-layer classifier on `<s>`, classifier of every token, masked language model.
//! Liu et al., 2019; names and arithmetic of `transformers`' classes of the same names. Differences: the classifier reads
//! the first real token, which is the first token unless padding stands on the left.
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden, `V` vocabulary, `K` classes.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, Net, Tokens};
use kiln_nn::{Dropout, LayerNorm, Linear, gelu, linear::tied};

use crate::families::encoder::{Encoder, Head, Sizes, linear, norm};

const NAMES: &[(&str, &str)] =
    &[("layer_norm", "LayerNorm"), ("self_", "self"), ("lm_head.norm", "lm_head.layer_norm")];

pub(super) fn new(sizes: &Sizes, head: Head, classes: usize, device: &Device) -> Box<dyn Net> {
    let roberta = Encoder::new(sizes, false, device);
    let layer = |to| linear(sizes.hidden_size, to, sizes, device);
    let dropout = Dropout::new(sizes.classifier_dropout.unwrap_or(sizes.hidden_dropout_prob));
    match head {
        Head::Sequence => {
            let classifier = Classifier { dense: layer(sizes.hidden_size), out_proj: layer(classes) };
            Box::new(RobertaForSequenceClassification { roberta, classifier, dropout })
        }
        Head::Tokens => {
            Box::new(RobertaForTokenClassification { roberta, classifier: layer(classes), dropout })
        }
        Head::MaskedLm => {
            let bias = Initializer::Zeros.init([sizes.vocab_size], device);
            let lm_head = LmHead { bias, dense: layer(sizes.hidden_size), norm: norm(sizes, device) };
            Box::new(RobertaForMaskedLM { roberta, lm_head })
        }
        Head::Embedding => Box::new(RobertaModel { roberta }),
    }
}

#[derive(Module, Debug)]
struct Classifier {
    dense: Linear,
    out_proj: Linear,
}

#[derive(Module, Debug)]
struct RobertaForSequenceClassification {
    roberta: Encoder,
    classifier: Classifier,
    dropout: Dropout,
}

impl Forward for RobertaForSequenceClassification {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, K]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        let first = self.dropout.forward(self.roberta.first(&x));
        let hidden = self.classifier.dense.forward(first).tanh();
        self.classifier.out_proj.forward(self.dropout.forward(hidden))
    }
}

#[derive(Module, Debug)]
struct RobertaForTokenClassification {
    roberta: Encoder,
    classifier: Linear,
    dropout: Dropout,
}

impl Forward for RobertaForTokenClassification {
    type In = Tokens;
    type Out = Tensor<3>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, T, K]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        self.classifier.forward(self.dropout.forward(self.roberta.encode(&x)))
    }
}

#[derive(Module, Debug)]
struct LmHead {
    bias: Param<Tensor<1>>,
    dense: Linear,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct RobertaForMaskedLM {
    roberta: Encoder,
    lm_head: LmHead,
}

impl Forward for RobertaForMaskedLM {
    type In = Tokens;
    type Out = Tensor<3>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to `[B, T, V]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        let LmHead { bias, dense, norm } = &self.lm_head;
        let hidden = norm.forward(gelu(dense.forward(self.roberta.encode(&x))));
        tied(hidden, &self.roberta.words().weight, Some(bias))
    }
}

#[derive(Module, Debug)]
struct RobertaModel {
    roberta: Encoder,
}

impl Forward for RobertaModel {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = NAMES;

    /// Ids `[B, T]` to sentence embeddings `[B, D]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        self.roberta.embed(&x)
    }
}
