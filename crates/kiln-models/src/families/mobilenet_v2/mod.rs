//! MobileNetV2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", 2018), from presets, or from a folder of
//! `transformers` or timm. Owns the family's words; never a forward pass (`net` has it), names (`names`) or
//! sizes (`sizes`, `card`).
//! References: timm's `mobilenetv2_*`, whose names the net has; torchvision's `mobilenet_v2`, whose files are read;
//! `transformers`' `MobileNetV2ForImageClassification`, which pads as TensorFlow does.

mod card;
mod names;
mod net;
mod sizes;

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, TaskKind};

use super::{Facts, one_answer_a_sample, vision, wrong_branch};
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

    fn facts(&self, card: &Card) -> Result<Facts, ModelError> {
        let sizes = Sizes::of(card)?;
        let strides =
            sizes.stages.iter().map(|stage| stage.first().map_or(1, |block| block.stride)).collect();
        Ok(Facts { eps: sizes.eps, strides, same_padding: sizes.tf_padding, ..Facts::default() })
    }

    fn dialects(&self, card: &Card) -> Result<Vec<Dialect>, ModelError> {
        let sizes = Sizes::of(card)?;
        let others = [names::transformers(&sizes), names::torchvision(&sizes)];
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
            Some(brought) => card::continued(&brought, config, input, image, labels, task),
            None => card::from_preset(config, input, image, labels, task),
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
