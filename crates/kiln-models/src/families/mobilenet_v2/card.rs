//! The card of a net for this data: from a preset, or of a brought folder with the config's dropouts.
//! Owns what a config may change; never sizes (`sizes`) or the keys that all families share (`vision`).
//! Hands cards to the family.

use kiln_core::{InputSpec, TaskKind};
use serde_json::{Map, Value, json};

use super::sizes::{PRESETS, Sizes};
use super::vision::{self, Area};
use crate::config::MobilenetV2Config;
use crate::{Card, ModelError, timm};

/// A net from scratch, or from a bare file of weights, in timm's form.
pub(super) fn from_preset(
    config: &MobilenetV2Config,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    let Some(preset) = config.preset else {
        let names: Vec<String> = PRESETS.iter().map(vision::preset_name).collect();
        return Err(vision::no_preset("mobilenet_v2", &names.join(", ")));
    };
    let mut keys = timm::keys(&vision::preset_name(&preset), false, "conv_stem", &["classifier"]);
    change_timm(&mut keys, config);
    vision::timm_card(keys, input, image, labels, task)
}

fn change_timm(keys: &mut Map<String, Value>, config: &MobilenetV2Config) {
    let given = [("drop_rate", config.classifier_dropout), ("drop_path_rate", config.drop_path_rate)];
    for (key, value) in given {
        if let Some(value) = value {
            timm::set_arg(keys, key, json!(value));
        }
    }
}

/// A brought folder's net for this data.
pub(super) fn continued(
    brought: &Card,
    config: &MobilenetV2Config,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    vision::check_channels("mobilenet_v2", Sizes::of(brought)?.channels, image[0])?;
    let mut keys = brought.sizes.clone();
    if let Some(architecture) = timm::architecture(&brought.sizes) {
        let preset = config.preset.map(|p| vision::preset_name(&p));
        vision::check_same("preset", preset, architecture.to_string())?;
        change_timm(&mut keys, config);
        return vision::timm_card(keys, input, image, labels, task);
    }
    let given =
        [("classifier_dropout_prob", config.classifier_dropout), ("drop_path_rate", config.drop_path_rate)];
    for (key, value) in given {
        value.map(|value| keys.insert(key.into(), json!(value)));
    }
    keys.insert("image_size".into(), Area::json([image[1], image[2]]));
    vision::transformers_card(brought, keys, input, labels, task)
}
