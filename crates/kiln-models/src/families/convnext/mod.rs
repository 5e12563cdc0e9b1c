//! ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022), from presets, or from a folder of `transformers` or timm.
//! Owns the family's words and names; never a forward pass (`net` has it) or sizes (`sizes`).
//! References: timm's `convnext`, whose names the net has, and `transformers`' `ConvNextForImageClassification`.
//!
//! timm's atto to nano keep their feed-forward layers as 1x1 convolutions; the net has linear layers for all, and such
//! weights are written as they came.

mod net;
mod sizes;

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, TaskKind};

use super::{Facts, one_answer_a_sample, vision, wrong_branch};
use crate::dialect::Dialect;
use crate::{Card, ModelConfig, ModelError, timm};
use sizes::Sizes;

pub(super) struct Family;

/// The net's names and `transformers`'.
const NAMES: [(&str, &str); 12] = [
    ("stem.0", "convnext.embeddings.patch_embeddings"),
    ("stem.1", "convnext.embeddings.layernorm"),
    ("stages.{}.downsample.0", "convnext.encoder.stages.{}.downsampling_layer.0"),
    ("stages.{}.downsample.1", "convnext.encoder.stages.{}.downsampling_layer.1"),
    ("stages.{}.blocks.{}.conv_dw", "convnext.encoder.stages.{}.layers.{}.dwconv"),
    ("stages.{}.blocks.{}.norm", "convnext.encoder.stages.{}.layers.{}.layernorm"),
    ("stages.{}.blocks.{}.mlp.fc1", "convnext.encoder.stages.{}.layers.{}.pwconv1"),
    ("stages.{}.blocks.{}.mlp.fc2", "convnext.encoder.stages.{}.layers.{}.pwconv2"),
    ("stages.{}.blocks.{}.gamma", "convnext.encoder.stages.{}.layers.{}.layer_scale_parameter"),
    ("stages.{}", "convnext.encoder.stages.{}"),
    ("head.norm", "convnext.layernorm"),
    ("head.fc", "classifier"),
];

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "convnext"
    }

    fn model_type(&self) -> &'static str {
        "convnext"
    }

    fn description(&self) -> &'static str {
        "ConvNeXt, for images"
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn facts(&self, card: &Card) -> Result<Facts, ModelError> {
        Ok(Facts { eps: net::EPS, head_eps: Sizes::of(card)?.head_eps, ..Facts::default() })
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("head.fc")
    }

    fn dialects(&self, card: &Card) -> Result<Vec<Dialect>, ModelError> {
        let rules = NAMES.map(|(own, theirs)| (own.to_string(), theirs.to_string()));
        let transformers = Dialect::new("convnext.", rules);
        if timm::architecture(&card.sizes).is_none() {
            return Ok(vec![transformers]);
        }
        let pointwise = ["stages.{}.blocks.{}.mlp.fc1", "stages.{}.blocks.{}.mlp.fc2"];
        let timm = match Sizes::of(card)?.conv_mlp {
            true => Dialect::own("").with_pointwise(pointwise),
            false => Dialect::own(""),
        };
        Ok(vec![timm, transformers])
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
        one_answer_a_sample("convnext", task)?;
        let ModelConfig::Convnext(config) = config else { return Err(wrong_branch(config)) };
        let image = vision::image("convnext", input)?;
        let card = match vision::brought(config.pretrained.as_ref(), self)? {
            Some(brought) => sizes::continued(&brought, config, input, image, labels, task)?,
            None => sizes::from_preset(config, input, image, labels, task)?,
        };
        Sizes::of(&card)?.check(image)?;
        Ok(card)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes = Sizes::of(card)?;
        sizes.check(vision::image("convnext", &self.input(card)?)?)?;
        Ok(Box::new(net::ConvNext::new(&sizes, card.num_labels(), device)?))
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        let sizes = Sizes::of(card)?;
        Ok(vision::input(card, sizes.channels, sizes.image))
    }
}
