//! Image programs against Pillow and torchvision (fixtures/make_images.py), through the public API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::path::{Path, PathBuf};

use kiln_data::config::{DataConfig, ImageData};
use kiln_data::{Dataset, Features, OpenOptions, Preprocessor, Raw, decode_file};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("images.json")).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// A dataset of two classes that hold `image`, with these transforms.
fn program(image: &str, channels: usize, transforms: Value) -> (tempfile::TempDir, Dataset) {
    let dir = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        std::fs::copy(fixture(image), dir.path().join(class).join(image)).unwrap();
    }
    let config: ImageData =
        serde_json::from_value(json!({"path": dir.path(), "channels": channels, "transforms": transforms}))
            .unwrap();
    let data = Dataset::open(&DataConfig::ImageFolder(config), &OpenOptions::default()).unwrap();
    (dir, data)
}

fn floats(data: &Dataset, seed: Option<u64>) -> Vec<f32> {
    match data.preprocessor.prepare(data.train.as_ref().unwrap().raw(0).unwrap(), seed).unwrap() {
        Features::Image(values) => values,
        other => panic!("{other:?}"),
    }
}

/// Back to 8-bit levels `[H, W, C]`.
fn levels(values: &[f32], channels: usize) -> Vec<f64> {
    let n = values.len() / channels;
    (0..values.len())
        .map(|i| f64::from((values[(i % channels) * n + i / channels] * 255.0).round()))
        .collect()
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

#[test]
fn decodes_as_pillow() {
    let expected = expected();
    for (name, rgb) in expected["rgb"].as_object().unwrap() {
        for (channels, want) in [(3, rgb), (1, &expected["grey"][name])] {
            let (_dir, data) = program(name, channels, json!([]));
            let off = largest(&levels(&floats(&data, None), channels), &numbers(want));
            eprintln!("{name} to {channels} channel(s): {off}");
            assert_eq!(off, 0.0, "{name} to {channels}: {off} levels off");
        }
    }
}

#[test]
fn resizes_as_pillow_within_one_level() {
    for case in expected()["resize"].as_array().unwrap() {
        let transform =
            json!([{"kind": "resize", "size": case["size"], "interpolation": case["interpolation"]}]);
        let (_dir, data) = program("rgb.png", 3, transform);
        let off = largest(&levels(&floats(&data, None), 3), &numbers(&case["levels"]));
        assert!(off <= 1.0, "{} {}: {off} levels off", case["size"], case["interpolation"]);
    }
}

#[test]
fn center_crop_equals_torchvision() {
    for case in expected()["center_crop"].as_array().unwrap() {
        for kind in ["center_crop", "random_crop"] {
            let (_dir, data) = program("rgb.png", 3, json!([{"kind": kind, "size": case["size"]}]));
            assert_eq!(levels(&floats(&data, None), 3), numbers(&case["levels"]), "{kind} {}", case["size"]);
        }
    }
}

#[test]
fn normalize_has_the_bits_of_torch() {
    let normalize = json!({"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]});
    let (_dir, data) = program("rgb.png", 3, json!([{"kind": "center_crop", "size": 8}, normalize]));
    let bits: Vec<i64> = floats(&data, None).iter().map(|v| i64::from(v.to_bits() as i32)).collect();
    let want: Vec<i64> =
        expected()["normalize"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
    assert_eq!(bits, want);
}

#[test]
fn a_chain_on_grey_made_rgb_equals_torchvision() {
    let normalize = json!({"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]});
    let chain = json!([{"kind": "resize", "size": 14}, {"kind": "center_crop", "size": 12}, normalize]);
    let (_dir, data) = program("grey.png", 3, chain);
    let got: Vec<f64> = floats(&data, None).iter().map(|v| f64::from(*v)).collect();
    // One level of 255 over the smallest standard deviation.
    assert!(largest(&got, &numbers(&expected()["chain"])) < 1.01 / 255.0 / 0.224);
}

#[test]
fn random_crops_are_windows_of_the_padded_image_and_flips_happen_half_the_time() {
    let (_dir, plain) = program("rgb.png", 3, json!([]));
    let (h, w) = (23usize, 31usize);
    let image = floats(&plain, None);
    let pixel = |y: isize, x: isize| match (0..h as isize).contains(&y) && (0..w as isize).contains(&x) {
        true => image[y as usize * w + x as usize],
        false => 0.0,
    };
    let window = |top: isize, left: isize, mirrored: bool| -> Vec<f32> {
        let x_of = |x: isize| if mirrored { 19 - x } else { x };
        (0..20)
            .flat_map(|y| (0..20).map(move |x| (y, x)))
            .map(|(y, x)| pixel(top + y, left + x_of(x)))
            .collect()
    };
    let (_dir, data) = program(
        "rgb.png",
        3,
        json!([{"kind": "random_crop", "size": 20, "padding": 2}, {"kind": "random_horizontal_flip"}]),
    );
    let (mut flipped, mut places) = (0, std::collections::BTreeSet::new());
    for seed in 0..200 {
        let got = &floats(&data, Some(seed))[..400];
        assert_eq!(floats(&data, Some(seed))[..400], *got);
        let all = (-2..=5).flat_map(|t| (-2..=13).flat_map(move |l| [(t, l, false), (t, l, true)]));
        let (top, left, mirrored) =
            all.into_iter().find(|&(t, l, m)| window(t, l, m) == got).expect("no window");
        flipped += i32::from(mirrored);
        places.insert((top, left));
    }
    assert!((70..130).contains(&flipped), "{flipped} of 200 flipped");
    assert!(places.len() > 70, "{} places", places.len());
}

#[test]
fn a_saved_program_does_the_same_and_says_it_to_hugging_face() {
    let normalize = json!({"kind": "normalize", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]});
    let (_dir, data) = program(
        "rgb.png",
        3,
        json!([{"kind": "resize", "size": 16}, {"kind": "random_crop", "size": [12, 10], "padding": 1}, normalize]),
    );
    let folder = tempfile::tempdir().unwrap();
    data.preprocessor.save(folder.path()).unwrap();
    let loaded = Preprocessor::load(folder.path()).unwrap();
    assert_eq!(loaded.input(), &data.input);
    for seed in [None, Some(3)] {
        let raw = || Raw::Image(decode_file(&fixture("rgb.png")).unwrap());
        assert_eq!(loaded.prepare(raw(), seed).unwrap(), data.preprocessor.prepare(raw(), seed).unwrap());
    }
    let file: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("preprocessor_config.json")).unwrap())
            .unwrap();
    assert_eq!(file["size"], json!({"shortest_edge": 16}));
    assert_eq!(file["crop_size"], json!({"height": 12, "width": 10}));
    assert_eq!((&file["resample"], &file["do_normalize"]), (&json!(2), &json!(true)));
}
