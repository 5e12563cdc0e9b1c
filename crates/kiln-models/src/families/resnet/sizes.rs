//! What a residual net is made of, read out of `config.json` in kiln's, `transformers`' or timm's form.
//! Owns presets and checks, and what a config may change of a brought folder; never tensors.
//! Hands the form to the nets.

use kiln_core::{InputSpec, TaskKind};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::vision;
use crate::config::{ResnetConfig, ResnetPreset};
use crate::{Card, ModelError, timm};

/// `model_type` of the forms for small images, which no other library has.
pub(super) const CIFAR: &str = "kiln_resnet";
/// `model_type` of `transformers`' folders.
pub(super) const TRANSFORMERS: &str = "resnet";

const PRESETS: [ResnetPreset; 11] = [
    ResnetPreset::Cifar20,
    ResnetPreset::Cifar32,
    ResnetPreset::Cifar44,
    ResnetPreset::Cifar56,
    ResnetPreset::Cifar110,
    ResnetPreset::CifarResnet18,
    ResnetPreset::Resnet18,
    ResnetPreset::Resnet34,
    ResnetPreset::Resnet50,
    ResnetPreset::Resnet101,
    ResnetPreset::Resnet152,
];

/// What is built.
pub(super) enum Form {
    /// Blocks in each of the three stages.
    Cifar(usize),
    /// The form for large images, or with another stem for small ones.
    ImageNet(ImageNet),
}

/// The sizes of the ImageNet form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageNet {
    /// Whether the first convolution is 3x3 and keeps every pixel, without pooling behind it.
    pub(super) small_images: bool,
    /// Channels of the first convolution.
    pub(super) stem: usize,
    /// Blocks of each stage, at most four.
    pub(super) depths: Vec<usize>,
    /// Channels that each stage writes.
    pub(super) widths: Vec<usize>,
    /// Whether blocks narrow to a quarter of their width inside.
    pub(super) bottleneck: bool,
}

fn of_preset(preset: ResnetPreset) -> Form {
    let form = |depths: [usize; 4], bottleneck: bool, small_images: bool| {
        let expansion = if bottleneck { 4 } else { 1 };
        let widths = [64, 128, 256, 512].map(|width| width * expansion).to_vec();
        Form::ImageNet(ImageNet { small_images, stem: 64, depths: depths.to_vec(), widths, bottleneck })
    };
    let large = |depths, bottleneck| form(depths, bottleneck, false);
    match preset {
        ResnetPreset::Cifar20 => Form::Cifar(3),
        ResnetPreset::Cifar32 => Form::Cifar(5),
        ResnetPreset::Cifar44 => Form::Cifar(7),
        ResnetPreset::Cifar56 => Form::Cifar(9),
        ResnetPreset::Cifar110 => Form::Cifar(18),
        ResnetPreset::CifarResnet18 => form([2, 2, 2, 2], false, true),
        ResnetPreset::Resnet18 => large([2, 2, 2, 2], false),
        ResnetPreset::Resnet34 => large([3, 4, 6, 3], false),
        ResnetPreset::Resnet50 => large([3, 4, 6, 3], true),
        ResnetPreset::Resnet101 => large([3, 4, 23, 3], true),
        ResnetPreset::Resnet152 => large([3, 8, 36, 3], true),
    }
}

fn preset(name: &str) -> Option<ResnetPreset> {
    PRESETS.into_iter().find(|preset| vision::preset_name(preset) == name)
}

/// Whether the folder is one of this family.
pub(super) fn reads(card: &Card) -> bool {
    match timm::architecture(&card.sizes) {
        Some(name) => preset(name).is_some_and(|preset| is_large(&of_preset(preset))),
        None => matches!(card.model_type.as_str(), CIFAR | TRANSFORMERS),
    }
}

/// Whether timm has the form.
fn is_large(form: &Form) -> bool {
    matches!(form, Form::ImageNet(ImageNet { small_images: false, .. }))
}

/// kiln's own keys.
#[derive(Serialize, Deserialize)]
struct Own {
    preset: ResnetPreset,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drop_path_rate: Option<f64>,
}

/// timm's `model_args`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    in_chans: Option<usize>,
    drop_path_rate: f64,
}

/// `transformers`' keys with the defaults of its `ResNetConfig`.
#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    num_channels: usize,
    embedding_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    layer_type: String,
    hidden_act: String,
    downsample_in_first_stage: bool,
    downsample_in_bottleneck: bool,
    /// kiln's.
    drop_path_rate: f64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1024, 2048],
            depths: vec![3, 4, 6, 3],
            layer_type: "bottleneck".into(),
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            drop_path_rate: 0.0,
        }
    }
}

/// What a card describes.
pub(super) fn form(card: &Card) -> Result<Form, ModelError> {
    if let Some(preset) = timm::architecture(&card.sizes).and_then(preset) {
        timm::args::<Args>(&card.sizes, "avg")?;
        return Ok(of_preset(preset));
    }
    match card.model_type.as_str() {
        TRANSFORMERS => Ok(Form::ImageNet(of_keys(card.sizes()?)?)),
        _ => Ok(of_preset(card.sizes::<Own>()?.preset)),
    }
}

/// How often the last block is left out in training.
pub(super) fn drop_path(card: &Card) -> Result<f64, ModelError> {
    let rate = match card.model_type.as_str() {
        _ if timm::architecture(&card.sizes).is_some() => {
            timm::args::<Args>(&card.sizes, "avg")?.drop_path_rate
        }
        TRANSFORMERS => card.sizes::<Keys>()?.drop_path_rate,
        _ => card.sizes::<Own>()?.drop_path_rate.unwrap_or(0.0),
    };
    match (0.0..1.0).contains(&rate) {
        true => Ok(rate),
        false => Err(ModelError::config(
            format!("resnet: drop_path_rate is {rate}, expected from 0 to below 1"),
            "correct it in [model] or in the model's config.json",
        )),
    }
}

fn of_keys(keys: Keys) -> Result<ImageNet, ModelError> {
    let refused = |what: String, remedy: &str| Err(ModelError::config(format!("resnet: {what}"), remedy));
    let variation = "give a model without this variation";
    if keys.hidden_act != "relu" {
        return refused(
            format!("hidden_act is {:?}, kiln's ResNet has \"relu\" only", keys.hidden_act),
            variation,
        );
    }
    if keys.downsample_in_first_stage || keys.downsample_in_bottleneck {
        return refused(
            "downsample_in_first_stage and downsample_in_bottleneck must be false".into(),
            variation,
        );
    }
    if !matches!(keys.layer_type.as_str(), "basic" | "bottleneck") {
        let message = format!("layer_type is {:?}, expected \"basic\" or \"bottleneck\"", keys.layer_type);
        return refused(message, "correct it");
    }
    let (stages, widths) = (keys.depths.len(), keys.hidden_sizes.len());
    if stages != widths || stages == 0 || stages > 4 {
        let message =
            format!("depths has {stages} stages and hidden_sizes {widths}, expected the same, 1 to 4");
        return refused(message, "correct them");
    }
    let bottleneck = keys.layer_type == "bottleneck";
    let narrowest = if bottleneck { 4 } else { 1 };
    if keys.embedding_size == 0 || keys.hidden_sizes.iter().any(|w| *w < narrowest) {
        let message =
            format!("embedding_size is {}, hidden_sizes {:?}", keys.embedding_size, keys.hidden_sizes);
        return refused(format!("{message}, expected at least 1 and {narrowest}"), "correct them");
    }
    Ok(ImageNet {
        small_images: false,
        stem: keys.embedding_size,
        depths: keys.depths,
        widths: keys.hidden_sizes,
        bottleneck,
    })
}

/// `C H W` of the images that a folder's weights were made for, where kiln did not write it.
pub(super) fn made_for(card: &Card) -> [usize; 3] {
    let channels = card.sizes::<Keys>().map_or(3, |keys| keys.num_channels);
    let made = timm::input_size(&card.sizes).unwrap_or([channels, 224, 224]);
    let given = timm::args::<Args>(&card.sizes, "avg").ok().and_then(|args| args.in_chans);
    [given.unwrap_or(made[0]), made[1], made[2]]
}

/// A net from scratch, or from a bare file of weights: the ImageNet form in timm's form.
pub(super) fn from_preset(
    config: &ResnetConfig,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    let Some(preset) = config.preset else {
        let names: Vec<String> = PRESETS.iter().map(vision::preset_name).collect();
        return Err(vision::no_preset("resnet", &names.join(", ")));
    };
    match is_large(&of_preset(preset)) {
        false => {
            let own = Own { preset, drop_path_rate: config.drop_path_rate };
            Card::new("ResNet", CIFAR, input, labels, task, &own)
        }
        true => {
            let mut keys = timm::keys(&vision::preset_name(&preset), false, "conv1", &["fc"]);
            if let Some(rate) = config.drop_path_rate {
                timm::set_arg(&mut keys, "drop_path_rate", json!(rate));
            }
            vision::timm_card(keys, input, image, labels, task)
        }
    }
}

/// A brought folder's net for this data.
pub(super) fn continued(
    brought: &Card,
    config: &ResnetConfig,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    form(brought)?;
    let given = config.preset.map(|preset| vision::preset_name(&preset));
    if let Some(architecture) = timm::architecture(&brought.sizes) {
        vision::check_same("preset", given, architecture.to_string())?;
        vision::check_channels("resnet", made_for(brought)[0], image[0])?;
        let mut keys = brought.sizes.clone();
        if let Some(rate) = config.drop_path_rate {
            timm::set_arg(&mut keys, "drop_path_rate", json!(rate));
        }
        return vision::timm_card(keys, input, image, labels, task);
    }
    if brought.model_type == TRANSFORMERS {
        vision::check_channels("resnet", made_for(brought)[0], image[0])?;
        let mut keys = brought.sizes.clone();
        if let Some(rate) = config.drop_path_rate {
            keys.insert("drop_path_rate".into(), json!(rate));
        }
        return vision::transformers_card(brought, keys, input, labels, task);
    }
    let Own { preset, drop_path_rate } = brought.sizes::<Own>()?;
    vision::check_same("preset", given, vision::preset_name(&preset))?;
    let drop_path_rate = config.drop_path_rate.or(drop_path_rate);
    let again = ResnetConfig { preset: Some(preset), drop_path_rate, ..config.clone() };
    from_preset(&again, input, image, labels, task)
}
