//! The encoder of BERT, RoBERTa and DistilBERT: embeddings and layers with post-norm.
//! Devlin et al., 2018; arithmetic of `transformers`' `BertModel`, field names too (a family renames them to its own).
//! Owns the pass from ids to hidden states and what is read off them; never a head (each family's `net` has them).
//! Differences: positions follow the mask, so that padding may stand on either side; the padding row of a new word
//! embedding is drawn like the others (nothing attends to it).
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden, `N` heads, `V` vocabulary.

use burn::module::{Initializer, Module};
use burn::tensor::{Device, Int, Tensor};
use kiln_core::Tokens;
use kiln_nn::attention::{Mask, attention};
use kiln_nn::{Dropout, Embedding, LayerNorm, Linear, checkpoint};

use super::places::Places;
use super::sizes::{Activation, Sizes};
use super::unpadded::Unpadded;

pub(in crate::families) fn linear(from: usize, to: usize, sizes: &Sizes, device: &Device) -> Linear {
    Linear::normal(from, to, sizes.initializer_range, device)
}

pub(in crate::families) fn norm(sizes: &Sizes, device: &Device) -> LayerNorm {
    LayerNorm::new(sizes.hidden_size, sizes.layer_norm_eps, device)
}

fn embedding(rows: usize, sizes: &Sizes, device: &Device) -> Embedding {
    let normal = Initializer::Normal { mean: 0.0, std: sizes.initializer_range };
    Embedding::new(rows, sizes.hidden_size, &normal, device)
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Option<Embedding>,
    layer_norm: LayerNorm,
    dropout: Dropout,
}

impl Embeddings {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        Self {
            word_embeddings: embedding(sizes.vocab_size, sizes, device),
            position_embeddings: embedding(sizes.max_position_embeddings, sizes, device),
            token_type_embeddings: (sizes.type_vocab_size > 0)
                .then(|| embedding(sizes.type_vocab_size, sizes, device)),
            layer_norm: norm(sizes, device),
            dropout: Dropout::new(sizes.hidden_dropout_prob),
        }
    }

    /// Ids and segments `[B, T]` to `[B, T, D]`.
    fn forward(&self, [ids, types]: [Tensor<2, Int>; 2], positions: Tensor<2, Int>) -> Tensor<3> {
        let words = self.word_embeddings.forward(ids);
        let types = self.token_type_embeddings.as_ref().map(|table| of_types(table, types));
        let sum = types.into_iter().fold(words, |sum, types| sum + types);
        let sum = sum + self.position_embeddings.forward(positions);
        self.dropout.forward(self.layer_norm.forward(sum))
    }
}

/// `[B, T, D]`, or `[1, 1, D]` of a table with one row: RoBERTa knows no second segment, whatever the tokenizer says.
fn of_types(table: &Embedding, types: Tensor<2, Int>) -> Tensor<3> {
    match table.weight.dims()[0] {
        1 => table.weight.val().unsqueeze(),
        _ => table.forward(types),
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
        let dropout = Dropout::new(sizes.attention_probs_dropout_prob);
        Self { query: square(), key: square(), value: square(), dropout, heads: sizes.num_attention_heads }
    }

    /// For tokens `asking [B, Q, D]` among all `x [B, T, D]`: `[B, Q, D]`.
    fn forward(&self, asking: Tensor<3>, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let [b, q, d] = asking.dims();
        let split = |x: Tensor<3>| {
            let t = x.dims()[1];
            x.reshape([b, t, self.heads, d / self.heads]).swap_dims(1, 2)
        };
        let query = split(self.query.forward(asking));
        let key = split(self.key.forward(x.clone()));
        let value = split(self.value.forward(x));
        attention(query, key, value, Some(mask), &self.dropout).swap_dims(1, 2).reshape([b, q, d])
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
        Self { dense, layer_norm: norm(sizes, device), dropout: Dropout::new(sizes.hidden_dropout_prob) }
    }

    fn forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        // In this order a gradient comes through attention first, in a block that is run again too.
        self.layer_norm.forward(residual + self.dropout.forward(self.dense.forward(x)))
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
    #[module(skip)]
    activation: Activation,
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
            intermediate: Intermediate {
                dense: linear(hidden, wide, sizes, device),
                activation: sizes.activation(),
            },
            output: AddNorm::new(wide, sizes, device),
        }
    }

    /// `[B, T, D]` to the same.
    fn forward(&self, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        self.of(x.clone(), x, mask)
    }

    /// What becomes of tokens `asking [B, Q, D]` among all `x [B, T, D]`: `[B, Q, D]`.
    fn of(&self, asking: Tensor<3>, x: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let mixed = self.attention.self_.forward(asking.clone(), x, mask);
        let x = self.attention.output.forward(mixed, asking);
        let wide = self.intermediate.activation.forward(self.intermediate.dense.forward(x.clone()));
        self.output.forward(wide, x)
    }
}

#[derive(Module, Debug)]
struct Layers {
    layer: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Pooler {
    dense: Linear,
}

/// Ids to hidden states, with or without BERT's pooler.
#[derive(Module, Debug)]
pub(in crate::families) struct Encoder {
    embeddings: Embeddings,
    encoder: Layers,
    pooler: Option<Pooler>,
    /// Added to every position; the padding after the tokens has position 0 and this. `None`: positions from 0.
    pad_id: Option<usize>,
}

impl Encoder {
    pub(in crate::families) fn new(sizes: &Sizes, pooled: bool, device: &Device) -> Self {
        let layer = (0..sizes.num_hidden_layers).map(|_| Layer::new(sizes, device)).collect();
        let square = || linear(sizes.hidden_size, sizes.hidden_size, sizes, device);
        Self {
            embeddings: Embeddings::new(sizes, device),
            encoder: Layers { layer },
            pooler: pooled.then(|| Pooler { dense: square() }),
            pad_id: sizes.first_position.checked_sub(1),
        }
    }

    /// Ids `[B, T]` to hidden states `[B, T, D]`.
    pub(in crate::families) fn encode(&self, x: &Tokens) -> Tensor<3> {
        self.read(x, &Places::of(&x.mask))
    }

    /// Ids `[B, T]` to the first real token's hidden state `[B, D]`. In the last layer the others answer it and are not
    /// themselves computed.
    pub(in crate::families) fn first(&self, x: &Tokens) -> Tensor<2> {
        let (places, layers) = (Places::of(&x.mask), &self.encoder.layer);
        let Some((last, others)) = layers.split_last() else { return places.first(self.read(x, &places)) };
        match Unpadded::of(&x.mask) {
            None => {
                let mask = Mask::padding(&x.mask);
                let hidden = passed(others, self.embed_all(x, &places), &mask);
                let first = checkpoint::block(last, hidden, move |layer, hidden| {
                    layer.of(places.first(hidden.clone()).unsqueeze_dim(1), hidden, &mask)
                });
                first.squeeze_dim(1)
            }
            Some(real) => {
                let hidden = passed(others, self.embed_real(x, &places, &real), &real.mask());
                let first = checkpoint::block(last, hidden, move |layer, hidden| {
                    layer.of(real.firsts(hidden.clone()), hidden, &real.mask_of_firsts())
                });
                first.squeeze_dim(0)
            }
        }
    }

    /// Ids `[B, T]` to `[B, D]`: the first real token's hidden state, through one tanh layer where there is a pooler.
    pub(in crate::families) fn pool(&self, x: &Tokens) -> Tensor<2> {
        let first = self.first(x);
        match &self.pooler {
            Some(pooler) => pooler.dense.forward(first).tanh(),
            None => first,
        }
    }

    /// Ids `[B, T]` to sentence embeddings `[B, D]`: the mean over real tokens, of length 1.
    pub(in crate::families) fn embed(&self, x: &Tokens) -> Tensor<2> {
        let places = Places::of(&x.mask);
        places.mean(self.read(x, &places))
    }

    /// The word embeddings `[V, D]`, which a masked language model answers with.
    pub(in crate::families) fn words(&self) -> &Embedding {
        &self.embeddings.word_embeddings
    }

    fn read(&self, x: &Tokens, places: &Places) -> Tensor<3> {
        let layers = &self.encoder.layer;
        match Unpadded::of(&x.mask) {
            None => passed(layers, self.embed_all(x, places), &Mask::padding(&x.mask)),
            Some(real) => real.put_back(passed(layers, self.embed_real(x, places, &real), &real.mask())),
        }
    }

    /// `[B, T, D]`
    fn embed_all(&self, x: &Tokens, places: &Places) -> Tensor<3> {
        self.embeddings.forward([x.ids.clone(), x.types.clone()], self.positions(places))
    }

    /// `[1, R, D]`
    fn embed_real(&self, x: &Tokens, places: &Places, real: &Unpadded) -> Tensor<3> {
        let ids_and_types = [&x.ids, &x.types].map(|x| real.taken(x.clone()));
        self.embeddings.forward(ids_and_types, real.taken(self.positions(places)))
    }

    fn positions(&self, places: &Places) -> Tensor<2, Int> {
        match self.pad_id {
            Some(pad_id) => places.after_padding(pad_id),
            None => places.counted_from_zero(),
        }
    }
}

/// Hidden states after these layers.
fn passed(layers: &[Layer], hidden: Tensor<3>, mask: &Mask) -> Tensor<3> {
    layers.iter().fold(hidden, |hidden, layer| {
        let mask = mask.clone();
        checkpoint::block(layer, hidden, move |layer, hidden| layer.forward(hidden, &mask))
    })
}
