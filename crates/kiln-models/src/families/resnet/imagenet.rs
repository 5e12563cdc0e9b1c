//! The ImageNet form: a 7x7 stem, max pooling, four stages of basic or bottleneck blocks, projection shortcuts.
//! He et al., 2015, table 1, with the stride in a bottleneck's 3x3 convolution as torchvision has it ("v1.5").
//! Reference: `torchvision.models.resnet`, whose names and initial values these are; no difference. For small images the
//! stem is a 3x3 convolution that keeps every pixel, and nothing is pooled (as in github.com/kuangliu/pytorch-cifar).
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `K` classes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kiln_core::Forward;
use kiln_nn::{BatchNorm2d, Conv2d, DropPath, Linear, global_avg_pool2d, max_pool2d};

use super::sizes::ImageNet;
use super::{conv, ended};

#[derive(Module, Debug)]
struct Downsample {
    conv: Conv2d,
    bn: BatchNorm2d,
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    /// Bottlenecks have a third convolution.
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm2d>,
    downsample: Option<Downsample>,
    drop_path: DropPath,
}

impl Block {
    /// Two 3x3 convolutions; writes `width` channels.
    fn basic(from: usize, width: usize, stride: usize, drop_path: f64, device: &Device) -> Self {
        Self {
            conv1: conv([from, width], 3, stride, true, device),
            bn1: BatchNorm2d::new(width, device),
            conv2: conv([width, width], 3, 1, true, device),
            bn2: BatchNorm2d::new(width, device),
            conv3: None,
            bn3: None,
            downsample: downsample(from, width, stride, device),
            drop_path: DropPath::new(drop_path),
        }
    }

    /// 1x1 down to `width`, 3x3, 1x1 up to four times `width`.
    fn bottleneck(from: usize, width: usize, stride: usize, drop_path: f64, device: &Device) -> Self {
        Self {
            conv1: conv([from, width], 1, 1, true, device),
            bn1: BatchNorm2d::new(width, device),
            conv2: conv([width, width], 3, stride, true, device),
            bn2: BatchNorm2d::new(width, device),
            conv3: Some(conv([width, 4 * width], 1, 1, true, device)),
            bn3: Some(BatchNorm2d::new(4 * width, device)),
            downsample: downsample(from, 4 * width, stride, device),
            drop_path: DropPath::new(drop_path),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some(d) => d.bn.forward(d.conv.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.conv2.forward(self.bn1.forward_relu(self.conv1.forward(x)));
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                ended(bn3, &self.drop_path, conv3.forward(self.bn2.forward_relu(y)), shortcut)
            }
            _ => ended(&self.bn2, &self.drop_path, y, shortcut),
        }
    }
}

/// A 1x1 projection where the block changes the shape.
fn downsample(from: usize, to: usize, stride: usize, device: &Device) -> Option<Downsample> {
    (stride != 1 || from != to).then(|| Downsample {
        conv: conv([from, to], 1, stride, true, device),
        bn: BatchNorm2d::new(to, device),
    })
}

/// From `from` channels, at `width`, with `stride`, left out so often.
type MakeBlock = fn(usize, usize, usize, f64, &Device) -> Block;

/// The net; field names are torchvision's.
#[derive(Module, Debug)]
pub(super) struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    fc: Linear,
    #[module(skip)]
    pools: bool,
}

impl ResNet {
    pub(super) fn new(
        sizes: &ImageNet,
        drop_path: f64,
        channels: usize,
        classes: usize,
        device: &Device,
    ) -> Self {
        let mut rates = DropPath::rising(drop_path, sizes.depths.iter().sum()).into_iter();
        let block: MakeBlock = if sizes.bottleneck { Block::bottleneck } else { Block::basic };
        let expansion = if sizes.bottleneck { 4 } else { 1 };
        let mut from = sizes.stem;
        let mut stage = |at: usize| -> Vec<Block> {
            let (count, width) = (sizes.depths.get(at).copied().unwrap_or(0), sizes.widths.get(at).copied());
            let width = width.unwrap_or(0) / expansion;
            let built = rates.by_ref().take(count).enumerate().map(|(i, rate)| {
                let block = block(from, width, if i == 0 && at > 0 { 2 } else { 1 }, rate, device);
                from = width * expansion;
                block
            });
            built.collect()
        };
        let (layer1, layer2, layer3, layer4) = (stage(0), stage(1), stage(2), stage(3));
        Self {
            conv1: match sizes.small_images {
                true => conv([channels, sizes.stem], 3, 1, true, device),
                false => conv([channels, sizes.stem], 7, 2, true, device),
            },
            bn1: BatchNorm2d::new(sizes.stem, device),
            layer1,
            layer2,
            layer3,
            layer4,
            fc: Linear::new(from, classes, device),
            pools: !sizes.small_images,
        }
    }
}

impl Forward for ResNet {
    type In = Tensor<4>;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] =
        &[("downsample.conv", "downsample.0"), ("downsample.bn", "downsample.1")];

    /// `[B, C, H, W]` to `[B, K]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.bn1.forward_relu(self.conv1.forward(x));
        if self.pools {
            x = max_pool2d(x, [3, 3], [2, 2], [1, 1]);
        }
        let blocks = self.layer1.iter().chain(&self.layer2).chain(&self.layer3).chain(&self.layer4);
        self.fc.forward(global_avg_pool2d(blocks.fold(x, |x, block| block.forward(x))))
    }
}
