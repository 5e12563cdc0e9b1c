//! The forward pass: patches as tokens, class token, learned positions, encoder layers with pre-norm, linear head on the
//! class token; with distillation a second token and the mean of two heads (Touvron et al., 2021, section 4).
//! Names, arithmetic and initial values of timm's `VisionTransformer` and `VisionTransformerDistilled`; timm's truncated
//! normals cut at 100 standard deviations, which are normals here. GELU is exact.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `T` tokens, `D` hidden, `N` heads, `K` classes.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::Forward;
use kiln_nn::attention::{attention, attention_packed};
use kiln_nn::{Conv2d, Conv2dConfig, DropPath, Dropout, LayerNorm, Linear, checkpoint, gelu};

use super::sizes::Sizes;
use crate::ModelError;
use crate::families::dropout;

const STD: f64 = 0.02;

fn linear(from: usize, to: usize, device: &Device) -> Linear {
    Linear::normal(from, to, STD, device)
}

fn token(std: f64, tokens: usize, sizes: &Sizes, device: &Device) -> Param<Tensor<3>> {
    Initializer::Normal { mean: 0.0, std }.init([1, tokens, sizes.hidden], device)
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Conv2d,
}

#[derive(Module, Debug)]
struct Whole {
    qkv: Linear,
}

#[derive(Module, Debug)]
struct Parts {
    query: Linear,
    key: Linear,
    value: Linear,
}

/// Query, key and value by one layer or by three, as the folder's dialect has them.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a layer, and three layers are what most nets have")]
enum Projection {
    Whole(Whole),
    Parts(Parts),
}

impl Projection {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let read = |times: usize| {
            let layer = linear(sizes.hidden, times * sizes.hidden, device);
            if sizes.qkv_bias { layer } else { Linear { bias: None, ..layer } }
        };
        match sizes.fused {
            true => Projection::Whole(Whole { qkv: read(3) }),
            false => Projection::Parts(Parts { query: read(1), key: read(1), value: read(1) }),
        }
    }

    /// `[B, T, D]` to the attention of the first `Q` tokens among all, `[B, N, Q, D/N]`.
    fn attend(&self, x: Tensor<3>, asking: usize, heads: usize, dropout: &Dropout) -> Tensor<4> {
        let [b, t, d] = x.dims();
        let split = |x: Tensor<3>| {
            let t = x.dims()[1];
            x.reshape([b, t, heads, d / heads]).swap_dims(1, 2)
        };
        let [query, key, value] = match self {
            Projection::Whole(layer) => {
                let all = layer.qkv.forward(x);
                if asking == t {
                    return attention_packed(all, heads, None, dropout);
                }
                let part = |i: usize, tokens| all.clone().narrow(2, i * d, d).narrow(1, 0, tokens);
                [part(0, asking), part(1, t), part(2, t)]
            }
            Projection::Parts(layers) => {
                let asked = if asking == t { x.clone() } else { x.clone().narrow(1, 0, asking) };
                [layers.query.forward(asked), layers.key.forward(x.clone()), layers.value.forward(x)]
            }
        };
        attention(split(query), split(key), split(value), None, dropout)
    }
}

#[derive(Module, Debug)]
struct Attention {
    projection: Projection,
    proj: Linear,
    dropout: Dropout,
    proj_dropout: Dropout,
    heads: usize,
}

impl Attention {
    fn new(sizes: &Sizes, device: &Device) -> Result<Self, ModelError> {
        Ok(Self {
            projection: Projection::new(sizes, device),
            proj: linear(sizes.hidden, sizes.hidden, device),
            dropout: dropout(sizes.attention_dropout)?,
            proj_dropout: dropout(sizes.dropout)?,
            heads: sizes.heads,
        })
    }

    /// `[B, T, D]` to the first `Q` tokens' `[B, Q, D]`.
    fn forward(&self, x: Tensor<3>, asking: usize) -> Tensor<3> {
        let [b, _, d] = x.dims();
        let heads = self.projection.attend(x, asking, self.heads, &self.dropout);
        self.proj_dropout.forward(self.proj.forward(heads.swap_dims(1, 2).reshape([b, asking, d])))
    }
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    inner_dropout: Dropout,
    dropout: Dropout,
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let wide = self.inner_dropout.forward(gelu(self.fc1.forward(x)));
        self.dropout.forward(self.fc2.forward(wide))
    }
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    drop_path: DropPath,
}

impl Block {
    fn new(sizes: &Sizes, drop_path: f64, device: &Device) -> Result<Self, ModelError> {
        let norm = || LayerNorm::new(sizes.hidden, sizes.eps, device);
        let mlp = Mlp {
            fc1: linear(sizes.hidden, sizes.intermediate, device),
            fc2: linear(sizes.intermediate, sizes.hidden, device),
            inner_dropout: dropout(sizes.inner_dropout)?,
            dropout: dropout(sizes.dropout)?,
        };
        let attn = Attention::new(sizes, device)?;
        Ok(Self { norm1: norm(), attn, norm2: norm(), mlp, drop_path: DropPath::new(drop_path) })
    }

    /// `[B, T, D]` to the same.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let asking = x.dims()[1];
        self.of(x.clone(), x, asking)
    }

    /// The first `Q` tokens among all: `[B, T, D]` to `[B, Q, D]`.
    fn first(&self, x: Tensor<3>, asking: usize) -> Tensor<3> {
        self.of(x.clone().narrow(1, 0, asking), x, asking)
    }

    fn of(&self, first: Tensor<3>, x: Tensor<3>, asking: usize) -> Tensor<3> {
        let attended = self.attn.forward(self.norm1.forward(x), asking);
        let x = first + self.drop_path.forward(attended);
        let fed = self.mlp.forward(self.norm2.forward(x.clone()));
        x + self.drop_path.forward(fed)
    }
}

/// The net; field names are timm's.
#[derive(Module, Debug)]
pub(super) struct Vit {
    cls_token: Param<Tensor<3>>,
    dist_token: Option<Param<Tensor<3>>>,
    /// `[1, T, D]`
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
    head_dist: Option<Linear>,
    pos_dropout: Dropout,
    head_dropout: Dropout,
}

impl Vit {
    pub(super) fn new(sizes: &Sizes, classes: usize, device: &Device) -> Result<Self, ModelError> {
        let drop_paths = DropPath::rising(sizes.drop_path, sizes.layers);
        let [down, across] = sizes.grid();
        let patch = [sizes.patch, sizes.patch];
        let proj = Conv2dConfig::new([sizes.channels, sizes.hidden], patch).with_stride(patch);
        Ok(Self {
            cls_token: token(1e-6, 1, sizes, device),
            dist_token: sizes.distillation_token.then(|| token(STD, 1, sizes, device)),
            pos_embed: token(STD, sizes.prefix() + down * across, sizes, device),
            patch_embed: PatchEmbed { proj: proj.init(device) },
            blocks: drop_paths.into_iter().map(|p| Block::new(sizes, p, device)).collect::<Result<_, _>>()?,
            norm: LayerNorm::new(sizes.hidden, sizes.eps, device),
            head: linear(sizes.hidden, classes, device),
            head_dist: sizes.distillation_head.then(|| linear(sizes.hidden, classes, device)),
            pos_dropout: dropout(sizes.position_dropout)?,
            head_dropout: dropout(sizes.head_dropout)?,
        })
    }

    /// `[B, C, H, W]` to `[B, T, D]`.
    fn embed(&self, x: Tensor<4>) -> Tensor<3> {
        let patches = self.patch_embed.proj.forward(x).flatten::<3>(2, 3).swap_dims(1, 2);
        let [b, _, d] = patches.dims();
        let tokens = [Some(&self.cls_token), self.dist_token.as_ref()].into_iter().flatten();
        let mut all: Vec<Tensor<3>> = tokens.map(|token| token.val().expand([b, 1, d])).collect();
        all.push(patches);
        self.pos_dropout.forward(Tensor::cat(all, 1) + self.pos_embed.val())
    }
}

impl Forward for Vit {
    type In = Tensor<4>;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] =
        &[("projection.Whole.", ""), ("projection.Parts.", "")];

    /// `[B, C, H, W]` to `[B, K]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        // The heads read the first tokens alone: in the last block the others answer these and are not computed.
        let read = 1 + usize::from(self.head_dist.is_some());
        let x = self.embed(x);
        let x = match self.blocks.split_last() {
            None => x.narrow(1, 0, read),
            Some((last, others)) => {
                let x = others.iter().fold(x, |x, block| checkpoint::block(block, x, Block::forward));
                checkpoint::block(last, x, move |block, x| block.first(x, read))
            }
        };
        let x = self.norm.forward(x);
        let read = |head: &Linear, at: usize| {
            head.forward(self.head_dropout.forward(x.clone().narrow(1, at, 1).squeeze_dim(1)))
        };
        match &self.head_dist {
            Some(second) => (read(&self.head, 0) + read(second, 1)).div_scalar(2.0),
            None => read(&self.head, 0),
        }
    }
}
