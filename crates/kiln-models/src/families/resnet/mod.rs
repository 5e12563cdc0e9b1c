//! Residual nets (He et al., "Deep Residual Learning for Image Recognition", 2015), in two forms by preset.
//! Owns the table of depths; never a forward pass (`cifar`, `imagenet` have one each).
//! Reads images of any size; both forms average over the pixels that are left.

mod cifar;
mod imagenet;

use burn::module::Initializer;
use burn::tensor::{Device, Tensor};
use kiln_core::{InputSpec, Net, TaskKind};
use kiln_nn::{Conv2d, Conv2dConfig, PaddingConfig2d};
use serde::{Deserialize, Serialize};

use super::{one_answer_a_sample, wrong_branch, wrong_input};
use crate::config::ResnetPreset;
use crate::{Card, ModelConfig, ModelError};

/// What a preset builds.
enum Form {
    /// Blocks in each of the three stages.
    Cifar(usize),
    /// Blocks in each of the four stages; whether they are bottlenecks.
    ImageNet([usize; 4], bool),
}

fn form(preset: ResnetPreset) -> Form {
    match preset {
        ResnetPreset::Cifar20 => Form::Cifar(3),
        ResnetPreset::Cifar32 => Form::Cifar(5),
        ResnetPreset::Cifar44 => Form::Cifar(7),
        ResnetPreset::Cifar56 => Form::Cifar(9),
        ResnetPreset::Cifar110 => Form::Cifar(18),
        ResnetPreset::Resnet18 => Form::ImageNet([2, 2, 2, 2], false),
        ResnetPreset::Resnet34 => Form::ImageNet([3, 4, 6, 3], false),
        ResnetPreset::Resnet50 => Form::ImageNet([3, 4, 6, 3], true),
    }
}

#[derive(Serialize, Deserialize)]
struct Sizes {
    preset: ResnetPreset,
}

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "resnet"
    }

    fn model_type(&self) -> &'static str {
        "kiln_resnet"
    }

    fn description(&self) -> &'static str {
        "residual nets for images: CIFAR form 20/32/44/56/110, ImageNet form 18/34/50"
    }

    fn head(&self, card: &Card) -> Result<&'static str, ModelError> {
        let sizes: Sizes = card.sizes()?;
        Ok(match form(sizes.preset) {
            Form::Cifar(_) => "linear",
            Form::ImageNet(..) => "fc",
        })
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        one_answer_a_sample("resnet", task)?;
        let ModelConfig::Resnet(config) = config else { return Err(wrong_branch(config)) };
        channels(input)?;
        Card::new("ResNet", self.model_type(), input, labels, task, &Sizes { preset: config.preset })
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        let (channels, classes) = (channels(card.input()?)?, card.num_labels());
        Ok(match form(sizes.preset) {
            Form::Cifar(blocks) => Box::new(cifar::ResNet::new(blocks, channels, classes, device)),
            Form::ImageNet(blocks, deep) => {
                Box::new(imagenet::ResNet::new(blocks, deep, channels, classes, device))
            }
        })
    }
}

fn channels(input: &InputSpec) -> Result<usize, ModelError> {
    match input {
        InputSpec::Image { channels, .. } => Ok(*channels),
        other => Err(wrong_input("resnet", "images", other)),
    }
}

/// A square convolution without bias that keeps (stride 1) or divides (stride 2) height and width.
fn conv(channels: [usize; 2], kernel: usize, stride: usize, fan_out: bool, device: &Device) -> Conv2d {
    let pad = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: fan_out })
        .init(device)
}

/// `[B, C, H, W]` to `[B, C]`: the mean over pixels.
fn average_pixels(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}
