//! The card of a net for this data: from a preset, or of a brought folder with the data's image size and the config's
//! dropouts. Owns what a config may change; never sizes (`sizes`) or the keys that all families share (`vision`).
//! Hands cards to the family.

use kiln_core::{InputSpec, TaskKind};
use serde_json::{Map, Value, json};

use super::sizes::{PRESETS, Sizes};
use super::vision::{self, Area};
use crate::config::VitConfig;
use crate::{Card, ModelError, timm};

/// A net from scratch, or from a bare file of weights, in timm's form.
pub(super) fn from_preset(
    config: &VitConfig,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    let Some(preset) = config.preset else {
        let names: Vec<String> = PRESETS.iter().map(vision::preset_name).collect();
        return Err(vision::no_preset("vit", &names.join(", ")));
    };
    let name = vision::preset_name(&preset);
    let heads: &[&str] = if name.contains("distilled") { &["head", "head_dist"] } else { &["head"] };
    let mut keys = timm::keys(&name, true, "patch_embed.proj", heads);
    let sizes = [
        ("patch_size", config.patch_size),
        ("embed_dim", config.hidden_size),
        ("depth", config.num_hidden_layers),
        ("num_heads", config.num_attention_heads),
    ];
    for (key, given) in sizes {
        if let Some(given) = given {
            timm::set_arg(&mut keys, key, json!(given));
        }
    }
    change(&mut keys, true, config, image);
    vision::timm_card(keys, input, image, labels, task)
}

/// A brought folder's net for this data.
pub(super) fn continued(
    brought: &Card,
    config: &VitConfig,
    input: &InputSpec,
    image: [usize; 3],
    labels: &[String],
    task: TaskKind,
) -> Result<Card, ModelError> {
    let own = Sizes::of(brought)?;
    own.agree(config)?;
    vision::check_channels("vit", own.channels, image[0])?;
    let mut keys = brought.sizes.clone();
    let is_timm = timm::architecture(&keys).is_some();
    if let (true, Some(preset)) = (is_timm, config.preset) {
        let own = timm::architecture(&keys).unwrap_or_default().to_string();
        vision::check_same("preset", Some(vision::preset_name(&preset)), own)?;
    }
    change(&mut keys, is_timm, config, image);
    match is_timm {
        true => vision::timm_card(keys, input, image, labels, task),
        false => vision::transformers_card(brought, keys, input, labels, task),
    }
}

/// Writes the data's image size and the config's dropouts.
fn change(keys: &mut Map<String, Value>, timm: bool, config: &VitConfig, [_, h, w]: [usize; 3]) {
    let mut set = |in_timm: &[&str], in_transformers: &str, value: Option<Value>| {
        let Some(value) = value else { return };
        match timm {
            true => in_timm.iter().for_each(|key| timm::set_arg(keys, key, value.clone())),
            false => drop(keys.insert(in_transformers.into(), value)),
        }
    };
    set(&["img_size"], "image_size", Some(Area::json([h, w])));
    let dropout = config.hidden_dropout_prob.map(|p| json!(p));
    set(&["pos_drop_rate", "proj_drop_rate"], "hidden_dropout_prob", dropout);
    let attention = config.attention_probs_dropout_prob.map(|p| json!(p));
    set(&["attn_drop_rate"], "attention_probs_dropout_prob", attention);
    set(&["drop_path_rate"], "drop_path_rate", config.drop_path_rate.map(|p| json!(p)));
}
