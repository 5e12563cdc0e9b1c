//! Vision transformers: ViT (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020) and DeiT (Touvron et al., 2021),
//! from presets, or from a folder of `transformers` or timm. Owns the family's words and names; never a forward pass
//! (`net` has it), sizes (`sizes`) or the fitting of positions (`positions`).
//! References: timm's `vision_transformer` and `deit`, whose names the net has; `transformers`' `ViTForImageClassification`,
//! `DeiTForImageClassification` and its form with a teacher.
//!
//! A folder keeps its dialect: timm's with one `qkv` projection, `transformers`' with `query`, `key` and `value`. A net
//! from scratch is timm's.

mod net;
mod positions;
mod sizes;

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, StateDict, TaskKind};

use super::{one_answer_a_sample, vision, wrong_branch};
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
            Some(brought) => sizes::continued(&brought, config, input, image, labels, task)?,
            None => sizes::from_preset(config, input, image, labels, task)?,
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

mod names {
    //! The net's names and `transformers`'.

    use super::{Card, Dialect};

    const LAYER: [(&str, &str); 8] = [
        ("norm1", "layernorm_before"),
        ("attn.query", "attention.attention.query"),
        ("attn.key", "attention.attention.key"),
        ("attn.value", "attention.attention.value"),
        ("attn.proj", "attention.output.dense"),
        ("norm2", "layernorm_after"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ];
    /// The names of the modules in `transformers` 5, which some files have instead.
    const MODULE: [(&str, &str); 8] = [
        ("norm1", "layernorm_before"),
        ("attn.query", "attention.q_proj"),
        ("attn.key", "attention.k_proj"),
        ("attn.value", "attention.v_proj"),
        ("attn.proj", "attention.o_proj"),
        ("norm2", "layernorm_after"),
        ("mlp.fc1", "mlp.fc1"),
        ("mlp.fc2", "mlp.fc2"),
    ];
    const AROUND: [(&str, &str); 5] = [
        ("cls_token", "embeddings.cls_token"),
        ("dist_token", "embeddings.distillation_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("norm", "layernorm"),
    ];

    /// The card's own dialect first.
    pub(super) fn dialects(card: &Card, two_heads: bool) -> Vec<Dialect> {
        let model = if card.model_type == "deit" { "deit." } else { "vit." };
        let other = if model == "vit." { "deit." } else { "vit." };
        let spelled = |base, layers, of: &[(&str, &str)]| transformers(base, layers, of, two_heads);
        let mut all = vec![
            spelled(model, "encoder.layer", &LAYER),
            spelled(other, "encoder.layer", &LAYER),
            spelled(model, "layers", &MODULE),
        ];
        if crate::timm::architecture(&card.sizes).is_some() {
            all.insert(0, Dialect::own(""));
        }
        all
    }

    /// The names of the modules.
    pub(super) fn modules(card: &Card, two_heads: bool) -> Dialect {
        match (crate::timm::architecture(&card.sizes), card.model_type.as_str()) {
            (Some(_), _) => Dialect::own(""),
            (None, "deit") => transformers("deit.", "layers", &MODULE, two_heads),
            _ => transformers("vit.", "layers", &MODULE, two_heads),
        }
    }

    fn transformers(base: &'static str, layers: &str, layer: &[(&str, &str)], two_heads: bool) -> Dialect {
        let inside = layer
            .iter()
            .map(|(own, theirs)| (format!("blocks.{{}}.{own}"), format!("{base}{layers}.{{}}.{theirs}")));
        let around = AROUND.iter().map(|(own, theirs)| ((*own).to_string(), format!("{base}{theirs}")));
        let heads: &[(&str, &str)] = match two_heads {
            true => &[("head", "cls_classifier"), ("head_dist", "distillation_classifier")],
            false => &[("head", "classifier")],
        };
        let heads = heads.iter().map(|(own, theirs)| ((*own).to_string(), (*theirs).to_string()));
        Dialect::new(base, inside.chain(around).chain(heads))
    }
}
