//! FT-Transformer (Gorishniy et al., 2021, "Revisiting Deep Learning Models for Tabular Data"): every column a token,
//! a class token, pre-norm blocks of attention and ReGLU, the head on the class token.
//! Reference: the authors' `rtdl_revisiting_models.FTTransformer`, names and initial values included; its `backbone.`
//! blocks, default sizes and dropouts too. Differences: no Linformer compression; one head keeps its output layer.
//!
//! Shapes: `B` batch, `F` numbers, `N` categories, `T` = 1 + F + N tokens, `D` block width, `K` classes.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, InputSpec, Net, Table, TaskKind};
use kiln_nn::{Dropout, Embedding, LayerNorm, Linear, attention, checkpoint, relu};
use serde::{Deserialize, Serialize};

use super::{Facts, dropout, one_answer_a_sample, wrong_branch, wrong_input};
use crate::config::FtTransformerConfig;
use crate::{Card, ModelConfig, ModelError};

/// The paper's initial values: uniform in ±1/sqrt(D).
fn uniform(d: usize) -> Initializer {
    let bound = 1.0 / (d.max(1) as f64).sqrt();
    Initializer::Uniform { min: -bound, max: bound }
}

#[derive(Module, Debug)]
struct ClassToken {
    /// `[D]`
    weight: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Numbers {
    /// `[F, D]`
    weight: Param<Tensor<2>>,
    /// `[F, D]`
    bias: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Categories {
    embeddings: Vec<Embedding>,
    /// `[N, D]`
    bias: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Attention {
    w_q: Linear,
    w_k: Linear,
    w_v: Linear,
    w_out: Linear,
    dropout: Dropout,
    heads: usize,
}

impl Attention {
    /// Queries `[B, Q, D]` over `[B, T, D]` to `[B, Q, D]`.
    fn forward(&self, query: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        let [b, q, d] = query.dims();
        let split = |x: Tensor<3>| {
            let t = x.dims()[1];
            x.reshape([b, t, self.heads, d / self.heads]).swap_dims(1, 2)
        };
        let query = split(self.w_q.forward(query));
        let (key, value) = (split(self.w_k.forward(x.clone())), split(self.w_v.forward(x)));
        let mixed = attention(query, key, value, None, &self.dropout);
        self.w_out.forward(mixed.swap_dims(1, 2).reshape([b, q, d]))
    }
}

#[derive(Module, Debug)]
struct FeedForward {
    linear1: Linear,
    linear2: Linear,
    dropout: Dropout,
}

impl FeedForward {
    /// ReGLU: the first half, gated by the second's ReLU.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let halves = self.linear1.forward(x).chunk(2, 2);
        let gated = match halves.as_slice() {
            [a, b] => a.clone() * relu(b.clone()),
            _ => return Tensor::cat(halves, 2), // a width of at least two always halves
        };
        self.linear2.forward(self.dropout.forward(gated))
    }
}

#[derive(Module, Debug)]
struct Block {
    /// Not in the first block.
    attention_normalization: Option<LayerNorm>,
    attention: Attention,
    ffn_normalization: LayerNorm,
    ffn: FeedForward,
    residual: Dropout,
}

impl Block {
    fn new(first: bool, sizes: &Sizes, device: &Device) -> Result<Self, ModelError> {
        let d = sizes.d_block;
        let square =
            || Linear { bias: Some(Initializer::Zeros.init([d], device)), ..Linear::new(d, d, device) };
        let hidden = sizes.ffn_d_hidden;
        let norm = || LayerNorm::new(d, 1e-5, device);
        Ok(Self {
            attention_normalization: (!first).then(norm),
            attention: Attention {
                w_q: square(),
                w_k: square(),
                w_v: square(),
                w_out: square(),
                dropout: dropout(sizes.attention_dropout)?,
                heads: sizes.attention_n_heads,
            },
            ffn_normalization: norm(),
            ffn: FeedForward {
                linear1: Linear::new(d, 2 * hidden, device),
                linear2: Linear::new(hidden, d, device),
                dropout: dropout(sizes.ffn_dropout)?,
            },
            residual: dropout(sizes.residual_dropout)?,
        })
    }

    /// `[B, T, D]` to the same, or to its first token's `[B, 1, D]`: the only one that is read of the last block.
    fn forward(&self, x: Tensor<3>, last: bool) -> Tensor<3> {
        let normal = match &self.attention_normalization {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let (query, x) = match last {
            true => (normal.clone().narrow(1, 0, 1), x.narrow(1, 0, 1)),
            false => (normal.clone(), x),
        };
        let x = x + self.residual.forward(self.attention.forward(query, normal));
        let deep = self.ffn.forward(self.ffn_normalization.forward(x.clone()));
        x + self.residual.forward(deep)
    }
}

#[derive(Module, Debug)]
struct Head {
    normalization: LayerNorm,
    linear: Linear,
}

#[derive(Module, Debug)]
struct Backbone {
    blocks: Vec<Block>,
    output: Head,
}

#[derive(Module, Debug)]
struct FtTransformer {
    cls_embedding: ClassToken,
    cont_embeddings: Option<Numbers>,
    cat_embeddings: Option<Categories>,
    backbone: Backbone,
}

impl FtTransformer {
    /// `[B, T, D]`, the class token first.
    fn tokens(&self, x: Table) -> Tensor<3> {
        let mut tokens = Vec::new();
        if let (Some(embeddings), Some(numbers)) = (&self.cont_embeddings, x.numbers) {
            let scaled = numbers.unsqueeze_dim::<3>(2) * embeddings.weight.val().unsqueeze::<3>();
            tokens.push(scaled + embeddings.bias.val().unsqueeze::<3>());
        }
        if let (Some(of), Some(categories)) = (&self.cat_embeddings, x.categories) {
            let embed = |(i, e): (usize, &Embedding)| e.forward(categories.clone().narrow(1, i, 1));
            let embedded = Tensor::cat(of.embeddings.iter().enumerate().map(embed).collect(), 1);
            tokens.push(embedded + of.bias.val().unsqueeze::<3>());
        }
        let b = tokens.first().map_or(1, |tokens| tokens.dims()[0]);
        let class = self.cls_embedding.weight.val();
        let [d] = class.dims();
        tokens.insert(0, class.reshape([1, 1, d]).expand([b, 1, d]));
        Tensor::cat(tokens, 1)
    }
}

impl Forward for FtTransformer {
    type In = Table;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] =
        &[("w_q", "W_q"), ("w_k", "W_k"), ("w_v", "W_v"), ("w_out", "W_out")];

    /// A table of `[B, F]` and `[B, N]` to `[B, K]`.
    fn forward(&self, x: Table) -> Tensor<2> {
        let last = self.backbone.blocks.len().saturating_sub(1);
        let blocks = self.backbone.blocks.iter().enumerate();
        let x = blocks.fold(self.tokens(x), |x, (i, block)| {
            checkpoint::block(block, x, move |block, x| block.forward(x, i == last))
        });
        let head = &self.backbone.output;
        let class = x.narrow(1, 0, 1).squeeze_dim::<2>(1);
        head.linear.forward(relu(head.normalization.forward(class)))
    }
}

#[derive(Serialize, Deserialize)]
struct Sizes {
    n_blocks: usize,
    d_block: usize,
    attention_n_heads: usize,
    attention_dropout: f64,
    ffn_d_hidden: usize,
    ffn_dropout: f64,
    residual_dropout: f64,
}

impl Sizes {
    /// What the config leaves out is the reference's default for this number of blocks; above six, as for six.
    fn new(c: &FtTransformerConfig) -> Result<Self, ModelError> {
        let at = c.n_blocks.clamp(1, 6) - 1;
        let d_block = c.d_block.unwrap_or([96, 128, 192, 256, 320, 384][at]);
        let sizes = Self {
            n_blocks: c.n_blocks,
            d_block,
            attention_n_heads: c.attention_n_heads,
            attention_dropout: c.attention_dropout.unwrap_or([0.1, 0.15, 0.2, 0.25, 0.3, 0.35][at]),
            ffn_d_hidden: c.ffn_d_hidden.unwrap_or((d_block as f64 * (4.0 / 3.0)) as usize),
            ffn_dropout: c.ffn_dropout.unwrap_or([0.0, 0.05, 0.1, 0.15, 0.2, 0.25][at]),
            residual_dropout: c.residual_dropout,
        };
        sizes.check().map(|()| sizes)
    }

    fn check(&self) -> Result<(), ModelError> {
        let Self { d_block, attention_n_heads: heads, n_blocks, ffn_d_hidden, .. } = self;
        if *n_blocks == 0 || *ffn_d_hidden == 0 {
            let message = format!("{n_blocks} blocks with a feed-forward width of {ffn_d_hidden}");
            return Err(ModelError::config(message, "give at least one of each"));
        }
        if *heads == 0 || *d_block == 0 || d_block % heads != 0 {
            let message = format!("attention_n_heads is {heads}, which does not divide d_block {d_block}");
            return Err(ModelError::config(message, "each head takes an equal share of the width"));
        }
        Ok(())
    }
}

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "ft_transformer"
    }

    fn model_type(&self) -> &'static str {
        "kiln_ft_transformer"
    }

    fn description(&self) -> &'static str {
        "FT-Transformer, for table rows of numbers and categories"
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn facts(&self, card: &Card) -> Result<Facts, ModelError> {
        let sizes: Sizes = card.sizes()?;
        Ok(Facts { heads: sizes.attention_n_heads, ..Facts::default() })
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("backbone.output.linear")
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        one_answer_a_sample("ft_transformer", task)?;
        let ModelConfig::FtTransformer(config) = config else { return Err(wrong_branch(config)) };
        columns(input)?;
        Card::new("FTTransformer", self.model_type(), input, labels, task, &Sizes::new(config)?)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        sizes.check()?;
        let (features, cardinalities) = columns(card.input()?)?;
        let (d, by) = (sizes.d_block, uniform(sizes.d_block));
        let numbers =
            || Numbers { weight: by.init([features, d], device), bias: by.init([features, d], device) };
        let embedding = |n: &usize| Embedding::new(*n, d, &by, device);
        let categories = || Categories {
            embeddings: cardinalities.iter().map(embedding).collect(),
            bias: by.init([cardinalities.len(), d], device),
        };
        let block = |i| Block::new(i == 0, &sizes, device);
        Ok(Box::new(FtTransformer {
            cls_embedding: ClassToken { weight: by.init([d], device) },
            cont_embeddings: (features > 0).then(numbers),
            cat_embeddings: (!cardinalities.is_empty()).then(categories),
            backbone: Backbone {
                blocks: (0..sizes.n_blocks).map(block).collect::<Result<_, _>>()?,
                output: Head {
                    normalization: LayerNorm::new(d, 1e-5, device),
                    linear: Linear::new(d, card.num_labels(), device),
                },
            },
        }))
    }
}

/// `F` and the values of each of `N` categories.
fn columns(input: &InputSpec) -> Result<(usize, &[usize]), ModelError> {
    match input {
        InputSpec::Table { features, cardinalities } => Ok((*features, cardinalities)),
        InputSpec::Image { .. } | InputSpec::Tokens { .. } => {
            Err(wrong_input("ft_transformer", "table rows", input))
        }
    }
}
