//! Activation checkpointing in runs: the same losses and weights to the bit, whatever else is on, also when a run goes on
//! with it; and the peak memory of a 12-layer encoder, each run in a process of its own.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_train::Outcome;
use support::bits;
use support::runs::{ADAMW, go, metrics, new, newest, resume, train};

const ON: &str = "train.activation_checkpointing=true";

/// A small ViT on the digits, with everything that draws.
fn vit(folder: &Path, rest: &str) -> PathBuf {
    let model = "kind = \"vit\"\npreset = \"vit_tiny_patch16_224\"\npatch_size = 2\nhidden_size = 24\n\
                 num_hidden_layers = 3\nnum_attention_heads = 2\nhidden_dropout_prob = 0.1\n\
                 attention_probs_dropout_prob = 0.1\ndrop_path_rate = 0.2\n";
    let loop_ = "[train]\nmax_steps = 12\ngradient_accumulation_steps = 3\nmax_grad_norm = 1.0\n";
    support::runs::config(folder, model, &format!("{ADAMW}{loop_}{rest}"))
}

#[test]
fn runs_are_the_same_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let lora = "[lora]\nrank = 2\nalpha = 4\ndropout = 0.1\n";
    let frozen = "[finetune]\nfreeze = [\"blocks.0.*\", \"patch_embed.*\"]\n";
    let average = "[average]\nkind = \"ema\"\ndecay = 0.9\n";
    for (rest, overrides) in
        [(average, vec![]), ("", vec!["precision=bf16"]), (lora, vec![]), (frozen, vec![])]
    {
        let config = vit(folder.path(), rest);
        let whole = train(&config, &overrides);
        let blocks = train(&config, &[&overrides[..], &[ON]].concat());
        let (a, b) = (newest(&whole.run), newest(&blocks.run));
        assert_eq!(a.progress.step, 12);
        assert_eq!(bits(&a.model), bits(&b.model), "{rest} {overrides:?}");
        assert_eq!(bits(&a.optimizer), bits(&b.optimizer), "{rest} {overrides:?}");
        assert_eq!(metrics(&whole.run), metrics(&blocks.run));
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_with_or_without() {
    let folder = tempfile::tempdir().unwrap();
    let config = vit(folder.path(), "");
    let whole = train(&config, &[]);
    for (before, after) in [(vec![ON], vec![]), (vec![], vec![ON])] {
        let stopped = go(&new(&config, &before), 5).unwrap();
        let Outcome::Interrupted { run, step: 5 } = stopped else { panic!("not stopped after step 5") };
        let off = "train.activation_checkpointing=false";
        let after = if after.is_empty() { vec![off] } else { after };
        go(&resume(&run, &after), 0).unwrap();
        assert_eq!(bits(&newest(&run).model), bits(&newest(&whole.run).model), "{before:?}");
        assert_eq!(metrics(&run), metrics(&whole.run));
    }
}

/// A 12-layer encoder on 64 texts of 64 tokens a batch.
fn encoder(folder: &Path) -> PathBuf {
    let words = ["a", "stirring", "film", "yuks", "good", "movie", "the", "very"];
    let text = |i: usize| (0..62).map(|k| words[(i * 13 + k * k) % 8]).collect::<Vec<_>>().join(" ");
    let rows: String = (0..192).map(|i| format!("{}\t{}\n", text(i), i % 2)).collect();
    fs::write(folder.join("train.tsv"), format!("sentence\tlabel\n{rows}")).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-data/tests/fixtures/tokenizer.json");
    let text = format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[data]\nkind = \"tsv\"\ntrain = {:?}\ntext = \"sentence\"\n\
         label = \"label\"\n[data.tokenizer]\npath = {tokenizer:?}\nmax_length = 64\n[data.loader]\n\
         batch_size = 64\nworkers = 1\n[model]\nkind = \"bert\"\nhidden_size = 64\nnum_hidden_layers = 12\n\
         num_attention_heads = 2\nintermediate_size = 256\nmax_position_embeddings = 64\n\
         [optimizer]\nkind = \"adamw\"\n[train]\nmax_steps = 3\n",
        folder.join("runs"),
        folder.join("train.tsv"),
    );
    let path = folder.join("encoder.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Tells the test of the peak, started again by itself, to be one run with these overrides.
const ONE_RUN: &str = "KILN_TEST_RUN";

/// A run in this process, whose peak it prints: in a process of its own, which [`measured`] starts.
fn one_run(overrides: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = encoder(folder.path());
    let status = || fs::read_to_string("/proc/self/status").unwrap();
    let peak = |status: String| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().to_string();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = peak(status());
    let run = train(&config, &overrides.split_whitespace().collect::<Vec<_>>());
    let hash: u64 = bits(&newest(&run.run).model)
        .iter()
        .flat_map(|(_, bytes)| bytes)
        .fold(14_695_981_039_346_656_037, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
        });
    println!("\nmeasured {before} {} {hash}", peak(status()));
}

/// KiB of a run's process before it and at its peak, and the hash of its weights.
fn measured(overrides: &str) -> [u64; 3] {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_peak_memory_of_a_12_layer_encoder_is_halved_and_check_reckons_it",
            "--nocapture",
        ])
        .env(ONE_RUN, overrides)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("measured "));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_peak_memory_of_a_12_layer_encoder_is_halved_and_check_reckons_it() {
    if let Ok(overrides) = std::env::var(ONE_RUN) {
        return one_run(&overrides);
    }
    let [before, whole, weights] = measured("");
    let [_, blocks, same] = measured(ON);
    let folder = tempfile::tempdir().unwrap();
    let config = encoder(folder.path());
    for (overrides, peak) in [(vec![], whole), (vec![ON.to_string()], blocks)] {
        let memory = kiln_train::load::check(&config, &overrides).unwrap().memory.unwrap();
        let (reckoned, taken) = (memory.peak().unwrap() / 1024, peak - before);
        eprintln!("{overrides:?}: reckoned {reckoned} KiB, taken {taken} KiB beside the {before} before");
        let factor = reckoned as f64 / taken as f64;
        assert!((1.0 / 1.5..1.5).contains(&factor), "{overrides:?}: {reckoned} KiB for {taken}: {memory:?}");
    }
    eprintln!("peak of a 12-layer encoder: {whole} KiB, with checkpointing {blocks} KiB");
    assert_eq!(weights, same, "other weights");
    assert!(whole >= 2 * blocks, "{whole} KiB, with checkpointing {blocks} KiB");
}
