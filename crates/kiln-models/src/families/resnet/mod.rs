//! Residual nets (He et al., "Deep Residual Learning for Image Recognition", 2015), in two forms, from presets, or from a
//! folder of `transformers` (`ResNetForImageClassification`) or timm (`resnet18` to `resnet152`).
//! Owns the family's words and names; never a forward pass (`cifar`, `imagenet` have one each) or sizes (`sizes`).
//! Reads images of any size; both forms average over the pixels that are left. torchvision's and timm's names are the
//! net's own; a net from scratch in the ImageNet form is timm's.

mod cifar;
mod imagenet;
mod sizes;

use burn::module::Initializer;
use burn::tensor::{Device, Tensor};
use kiln_core::{InputSpec, Net, TaskKind};
use kiln_nn::{BatchNorm2d, Conv2d, Conv2dConfig, DropPath, PaddingConfig2d, relu};

use super::{one_answer_a_sample, vision, wrong_branch};
use crate::dialect::Dialect;
use crate::{Card, ModelConfig, ModelError};
use sizes::{Form, ImageNet};

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "resnet"
    }

    fn model_type(&self) -> &'static str {
        sizes::CIFAR
    }

    fn description(&self) -> &'static str {
        "residual nets for images: CIFAR form 20/32/44/56/110, ImageNet form 18/34/50/101/152, 18 for small images"
    }

    fn head(&self, card: &Card) -> Result<&'static str, ModelError> {
        Ok(match sizes::form(card)? {
            Form::Cifar(_) => "linear",
            Form::ImageNet(_) => "fc",
        })
    }

    fn dialects(&self, card: &Card) -> Result<Vec<Dialect>, ModelError> {
        let Form::ImageNet(sizes) = sizes::form(card)? else { return Ok(vec![Dialect::own("")]) };
        let (own, transformers) = (Dialect::own("").with_counters(), transformers(&sizes).with_counters());
        if card.model_type == sizes::CIFAR {
            return Ok(vec![own]); // with the stem for small images
        }
        let first = card.model_type == sizes::TRANSFORMERS;
        Ok(if first { vec![transformers, own] } else { vec![own, transformers] })
    }

    fn reads(&self, card: &Card) -> bool {
        sizes::reads(card)
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
        let image = vision::image("resnet", input)?;
        match vision::brought(config.pretrained.as_ref(), self)? {
            Some(brought) => sizes::continued(&brought, config, input, image, labels, task),
            None => sizes::from_preset(config, input, image, labels, task),
        }
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let ([channels, _, _], classes) = (vision::image("resnet", &self.input(card)?)?, card.num_labels());
        let rate = sizes::drop_path(card)?;
        Ok(match sizes::form(card)? {
            Form::Cifar(blocks) => Box::new(cifar::ResNet::new(blocks, rate, channels, classes, device)),
            Form::ImageNet(sizes) => Box::new(imagenet::ResNet::new(&sizes, rate, channels, classes, device)),
        })
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        let [channels, h, w] = sizes::made_for(card);
        Ok(vision::input(card, channels, [h, w]))
    }
}

/// `transformers` counts stages from 0 and a block's convolutions in order.
fn transformers(sizes: &ImageNet) -> Dialect {
    let pair = |own: [&str; 2], theirs: &str| {
        [
            (own[0].to_string(), format!("{theirs}.convolution")),
            (own[1].to_string(), format!("{theirs}.normalization")),
        ]
    };
    let mut rules: Vec<(String, String)> = pair(["conv1", "bn1"], "resnet.embedder.embedder").into();
    rules.push(("fc".into(), "classifier.1".into()));
    for stage in 0..sizes.depths.len() {
        let (own, theirs) =
            (format!("layer{}.{{}}", stage + 1), format!("resnet.encoder.stages.{stage}.layers.{{}}"));
        let short = [format!("{own}.downsample.0"), format!("{own}.downsample.1")];
        rules.extend(pair([&short[0], &short[1]], &format!("{theirs}.shortcut")));
        for n in 1..=3 {
            let names = [format!("{own}.conv{n}"), format!("{own}.bn{n}")];
            rules.extend(pair([&names[0], &names[1]], &format!("{theirs}.layer.{}", n - 1)));
        }
    }
    Dialect::new("resnet.", rules)
}

/// The end of a block: the norm of its branch, which is left out for some samples in training, and its shortcut.
fn ended(norm: &BatchNorm2d, drop_path: &DropPath, y: Tensor<4>, shortcut: Tensor<4>) -> Tensor<4> {
    match drop_path.is_active(&y.device()) {
        false => norm.forward_add_relu(y, shortcut),
        true => relu(drop_path.forward(norm.forward(y)) + shortcut),
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
