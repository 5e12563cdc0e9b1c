//! MobileNetV2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", 2018), from presets, or from a folder of
//! `transformers` or timm. Owns the family's words and names; never a forward pass (`net` has it) or sizes (`sizes`).
//! References: timm's `mobilenetv2_*`, whose names the net has; torchvision's `mobilenet_v2`, whose files are read;
//! `transformers`' `MobileNetV2ForImageClassification`, which pads as TensorFlow does.

mod net;
mod sizes;

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, TaskKind};

use super::{one_answer_a_sample, vision, wrong_branch};
use crate::dialect::Dialect;
use crate::{Card, ModelConfig, ModelError, timm};
use sizes::Sizes;

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "mobilenet_v2"
    }

    fn model_type(&self) -> &'static str {
        "mobilenet_v2"
    }

    fn description(&self) -> &'static str {
        "MobileNetV2, small nets for images"
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("classifier")
    }

    fn dialects(&self, card: &Card) -> Result<Vec<Dialect>, ModelError> {
        let sizes = Sizes::of(card)?;
        let others = [transformers(&sizes), torchvision(&sizes)];
        let own = timm::architecture(&card.sizes).map(|_| Dialect::own(""));
        Ok(own.into_iter().chain(others).map(Dialect::with_counters).collect())
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
        one_answer_a_sample("mobilenet_v2", task)?;
        let ModelConfig::MobilenetV2(config) = config else { return Err(wrong_branch(config)) };
        let image = vision::image("mobilenet_v2", input)?;
        match vision::brought(config.pretrained.as_ref(), self)? {
            Some(brought) => sizes::continued(&brought, config, input, image, labels, task),
            None => sizes::from_preset(config, input, image, labels, task),
        }
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        Ok(Box::new(net::MobileNetV2::new(&Sizes::of(card)?, card.num_labels(), device)?))
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        let sizes = Sizes::of(card)?;
        Ok(vision::input(card, sizes.channels, sizes.image))
    }
}

/// The convolutions with their norms, in the order of the pass: (own convolution, own norm).
fn layers(sizes: &Sizes) -> Vec<Vec<[String; 2]>> {
    let at = |place: &str, conv: &str, norm: &str| [format!("{place}{conv}"), format!("{place}{norm}")];
    let mut all = vec![vec![at("", "conv_stem", "bn1")]];
    for (s, stage) in sizes.stages.iter().enumerate() {
        for (b, block) in stage.iter().enumerate() {
            let place = format!("blocks.{s}.{b}.");
            all.push(match block.expanded {
                Some(_) => vec![
                    at(&place, "conv_pw", "bn1"),
                    at(&place, "conv_dw", "bn2"),
                    at(&place, "conv_pwl", "bn3"),
                ],
                None => vec![at(&place, "conv_dw", "bn1"), at(&place, "conv_pw", "bn2")],
            });
        }
    }
    all.push(vec![at("", "conv_head", "bn2")]);
    all
}

/// The first block belongs to the stem, the others are numbered.
fn transformers(sizes: &Sizes) -> Dialect {
    let layers = layers(sizes);
    let last = layers.len().saturating_sub(1);
    let mut rules = vec![("classifier".to_string(), "classifier".to_string())];
    for (n, block) in layers.into_iter().enumerate() {
        let (place, names): (String, &[&str]) = match n {
            0 => ("conv_stem.".into(), &["first_conv"]),
            1 => ("conv_stem.".into(), &["conv_3x3", "reduce_1x1"]),
            n if n == last => (String::new(), &["conv_1x1"]),
            n => (format!("layer.{}.", n - 2), &["expand_1x1", "conv_3x3", "reduce_1x1"]),
        };
        for ([conv, norm], theirs) in block.into_iter().zip(names) {
            rules.push((conv, format!("mobilenet_v2.{place}{theirs}.convolution")));
            rules.push((norm, format!("mobilenet_v2.{place}{theirs}.normalization")));
        }
    }
    Dialect::new("mobilenet_v2.", rules)
}

/// Every block is one of `features`; all but a block's last convolution are a pair with their norm.
fn torchvision(sizes: &Sizes) -> Dialect {
    let layers = layers(sizes);
    let last = layers.len().saturating_sub(1);
    let mut rules = vec![("classifier".to_string(), "classifier.1".to_string())];
    for (n, block) in layers.into_iter().enumerate() {
        let projection = block.len() - 1;
        for (i, [conv, norm]) in block.into_iter().enumerate() {
            let (c, b) = match n {
                n if n == 0 || n == last => (format!("features.{n}.0"), format!("features.{n}.1")),
                n if i == projection => {
                    (format!("features.{n}.conv.{i}"), format!("features.{n}.conv.{}", i + 1))
                }
                n => (format!("features.{n}.conv.{i}.0"), format!("features.{n}.conv.{i}.1")),
            };
            rules.extend([(conv, c), (norm, b)]);
        }
    }
    Dialect::new("", rules)
}
