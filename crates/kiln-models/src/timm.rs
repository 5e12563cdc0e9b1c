//! timm's `config.json`: `architecture` names a preset, `model_args` what differs from it, `pretrained_cfg` how the
//! weights were made. Owns these keys; never what an architecture is (its family knows).
//! A folder that has them is saved with them, so that `timm.create_model("local-dir:FOLDER")` opens it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{BroughtPreprocessing, ModelError};

type Keys = Map<String, Value>;

/// The class under which `transformers` opens a timm folder.
pub(crate) const CLASS: &str = "TimmWrapperForImageClassification";
/// The `model_type` under which `transformers` opens a timm folder.
pub(crate) const MODEL_TYPE: &str = "timm_wrapper";

/// The preset's name, without a tag; `None` where the keys are not timm's.
pub(crate) fn architecture(keys: &Keys) -> Option<&str> {
    keys.get("architecture")?.as_str()?.split('.').next()
}

/// The keys of a preset's folder. `fixed` says whether the net reads one image size only, `first` and `heads` which
/// layers depend on the channels and the classes.
pub(crate) fn keys(architecture: &str, fixed: bool, first: &str, heads: &[&str]) -> Keys {
    let classifier = if let [head] = heads { json!(head) } else { json!(heads) };
    let made = json!({"custom_load": false, "fixed_input_size": fixed, "first_conv": first, "classifier": classifier});
    Keys::from_iter([("architecture".into(), json!(architecture)), ("pretrained_cfg".into(), made)])
}

/// What differs from the preset, as the family's type; `pool` is how the family's nets pool. A folder of timm's older
/// form has no `model_args`. The number of classes is the card's.
pub(crate) fn args<T: DeserializeOwned>(keys: &Keys, pool: &str) -> Result<T, ModelError> {
    let mut args = keys.get("model_args").and_then(Value::as_object).cloned().unwrap_or_default();
    args.remove("num_classes");
    args.retain(|_, value| !value.is_null());
    let refused = |what: String| {
        ModelError::config(
            format!(
                "model_args of the timm architecture {:?}: {what}",
                architecture(keys).unwrap_or_default()
            ),
            "give a model without this variation: kiln does not build it",
        )
    };
    match args.remove("global_pool") {
        Some(other) if other != pool => {
            return Err(refused(format!("global_pool is {other}, kiln has {pool:?} only")));
        }
        _ => {}
    }
    T::deserialize(Value::Object(args)).map_err(|e| refused(e.to_string()))
}

/// Sets one of `model_args`.
pub(crate) fn set_arg(keys: &mut Keys, name: &str, value: Value) {
    let args = keys.entry("model_args").or_insert_with(|| json!({}));
    if args.is_null() {
        *args = json!({});
    }
    if let Some(args) = args.as_object_mut() {
        args.insert(name.into(), value);
    }
}

/// Writes what the data decides: classes, channels and image size.
pub(crate) fn finish(keys: &mut Keys, input: [usize; 3], labels: &[String]) {
    keys.insert("num_classes".into(), json!(labels.len()));
    keys.insert("label_names".into(), json!(labels));
    keys.remove("label_descriptions");
    let has = |keys: &Keys, arg: &str| keys.get("model_args").is_some_and(|args| args.get(arg).is_some());
    if input[0] != 3 || has(keys, "in_chans") {
        set_arg(keys, "in_chans", json!(input[0]));
    }
    // `transformers` gives timm the number of classes beside these, and refuses to give it twice.
    if let Some(args) = keys.get_mut("model_args").and_then(Value::as_object_mut) {
        args.remove("num_classes");
    }
    let made = keys.entry("pretrained_cfg").or_insert_with(|| json!({}));
    let Some(made) = made.as_object_mut() else { return };
    for stale in ["label_names", "label_descriptions", "label_offset"] {
        made.remove(stale);
    }
    made.insert("custom_load".into(), json!(false));
    made.insert("num_classes".into(), json!(labels.len()));
    let size = json!(input);
    if made.get("input_size") != Some(&size) {
        for stale in ["test_input_size", "test_crop_pct", "pool_size"] {
            made.remove(stale);
        }
        made.insert("input_size".into(), size);
    }
}

/// Writes how images are prepared, so that timm prepares them as the net was trained.
pub(crate) fn prepare(keys: &mut Keys, images: &BroughtPreprocessing) {
    let Some(made) = keys.get_mut("pretrained_cfg").and_then(Value::as_object_mut) else { return };
    let channels = made.get("input_size").and_then(|size| size.get(0)?.as_u64()).unwrap_or(3) as usize;
    made.insert("mean".into(), json!(images.mean.clone().unwrap_or(vec![0.0; channels])));
    made.insert("std".into(), json!(images.std.clone().unwrap_or(vec![1.0; channels])));
    let interpolation = images.interpolation.clone().unwrap_or("bilinear".into());
    made.insert("interpolation".into(), json!(interpolation));
    made.insert("crop_pct".into(), json!(images.crop_fraction.unwrap_or(1.0)));
    let mode = if images.crop_fraction.is_some() { "center" } else { "squash" };
    made.insert("crop_mode".into(), json!(mode));
}

/// `C H W` that the weights were made for.
pub(crate) fn input_size(keys: &Keys) -> Option<[usize; 3]> {
    <[usize; 3]>::deserialize(keys.get("pretrained_cfg")?.get("input_size")?).ok()
}

/// Class names by index: `label_names`, a list or a map by index; numbered ones where there are only `num_classes`.
pub(crate) fn labels(keys: &Keys) -> Option<Vec<String>> {
    architecture(keys)?;
    let made = keys.get("pretrained_cfg");
    let named = keys.get("label_names").or_else(|| made?.get("label_names"));
    let names = match named {
        Some(Value::Array(names)) => names.iter().map(|n| n.as_str().map(String::from)).collect(),
        Some(Value::Object(by_index)) => {
            (0..by_index.len()).map(|i| by_index.get(&i.to_string())?.as_str().map(String::from)).collect()
        }
        _ => None,
    };
    let numbered = || {
        let count = keys.get("num_classes").or_else(|| made?.get("num_classes"))?.as_u64()?.min(1 << 20);
        Some((0..count).map(|i| format!("LABEL_{i}")).collect())
    };
    names.or_else(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Keys {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn timm_is_told_how_images_were_prepared() {
        let mut keys = map(json!({
            "architecture": "a",
            "pretrained_cfg": {"mean": [0.1, 0.1, 0.1], "crop_pct": 0.9, "interpolation": "bicubic"}
        }));
        let mut images = BroughtPreprocessing {
            mean: Some(vec![0.5; 3]),
            std: Some(vec![0.2; 3]),
            size: Some([8, 8]),
            interpolation: Some("bilinear".into()),
            crop_fraction: Some(0.875),
        };
        prepare(&mut keys, &images);
        let made = &keys["pretrained_cfg"];
        assert_eq!((&made["mean"], &made["std"]), (&json!([0.5, 0.5, 0.5]), &json!([0.2, 0.2, 0.2])));
        assert_eq!(made["interpolation"], "bilinear");
        assert_eq!((&made["crop_pct"], &made["crop_mode"]), (&json!(0.875), &json!("center")));
        (images.mean, images.std, images.crop_fraction) = (None, None, None);
        prepare(&mut keys, &images);
        let made = &keys["pretrained_cfg"];
        assert_eq!((&made["mean"], &made["std"]), (&json!([0.0, 0.0, 0.0]), &json!([1.0, 1.0, 1.0])));
        assert_eq!((&made["crop_pct"], &made["crop_mode"]), (&json!(1.0), &json!("squash")));
    }

    #[test]
    fn labels_are_read_in_each_form() {
        let listed = map(json!({"architecture": "a.tag", "label_names": ["x", "y"], "num_classes": 2}));
        assert_eq!(labels(&listed).unwrap(), ["x", "y"]);
        let mapped = map(json!({"architecture": "a", "label_names": {"0": "x", "1": "y"}}));
        assert_eq!(labels(&mapped).unwrap(), ["x", "y"]);
        let gap = map(json!({"architecture": "a", "label_names": {"0": "x", "2": "y"}, "num_classes": 1}));
        assert_eq!(labels(&gap).unwrap(), ["LABEL_0"]);
        let older = map(json!({"architecture": "a", "pretrained_cfg": {"num_classes": 3}}));
        assert_eq!(labels(&older).unwrap().len(), 3);
        assert_eq!(labels(&map(json!({"num_classes": 2}))), None);
    }

    #[test]
    fn the_data_decides_classes_channels_and_size() {
        let mut keys = keys("resnet18", false, "conv1", &["fc"]);
        finish(&mut keys, [1, 28, 28], &["a".into(), "b".into()]);
        assert_eq!(keys["num_classes"], 2);
        assert_eq!(keys["model_args"]["in_chans"], 1);
        assert_eq!(input_size(&keys), Some([1, 28, 28]));
        assert_eq!(architecture(&keys), Some("resnet18"));
    }
}
