//! `torch.nn.Conv2d`: Burn's own layer, whose names, layout (`[OUT, IN / groups, KH, KW]`) and initial values are
//! PyTorch's, with the meter told.
//! Owns no arithmetic (`ops/conv2d.rs` has it). kiln-models composes it.
//!
//! Shapes: `B` batch, `IN OUT` channels, `H W` pixels, `KH KW` kernel.

use std::fmt;
use std::ops::{Deref, DerefMut};

use burn::module::{
    Content, Devices, Initializer, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param,
};
use burn::nn::PaddingConfig2d;
use burn::nn::conv;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use crate::{meter, ops};

/// A convolution before it has weights.
#[derive(Debug, Clone)]
pub struct Conv2dConfig(conv::Conv2dConfig);

impl Conv2dConfig {
    /// `[IN, OUT]` channels; stride 1, no padding, with bias.
    pub fn new(channels: [usize; 2], kernel_size: [usize; 2]) -> Self {
        Self(conv::Conv2dConfig::new(channels, kernel_size))
    }

    /// Pixels from one application to the next.
    pub fn with_stride(self, stride: [usize; 2]) -> Self {
        Self(self.0.with_stride(stride))
    }

    /// Pixels between the taps of the kernel.
    pub fn with_dilation(self, dilation: [usize; 2]) -> Self {
        Self(self.0.with_dilation(dilation))
    }

    /// Channels in this many groups that do not see each other.
    pub fn with_groups(self, groups: usize) -> Self {
        Self(self.0.with_groups(groups))
    }

    /// Zeros around the image.
    pub fn with_padding(self, padding: PaddingConfig2d) -> Self {
        Self(self.0.with_padding(padding))
    }

    /// Whether there is a bias.
    pub fn with_bias(self, bias: bool) -> Self {
        Self(self.0.with_bias(bias))
    }

    /// The distribution of the initial weights.
    pub fn with_initializer(self, initializer: Initializer) -> Self {
        Self(self.0.with_initializer(initializer))
    }

    /// The layer.
    pub fn init(&self, device: &Device) -> Conv2d {
        Conv2d(self.0.init(device))
    }
}

/// A 2D convolution, as `torch.nn.Conv2d`.
#[derive(Debug, Clone)]
pub struct Conv2d(conv::Conv2d);

impl Conv2d {
    /// `[B, IN, H, W]` to `[B, OUT, H', W']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let read = meter::bytes(&x);
        let [_, _, height, width] = x.dims();
        let padding = [self.padding(0, height), self.padding(1, width)];
        let options = ConvOptions::new_with_padding(self.stride, padding, self.dilation, self.groups);
        let y = ops::conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), options);
        let flops = || {
            let [_, per_group, height, width] = self.0.weight.dims();
            2 * y.shape().num_elements() * per_group * height * width
        };
        meter::layer(flops, &self.0.weight, read, &y);
        y
    }

    /// Zeros before and after an axis of `size` pixels.
    fn padding(&self, axis: usize, size: usize) -> (usize, usize) {
        match (&self.padding, axis) {
            (PaddingConfig2d::Valid, _) => (0, 0),
            (PaddingConfig2d::Explicit(top, _, bottom, _), 0) => (*top, *bottom),
            (PaddingConfig2d::Explicit(_, left, _, right), _) => (*left, *right),
            (PaddingConfig2d::Same, _) => {
                let reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1;
                let read = size.div_ceil(self.stride[axis]).saturating_sub(1) * self.stride[axis] + reach;
                let both = read.saturating_sub(size);
                (both / 2, both - both / 2)
            }
        }
    }
}

/// Weight, bias and form are Burn's.
impl Deref for Conv2d {
    type Target = conv::Conv2d;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Conv2d {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Module for Conv2d {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self(self.0.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn train(self) -> Self {
        Self(self.0.train())
    }

    fn materialize(self) -> Self {
        Self(self.0.materialize())
    }
}

impl ModuleDisplayDefault for Conv2d {
    fn content(&self, content: Content) -> Option<Content> {
        ModuleDisplayDefault::content(&self.0, content)
    }
}

impl ModuleDisplay for Conv2d {}

impl fmt::Display for Conv2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
