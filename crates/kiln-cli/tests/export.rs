//! `kiln export` and `kiln verify` on a run: what is left, what is said, and what is refused.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Said, digits, kiln};

fn run(folder: &Path) -> PathBuf {
    let config = digits(folder, "");
    Said::by(kiln().arg("train").arg(config)).expect(0, &[]).run()
}

fn export(run: &Path, words: &[&str]) -> Said {
    Said::by(kiln().arg("export").arg(run).args(words))
}

#[test]
fn a_run_is_exported_verified_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let out = export(&run, &[]).expect(0, &["largest difference"]).run();
    assert_eq!(out, run.join("export/onnx"));
    for file in ["model.onnx", "model.golden.safetensors", "config.json", "preprocessor_config.json"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for words in
        ["pipeline_tag: image-classification", "\"metrics\":[", "idx digits", "## Config", "`model.onnx` `"]
    {
        assert!(card.contains(words), "expected {words:?} in {card}");
    }
    let said = Said::by(kiln().arg("verify").arg(out.join("model.onnx"))).expect(0, &[]);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
    export(&run, &[]).expect(2, &["exists already"]);

    let golden = out.join("model.golden.safetensors");
    let mut bytes = fs::read(&golden).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&golden, bytes).unwrap();
    Said::by(kiln().arg("verify").arg(&out)).expect(1, &["not the golden inputs and outputs"]);
    fs::remove_file(golden).unwrap();
    Said::by(kiln().arg("verify").arg(&out)).expect(1, &["are gone"]);
}

#[test]
fn int8_is_smaller_and_says_what_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let full = export(&run, &[]).expect(0, &[]).run();
    let size = |folder: &Path| fs::metadata(folder.join("model.onnx")).unwrap().len();
    for words in [&["format=int8"][..], &["format=int8", "calibration=static", "samples=64"]] {
        let lost = "differ from the float32 model's by up to";
        let narrow = export(&run, words).expect(0, &[lost]).run();
        assert!(size(&narrow) * 3 < size(&full), "{} and {}", size(&narrow), size(&full));
        let card = fs::read_to_string(narrow.join("README.md")).unwrap();
        assert!(card.contains(lost), "{card}");
        Said::by(kiln().arg("verify").arg(&narrow)).expect(0, &[]);
    }
    export(&run.join("model"), &["format=int8", "calibration=static", "samples=0"]).expect(2, &["samples=0"]);
}

#[test]
fn a_hugging_face_folder_has_the_tensors_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let out = export(&run, &["format=hf"]).expect(0, &[]).run();
    assert!(out.join("README.md").is_file());
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&run.join("model")), "the same tensors to the bit");
    let half = export(&run, &["format=safetensors", "precision=bf16"]).expect(0, &[]).run();
    assert!(weights(&half).len() < weights(&out).len() * 6 / 10);
    export(&run, &["format=hf"]).expect(2, &["exists already"]);
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    for (words, said) in [
        (&["format=gguf"][..], "format=gguf: no such format"),
        (&["precision=f64"], "precision=f64"),
        (&["precision=bf16"], "precision=bf16 is for format=hf"),
        (&["format=hf", "precision=int8"], "precision=int8 is for format=onnx"),
        (&["calibration=static"], "calibration and samples are for int8"),
        (&["format=int8", "samples=5"], "samples are for a calibration"),
        (&["opset=12"], "opset is no key"),
        (&["onnx"], "no KEY=VALUE"),
        (&["format=hf", "--embed"], "--embed is a form of format=onnx"),
        (&["--embed"], "has no sentence embeddings"),
    ] {
        let code = if said.contains("embeddings") { 4 } else { 2 };
        export(&run, words).expect(code, &[said, "hint:"]);
    }
    assert!(!run.join("export").join("onnx").exists());
    fs::remove_file(run.join("model/preprocessor_config.json")).unwrap();
    export(&run, &[]).expect(4, &["preprocess"]);
    Said::by(kiln().arg("verify").arg(folder.path().join("nothing.onnx"))).expect(74, &["nothing.onnx"]);
}
