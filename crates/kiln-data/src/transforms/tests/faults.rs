//! Wrong keys, each named.

use serde_json::{Value, json};

use crate::config::{Transform, expand, faults};

fn list(words: Value) -> Vec<Transform> {
    serde_json::from_value(words).unwrap()
}

#[test]
fn every_wrong_key_is_named() {
    for (words, key) in [
        (json!({"kind": "resize", "size": 0}), "size"),
        (json!({"kind": "resize", "size": [4, 4], "max_size": 9}), "max_size"),
        (json!({"kind": "resize", "size": 10, "max_size": 9}), "max_size"),
        (json!({"kind": "center_crop", "size": [0, 4]}), "size"),
        (json!({"kind": "random_crop", "size": 4, "padding": 5000}), "padding"),
        (json!({"kind": "random_crop", "size": 4, "fill": [1, 2]}), "fill"),
        (json!({"kind": "random_resized_crop", "size": 4, "scale": [0.9, 0.1]}), "scale"),
        (json!({"kind": "random_resized_crop", "size": 4, "ratio": [0.0, 1.0]}), "ratio"),
        (json!({"kind": "random_resized_crop", "size": 4, "crop_fraction": 0}), "crop_fraction"),
        (json!({"kind": "pad", "padding": [1, 2, 3, 9999]}), "padding"),
        (json!({"kind": "random_horizontal_flip", "p": 1.5}), "p"),
        (json!({"kind": "random_vertical_flip", "p": -1}), "p"),
        (json!({"kind": "random_rotation", "degrees": -3}), "degrees"),
        (json!({"kind": "random_rotation", "degrees": [3, 1]}), "degrees"),
        (json!({"kind": "random_affine", "degrees": 0, "translate": [0.1, 2]}), "translate"),
        (json!({"kind": "random_affine", "degrees": 0, "scale": [0, 1]}), "scale"),
        (json!({"kind": "random_affine", "degrees": 0, "shear": 90}), "shear"),
        (json!({"kind": "random_perspective", "distortion_scale": 2}), "distortion_scale"),
        (json!({"kind": "color_jitter", "brightness": -0.1}), "brightness"),
        (json!({"kind": "color_jitter", "hue": 0.6}), "hue"),
        (json!({"kind": "random_grayscale", "p": 2}), "p"),
        (json!({"kind": "gaussian_blur", "kernel_size": 4}), "kernel_size"),
        (json!({"kind": "gaussian_blur", "kernel_size": 3, "sigma": [0, 1]}), "sigma"),
        (json!({"kind": "random_solarize", "threshold": 300}), "threshold"),
        (json!({"kind": "random_posterize", "bits": 9}), "bits"),
        (json!({"kind": "random_adjust_sharpness", "sharpness_factor": -1}), "sharpness_factor"),
        (json!({"kind": "rand_augment", "magnitude": 31}), "magnitude"),
        (json!({"kind": "trivial_augment_wide", "num_magnitude_bins": 1}), "num_magnitude_bins"),
        (json!({"kind": "auto_augment", "fill": [1]}), "fill"),
        (json!({"kind": "aug_mix", "severity": 11}), "severity"),
        (json!({"kind": "aug_mix", "chain_depth": 1000}), "chain_depth"),
        (json!({"kind": "normalize", "mean": [0.5], "std": [1, 1, 1]}), "mean"),
        (json!({"kind": "normalize", "mean": [0, 0, 0], "std": [1, 0, 1]}), "std"),
        (json!({"kind": "random_erasing", "scale": [0.5, 2]}), "scale"),
        (json!({"kind": "random_erasing", "value": [1, 2]}), "value"),
        (json!({"kind": "preset", "name": "cifar", "size": 0}), "size"),
    ] {
        let found = faults(&list(json!([words])), 3);
        assert_eq!(found.len(), 1, "{words}: {found:?}");
        let (place, fault) = &found[0];
        assert_eq!((*place, fault.key.as_str()), (0, key), "{words}");
        assert!(fault.problem.contains(&format!("`{key}`")) && !fault.remedy.is_empty(), "{fault:?}");
    }
}

#[test]
fn numbers_come_after_pixels() {
    let normalize = json!({"kind": "normalize", "mean": [0, 0, 0], "std": [1, 1, 1]});
    let (flip, erase) = (json!({"kind": "random_horizontal_flip"}), json!({"kind": "random_erasing"}));
    let places = |words: Value| faults(&list(words), 3).iter().map(|(i, _)| *i).collect::<Vec<_>>();
    assert_eq!(places(json!([flip, normalize, erase])), Vec::<usize>::new());
    assert_eq!(places(json!([normalize, flip])), [0]);
    assert_eq!(places(json!([normalize, normalize])), [0]);
    assert_eq!(places(json!([erase, flip])), [0]);
    assert_eq!(places(json!([erase, normalize])), [0]);
    assert_eq!(places(json!([{"kind": "preset", "name": "imagenet"}, flip])), [0]);
    assert_eq!(places(json!([flip, {"kind": "preset", "name": "deit"}])), Vec::<usize>::new());
}

#[test]
fn presets_are_their_transforms() {
    for name in ["imagenet", "cifar", "deit"] {
        let preset = list(json!([{"kind": "preset", "name": name, "size": 64}]));
        for channels in [1, 3] {
            let all = expand(&preset, channels);
            assert!(all.len() > 2 && !all.iter().any(|t| matches!(t, Transform::Preset(_))));
            assert_eq!(faults(&all, channels), [], "{name}");
            let size = all.iter().fold((90, 100), |size, t| t.op().size(size));
            assert_eq!(size, (64, 64));
            let words = serde_json::to_value(&all).unwrap();
            assert_eq!(list(words), all, "what is stored comes back");
        }
    }
}
