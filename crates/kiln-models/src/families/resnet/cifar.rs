//! The CIFAR form: three stages of 16, 32 and 64 channels, shortcuts without parameters (option A).
//! He et al., 2015, section 4.2. Reference: github.com/akamaster/pytorch_resnet_cifar10, whose names, initial values
//! (He normal for convolutions and the head) and checkpoints these are; stochastic depth is kiln's.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `K` classes.

use burn::module::Module;
use burn::tensor::{Device, Tensor, s};
use kiln_core::Forward;
use kiln_nn::{BatchNorm2d, Conv2d, DropPath, Linear, global_avg_pool2d};

use super::{conv, ended};

#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    drop_path: DropPath,
}

impl Block {
    fn new(from: usize, to: usize, drop_path: f64, device: &Device) -> Self {
        let stride = if from == to { 1 } else { 2 };
        Self {
            conv1: conv([from, to], 3, stride, false, device),
            bn1: BatchNorm2d::new(to, device),
            conv2: conv([to, to], 3, 1, false, device),
            bn2: BatchNorm2d::new(to, device),
            drop_path: DropPath::new(drop_path),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.bn1.forward_relu(self.conv1.forward(x.clone()));
        let y = self.conv2.forward(y);
        let channels = y.dims()[1];
        ended(&self.bn2, &self.drop_path, y, shortcut(x, channels))
    }
}

/// Option A: every second pixel, and zeros for the channels that are new, half of them before and half after.
fn shortcut(x: Tensor<4>, channels: usize) -> Tensor<4> {
    let [b, from, _, _] = x.dims();
    if from == channels {
        return x;
    }
    let x = x.slice(s![.., .., ..;2, ..;2]);
    let [_, _, h, w] = x.dims();
    let zeros = Tensor::zeros([b, (channels - from) / 2, h, w], &x.device());
    Tensor::cat(vec![zeros.clone(), x, zeros], 1)
}

/// The net; field names are the checkpoints'.
#[derive(Module, Debug)]
pub(super) struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    linear: Linear,
}

impl ResNet {
    pub(super) fn new(
        blocks: usize,
        drop_path: f64,
        channels: usize,
        classes: usize,
        device: &Device,
    ) -> Self {
        let mut rates = DropPath::rising(drop_path, 3 * blocks).into_iter();
        let mut stage = |from: usize, to: usize| -> Vec<Block> {
            let rates = rates.by_ref().take(blocks).enumerate();
            rates.map(|(i, rate)| Block::new(if i == 0 { from } else { to }, to, rate, device)).collect()
        };
        Self {
            conv1: conv([channels, 16], 3, 1, false, device),
            bn1: BatchNorm2d::new(16, device),
            layer1: stage(16, 16),
            layer2: stage(16, 32),
            layer3: stage(32, 64),
            linear: Linear::kaiming_normal(64, classes, device),
        }
    }
}

impl Forward for ResNet {
    type In = Tensor<4>;
    type Out = Tensor<2>;

    /// `[B, C, H, W]` to `[B, K]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.bn1.forward_relu(self.conv1.forward(x));
        let blocks = self.layer1.iter().chain(&self.layer2).chain(&self.layer3);
        self.linear.forward(global_avg_pool2d(blocks.fold(x, |x, block| block.forward(x))))
    }
}
