//! The forward pass: a strided stem, inverted residuals (1x1 expansion, 3x3 depthwise, 1x1 linear projection, sum where
//! the shape allows), a 1x1 convolution, mean over pixels, dropout, linear head. ReLU6 after all but the projections.
//! Sandler et al., 2018, table 2. Names, arithmetic and initial values of timm's `mobilenetv2_*`.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `K` classes.

use burn::module::{Initializer, Module};
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor};
use kiln_core::Forward;
use kiln_nn::{
    BatchNorm2d, Conv2d, Conv2dConfig, DropPath, Dropout, Linear, PaddingConfig2d, global_avg_pool2d,
};

use super::sizes::{Block as BlockSizes, Sizes};
use crate::ModelError;
use crate::families::dropout;

/// A square convolution without bias, and how it pads.
#[derive(Module, Debug)]
struct Conv {
    conv: Conv2d,
    kernel: usize,
    stride: usize,
    tf_padding: bool,
}

impl Conv {
    /// Weights are normal with variance 2 over the outputs that a weight reaches (He et al., 2015).
    fn new(
        [from, to]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
        sizes: &Sizes,
        device: &Device,
    ) -> Self {
        let fan_out = (kernel * kernel * to / groups) as f64;
        let normal = Initializer::Normal { mean: 0.0, std: (2.0 / fan_out).sqrt() };
        let pad = if sizes.tf_padding { 0 } else { kernel / 2 };
        let conv = Conv2dConfig::new([from, to], [kernel, kernel])
            .with_stride([stride, stride])
            .with_groups(groups)
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false)
            .with_initializer(normal)
            .init(device);
        Self { conv, kernel, stride, tf_padding: sizes.tf_padding }
    }

    /// `[B, C, H, W]` to `[B, C', H/stride, W/stride]`, sides rounded up.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if !self.tf_padding || self.kernel == 1 {
            return self.conv.forward(x);
        }
        let [_, _, h, w] = x.dims();
        let padding = |side: usize| {
            let over = if side.is_multiple_of(self.stride) { self.stride } else { side % self.stride };
            let all = self.kernel.saturating_sub(over);
            (all / 2, all - all / 2)
        };
        self.conv.forward(x.pad([padding(h), padding(w)], PadMode::Constant(0.0)))
    }
}

#[derive(Module, Debug)]
struct Block {
    /// The expansion, or the projection of a block without one.
    conv_pw: Conv,
    bn1: BatchNorm2d,
    conv_dw: Conv,
    bn2: BatchNorm2d,
    /// The projection of a block that expands.
    conv_pwl: Option<Conv>,
    bn3: Option<BatchNorm2d>,
    drop_path: DropPath,
    residual: bool,
}

impl Block {
    fn new(block: &BlockSizes, drop_path: f64, sizes: &Sizes, device: &Device) -> Self {
        let wide = block.expanded.unwrap_or(block.from);
        let norm = |channels| norm(channels, sizes, device);
        let point = |from, to| Conv::new([from, to], 1, 1, 1, sizes, device);
        let expands = block.expanded.is_some();
        Self {
            conv_pw: point(block.from, if expands { wide } else { block.to }),
            bn1: norm(wide),
            conv_dw: Conv::new([wide, wide], 3, block.stride, wide, sizes, device),
            bn2: norm(if expands { wide } else { block.to }),
            conv_pwl: expands.then(|| point(wide, block.to)),
            bn3: expands.then(|| norm(block.to)),
            drop_path: DropPath::new(drop_path),
            residual: block.stride == 1 && block.from == block.to,
        }
    }

    /// `[B, C, H, W]` to `[B, C', H/stride, W/stride]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = match (&self.conv_pwl, &self.bn3) {
            (Some(project), Some(bn3)) => {
                let y = self.bn1.forward_relu6(self.conv_pw.forward(x.clone()));
                let y = self.bn2.forward_relu6(self.conv_dw.forward(y));
                bn3.forward(project.forward(y))
            }
            _ => {
                let y = self.bn1.forward_relu6(self.conv_dw.forward(x.clone()));
                self.bn2.forward(self.conv_pw.forward(y))
            }
        };
        if self.residual { x + self.drop_path.forward(y) } else { y }
    }
}

fn norm(channels: usize, sizes: &Sizes, device: &Device) -> BatchNorm2d {
    BatchNorm2d::with(channels, sizes.eps, sizes.momentum, device)
}

/// The net; field names are timm's.
#[derive(Module, Debug)]
pub(super) struct MobileNetV2 {
    conv_stem: Conv,
    bn1: BatchNorm2d,
    blocks: Vec<Vec<Block>>,
    conv_head: Conv,
    bn2: BatchNorm2d,
    classifier: Linear,
    dropout: Dropout,
}

impl MobileNetV2 {
    pub(super) fn new(sizes: &Sizes, classes: usize, device: &Device) -> Result<Self, ModelError> {
        let count: usize = sizes.stages.iter().map(Vec::len).sum();
        // timm's rates rise by 1/blocks from 0, so that the last block's is just below the rate.
        let mut rates = (0..count).map(|i| sizes.drop_path * i as f64 / count as f64);
        let mut last = sizes.stem;
        let mut blocks = Vec::new();
        for stage in &sizes.stages {
            let block = |b: &BlockSizes| Block::new(b, rates.next().unwrap_or(0.0), sizes, device);
            blocks.push(stage.iter().map(block).collect());
            last = stage.last().map_or(last, |b| b.to);
        }
        Ok(Self {
            conv_stem: Conv::new([sizes.channels, sizes.stem], 3, 2, 1, sizes, device),
            bn1: norm(sizes.stem, sizes, device),
            blocks,
            conv_head: Conv::new([last, sizes.features], 1, 1, 1, sizes, device),
            bn2: norm(sizes.features, sizes, device),
            classifier: head(sizes.features, classes, device),
            dropout: dropout(sizes.head_dropout)?,
        })
    }
}

/// Weights uniform in ±1/sqrt(K), bias zero, as timm's.
fn head(from: usize, classes: usize, device: &Device) -> Linear {
    let bound = (classes.max(1) as f64).sqrt().recip();
    let mut linear = Linear::new(from, classes, device);
    linear.weight = Initializer::Uniform { min: -bound, max: bound }.init([classes, from], device);
    linear.bias = Some(Initializer::Zeros.init([classes], device));
    linear
}

impl Forward for MobileNetV2 {
    type In = Tensor<4>;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = &[(".conv.weight", ".weight")];

    /// `[B, C, H, W]` to `[B, K]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.bn1.forward_relu6(self.conv_stem.forward(x));
        let x = self.blocks.iter().flatten().fold(x, |x, block| block.forward(x));
        let x = self.bn2.forward_relu6(self.conv_head.forward(x));
        let x = global_avg_pool2d(x);
        self.classifier.forward(self.dropout.forward(x))
    }
}
