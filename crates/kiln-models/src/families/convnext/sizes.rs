//! What a ConvNeXt is made of, read out of either dialect's `config.json`.
//! Owns presets, defaults and checks, and what a config may change of a brought folder; never tensors.
//! Hands checked sizes to the net.

use kiln_core::{InputSpec, TaskKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::vision::{self, Area};
use crate::config::{ConvnextConfig, ConvnextPreset};
use crate::{Card, ModelError, timm};

const PRESETS: [ConvnextPreset; 8] = [
    ConvnextPreset::ConvnextAtto,
    ConvnextPreset::ConvnextFemto,
    ConvnextPreset::ConvnextPico,
    ConvnextPreset::ConvnextNano,
    ConvnextPreset::ConvnextTiny,
    ConvnextPreset::ConvnextSmall,
    ConvnextPreset::ConvnextBase,
    ConvnextPreset::ConvnextLarge,
];

/// What the net is built from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizes {
    /// `H W`
    pub(super) image: [usize; 2],
    pub(super) channels: usize,
    pub(super) patch: usize,
    /// Blocks of each stage.
    pub(super) depths: Vec<usize>,
    /// Channels of each stage.
    pub(super) widths: Vec<usize>,
    /// Of the norm before the head; the others have 1e-6.
    pub(super) head_eps: f64,
    /// Where the layer scale starts; `None` for a net without.
    pub(super) layer_scale: Option<f64>,
    pub(super) drop_path: f64,
    pub(super) head_dropout: f64,
    /// Whether the dialect writes feed-forward layers as 1x1 convolutions.
    pub(super) conv_mlp: bool,
}

/// Whether the folder is one of this family.
pub(super) fn reads(card: &Card) -> bool {
    match timm::architecture(&card.sizes) {
        Some(name) => preset(name).is_some(),
        None => card.model_type == "convnext",
    }
}

fn preset(name: &str) -> Option<ConvnextPreset> {
    PRESETS.into_iter().find(|preset| vision::preset_name(preset) == name)
}

fn blocks_and_width(preset: ConvnextPreset) -> ([usize; 4], usize) {
    match preset {
        ConvnextPreset::ConvnextAtto => ([2, 2, 6, 2], 40),
        ConvnextPreset::ConvnextFemto => ([2, 2, 6, 2], 48),
        ConvnextPreset::ConvnextPico => ([2, 2, 6, 2], 64),
        ConvnextPreset::ConvnextNano => ([2, 2, 8, 2], 80),
        ConvnextPreset::ConvnextTiny => ([3, 3, 9, 3], 96),
        ConvnextPreset::ConvnextSmall => ([3, 3, 27, 3], 96),
        ConvnextPreset::ConvnextBase => ([3, 3, 27, 3], 128),
        ConvnextPreset::ConvnextLarge => ([3, 3, 27, 3], 192),
    }
}

/// timm's `model_args`; what is absent is the preset's.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    in_chans: Option<usize>,
    depths: Option<Vec<usize>>,
    dims: Option<Vec<usize>>,
    patch_size: Option<usize>,
    conv_mlp: Option<bool>,
    drop_rate: f64,
    drop_path_rate: f64,
}

/// `transformers`' keys with the defaults of its `ConvNextConfig`.
#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    num_channels: usize,
    patch_size: Area,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    hidden_act: String,
    layer_norm_eps: f64,
    layer_scale_init_value: f64,
    drop_path_rate: f64,
    image_size: Area,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            num_channels: 3,
            patch_size: Area::Side(4),
            hidden_sizes: vec![96, 192, 384, 768],
            depths: vec![3, 3, 9, 3],
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            layer_scale_init_value: 1e-6,
            drop_path_rate: 0.0,
            image_size: Area::Side(224),
        }
    }
}

impl Sizes {
    pub(super) fn of(card: &Card) -> Result<Self, ModelError> {
        match timm::architecture(&card.sizes).and_then(preset) {
            Some(preset) => Self::timm(preset, &card.sizes),
            None => Self::transformers(card.sizes()?),
        }
    }

    fn timm(preset: ConvnextPreset, keys: &Map<String, Value>) -> Result<Self, ModelError> {
        let args: Args = timm::args(keys, "avg")?;
        let (depths, width) = blocks_and_width(preset);
        let [channels, h, w] = timm::input_size(keys).unwrap_or([3, 224, 224]);
        Ok(Self {
            image: [h, w],
            channels: args.in_chans.unwrap_or(channels),
            patch: args.patch_size.unwrap_or(4),
            depths: args.depths.unwrap_or_else(|| depths.to_vec()),
            widths: args.dims.unwrap_or_else(|| [1, 2, 4, 8].map(|n| n * width).to_vec()),
            head_eps: 1e-6,
            layer_scale: Some(1e-6),
            drop_path: args.drop_path_rate,
            head_dropout: args.drop_rate,
            conv_mlp: args.conv_mlp.unwrap_or(width < 96),
        })
    }

    fn transformers(keys: Keys) -> Result<Self, ModelError> {
        if keys.hidden_act != "gelu" {
            return Err(ModelError::config(
                format!("convnext: hidden_act is {:?}, kiln's ConvNeXt has \"gelu\" only", keys.hidden_act),
                "give a model without this variation",
            ));
        }
        let [patch, across] = keys.patch_size.sides();
        if patch != across {
            let message = format!("convnext: patch_size is {patch}x{across}, kiln's has square patches only");
            return Err(ModelError::config(message, "give a model with square patches"));
        }
        Ok(Self {
            image: keys.image_size.sides(),
            channels: keys.num_channels,
            patch,
            depths: keys.depths,
            widths: keys.hidden_sizes,
            head_eps: keys.layer_norm_eps,
            layer_scale: (keys.layer_scale_init_value > 0.0).then_some(keys.layer_scale_init_value),
            drop_path: keys.drop_path_rate,
            head_dropout: 0.0,
            conv_mlp: false,
        })
    }

    /// Refuses what no net can be built from, and images that it would shrink to nothing.
    pub(super) fn check(&self, [_, h, w]: [usize; 3]) -> Result<(), ModelError> {
        let (stages, widths) = (self.depths.len(), self.widths.len());
        if stages != widths || stages == 0 {
            let message = format!("convnext: {stages} numbers of blocks, but {widths} widths");
            return Err(ModelError::config(message, "give each stage one of each"));
        }
        if self.widths.contains(&0) || self.patch == 0 {
            let message = format!(
                "convnext: widths are {:?}, patch_size {}, expected at least 1",
                self.widths, self.patch
            );
            return Err(ModelError::config(message, "correct them"));
        }
        let least = self.patch << (stages - 1).min(30);
        if h < least || w < least {
            let message = format!("convnext shrinks images {least} times, more than {h}x{w} pixels allow");
            return Err(ModelError::config(
                message,
                format!("resize the images to at least {least}x{least}"),
            ));
        }
        Ok(())
    }
}

/// A net from scratch, or from a bare file of weights, in timm's form.
pub(super) fn from_preset(
    config: &ConvnextConfig,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    let Some(preset) = config.preset else {
        let names: Vec<String> = PRESETS.iter().map(vision::preset_name).collect();
        return Err(vision::no_preset("convnext", &names.join(", ")));
    };
    let mut keys = timm::keys(&vision::preset_name(&preset), false, "stem.0", &["head.fc"]);
    if let Some(rate) = config.drop_path_rate {
        timm::set_arg(&mut keys, "drop_path_rate", json!(rate));
    }
    vision::timm_card(keys, input, image, labels, task)
}

/// A brought folder's net for this data.
pub(super) fn continued(
    brought: &Card,
    config: &ConvnextConfig,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    vision::check_channels("convnext", Sizes::of(brought)?.channels, image[0])?;
    let mut keys = brought.sizes.clone();
    let rate = config.drop_path_rate.map(|rate| json!(rate));
    let Some(architecture) = timm::architecture(&brought.sizes) else {
        rate.map(|rate| keys.insert("drop_path_rate".into(), rate));
        keys.insert("image_size".into(), Area::json([image[1], image[2]]));
        return vision::transformers_card(brought, keys, input, labels, task);
    };
    vision::check_same("preset", config.preset.map(|p| vision::preset_name(&p)), architecture.to_string())?;
    if let Some(rate) = rate {
        timm::set_arg(&mut keys, "drop_path_rate", rate);
    }
    vision::timm_card(keys, input, image, labels, task)
}
