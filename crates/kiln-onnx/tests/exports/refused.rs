//! What is refused: altered and missing files, folders that are taken, models without preprocessing or with a layer that
//! is not drawn.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::TaskKind;
use kiln_onnx::{OnnxError, Options, Precision, verify, verify_by_onnxruntime};
use serde_json::json;

use crate::common::*;

/// An exported perceptron, and its model folder.
fn made(place: &Path) -> (PathBuf, PathBuf) {
    let card = card(json!({"kind": "mlp", "hidden": [8]}), &table(), TaskKind::Classification);
    let model = folder(place, &card, &table(), &json!({}));
    let out = place.join("out");
    exported(&model, &out, Options::default()).unwrap();
    (model, out.join("model.onnx"))
}

fn refused(error: OnnxError, words: &str) {
    let text = error.to_string();
    assert!(text.contains(words), "expected {words:?} in: {text}");
    assert!(error.hint().is_some(), "{text}");
}

/// The first place of some bytes in a file.
fn place_of(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

#[test]
fn an_altered_weight_is_found() {
    let place = tempfile::tempdir().unwrap();
    let (model, file) = made(place.path());
    verify(&file).unwrap();
    let state = fs::read(model.join("model.safetensors")).unwrap();
    let state = kiln_models::weights::from_safetensors(&state, &model).unwrap();
    let bias: Vec<u8> = state["head.bias"].iter::<f32>().flat_map(f32::to_le_bytes).collect();
    let mut bytes = fs::read(&file).unwrap();
    let at = place_of(&bytes, &bias);
    bytes[at..at + 4].copy_from_slice(&1.0f32.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    refused(verify(&file).unwrap_err(), "altered since it was exported");
}

#[test]
fn altered_and_missing_golden_cases_are_found() {
    let place = tempfile::tempdir().unwrap();
    let (_, file) = made(place.path());
    let golden = file.with_file_name("model.golden.safetensors");
    let mut bytes = fs::read(&golden).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&golden, bytes).unwrap();
    refused(verify(&file).unwrap_err(), "not the golden inputs and outputs");
    fs::remove_file(&golden).unwrap();
    refused(verify(&file).unwrap_err(), "are gone");
}

#[test]
fn files_that_are_no_export_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let (_, file) = made(place.path());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, b"no model").unwrap();
    refused(verify(&file).unwrap_err(), "not an ONNX model");
    fs::write(&file, b"").unwrap();
    refused(verify(&file).unwrap_err(), "no graph");
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    refused(verify(&file).unwrap_err(), "not an ONNX model");
    let mut other = bytes.clone();
    let at = place_of(&other, b"kiln.golden");
    other[at] = b'm';
    fs::write(&file, other).unwrap();
    refused(verify(&file).unwrap_err(), "has no golden cases");
}

/// Altered files are refused before a library is opened, and what is no such library by its path.
#[test]
fn without_onnx_runtime_its_check_says_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let (_, file) = made(place.path());
    let library = place.path().join("libonnxruntime.so");
    for content in [None, Some("no library")] {
        content.iter().for_each(|text| fs::write(&library, text).unwrap());
        let error = verify_by_onnxruntime(&file, Some(&library)).unwrap_err();
        assert_eq!(error.exit(), kiln_core::Exit::Usage);
        refused(error, "libonnxruntime.so: no ONNX Runtime");
    }
    fs::write(&file, b"no model").unwrap();
    refused(verify_by_onnxruntime(&file, Some(&library)).unwrap_err(), "not an ONNX model");
}

/// One bit, anywhere.
#[test]
fn damage_is_found() {
    let place = tempfile::tempdir().unwrap();
    let (_, file) = made(place.path());
    let bytes = fs::read(&file).unwrap();
    for i in 0..400 {
        let mut damaged = bytes.clone();
        let at = (i * 7919) % damaged.len();
        damaged[at] ^= 1 << (i % 8);
        fs::write(&file, damaged).unwrap();
        assert!(verify(&file).is_err(), "bit {} of byte {at}", i % 8);
    }
}

#[test]
fn folders_that_are_taken_are_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let (model, file) = made(place.path());
    let before = fs::read(&file).unwrap();
    refused(exported(&model, file.parent().unwrap(), Options::default()).unwrap_err(), "exists already");
    assert!(fs::read(&file).unwrap() == before);
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_folder_without_preprocessing_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (model, _) = made(place.path());
    fs::remove_file(model.join("preprocessor_config.json")).unwrap();
    let error = exported(&model, &place.path().join("second"), Options::default()).unwrap_err();
    refused(error, "tokenizer_config.json");
    assert!(!place.path().join("second").exists());
}

#[test]
fn numbers_beyond_float16_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (model, _) = made(place.path());
    let path = model.join("model.safetensors");
    let mut state = kiln_models::weights::read(&model).unwrap();
    let shape = state["head.bias"].shape().clone();
    state.insert("head.bias".into(), burn::tensor::TensorData::new(vec![1e6f32; 3], shape));
    fs::write(&path, kiln_models::weights::to_safetensors(&state, &[("format", "pt")]).unwrap()).unwrap();
    refused(
        exported(&model, &place.path().join("half"), precise(Precision::F16)).unwrap_err(),
        "head.bias: holds 1000000",
    );
}
