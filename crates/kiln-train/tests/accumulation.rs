//! k batches of b are one batch of k b, on texts of many lengths and with a last group of fewer: after 50 steps SGD has the
//! same weights and AdamW the same losses, but for the order of sums. No batch norm and no dropout: those see a batch.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_train::Summary;
use support::runs::{metrics, newest, train};

const WORDS: [&str; 8] = ["a", "stirring", "film", "yuks", "good", "movie", "the", "very"];
/// 5 steps of 32 a pass; the last has 8 + 8 + 6.
const SAMPLES: u64 = 150;

/// Three to fourteen words.
fn words(i: u64) -> Vec<&'static str> {
    let draw = |k: u64| ((support::hashed(i + 1, k) + 0.5) * 8.0) as usize % 8;
    (0..3 + (i * 5) % 12).map(|k| WORDS[draw(k)]).collect()
}

fn config(folder: &Path, task: &str, data: &str) -> PathBuf {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-data/tests/fixtures/tokenizer.json");
    let text = format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[task]\nkind = \"{task}\"\n[data]\n{data}\n\
         [data.tokenizer]\npath = {tokenizer:?}\nmax_length = 24\n[data.loader]\nbatch_size = 32\n\
         [model]\nkind = \"bert\"\nhidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 2\n\
         intermediate_size = 64\nmax_position_embeddings = 32\nhidden_dropout_prob = 0.0\n\
         attention_probs_dropout_prob = 0.0\n[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.05\n[train]\nmax_steps = 50\n",
        folder.join("runs")
    );
    let path = folder.join(format!("{task}.toml"));
    fs::write(&path, text).unwrap();
    path
}

/// Texts of one class each, and words of one tag each: a batch's loss is a mean over samples, and over words.
fn configs(folder: &Path) -> [PathBuf; 2] {
    let texts = folder.join("texts.csv");
    let row = |i: u64| {
        format!("{},{}\n", words(i).join(" "), if words(i).contains(&"good") { "yes" } else { "no" })
    };
    fs::write(&texts, "text,label\n".to_string() + &(0..SAMPLES).map(row).collect::<String>()).unwrap();
    let tagged = folder.join("tagged.conll");
    let tag = |word: &str| if word == "film" { "B-X" } else { "O" };
    let sentence = |i: u64| words(i).iter().map(|w| format!("{w} X {}\n", tag(w))).collect::<String>() + "\n";
    fs::write(&tagged, (0..SAMPLES).map(sentence).collect::<String>()).unwrap();
    [
        config(
            folder,
            "classification",
            &format!("kind = \"csv\"\ntrain = {texts:?}\ntext = \"text\"\nlabel = \"label\""),
        ),
        config(folder, "token_classification", &format!("kind = \"conll\"\ntrain = {tagged:?}")),
    ]
}

/// One batch of 32 a step, and four of 8.
fn both(path: &Path, optimizer: &[&str]) -> [Summary; 2] {
    let with = |name: &str, sizes: &[&str]| {
        let name = format!("run_name={}-{name}-{}", path.file_stem().unwrap().display(), optimizer.len());
        let all: Vec<&str> = [&[name.as_str()][..], optimizer, sizes].concat();
        train(path, &all)
    };
    [with("big", &[]), with("small", &["data.loader.batch_size=8", "train.gradient_accumulation_steps=4"])]
}

fn losses(summary: &Summary) -> Vec<f64> {
    metrics(&summary.run).iter().filter_map(|line| line["loss"].as_f64()).collect()
}

#[test]
fn sgd_has_the_same_weights_after_50_steps() {
    let folder = tempfile::tempdir().unwrap();
    for path in configs(folder.path()) {
        let [big, small] = both(&path, &[]);
        assert_eq!((big.steps, small.steps), (50, 50));
        let (big, small) = (newest(&big.run).model, newest(&small.run).model);
        let values =
            |state: &kiln_core::StateDict, name: &str| state[name].as_slice::<f32>().unwrap().to_vec();
        let (mut apart, mut largest) = (0.0f32, 0.0f32);
        for name in big.keys() {
            for (a, b) in values(&big, name).into_iter().zip(values(&small, name)) {
                (apart, largest) = (apart.max((a - b).abs()), largest.max(a.abs()));
            }
        }
        assert!(apart <= 1e-6 * largest, "{}: {apart:.1e} of {largest}", path.display());
    }
}

#[test]
fn adamw_has_the_same_losses_for_50_steps() {
    let folder = tempfile::tempdir().unwrap();
    for path in configs(folder.path()) {
        let [big, small] = both(&path, &["optimizer.kind=adamw", "optimizer.learning_rate=1e-3"]);
        let (big, small) = (losses(&big), losses(&small));
        assert_eq!((big.len(), small.len()), (50, 50));
        let apart = big.iter().zip(&small).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 1e-5, "{}: {apart:.1e}", path.display());
        assert!(big[49] < 0.95 * big[0], "it learns: {} to {}", big[0], big[49]);
    }
}
