//! GPT-2's forward pass: embeddings, pre-norm decoder blocks, final norm; heads for language modelling, sequences, tokens.
//! Radford et al., 2019; names and arithmetic of `transformers`' `GPT2LMHeadModel`, `GPT2ForSequenceClassification`
//! and `GPT2ForTokenClassification`. Differences: positions count real tokens, so that a sentence padded on the left
//! gives what it gives alone; the last real token is found by the mask, not by the padding id. With `bias = false`
//! (nanoGPT) there are no biases; a saved folder has zeros instead, so that it opens in `transformers`.
//!
//! Shapes: `B` batch, `T` tokens, `S` tokens with those cached, `D` width, `N` heads, `V` vocabulary, `K` classes.

use burn::module::{Initializer, Module};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use kiln_core::{Forward, KvCache, Tokens};
use kiln_nn::attention::{Mask, attention, attention_packed};
use kiln_nn::{Conv1D, Dropout, Embedding, LayerNorm, Linear, checkpoint, conv1d, gelu, gelu_new};

use super::sizes::Sizes;

fn conv(from: usize, to: usize, std: f64, sizes: &Sizes, device: &Device) -> Conv1D {
    let layer = Conv1D::normal(from, to, std, device);
    if sizes.bias { layer } else { Conv1D { bias: None, ..layer } }
}

fn norm(sizes: &Sizes, device: &Device) -> LayerNorm {
    let mut layer = LayerNorm::new(sizes.n_embd, sizes.layer_norm_epsilon, device);
    layer.bias = layer.bias.filter(|_| sizes.bias);
    layer
}

fn embedding(rows: usize, sizes: &Sizes, device: &Device) -> Embedding {
    let normal = Initializer::Normal { mean: 0.0, std: sizes.initializer_range };
    Embedding::new(rows, sizes.n_embd, &normal, device)
}

#[derive(Module, Debug)]
struct Attention {
    c_attn: Conv1D,
    c_proj: Conv1D,
    attn_dropout: Dropout,
    resid_dropout: Dropout,
    heads: usize,
}

/// Keys and values `[B, N, S, D/N]` of one layer.
type Pair = (Tensor<4>, Tensor<4>);

impl Attention {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let (d, std) = (sizes.n_embd, sizes.initializer_range);
        Self {
            c_attn: conv(d, 3 * d, std, sizes, device),
            c_proj: conv(d, d, sizes.residual_std(), sizes, device),
            attn_dropout: Dropout::new(sizes.attn_pdrop),
            resid_dropout: Dropout::new(sizes.resid_pdrop),
            heads: sizes.n_head,
        }
    }

    /// `[B, T, D]` to the same; `past` comes before the keys and values, which are answered with it.
    fn forward(&self, x: Tensor<3>, mask: Option<&Mask>, past: Option<Pair>) -> (Tensor<3>, Pair) {
        let [b, t, d] = x.dims();
        let parts = self.c_attn.forward(x);
        let part = |i: usize| {
            parts.clone().narrow(2, i * d, d).reshape([b, t, self.heads, d / self.heads]).swap_dims(1, 2)
        };
        let (mut key, mut value) = (part(1), part(2));
        let mixed = match past {
            None => attention_packed(parts.clone(), self.heads, mask, &self.attn_dropout),
            Some((keys, values)) => {
                key = Tensor::cat(vec![keys, key], 2);
                value = Tensor::cat(vec![values, value], 2);
                attention(part(0), key.clone(), value.clone(), mask, &self.attn_dropout)
            }
        };
        let y = self.c_proj.forward(mixed.swap_dims(1, 2).reshape([b, t, d]));
        (self.resid_dropout.forward(y), (key, value))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    c_fc: Conv1D,
    c_proj: Conv1D,
    dropout: Dropout,
    exact_gelu: bool,
}

impl Mlp {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let (d, wide, std) = (sizes.n_embd, sizes.inner(), sizes.initializer_range);
        Self {
            c_fc: conv(d, wide, std, sizes, device),
            c_proj: conv(wide, d, sizes.residual_std(), sizes, device),
            dropout: Dropout::new(sizes.resid_pdrop),
            exact_gelu: sizes.activation_function == "gelu",
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let wide = self.c_fc.forward(x);
        let wide = if self.exact_gelu { gelu(wide) } else { gelu_new(wide) };
        self.dropout.forward(self.c_proj.forward(wide))
    }
}

#[derive(Module, Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        Self {
            ln_1: norm(sizes, device),
            attn: Attention::new(sizes, device),
            ln_2: norm(sizes, device),
            mlp: Mlp::new(sizes, device),
        }
    }

    fn forward(&self, x: Tensor<3>, mask: Option<&Mask>, past: Option<Pair>) -> (Tensor<3>, Pair) {
        let (mixed, pair) = self.attn.forward(self.ln_1.forward(x.clone()), mask, past);
        let x = x + mixed;
        (x.clone() + self.mlp.forward(self.ln_2.forward(x)), pair)
    }
}

/// Everything below the heads; field names are `transformers`'.
#[derive(Module, Debug)]
struct Transformer {
    wte: Embedding,
    wpe: Embedding,
    drop: Dropout,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

impl Transformer {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        Self {
            wte: embedding(sizes.vocab_size, sizes, device),
            wpe: embedding(sizes.n_positions, sizes, device),
            drop: Dropout::new(sizes.embd_pdrop),
            h: (0..sizes.n_layer).map(|_| Block::new(sizes, device)).collect(),
            ln_f: norm(sizes, device),
        }
    }

    /// Ids `[B, T]` to hidden states `[B, T, D]`.
    fn encode(&self, x: &Tokens) -> Tensor<3> {
        let mask = causal(&x.mask);
        let embedded = self.embed(x.ids.clone(), positions(&x.mask));
        let hidden = self.h.iter().fold(embedded, |hidden, block| {
            let mask = mask.clone();
            checkpoint::block(block, hidden, move |block, hidden| block.forward(hidden, Some(&mask), None).0)
        });
        self.ln_f.forward(hidden)
    }

    /// Ids and positions `[B, T]` to `[B, T, D]`.
    fn embed(&self, ids: Tensor<2, Int>, positions: Tensor<2, Int>) -> Tensor<3> {
        self.drop.forward(self.wte.forward(ids) + self.wpe.forward(positions))
    }

    /// As [`encode`](Self::encode) for ids that follow those in the cache; answers the last one's hidden state `[B, D]`.
    fn follow(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<2> {
        let ([b, t], past, device) = (ids.dims(), cache.len(), ids.device());
        let real = |row: usize, place: usize| cache.padding.get(row).is_none_or(|left| place >= *left);
        let s = past + t;
        let seen: Vec<bool> = (0..b * s).map(|i| real(i / s, i % s)).collect();
        let seen = Tensor::<2, Bool>::from_data(TensorData::new(seen, [b, s]), &device);
        let embedded = self.embed(ids, positions(&seen).narrow(1, past, t));
        let mask = rows(&seen, past, t);
        let mut layers = std::mem::take(&mut cache.layers).into_iter();
        let hidden = self.h.iter().fold(embedded, |hidden, block| {
            let (hidden, pair) = block.forward(hidden, Some(&mask), layers.next());
            cache.layers.push(pair);
            hidden
        });
        self.ln_f.forward(hidden.narrow(1, t - 1, 1)).squeeze_dim(1)
    }
}

/// Place of each real token among the real ones, `[B, T]`; 0 for padding before them.
fn positions(mask: &Tensor<2, Bool>) -> Tensor<2, Int> {
    mask.clone().int().cumsum(1).sub_scalar(1).clamp_min(0)
}

fn causal(mask: &Tensor<2, Bool>) -> Mask {
    rows(mask, 0, mask.dims()[1])
}

/// The causal mask of the `t` queries from place `past` on, over keys of which `seen [B, S]` are real. A query always
/// sees itself: one that is padding would otherwise see nothing, and its answer, though never used, be no number.
fn rows(seen: &Tensor<2, Bool>, past: usize, t: usize) -> Mask {
    let ([b, s], device) = (seen.dims(), seen.device());
    let place = |from: usize, n: usize| Tensor::<1, Int>::arange(from as i64..(from + n) as i64, &device);
    let keys = place(0, s).reshape([1, 1, 1, s]).expand([1, 1, t, s]);
    let queries = place(past, t).reshape([1, 1, t, 1]).expand([1, 1, t, s]);
    let behind = keys.clone().greater(queries.clone()).expand([b, 1, t, s]);
    let other = keys.not_equal(queries).expand([b, 1, t, s]);
    let padding: Tensor<4, Bool> = seen.clone().bool_not().unsqueeze_dims(&[1, 2]);
    Mask::new(behind.bool_or(padding.expand([b, 1, t, s]).bool_and(other)))
}

/// `[B, T, D]` to the hidden state `[B, D]` of each row's last real token.
fn last(hidden: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<2> {
    let [b, t, d] = hidden.dims();
    let place = Tensor::<1, Int>::arange(0..t as i64, &mask.device()).reshape([1, t]).expand([b, t]);
    let last = (place * mask.clone().int()).max_dim(1);
    hidden.gather(1, last.reshape([b, 1, 1]).expand([b, 1, d])).squeeze_dim(1)
}

/// The language model; its output layer is `wte`.
#[derive(Module, Debug)]
pub(super) struct LmHeadModel {
    transformer: Transformer,
}

impl LmHeadModel {
    pub(super) fn new(sizes: &Sizes, device: &Device) -> Self {
        Self { transformer: Transformer::new(sizes, device) }
    }
}

impl Forward for LmHeadModel {
    type In = Tokens;
    type Out = Tensor<3>;

    /// Ids `[B, T]` to `[B, T, V]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        conv1d::tied(self.transformer.encode(&x), &self.transformer.wte)
    }

    fn next(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Option<Tensor<2>> {
        let hidden = self.transformer.follow(ids, cache);
        Some(conv1d::tied(hidden, &self.transformer.wte))
    }
}

/// One answer a sequence, by its last token.
#[derive(Module, Debug)]
pub(super) struct SequenceClassification {
    transformer: Transformer,
    score: Linear,
}

impl SequenceClassification {
    pub(super) fn new(sizes: &Sizes, labels: usize, device: &Device) -> Self {
        let head = Linear::normal(sizes.n_embd, labels, sizes.initializer_range, device);
        Self { transformer: Transformer::new(sizes, device), score: Linear { bias: None, ..head } }
    }
}

impl Forward for SequenceClassification {
    type In = Tokens;
    type Out = Tensor<2>;

    /// Ids `[B, T]` to `[B, K]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        self.score.forward(last(self.transformer.encode(&x), &x.mask))
    }
}

/// One answer a token.
#[derive(Module, Debug)]
pub(super) struct TokenClassification {
    transformer: Transformer,
    dropout: Dropout,
    classifier: Linear,
}

impl TokenClassification {
    pub(super) fn new(sizes: &Sizes, labels: usize, device: &Device) -> Self {
        let probability = sizes.classifier_dropout.unwrap_or(0.1);
        Self {
            transformer: Transformer::new(sizes, device),
            dropout: Dropout::new(probability),
            classifier: Linear::normal(sizes.n_embd, labels, sizes.initializer_range, device),
        }
    }
}

impl Forward for TokenClassification {
    type In = Tokens;
    type Out = Tensor<3>;

    /// Ids `[B, T]` to `[B, T, K]`.
    fn forward(&self, x: Tokens) -> Tensor<3> {
        self.classifier.forward(self.dropout.forward(self.transformer.encode(&x)))
    }
}
