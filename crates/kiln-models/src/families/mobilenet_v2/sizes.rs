//! What a MobileNetV2 is made of, read out of either dialect's `config.json`.
//! Owns the paper's table, the rounding of widths and presets; never what a config changes of them (`card`), nor
//! tensors. Hands sizes to the net.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::vision::{self, Area};
use crate::config::MobilenetV2Preset;
use crate::{Card, ModelError, timm};

pub(super) const PRESETS: [MobilenetV2Preset; 7] = [
    MobilenetV2Preset::Mobilenetv2_035,
    MobilenetV2Preset::Mobilenetv2_050,
    MobilenetV2Preset::Mobilenetv2_075,
    MobilenetV2Preset::Mobilenetv2_100,
    MobilenetV2Preset::Mobilenetv2_140,
    MobilenetV2Preset::Mobilenetv2_110d,
    MobilenetV2Preset::Mobilenetv2_120d,
];

/// Table 2 of the paper: blocks, channels and first stride of each stage.
const TABLE: [(usize, usize, usize); 7] =
    [(1, 16, 1), (2, 24, 2), (3, 32, 2), (4, 64, 2), (3, 96, 1), (3, 160, 2), (1, 320, 1)];
const STEM: usize = 32;
const FEATURES: usize = 1280;

/// One inverted residual.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub(super) from: usize,
    /// Channels between the expansion and the projection; the first block expands nothing.
    pub(super) expanded: Option<usize>,
    pub(super) to: usize,
    pub(super) stride: usize,
}

/// What the net is built from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizes {
    /// `H W`
    pub(super) image: [usize; 2],
    pub(super) channels: usize,
    pub(super) stem: usize,
    pub(super) stages: Vec<Vec<Block>>,
    pub(super) features: usize,
    pub(super) eps: f64,
    /// Share of the newest batch in the running statistics.
    pub(super) momentum: f64,
    /// Pads as TensorFlow's "SAME" does: by the image's size, more at its end.
    pub(super) tf_padding: bool,
    pub(super) head_dropout: f64,
    pub(super) drop_path: f64,
}

/// Whether the folder is one of this family.
pub(super) fn reads(card: &Card) -> bool {
    match timm::architecture(&card.sizes) {
        Some(name) => preset(name).is_some(),
        None => card.model_type == "mobilenet_v2",
    }
}

fn preset(name: &str) -> Option<MobilenetV2Preset> {
    PRESETS.into_iter().find(|preset| vision::preset_name(preset) == name)
}

/// (width, depth) as shares of the paper's. Presets deeper than it keep stem, first and last stage as they are.
fn shares(preset: MobilenetV2Preset) -> (f64, f64) {
    match preset {
        MobilenetV2Preset::Mobilenetv2_035 => (0.35, 1.0),
        MobilenetV2Preset::Mobilenetv2_050 => (0.5, 1.0),
        MobilenetV2Preset::Mobilenetv2_075 => (0.75, 1.0),
        MobilenetV2Preset::Mobilenetv2_100 => (1.0, 1.0),
        MobilenetV2Preset::Mobilenetv2_140 => (1.4, 1.0),
        MobilenetV2Preset::Mobilenetv2_110d => (1.1, 1.2),
        MobilenetV2Preset::Mobilenetv2_120d => (1.2, 1.4),
    }
}

/// The nearest multiple of `divisor` that is at least `least` and not more than a tenth below.
fn rounded(channels: f64, divisor: usize, least: usize) -> usize {
    let nearest = (channels + divisor as f64 / 2.0) as usize / divisor * divisor;
    let at_least = nearest.max(least);
    if (at_least as f64) < 0.9 * channels { at_least + divisor } else { at_least }
}

/// The stages of the table, with `width` of a number of channels, `depth` of a stage's blocks, and `expanded` from a
/// block's input.
fn stages(
    stem: usize,
    width: impl Fn(usize) -> usize,
    depth: impl Fn(usize, usize) -> usize,
    expanded: impl Fn(usize) -> usize,
) -> Vec<Vec<Block>> {
    let mut from = stem;
    let mut stages = Vec::new();
    for (s, (blocks, channels, stride)) in TABLE.into_iter().enumerate() {
        let to = width(channels);
        let block = |b: usize| Block {
            from: if b == 0 { from } else { to },
            expanded: (s > 0).then(|| expanded(if b == 0 { from } else { to })),
            to,
            stride: if b == 0 { stride } else { 1 },
        };
        stages.push((0..depth(s, blocks)).map(block).collect());
        from = to;
    }
    stages
}

/// timm's `model_args`; what is absent is the preset's.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    in_chans: Option<usize>,
    drop_rate: f64,
    drop_path_rate: f64,
}

/// `transformers`' keys with the defaults of its `MobileNetV2Config`, and kiln's `drop_path_rate`.
#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    num_channels: usize,
    image_size: Area,
    depth_multiplier: f64,
    depth_divisible_by: usize,
    min_depth: usize,
    expand_ratio: f64,
    output_stride: usize,
    first_layer_is_expansion: bool,
    finegrained_output: bool,
    hidden_act: String,
    tf_padding: bool,
    classifier_dropout_prob: f64,
    drop_path_rate: f64,
    layer_norm_eps: f64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            num_channels: 3,
            image_size: Area::Side(224),
            depth_multiplier: 1.0,
            depth_divisible_by: 8,
            min_depth: 8,
            expand_ratio: 6.0,
            output_stride: 32,
            first_layer_is_expansion: true,
            finegrained_output: true,
            hidden_act: "relu6".into(),
            tf_padding: true,
            classifier_dropout_prob: 0.8,
            drop_path_rate: 0.0,
            layer_norm_eps: 1e-3,
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

    fn timm(preset: MobilenetV2Preset, keys: &Map<String, Value>) -> Result<Self, ModelError> {
        let args: Args = timm::args(keys, "avg")?;
        let (share, deeper) = shares(preset);
        let width = |channels: usize| rounded(channels as f64 * share, 8, 8);
        let fixed = deeper > 1.0;
        let depth = |s: usize, blocks: usize| match fixed && (s == 0 || s == TABLE.len() - 1) {
            true => blocks,
            false => (blocks as f64 * deeper).ceil() as usize,
        };
        let [channels, h, w] = timm::input_size(keys).unwrap_or([3, 224, 224]);
        let stem = if fixed { STEM } else { width(STEM) };
        Ok(Self {
            image: [h, w],
            channels: args.in_chans.unwrap_or(channels),
            stem,
            stages: stages(stem, width, depth, |from| rounded(6.0 * from as f64, 8, 8)),
            features: if fixed { FEATURES } else { width(FEATURES).max(FEATURES) },
            eps: 1e-5,
            momentum: 0.1,
            tf_padding: false,
            head_dropout: args.drop_rate,
            drop_path: args.drop_path_rate,
        })
    }

    fn transformers(keys: Keys) -> Result<Self, ModelError> {
        expect("hidden_act", keys.hidden_act.as_str(), "relu6")?;
        expect("output_stride", &keys.output_stride, &32)?;
        expect("first_layer_is_expansion", &keys.first_layer_is_expansion, &true)?;
        let (divisor, least) = (keys.depth_divisible_by.max(1), keys.min_depth);
        let width = |n: usize| rounded((n as f64 * keys.depth_multiplier).round_ties_even(), divisor, least);
        let expanded = |n: usize| rounded((n as f64 * keys.expand_ratio).round_ties_even(), divisor, least);
        let narrow = keys.finegrained_output && keys.depth_multiplier < 1.0;
        Ok(Self {
            image: keys.image_size.sides(),
            channels: keys.num_channels,
            stem: width(STEM),
            stages: stages(width(STEM), width, |_, blocks| blocks, expanded),
            features: if narrow { FEATURES } else { width(FEATURES) },
            eps: keys.layer_norm_eps,
            momentum: 0.997,
            tf_padding: keys.tf_padding,
            head_dropout: keys.classifier_dropout_prob,
            drop_path: keys.drop_path_rate,
        })
    }
}

fn expect<T: PartialEq + std::fmt::Display + ?Sized>(
    key: &str,
    got: &T,
    expected: &T,
) -> Result<(), ModelError> {
    if got == expected {
        return Ok(());
    }
    Err(ModelError::config(
        format!("mobilenet_v2: {key} is {got}, kiln's MobileNetV2 has {expected} only"),
        "give a model without this variation",
    ))
}
