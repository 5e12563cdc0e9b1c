//! Tables, policies and defaults against those that torchvision's own classes hold.

use serde_json::{Value, json};

use super::Fixture;
use crate::config::*;
use crate::transforms::policy::Operation::{self, *};
use crate::transforms::policy::{
    AUTO_AUGMENT, Entry, RAND_AUGMENT, TRIVIAL_AUGMENT, aug_mix_space, policies,
};

pub(super) const ALL: [Operation; 15] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
];

fn same(own: &[Entry], theirs: &Value, what: &str) {
    for table in theirs.as_array().unwrap() {
        let n = |key: &str| table[key].as_u64().unwrap() as usize;
        let (bins, size) = (n("bins"), (n("height"), n("width")));
        let rows = table["rows"].as_array().unwrap();
        assert_eq!(own.len(), rows.len(), "{what}");
        for ((operation, range), row) in own.iter().zip(rows) {
            assert_eq!(format!("{operation:?}"), row["operation"].as_str().unwrap(), "{what}");
            assert_eq!(range.signed(), row["signed"].as_bool().unwrap(), "{what} {operation:?}");
            let Some(values) = row["values"].as_array() else {
                assert_eq!(range.at(3, bins, size), 0.0);
                continue;
            };
            for (bin, want) in values.iter().enumerate() {
                let (got, want) = (range.at(bin, bins, size), want.as_f64().unwrap());
                // torch may fuse a multiplication with an addition: one step of single precision.
                let step = f64::from(f32::EPSILON) * want.abs();
                assert!((got - want).abs() <= step, "{what} {operation:?} bin {bin}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn tables_of_magnitudes_equal_torchvisions() {
    let tables = &Fixture::read().index["tables"];
    same(&RAND_AUGMENT, &tables["rand_augment"], "rand_augment");
    same(&TRIVIAL_AUGMENT, &tables["trivial_augment_wide"], "trivial_augment_wide");
    same(&AUTO_AUGMENT, &tables["auto_augment"], "auto_augment");
    same(aug_mix_space(true), &tables["aug_mix"], "aug_mix");
    same(aug_mix_space(false), &tables["aug_mix_without_all_ops"], "aug_mix without all_ops");
}

#[test]
fn policies_equal_torchvisions() {
    let theirs = &Fixture::read().index["policies"];
    for (name, policy) in [
        ("imagenet", AutoAugmentPolicy::Imagenet),
        ("cifar10", AutoAugmentPolicy::Cifar10),
        ("svhn", AutoAugmentPolicy::Svhn),
    ] {
        let own: Vec<Value> = policies(policy)
            .iter()
            .map(|pair| {
                json!(pair.map(|(operation, p, bin)| {
                    let magnitude = AUTO_AUGMENT.iter().find(|(own, _)| *own == operation).unwrap().1;
                    let has = magnitude.at(1, 10, (10, 10)) != magnitude.at(9, 10, (10, 10));
                    json!([format!("{operation:?}"), p, has.then_some(bin)])
                }))
            })
            .collect();
        assert_eq!(json!(own), theirs[name], "{name}");
    }
}

#[test]
fn defaults_equal_torchvisions() {
    let defaults = &Fixture::read().index["defaults"];
    for (kind, needed) in [
        ("random_resized_crop", json!({"size": 8})),
        ("random_erasing", json!({})),
        ("rand_augment", json!({})),
        ("aug_mix", json!({})),
        ("random_perspective", json!({})),
        ("gaussian_blur", json!({"kernel_size": 3})),
        ("random_grayscale", json!({})),
    ] {
        let mut table = needed;
        table["kind"] = json!(kind);
        let transform: Transform = serde_json::from_value(table).unwrap();
        let own = serde_json::to_value(&transform).unwrap();
        for (key, want) in defaults[kind].as_object().unwrap() {
            let number = |v: &Value| v.as_f64();
            let equal =
                own[key] == *want || (number(&own[key]).is_some() && number(&own[key]) == number(want));
            assert!(equal, "{kind}.{key}: {} is not {want}", own[key]);
        }
    }
}
