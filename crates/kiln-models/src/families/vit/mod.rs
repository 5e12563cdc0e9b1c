//! Vision transformers: ViT (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020) and DeiT (Touvron et al., 2021),
//! from presets, or from a folder of `transformers` or timm. Owns the family's words; never a forward pass
//! (`net` has it), sizes (`sizes`, `card`) or the fitting of positions (`positions`).
//! References: timm's `vision_transformer` and `deit`, whose names the net has; `transformers`' `ViTForImageClassification`,
//! `DeiTForImageClassification` and its form with a teacher.
//!
//! A folder keeps its dialect: timm's with one `qkv` projection, `transformers`' with `query`, `key` and `value`. A net
//! from scratch is timm's.

mod card;
mod names;
mod net;
mod positions;
mod sizes;

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, StateDict, TaskKind};

use super::{Facts, one_answer_a_sample, vision, wrong_branch};
use crate::dialect::{Dialect, Fused};
use crate::{Card, ModelConfig, ModelError};
use sizes::Sizes;

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "vit"
    }

    fn model_type(&self) -> &'static str {
        "vit"
    }

    fn description(&self) -> &'static str {
        "vision transformers, ViT and DeiT, for images"
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("head")
    }

    fn heads(&self, card: &Card) -> Result<Vec<&'static str>, ModelError> {
        let two = Sizes::of(card)?.distillation_head;
        Ok(if two { vec!["head", "head_dist"] } else { vec!["head"] })
    }

    fn dialects(&self, card: &Card) -> Result<Vec<Dialect>, ModelError> {
        Ok(names::dialects(card, Sizes::of(card)?.distillation_head))
    }

    fn module_names(&self, card: &Card) -> Result<Dialect, ModelError> {
        Ok(names::modules(card, Sizes::of(card)?.distillation_head))
    }

    fn facts(&self, card: &Card) -> Result<Facts, ModelError> {
        let sizes = Sizes::of(card)?;
        Ok(Facts { heads: sizes.heads, eps: sizes.eps, ..Facts::default() })
    }

    fn fused(&self) -> &'static [Fused] {
        &[Fused { whole: "qkv", parts: &["query", "key", "value"] }]
    }

    fn reads(&self, card: &Card) -> bool {
        sizes::reads(card)
    }

    fn fit(&self, card: &Card, state: &mut StateDict) -> Result<Vec<String>, ModelError> {
        positions::fit(&Sizes::of(card)?, state)
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        one_answer_a_sample("vit", task)?;
        let ModelConfig::Vit(config) = config else { return Err(wrong_branch(config)) };
        let image = vision::image("vit", input)?;
        let card = match vision::brought(config.pretrained.as_ref(), self)? {
            Some(brought) => card::continued(&brought, config, input, image, labels, task)?,
            None => card::from_preset(config, input, image, labels, task)?,
        };
        Sizes::of(&card)?.check()?;
        Ok(card)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes = Sizes::of(card)?;
        sizes.check()?;
        Ok(Box::new(net::Vit::new(&sizes, card.num_labels(), device)?))
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        let sizes = Sizes::of(card)?;
        Ok(vision::input(card, sizes.channels, sizes.image))
    }
}
