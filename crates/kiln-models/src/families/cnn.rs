//! A small convolutional net: per stage 3x3 convolution, batch norm, ReLU, 2x2 max pooling; then two linear layers.
//! Reads images of one fixed size.
//! Own names: `stages.N.conv.weight`, `stages.N.bn.*`, `fc.*`, `head.*`; initial weights are PyTorch's defaults.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `K` classes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, InputSpec, Net, TaskKind};
use kiln_nn::{BatchNorm2d, Conv2d, Conv2dConfig, Dropout, Linear, PaddingConfig2d, max_pool2d, relu};
use serde::{Deserialize, Serialize};

use super::{dropout, one_answer_a_sample, wrong_branch, wrong_input};
use crate::{Card, ModelConfig, ModelError};

#[derive(Module, Debug)]
struct Stage {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl Stage {
    fn new(from: usize, to: usize, device: &Device) -> Self {
        // Batch norm subtracts the mean, so a bias before it would do nothing.
        let conv = Conv2dConfig::new([from, to], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_bias(false);
        Self { conv: conv.init(device), bn: BatchNorm2d::new(to, device) }
    }

    /// `[B, C, H, W]` to `[B, C', H/2, W/2]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.bn.forward_relu(self.conv.forward(x));
        max_pool2d(x, [2, 2], [2, 2], [0, 0])
    }
}

#[derive(Module, Debug)]
struct Cnn {
    stages: Vec<Stage>,
    fc: Linear,
    head: Linear,
    dropout: Dropout,
}

impl Forward for Cnn {
    type In = Tensor<4>;
    type Out = Tensor<2>;

    /// `[B, C, H, W]` to `[B, K]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.stages.iter().fold(x, |x, stage| stage.forward(x));
        let x = relu(self.fc.forward(x.flatten(1, 3)));
        self.head.forward(self.dropout.forward(x))
    }
}

#[derive(Serialize, Deserialize)]
struct Sizes {
    channels: Vec<usize>,
    hidden_size: usize,
    dropout: f64,
}

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "cnn"
    }

    fn model_type(&self) -> &'static str {
        "kiln_cnn"
    }

    fn description(&self) -> &'static str {
        "a small convolutional net with batch norm, for images"
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("head")
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        one_answer_a_sample("cnn", task)?;
        let ModelConfig::Cnn(config) = config else { return Err(wrong_branch(config)) };
        let sizes =
            Sizes { channels: config.channels.clone(), hidden_size: config.hidden, dropout: config.dropout };
        flat_size(&sizes, input)?;
        Card::new("Cnn", self.model_type(), input, labels, task, &sizes)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        let (mut channels, flat) = flat_size(&sizes, card.input()?)?;
        let mut stages = Vec::new();
        for to in &sizes.channels {
            stages.push(Stage::new(channels, *to, device));
            channels = *to;
        }
        let fc = Linear::new(flat, sizes.hidden_size, device);
        let head = Linear::new(sizes.hidden_size, card.num_labels(), device);
        Ok(Box::new(Cnn { stages, fc, head, dropout: dropout(sizes.dropout)? }))
    }
}

/// The image's channels, and the numbers that are left of one image after the last stage.
fn flat_size(sizes: &Sizes, input: &InputSpec) -> Result<(usize, usize), ModelError> {
    let InputSpec::Image { channels, height, width } = input else {
        return Err(wrong_input("cnn", "images", input));
    };
    if let Some(at) = sizes.channels.iter().position(|c| *c == 0) {
        return Err(ModelError::config(
            format!("[model] channels[{at}] is 0, expected at least 1"),
            "give every stage channels",
        ));
    }
    let halved = |side: usize| side.checked_shr(sizes.channels.len() as u32).unwrap_or(0);
    let (h, w) = (halved(*height), halved(*width));
    if h == 0 || w == 0 {
        let message = format!(
            "[model] channels has {} stages, each of which halves the image, but images are {height}x{width}",
            sizes.channels.len()
        );
        return Err(ModelError::config(message, "give fewer stages, or resize the images to be larger"));
    }
    Ok((*channels, sizes.channels.last().unwrap_or(channels) * h * w))
}
