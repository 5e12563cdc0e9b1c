//! What a vision transformer is made of, read out of either dialect's `config.json`.
//! Owns presets, defaults and checks; never what a config changes of them (`card`), nor tensors.
//! Hands checked sizes to the net.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::vision::{self, Area};
use crate::config::{VitConfig, VitPreset};
use crate::{Card, ModelError, timm};

pub(super) const PRESETS: [VitPreset; 18] = [
    VitPreset::VitTinyPatch16_224,
    VitPreset::VitTinyPatch16_384,
    VitPreset::VitSmallPatch32_224,
    VitPreset::VitSmallPatch16_224,
    VitPreset::VitSmallPatch16_384,
    VitPreset::VitBasePatch32_224,
    VitPreset::VitBasePatch16_224,
    VitPreset::VitBasePatch16_384,
    VitPreset::VitBasePatch8_224,
    VitPreset::VitLargePatch16_224,
    VitPreset::DeitTinyPatch16_224,
    VitPreset::DeitSmallPatch16_224,
    VitPreset::DeitBasePatch16_224,
    VitPreset::DeitBasePatch16_384,
    VitPreset::DeitTinyDistilledPatch16_224,
    VitPreset::DeitSmallDistilledPatch16_224,
    VitPreset::DeitBaseDistilledPatch16_224,
    VitPreset::DeitBaseDistilledPatch16_384,
];

/// What the net is built from. Dropouts are probabilities.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizes {
    /// `H W`
    pub(super) image: [usize; 2],
    pub(super) patch: usize,
    pub(super) channels: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) intermediate: usize,
    pub(super) qkv_bias: bool,
    pub(super) eps: f64,
    /// After the embeddings.
    pub(super) position_dropout: f64,
    /// After attention output and feed-forward.
    pub(super) dropout: f64,
    /// Between the two layers of the feed-forward.
    pub(super) inner_dropout: f64,
    pub(super) attention_dropout: f64,
    pub(super) head_dropout: f64,
    pub(super) drop_path: f64,
    pub(super) distillation_token: bool,
    pub(super) distillation_head: bool,
    /// One projection for query, key and value, as timm has it.
    pub(super) fused: bool,
}

/// Whether the folder is one of this family.
pub(super) fn reads(card: &Card) -> bool {
    match timm::architecture(&card.sizes) {
        Some(name) => preset(name).is_some(),
        None => matches!(card.model_type.as_str(), "vit" | "deit"),
    }
}

fn preset(name: &str) -> Option<VitPreset> {
    PRESETS.into_iter().find(|preset| vision::preset_name(preset) == name)
}

/// timm's `model_args`; what is absent is the preset's.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    img_size: Option<Area>,
    patch_size: Option<Area>,
    in_chans: Option<usize>,
    embed_dim: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    mlp_ratio: f64,
    qkv_bias: bool,
    drop_rate: f64,
    pos_drop_rate: f64,
    proj_drop_rate: f64,
    attn_drop_rate: f64,
    drop_path_rate: f64,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            img_size: None,
            patch_size: None,
            in_chans: None,
            embed_dim: None,
            depth: None,
            num_heads: None,
            mlp_ratio: 4.0,
            qkv_bias: true,
            drop_rate: 0.0,
            pos_drop_rate: 0.0,
            proj_drop_rate: 0.0,
            attn_drop_rate: 0.0,
            drop_path_rate: 0.0,
        }
    }
}

/// `transformers`' keys with the defaults of its `ViTConfig`, and kiln's `drop_path_rate`.
#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    hidden_dropout_prob: f64,
    attention_probs_dropout_prob: f64,
    drop_path_rate: f64,
    layer_norm_eps: f64,
    image_size: Area,
    patch_size: Area,
    num_channels: usize,
    qkv_bias: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            drop_path_rate: 0.0,
            layer_norm_eps: 1e-12,
            image_size: Area::Side(224),
            patch_size: Area::Side(16),
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

impl Sizes {
    pub(super) fn of(card: &Card) -> Result<Self, ModelError> {
        match timm::architecture(&card.sizes).and_then(preset) {
            Some(preset) => Self::timm(preset, &card.sizes),
            None => Self::transformers(card),
        }
    }

    fn timm(preset: VitPreset, keys: &Map<String, Value>) -> Result<Self, ModelError> {
        let args: Args = timm::args(keys, "token")?;
        let name = vision::preset_name(&preset);
        let (hidden, layers, heads) = match name.as_str() {
            n if n.contains("_tiny_") => (192, 12, 3),
            n if n.contains("_small_") => (384, 12, 6),
            n if n.contains("_base_") => (768, 12, 12),
            _ => (1024, 24, 16),
        };
        let number =
            |after: &str| name.rsplit_once(after).and_then(|(_, n)| n.split('_').next()?.parse().ok());
        let (patch, side) = (number("patch").unwrap_or(16), number("_").unwrap_or(224));
        let hidden = args.embed_dim.unwrap_or(hidden);
        let made_for = timm::input_size(keys).map(|[_, h, w]| [h, w]);
        Ok(Self {
            image: args.img_size.map(Area::sides).or(made_for).unwrap_or([side, side]),
            patch: square(args.patch_size.unwrap_or(Area::Side(patch)))?,
            channels: args.in_chans.or(timm::input_size(keys).map(|[c, _, _]| c)).unwrap_or(3),
            hidden,
            layers: args.depth.unwrap_or(layers),
            heads: args.num_heads.unwrap_or(heads),
            intermediate: (hidden as f64 * args.mlp_ratio) as usize,
            qkv_bias: args.qkv_bias,
            eps: 1e-6,
            position_dropout: args.pos_drop_rate,
            dropout: args.proj_drop_rate,
            inner_dropout: args.proj_drop_rate,
            attention_dropout: args.attn_drop_rate,
            head_dropout: args.drop_rate,
            drop_path: args.drop_path_rate,
            distillation_token: name.contains("distilled"),
            distillation_head: name.contains("distilled"),
            fused: true,
        })
    }

    fn transformers(card: &Card) -> Result<Self, ModelError> {
        let keys: Keys = card.sizes()?;
        if keys.hidden_act != "gelu" {
            return Err(ModelError::config(
                format!("vit: hidden_act is {:?}, kiln's ViT has \"gelu\" only", keys.hidden_act),
                "give a model without this variation",
            ));
        }
        let deit = card.model_type == "deit";
        Ok(Self {
            image: keys.image_size.sides(),
            patch: square(keys.patch_size)?,
            channels: keys.num_channels,
            hidden: keys.hidden_size,
            layers: keys.num_hidden_layers,
            heads: keys.num_attention_heads,
            intermediate: keys.intermediate_size,
            qkv_bias: keys.qkv_bias,
            eps: keys.layer_norm_eps,
            position_dropout: keys.hidden_dropout_prob,
            dropout: keys.hidden_dropout_prob,
            inner_dropout: 0.0,
            attention_dropout: keys.attention_probs_dropout_prob,
            head_dropout: 0.0,
            drop_path: keys.drop_path_rate,
            distillation_token: deit,
            distillation_head: deit && card.architectures.first().is_some_and(|a| a.ends_with("WithTeacher")),
            fused: false,
        })
    }

    /// Refuses what no net can be built from.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let counts =
            [("patch_size", self.patch), ("hidden_size", self.hidden), ("num_attention_heads", self.heads)];
        if let Some((key, _)) = counts.into_iter().find(|(_, n)| *n == 0) {
            return Err(ModelError::config(format!("vit: {key} is 0, expected at least 1"), "correct it"));
        }
        let ([h, w], patch) = (self.image, self.patch);
        if h == 0 || w == 0 || !h.is_multiple_of(patch) || !w.is_multiple_of(patch) {
            let message = format!("images of {h}x{w} cannot be cut into patches of {patch}x{patch}");
            let nearest = |n: usize| n.div_ceil(patch) * patch;
            let remedy = format!(
                "resize the images to a multiple of {patch}, such as {}x{}, or set model.patch_size",
                nearest(h),
                nearest(w)
            );
            return Err(ModelError::config(message, remedy));
        }
        if !self.hidden.is_multiple_of(self.heads) {
            let message = format!(
                "vit: hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden, self.heads
            );
            return Err(ModelError::config(message, "choose a number of heads that divides hidden_size"));
        }
        Ok(())
    }

    /// Tokens before the patches.
    pub(super) fn prefix(&self) -> usize {
        1 + usize::from(self.distillation_token)
    }

    /// Patches down and across.
    pub(super) fn grid(&self) -> [usize; 2] {
        self.image.map(|side| side / self.patch)
    }

    /// The keys of a config that name a size must agree with the folder.
    pub(super) fn agree(&self, config: &VitConfig) -> Result<(), ModelError> {
        vision::check_same("patch_size", config.patch_size, self.patch)?;
        vision::check_same("hidden_size", config.hidden_size, self.hidden)?;
        vision::check_same("num_hidden_layers", config.num_hidden_layers, self.layers)?;
        vision::check_same("num_attention_heads", config.num_attention_heads, self.heads)
    }
}

fn square(area: Area) -> Result<usize, ModelError> {
    match area.sides() {
        [h, w] if h == w => Ok(h),
        [h, w] => {
            let message = format!("vit: patch_size is {h}x{w}, kiln's ViT has square patches only");
            Err(ModelError::config(message, "give a model with square patches"))
        }
    }
}
