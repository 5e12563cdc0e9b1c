//! Presets by family, read off the config's own schema, so that a new one is listed without a word here.
//! Owns that reading and the input a preset is shown with; never sizes (families).

use kiln_core::InputSpec;
use serde_json::{Value, json};

use crate::families;
use crate::{ModelConfig, ModelError};

/// The words of `preset` of a `[model] kind`, in the config's order; empty where it has none.
pub fn of(kind: &str) -> Vec<String> {
    let schema = schemars::schema_for!(ModelConfig).to_value();
    let branches = schema["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = branches.iter().find(|branch| branch["properties"]["kind"]["const"] == kind);
    let Some(preset) = own.and_then(|branch| property(&schema, branch, "preset")) else { return Vec::new() };
    let mut found = Vec::new();
    words(&schema, preset, &mut found);
    found
}

/// The config of the family that has a preset of this name.
///
/// # Errors
/// No family has; the closest names are in the remedy.
pub fn config(name: &str) -> Result<ModelConfig, ModelError> {
    let all: Vec<(&str, String)> = families::FAMILIES
        .iter()
        .flat_map(|family| of(family.name()).into_iter().map(|preset| (family.name(), preset)))
        .collect();
    let Some((kind, _)) = all.iter().find(|(_, preset)| preset == name) else {
        let names: Vec<&str> = all.iter().map(|(_, preset)| preset.as_str()).collect();
        let closest = crate::names::closest(name, &names).join(", ");
        return Err(ModelError::config(
            format!("no preset is called {name:?}"),
            format!("the closest are {closest}; all of them: kiln models ls"),
        ));
    };
    serde_json::from_value(json!({"kind": kind, "preset": name}))
        .map_err(|e| ModelError::config(format!("preset {name:?}: {e}"), "report this as a fault"))
}

/// The input that a preset is shown with: an image of the size in its name, else 224 pixels a side (32 for CIFAR), or a
/// text of BERT's, RoBERTa's or GPT-2's vocabulary.
pub fn inputs(name: &str) -> [InputSpec; 2] {
    let named = name.rsplit_once('_').and_then(|(_, size)| size.parse::<usize>().ok()).filter(|n| *n >= 192);
    let side = named.unwrap_or(if name.starts_with("cifar") { 32 } else { 224 });
    let image = InputSpec::Image { channels: 3, height: side, width: side };
    let (vocab_size, pad_id) = match name {
        _ if name.starts_with("roberta") => (50_265, 1),
        _ if name.starts_with("gpt2") => (50_257, 0),
        _ => (30_522, 0),
    };
    [image, InputSpec::Tokens { vocab_size, max_length: 128, pad_id }]
}

fn property<'a>(root: &'a Value, node: &'a Value, name: &str) -> Option<&'a Value> {
    node["properties"].get(name).or_else(|| property(root, target(root, node)?, name))
}

fn target<'a>(root: &'a Value, node: &Value) -> Option<&'a Value> {
    root.pointer(node.get("$ref")?.as_str()?.strip_prefix('#')?)
}

/// Every constant that a value may be.
fn words(root: &Value, node: &Value, found: &mut Vec<String>) {
    found.extend(node["const"].as_str().map(str::to_string));
    let listed = node["enum"].as_array().into_iter().flatten();
    found.extend(listed.filter_map(Value::as_str).map(str::to_string));
    for key in ["oneOf", "anyOf"] {
        node[key].as_array().into_iter().flatten().for_each(|form| words(root, form, found));
    }
    if let Some(node) = target(root, node) {
        words(root, node, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_listed_and_found() {
        let resnets = of("resnet");
        assert!(
            ["cifar20", "resnet18", "resnet50"].iter().all(|p| resnets.iter().any(|r| r == p)),
            "{resnets:?}"
        );
        assert!(of("mlp").is_empty());
        assert_eq!(config("resnet34").unwrap().kind(), "resnet");
        let error = config("resnet35").unwrap_err();
        assert!(error.hint().unwrap().contains("resnet34"), "{:?}", error.hint());
        assert_eq!(inputs("cifar20")[0], InputSpec::Image { channels: 3, height: 32, width: 32 });
        assert_eq!(
            inputs("vit_base_patch16_384")[0],
            InputSpec::Image { channels: 3, height: 384, width: 384 }
        );
    }
}
