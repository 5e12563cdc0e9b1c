//! A run whose data holds damaged images: what it writes down, and that it goes on to the bit after an interruption.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::{Path, PathBuf};

use kiln_core::Exit;
use kiln_train::{Outcome, Start, checkpoint};
use serde_json::Value;
use support::runs::{go, new};
use support::{bits, clockless};

/// 60 images in two class folders, every tenth of them damaged.
fn config(folder: &Path, policy: &str) -> PathBuf {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-data/tests/fixtures/rgb.png");
    let bytes = std::fs::read(image).unwrap();
    for i in 0..60 {
        let class = folder.join("images").join(["cat", "dog"][i % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let length = if i % 10 == 4 { bytes.len() / 2 } else { bytes.len() };
        std::fs::write(class.join(format!("{i:02}.png")), &bytes[..length]).unwrap();
    }
    let text = format!(
        "device = \"cpu\"\noutput_dir = {out:?}\n[data]\nkind = \"image_folder\"\npath = {images:?}\n\
         validation_fraction = 0.2\n\
         transforms = [{{ kind = \"resize\", size = [10, 10] }}, {{ kind = \"random_crop\", size = 8 }}]\n\
         [data.loader]\nbatch_size = 4\non_bad_sample = \"{policy}\"\nmax_bad_fraction = 0.3\n\
         [model]\nkind = \"mlp\"\nhidden = [8]\n[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.05\nmomentum = 0.9\n\
         [train]\nepochs = 3\nlogging_steps = 1\n",
        out = folder.join("runs"),
        images = folder.join("images"),
    );
    let path = folder.join("images.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was left out, in an order of its own.
fn bad(run: &Path) -> Vec<(String, String)> {
    let field = |line: &Value, key: &str| line[key].as_str().unwrap().to_string();
    let mut all: Vec<_> = lines(&run.join("bad_samples.jsonl"))
        .iter()
        .map(|line| (field(line, "split"), field(line, "sample")))
        .collect();
    all.sort();
    all
}

#[test]
fn damaged_samples_are_written_down_once_and_a_resumed_run_is_the_same_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "quarantine");
    let Outcome::Finished(whole) = go(&new(&config, &["run_name=whole"]), 0).unwrap() else { panic!() };
    let named = bad(&whole.run);
    assert_eq!(named.len(), 6, "{named:?}");
    for line in lines(&whole.run.join("bad_samples.jsonl")) {
        let copy = std::fs::read(whole.run.join(line["quarantined"].as_str().unwrap())).unwrap();
        assert_eq!(copy, std::fs::read(line["sample"].as_str().unwrap()).unwrap());
        assert!(line["reason"].as_str().unwrap().contains("expected a whole image"), "{line}");
    }
    let of_train = named.iter().filter(|(split, _)| split == "train").count() as u64;
    let logged: Vec<u64> = lines(&whole.run.join("metrics.jsonl"))
        .iter()
        .filter(|line| line["split"] == "train")
        .map(|line| line["bad_samples"].as_u64().unwrap())
        .collect();
    assert_eq!(logged, [of_train; 3]);

    let last = |run: &Path| checkpoint::latest(&run.join("checkpoints")).unwrap().unwrap().checkpoint;
    for (at, workers) in [(3, 0), (13, 3), (25, 1)] {
        let name = format!("run_name=at-{at}");
        let start = new(&config, &[&name, &format!("data.loader.workers={workers}")]);
        let Outcome::Interrupted { run, step } = go(&start, at).unwrap() else { panic!("it went on") };
        assert_eq!(step, at);
        let start = Start::Resume { run: run.clone(), config: None, overrides: Vec::new() };
        assert!(matches!(go(&start, 0).unwrap(), Outcome::Finished(_)));
        assert_eq!(bad(&run), named);
        assert_eq!(bits(&last(&run).model), bits(&last(&whole.run).model));
        let log =
            |run: &Path| lines(&run.join("metrics.jsonl")).into_iter().map(clockless).collect::<Vec<_>>();
        assert_eq!(log(&run), log(&whole.run));
    }
}

#[test]
fn beyond_the_bound_the_run_ends_with_what_it_found_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "skip");
    let start = new(&config, &["run_name=few", "data.loader.max_bad_fraction=0.01"]);
    let error = go(&start, 0).expect_err("it went on");
    assert_eq!(error.exit(), Exit::Data);
    assert!(
        error.to_string().starts_with("2 of 48 samples cannot be used, 1 are allowed; the last: "),
        "{error}"
    );
    assert_eq!(bad(&dir.path().join("runs/few")).len(), 2);

    let start = new(&config, &["run_name=fail", "data.loader.on_bad_sample=fail"]);
    let error = go(&start, 0).expect_err("it went on");
    assert!(error.to_string().contains("expected a whole image"), "{error}");
    assert!(!dir.path().join("runs/fail/bad_samples.jsonl").exists());
}
