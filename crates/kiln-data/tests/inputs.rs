//! Files that say how they are to be read, against Pillow (fixtures/make_inputs.py): EXIF, 16 bits, alpha.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::path::{Path, PathBuf};

use kiln_data::config::{DataConfig, ImageData};
use kiln_data::{Dataset, Features, OpenOptions, Preprocessor, Raw, decode_file};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("inputs.json")).unwrap()).unwrap()
}

fn levels(v: &Value) -> Vec<u8> {
    v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u8).collect()
}

/// Two classes of this one image.
fn dataset(image: &str, words: Value) -> (tempfile::TempDir, Dataset) {
    let dir = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        std::fs::copy(fixture(image), dir.path().join(class).join(image)).unwrap();
    }
    let mut config = words;
    config["path"] = json!(dir.path());
    let config: ImageData = serde_json::from_value(config).unwrap();
    let data = Dataset::open(&DataConfig::ImageFolder(config), &OpenOptions::default()).unwrap();
    (dir, data)
}

/// `[H, W, C]` levels of the first image.
fn prepared(data: &Dataset, channels: usize) -> Vec<u8> {
    let raw = data.train.as_ref().unwrap().raw(0).unwrap();
    let Features::Image(values) = data.preprocessor.prepare(raw, None).unwrap() else { panic!() };
    let n = values.len() / channels;
    (0..values.len()).map(|i| (values[(i % channels) * n + i / channels] * 255.0).round() as u8).collect()
}

#[test]
fn photos_are_upright() {
    let expected = expected();
    let all = expected["exif"].as_object().unwrap();
    assert_eq!(all.len(), 9);
    for (name, want) in all {
        let image = decode_file(&fixture(name)).unwrap();
        let size = (want["height"].as_u64().unwrap() as usize, want["width"].as_u64().unwrap() as usize);
        assert_eq!((image.height, image.width, image.channels), (size.0, size.1, 3), "{name}");
        let off = image.pixels.iter().zip(levels(&want["levels"])).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        // Decoders of JPEG may differ by their inverse cosine transform.
        assert!(off <= if name.ends_with("jpg") { 4 } else { 0 }, "{name}: {off} levels off");
        // The size is read from the header, before any pixel.
        let (_dir, data) = dataset(name, json!({}));
        assert_eq!(data.input, kiln_core::InputSpec::Image { channels: 3, height: size.0, width: size.1 });
        prepared(&data, 3);
    }
}

#[test]
fn sixteen_bits_are_scaled() {
    let expected = expected();
    for (name, channels) in [("rgb16.png", 3), ("grey16.png", 1)] {
        let image = decode_file(&fixture(name)).unwrap();
        assert_eq!(image.channels, channels);
        assert_eq!(image.pixels, levels(&expected["sixteen"][name]), "{name}");
    }
}

#[test]
fn alpha_is_dropped_or_laid_onto_a_stated_colour() {
    let expected = expected();
    for (name, channels) in [("rgba2.png", 3), ("la.png", 1)] {
        let want = &expected["alpha"][name];
        let (_dir, data) = dataset(name, json!({"channels": channels}));
        assert_eq!(prepared(&data, channels), levels(&want["dropped"]), "{name} dropped");
        for colour in [[255, 255, 255], [10, 200, 90]] {
            let (_dir, data) = dataset(name, json!({"channels": channels, "background": colour}));
            let key = format!("[{}, {}, {}]", colour[0], colour[1], colour[2]);
            assert_eq!(prepared(&data, channels), levels(&want[&key]), "{name} onto {key}");
        }
        let (_dir, data) = dataset(name, json!({"channels": channels, "background": 255}));
        assert_eq!(prepared(&data, channels), levels(&want["[255, 255, 255]"]), "{name} onto 255");
    }
    let (_dir, grey) = dataset("rgba2.png", json!({"channels": 1, "background": [10, 200, 90]}));
    assert_eq!(prepared(&grey, 1).len(), 13 * 20);
}

#[test]
fn the_background_is_part_of_the_saved_program() {
    let (data_folder, data) = dataset("rgba2.png", json!({"background": [10, 200, 90]}));
    let folder = tempfile::tempdir().unwrap();
    data.preprocessor.save(folder.path()).unwrap();
    let loaded = Preprocessor::load(folder.path()).unwrap();
    let raw = || Raw::Image(decode_file(&fixture("rgba2.png")).unwrap());
    assert_eq!(loaded.prepare(raw(), None).unwrap(), data.preprocessor.prepare(raw(), None).unwrap());
    let wrong: ImageData =
        serde_json::from_value(json!({"path": data_folder.path(), "background": [1, 2]})).unwrap();
    let error = Dataset::open(&DataConfig::ImageFolder(wrong), &OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("data.background"), "{error}");
}
