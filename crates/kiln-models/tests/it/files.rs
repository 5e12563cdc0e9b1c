//! Tensor files: what PyTorch wrote, what kiln writes, and every way they break.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use kiln_core::{InputSpec, StateDict};
use kiln_models::{SaveOptions, SaveType, build, weights};
use serde_json::json;

use crate::common::*;

fn small() -> StateDict {
    [
        ("b.weight".to_string(), wave(0, &[2, 3], 1.0)),
        ("a.step".to_string(), TensorData::new(vec![7i64], [1])),
        ("c.half".to_string(), TensorData::new(vec![1u8, 2, 3], [3])),
    ]
    .into()
}

#[test]
fn what_is_written_is_read_back_and_the_bytes_are_always_the_same() {
    let bytes = weights::to_safetensors(&small(), &[("format", "pt"), ("by", "kiln")]).unwrap();
    assert_eq!(weights::from_safetensors(&bytes, Path::new("x")).unwrap(), small());
    assert_eq!(weights::to_safetensors(&small(), &[("format", "pt"), ("by", "kiln")]).unwrap(), bytes);
}

#[test]
fn every_truncation_is_an_error_that_names_the_file() {
    let bytes = weights::to_safetensors(&small(), &[("format", "pt")]).unwrap();
    for length in 0..bytes.len() {
        let error = weights::from_safetensors(&bytes[..length], Path::new("cut.safetensors")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cut.safetensors: ") && text.contains("expected") || text.contains("truncated"),
            "{length}: {text}"
        );
    }
}

#[test]
fn no_flipped_bit_of_the_header_panics_or_changes_values_unseen() {
    let bytes = weights::to_safetensors(&small(), &[("format", "pt")]).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for bit in 0..header * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = weights::from_safetensors(&flipped, Path::new("flipped")); // refused, or other names or types
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(weights::from_safetensors(&longer, Path::new("longer")).is_err());
}

fn mlp(path: &Path, k: usize) -> Result<kiln_models::Model, kiln_models::ModelError> {
    let config = config(json!({"kind": "mlp", "hidden": [3], "pretrained": path}));
    build(
        &config,
        &InputSpec::Table { features: 4, cardinalities: vec![] },
        &classes(k),
        kiln_core::TaskKind::Classification,
        &Device::flex(),
        1,
    )
}

#[test]
fn pytorch_files_load_with_wrappers_prefixes_and_half_precision() {
    for file in ["nested.th", "legacy.pth"] {
        let model = mlp(&fixture_file(file), 2).unwrap();
        assert!(model.report.unwrap().is_exact(), "{file}");
        assert_eq!(model.net.state()["layers.0.weight"], wave(0, &[3, 4], 1.0), "{file}");
        assert!(model.notes.is_empty());
    }
    let half = mlp(&fixture_file("half.pt"), 2).unwrap();
    assert_eq!(half.notes, ["converted 4 tensors from float16 to float32"]);
    let got = half.net.state()["head.bias"].try_to_vec::<f32>().unwrap();
    assert!(
        got.iter().zip(wave(3, &[2], 1.0).try_to_vec::<f32>().unwrap()).all(|(a, b)| (a - b).abs() < 1e-3)
    );
}

#[test]
fn a_new_head_is_built_for_other_classes_and_said() {
    let model = mlp(&fixture_file("nested.th"), 5).unwrap();
    let report = model.report.unwrap();
    assert_eq!(report.matched.len(), 2);
    assert!(
        model.notes[0].starts_with("new head for 5 classes (the file's head has 2): "),
        "{:?}",
        model.notes
    );
}

#[test]
fn a_malicious_pickle_runs_nothing_and_is_named() {
    let error = weights::read(&fixture_file("malicious.pt")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("malicious.pt") && text.contains("system"), "{text}");
    assert!(!Path::new("kiln-was-attacked").exists() && !fixture_file("../../kiln-was-attacked").exists());
}

#[test]
fn truncated_pytorch_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["nested.th", "legacy.pth"] {
        let bytes = fs::read(fixture_file(name)).unwrap();
        let path = folder.path().join(name);
        for length in (0..bytes.len()).step_by(7) {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(weights::read(&path).is_err(), "{name} cut at {length}");
        }
    }
}

#[test]
fn sharded_folders_are_read_and_a_missing_shard_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<StateDict> = small().into_iter().map(|entry| [entry].into()).collect();
    let mut map = serde_json::Map::new();
    for (i, part) in parts.iter().enumerate() {
        let file = format!("model-{i}.safetensors");
        fs::write(folder.path().join(&file), weights::to_safetensors(part, &[]).unwrap()).unwrap();
        map.insert(part.keys().next().unwrap().clone(), file.into());
    }
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(weights::read(folder.path()).unwrap(), small());
    fs::remove_file(folder.path().join("model-1.safetensors")).unwrap();
    assert!(weights::read(folder.path()).unwrap_err().to_string().contains("model-1.safetensors is missing"));
    fs::write(&index, json!({"weight_map": {"a": "../../etc/passwd"}}).to_string()).unwrap();
    assert!(weights::read(folder.path()).unwrap_err().to_string().contains("file name in the same folder"));
}

#[test]
fn an_outline_has_the_names_types_and_shapes_and_reads_no_values() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    fs::write(&file, weights::to_safetensors(&small(), &[]).unwrap()).unwrap();
    for path in [folder.path().to_path_buf(), fixture_file("half.pt"), fixture_file("legacy.pth")] {
        let (outline, whole) = (weights::outline(&path).unwrap(), weights::read(&path).unwrap());
        let form = |(name, data): (&String, &TensorData)| (name.clone(), data.dtype(), data.shape().clone());
        assert!(outline.iter().map(form).eq(whole.iter().map(form)), "{}", path.display());
    }
    let outline = weights::outline(folder.path()).unwrap();
    let mut later = fs::read(&file).unwrap();
    *later.last_mut().unwrap() = 9; // the last value of c.half
    fs::write(&file, &later).unwrap();
    assert_eq!(&outline["c.half"].bytes()[..], &[1, 2, 9][..], "read before anybody looked");
    let bytes = fs::read(&file).unwrap();
    for length in 0..bytes.len() {
        fs::write(&file, &bytes[..length]).unwrap();
        let errors =
            [weights::outline(&file), weights::read(&file)].map(|read| read.unwrap_err().to_string());
        assert_eq!(errors[0], errors[1], "cut at {length}");
    }
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bin");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
    assert!(weights::read(&path).unwrap_err().to_string().contains("Git LFS pointer"));
    fs::write(&path, "hello").unwrap();
    assert!(
        weights::read(&path).unwrap_err().to_string().contains("neither a safetensors nor a PyTorch file")
    );
    assert!(weights::read(&folder.path().join("absent.pt")).unwrap_err().to_string().contains("absent.pt"));
    fs::remove_file(&path).unwrap();
    assert!(weights::read(folder.path()).unwrap_err().to_string().contains("no weights here"));
}

fn net() -> kiln_models::Model {
    let input = InputSpec::Table { features: 4, cardinalities: vec![] };
    let task = kiln_core::TaskKind::Classification;
    build(&config(json!({"kind": "mlp"})), &input, &classes(3), task, &Device::flex(), 1).unwrap()
}

#[test]
fn a_large_model_is_written_as_shards_and_comes_back() {
    let model = net();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let state: StateDict =
        (0..5).map(|k| (format!("t{k}"), TensorData::new(vec![k as f32; 100_000], [100, 1000]))).collect();
    let save = |folder: &Path, max_shard_mb, dtype| {
        kiln_models::save_as(folder, &model.card, &state, &SaveOptions { dtype, max_shard_mb }, &[]).unwrap()
    };
    save(whole.path(), 2, SaveType::Float32); // 5 times 400 kB
    assert!(whole.path().join("model.safetensors").is_file());
    save(parts.path(), 1, SaveType::Float32);
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(parts.path().join("model.safetensors.index.json")).unwrap())
            .unwrap();
    assert_eq!(index["metadata"]["total_size"], 2_000_000);
    let files: Vec<_> = (0..5).map(|k| index["weight_map"][format!("t{k}")].as_str().unwrap()).collect();
    let [first, second, third] = [1, 2, 3].map(|k| format!("model-0000{k}-of-00003.safetensors"));
    assert_eq!(files, [&first, &first, &second, &second, &third]);
    assert!(!parts.path().join("model.safetensors").exists());
    assert_eq!(weights::read(parts.path()).unwrap(), state);
    assert_eq!(weights::read(whole.path()).unwrap(), state);

    fs::write(parts.path().join(&second), "cut").unwrap();
    let error = weights::read(parts.path()).unwrap_err().to_string();
    assert!(error.contains(&second) && error.contains("truncated"), "{error}");
    fs::write(parts.path().join("model.safetensors.index.json"), "{\"weight_map\": {\"t0\": ").unwrap();
    let error = weights::read(parts.path()).unwrap_err().to_string();
    assert!(error.contains("index.json") && error.contains("line 1"), "{error}");
}

#[test]
fn half_precision_weights_are_rounded_once_and_what_overflows_is_refused() {
    let model = net();
    let folder = tempfile::tempdir().unwrap();
    let state: StateDict = [("w".to_string(), TensorData::new(vec![1.0f32, 1.0009765, 70000.0], [3]))].into();
    let options = |dtype| SaveOptions { dtype, ..SaveOptions::default() };
    kiln_models::save_as(folder.path(), &model.card, &state, &options(SaveType::Bfloat16), &[]).unwrap();
    let read = weights::read(folder.path()).unwrap();
    assert_eq!(read["w"].dtype(), DType::BF16);
    assert_eq!(read["w"].iter::<f32>().collect::<Vec<_>>(), [1.0, 1.0, 70144.0]);
    let card = fs::read_to_string(folder.path().join("config.json")).unwrap();
    assert!(card.contains("\"dtype\": \"bfloat16\""), "{card}");
    let error = kiln_models::save_as(folder.path(), &model.card, &state, &options(SaveType::Float16), &[])
        .unwrap_err();
    assert!(error.to_string().contains("tensor w") && error.hint().unwrap().contains("bfloat16"), "{error}");
}
