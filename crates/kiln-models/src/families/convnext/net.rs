//! The forward pass: a patch stem, stages of blocks (depthwise 7x7 convolution, norm, feed-forward, layer scale, sum)
//! with a norm and a 2x2 convolution between stages, mean over pixels, norm, linear head.
//! Liu et al., 2022, figure 4. Names, arithmetic and initial values of timm's `ConvNeXt`; timm's truncated normals cut
//! at 100 standard deviations, which are normals here. GELU is exact.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `K` classes.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::Forward;
use kiln_nn::{
    Conv2d, Conv2dConfig, DropPath, Dropout, LayerNorm, Linear, PaddingConfig2d, checkpoint, gelu,
    global_avg_pool2d,
};

use super::sizes::Sizes;
use crate::ModelError;
use crate::families::dropout;

const STD: f64 = 0.02;
pub(super) const EPS: f64 = 1e-6;

/// A convolution with normal weights and zero bias.
fn conv(config: Conv2dConfig, device: &Device) -> Conv2d {
    let mut conv = config.with_initializer(Initializer::Normal { mean: 0.0, std: STD }).init(device);
    if let Some(bias) = &mut conv.bias {
        *bias = Initializer::Zeros.init(bias.lazy_shape(), device);
    }
    conv
}

/// A convolution over patches that do not overlap.
fn patches(from: usize, to: usize, side: usize, device: &Device) -> Conv2d {
    conv(Conv2dConfig::new([from, to], [side, side]).with_stride([side, side]), device)
}

#[derive(Module, Debug)]
struct Stem {
    conv: Conv2d,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Downsample {
    norm: LayerNorm,
    conv: Conv2d,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
struct Block {
    conv_dw: Conv2d,
    norm: LayerNorm,
    mlp: Mlp,
    /// `[C]`
    gamma: Option<Param<Tensor<1>>>,
    drop_path: DropPath,
}

impl Block {
    fn new(width: usize, layer_scale: Option<f64>, drop_path: f64, device: &Device) -> Self {
        let depthwise = Conv2dConfig::new([width, width], [7, 7])
            .with_groups(width)
            .with_padding(PaddingConfig2d::Explicit(3, 3, 3, 3));
        Self {
            conv_dw: conv(depthwise, device),
            norm: LayerNorm::new(width, EPS, device),
            mlp: Mlp {
                fc1: Linear::normal(width, 4 * width, STD, device),
                fc2: Linear::normal(4 * width, width, STD, device),
            },
            gamma: layer_scale.map(|value| Initializer::Constant { value }.init([width], device)),
            drop_path: DropPath::new(drop_path),
        }
    }

    /// `[B, C, H, W]` to the same.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.norm.forward(self.conv_dw.forward(x.clone()).permute([0, 2, 3, 1]));
        let y = self.mlp.fc2.forward(gelu(self.mlp.fc1.forward(y)));
        let y = match &self.gamma {
            Some(gamma) => y * gamma.val().unsqueeze(),
            None => y,
        };
        x + self.drop_path.forward(y.permute([0, 3, 1, 2]))
    }
}

#[derive(Module, Debug)]
struct Stage {
    downsample: Option<Downsample>,
    blocks: Vec<Block>,
}

impl Stage {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match &self.downsample {
            Some(d) => d.conv.forward(d.norm.channels_first(x)),
            None => x,
        };
        self.blocks.iter().fold(x, |x, block| checkpoint::block(block, x, Block::forward))
    }
}

#[derive(Module, Debug)]
struct Head {
    norm: LayerNorm,
    fc: Linear,
    dropout: Dropout,
}

/// The net; field names are timm's.
#[derive(Module, Debug)]
pub(super) struct ConvNext {
    stem: Stem,
    stages: Vec<Stage>,
    head: Head,
}

impl ConvNext {
    pub(super) fn new(sizes: &Sizes, classes: usize, device: &Device) -> Result<Self, ModelError> {
        let mut drop_paths = DropPath::rising(sizes.drop_path, sizes.depths.iter().sum()).into_iter();
        let first = sizes.widths.first().copied().unwrap_or(0);
        let mut from = first;
        let mut stages = Vec::new();
        for (depth, width) in sizes.depths.iter().zip(&sizes.widths) {
            let downsample = (!stages.is_empty()).then(|| Downsample {
                norm: LayerNorm::new(from, EPS, device),
                conv: patches(from, *width, 2, device),
            });
            let block = |drop_path| Block::new(*width, sizes.layer_scale, drop_path, device);
            stages.push(Stage { downsample, blocks: drop_paths.by_ref().take(*depth).map(block).collect() });
            from = *width;
        }
        let stem = Stem {
            conv: patches(sizes.channels, first, sizes.patch, device),
            norm: LayerNorm::new(first, EPS, device),
        };
        let head = Head {
            norm: LayerNorm::new(from, sizes.head_eps, device),
            fc: Linear::normal(from, classes, STD, device),
            dropout: dropout(sizes.head_dropout)?,
        };
        Ok(Self { stem, stages, head })
    }
}

impl Forward for ConvNext {
    type In = Tensor<4>;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = &[
        ("stem.conv", "stem.0"),
        ("stem.norm", "stem.1"),
        ("downsample.norm", "downsample.0"),
        ("downsample.conv", "downsample.1"),
    ];

    /// `[B, C, H, W]` to `[B, K]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.stem.norm.channels_first(self.stem.conv.forward(x));
        let x = self.stages.iter().fold(x, |x, stage| stage.forward(x));
        let x = global_avg_pool2d(x);
        self.head.fc.forward(self.head.dropout.forward(self.head.norm.forward(x)))
    }
}
