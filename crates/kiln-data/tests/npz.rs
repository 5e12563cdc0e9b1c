//! NumPy archives as NumPy writes them (fixtures/make_npz.py), and every fault by file and array.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

use std::fs;
use std::path::{Path, PathBuf};

use kiln_data::config::DataConfig;
use kiln_data::{DataError, Dataset, Label, OpenOptions, Raw, Split, holds_validation};
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/npz").join(name)
}

fn parse(path: &Path) -> DataConfig {
    serde_json::from_value(json!({"kind": "npz", "path": path})).unwrap()
}

fn open(path: &Path) -> Result<Dataset, DataError> {
    Dataset::open(&parse(path), &OpenOptions::default())
}

fn pixels(split: &Split, i: usize) -> (Vec<u8>, [usize; 3]) {
    let Raw::Image(image) = split.raw(i).unwrap() else { panic!("no image") };
    (image.pixels, [image.height, image.width, image.channels])
}

#[test]
fn images_and_classes_are_numpys() {
    Dataset::check(&parse(&fixture("keras.npz")), &OpenOptions::default()).unwrap();
    let data = open(&fixture("keras.npz")).unwrap();
    assert_eq!(data.classes, ["0", "1", "2"]);
    let (train, test) = (data.train.unwrap(), data.test.unwrap());
    assert!(data.validation.is_none() && !holds_validation(&parse(&fixture("keras.npz"))));
    for (i, class) in [0, 2, 1, 2].into_iter().enumerate() {
        let first = i as u8 * 20;
        assert_eq!(pixels(&train, i), ((first..first + 20).collect(), [4, 5, 1]));
        assert_eq!(train.label(i), &Label::Class(class));
    }
    assert_eq!(pixels(&test, 1), ((100..120).collect(), [4, 5, 1]));
    assert_eq!((test.label(0), test.label(1)), (&Label::Class(1), &Label::Class(0)));
    assert!(test.name(1).ends_with("keras.npz:x_test[1]"));

    let train = open(&fixture("xy.npz")).unwrap().train.unwrap();
    assert_eq!(pixels(&train, 3), ((54u8..72).collect(), [3, 2, 3]));
    assert_eq!(train.label(2), &Label::Class(1));
}

#[test]
fn arrays_of_other_names_are_named() {
    let named = |arrays| -> DataConfig {
        serde_json::from_value(
            json!({"kind": "npz", "path": fixture("names.npz"), "arrays": arrays, "classes": ["a", "b"]}),
        )
        .unwrap()
    };
    let config = named(json!(["pictures", "kinds"]));
    Dataset::check(&config, &OpenOptions::default()).unwrap();
    let train = Dataset::open(&config, &OpenOptions::default()).unwrap().train.unwrap();
    assert!(train.name(1).ends_with("names.npz:pictures[1]"), "{}", train.name(1));
    let absent = Dataset::open(&named(json!(["pictures", "sorts"])), &OpenOptions::default()).unwrap_err();
    let text = absent.to_string();
    assert!(text.starts_with("data.arrays: there is no array \"sorts\" in "), "{text}");
    assert!(text.ends_with("names.npz, but pictures, kinds"), "{text}");
}

#[test]
fn faults_name_file_and_array() {
    for (name, message) in [
        ("fortran.npz", "array \"x\" is in Fortran order: write numpy.ascontiguousarray of it"),
        (
            "floats.npz",
            "array \"x\": expected uint8 images of shape [N, H, W] or [N, H, W, 1 or 3], got <f4 of [6, 4, 5]",
        ),
        ("count.npz", "array \"y\" has 5 labels for 6 images in \"x\""),
        ("words.npz", "array \"y\": expected whole numbers of shape [N], got <U1 of [6]"),
        ("names.npz", "expected arrays x and y, or x_train, y_train and so on, got pictures, kinds"),
    ] {
        let path = fixture(name);
        let error = open(&path).expect_err(name);
        assert_eq!(error.to_string(), format!("{}: {message}", path.display()));
        assert!(error.hint().unwrap().contains("numpy.savez"));
        let faults = Dataset::check(&parse(&path), &OpenOptions::default()).expect_err(name);
        assert_eq!(faults[0].to_string(), error.to_string(), "check says the same");
    }
    let path = fixture("negative.npz");
    let message = format!("{}:y[2]: class \"-1\" is not one of the 2 known classes (0, 1)", path.display());
    assert_eq!(open(&path).unwrap_err().to_string(), message);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.npz");
    let whole = fs::read(fixture("keras.npz")).unwrap();
    for cut in 0..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let text = open(&path).expect_err("it was accepted").to_string();
        assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
    }
}
