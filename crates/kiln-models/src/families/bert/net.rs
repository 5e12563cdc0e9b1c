//! BERT's forward pass: embeddings, encoder layers with post-norm, pooler, classifier.
//! Devlin et al., 2018; names and arithmetic of `transformers`' `BertForSequenceClassification`. Differences: the
//! padding row of a new word embedding is drawn like the others (nothing attends to it).
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden, `N` heads, `V` vocabulary, `K` classes.

use burn::module::{Initializer, Module};
use burn::tensor::{Device, Tensor, activation};
use kiln_core::{Forward, Tokens};
use kiln_nn::attention::{Mask, attention};
use kiln_nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, Linear};

use super::sizes::Sizes;

fn linear(from: usize, to: usize, sizes: &Sizes, device: &Device) -> Linear {
    Linear::normal(from, to, sizes.initializer_range, device)
}

fn norm(sizes: &Sizes, device: &Device) -> LayerNorm {
    LayerNorm::new(sizes.hidden_size, sizes.layer_norm_eps, device)
}

fn embedding(rows: usize, sizes: &Sizes, device: &Device) -> Embedding {
    let normal = Initializer::Normal { mean: 0.0, std: sizes.initializer_range };
    EmbeddingConfig::new(rows, sizes.hidden_size).with_initializer(normal).init(device)
}

fn dropout(probability: f64) -> Dropout {
    DropoutConfig::new(probability).init()
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        Self {
            word_embeddings: embedding(sizes.vocab_size, sizes, device),
            position_embeddings: embedding(sizes.max_position_embeddings, sizes, device),
            token_type_embeddings: embedding(sizes.type_vocab_size, sizes, device),
            layer_norm: norm(sizes, device),
            dropout: dropout(sizes.hidden_dropout_prob),
        }
    }

    /// Ids `[B, T]` to `[B, T, D]`.
    fn forward(&self, x: &Tokens) -> Tensor<3> {
        let [_, t] = x.ids.dims();
        let positions = self.position_embeddings.weight.val().narrow(0, 0, t).unsqueeze::<3>();
        let words = self.word_embeddings.forward(x.ids.clone());
        let sum = words + self.token_type_embeddings.forward(x.types.clone()) + positions;
        self.dropout.forward(self.layer_norm.forward(sum))
    }
}

#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let square = || linear(sizes.hidden_size, sizes.hidden_size, sizes, device);
        let dropout = dropout(sizes.attention_probs_dropout_prob);
        Self { query: square(), key: square(), value: square(), dropout, heads: sizes.num_attention_heads }
    }

    /// `[B, T, D]` to the same.
    fn forward(&self, x: Tensor<3>, padding: &Mask) -> Tensor<3> {
        let [b, t, d] = x.dims();
        let split = |x: Tensor<3>| x.reshape([b, t, self.heads, d / self.heads]).swap_dims(1, 2);
        let query = split(self.query.forward(x.clone()));
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x));
        attention(query, key, value, Some(padding), &self.dropout).swap_dims(1, 2).reshape([b, t, d])
    }
}

/// What follows attention and the feed-forward layer: project, drop, add, normalise.
#[derive(Module, Debug)]
struct AddNorm {
    dense: Linear,
    layer_norm: LayerNorm,
    dropout: Dropout,
}

impl AddNorm {
    fn new(from: usize, sizes: &Sizes, device: &Device) -> Self {
        let dense = linear(from, sizes.hidden_size, sizes, device);
        Self { dense, layer_norm: norm(sizes, device), dropout: dropout(sizes.hidden_dropout_prob) }
    }

    fn forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        self.layer_norm.forward(self.dropout.forward(self.dense.forward(x)) + residual)
    }
}

#[derive(Module, Debug)]
struct Attention {
    self_: SelfAttention,
    output: AddNorm,
}

#[derive(Module, Debug)]
struct Intermediate {
    dense: Linear,
}

#[derive(Module, Debug)]
struct Layer {
    attention: Attention,
    intermediate: Intermediate,
    output: AddNorm,
}

impl Layer {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let (hidden, wide) = (sizes.hidden_size, sizes.intermediate_size);
        Self {
            attention: Attention {
                self_: SelfAttention::new(sizes, device),
                output: AddNorm::new(hidden, sizes, device),
            },
            intermediate: Intermediate { dense: linear(hidden, wide, sizes, device) },
            output: AddNorm::new(wide, sizes, device),
        }
    }

    /// `[B, T, D]` to the same.
    fn forward(&self, x: Tensor<3>, padding: &Mask) -> Tensor<3> {
        let x = self.attention.output.forward(self.attention.self_.forward(x.clone(), padding), x);
        let wide = activation::gelu(self.intermediate.dense.forward(x.clone()));
        self.output.forward(wide, x)
    }
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Pooler {
    dense: Linear,
}

#[derive(Module, Debug)]
struct Bert {
    embeddings: Embeddings,
    encoder: Encoder,
    pooler: Pooler,
}

impl Bert {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let layer = (0..sizes.num_hidden_layers).map(|_| Layer::new(sizes, device)).collect();
        Self {
            embeddings: Embeddings::new(sizes, device),
            encoder: Encoder { layer },
            pooler: Pooler { dense: linear(sizes.hidden_size, sizes.hidden_size, sizes, device) },
        }
    }

    /// Ids `[B, T]` to hidden states `[B, T, D]`.
    fn encode(&self, x: &Tokens) -> Tensor<3> {
        let hidden = self.embeddings.forward(x);
        let padding = Mask::padding(&x.mask, hidden.device().is_autodiff());
        self.encoder.layer.iter().fold(hidden, |hidden, layer| layer.forward(hidden, &padding))
    }

    /// Ids `[B, T]` to `[B, D]`: the first token's hidden state, through one tanh layer.
    fn pool(&self, x: &Tokens) -> Tensor<2> {
        let first = self.encode(x).narrow(1, 0, 1).squeeze_dim(1);
        self.pooler.dense.forward(first).tanh()
    }
}

/// The whole net; field names are `transformers`'.
#[derive(Module, Debug)]
pub(super) struct BertForSequenceClassification {
    bert: Bert,
    classifier: Linear,
    dropout: Dropout,
}

impl BertForSequenceClassification {
    pub(super) fn new(sizes: &Sizes, classes: usize, device: &Device) -> Self {
        Self {
            bert: Bert::new(sizes, device),
            classifier: linear(sizes.hidden_size, classes, sizes, device),
            dropout: dropout(sizes.classifier_dropout.unwrap_or(sizes.hidden_dropout_prob)),
        }
    }
}

impl Forward for BertForSequenceClassification {
    type In = Tokens;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = &[("layer_norm", "LayerNorm"), ("self_", "self")];

    /// Ids `[B, T]` to `[B, K]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        self.classifier.forward(self.dropout.forward(self.bert.pool(&x)))
    }
}
