//! The average of the weights: against timm's and PyTorch's, in a run, and over an interruption.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use kiln_core::{Forward, Net, StateDict};
use kiln_models::weights;
use kiln_nn::BatchNorm2d;
use kiln_train::average::{Average, AverageConfig};
use kiln_train::schedule::Schedule;
use kiln_train::{Outcome, Plan, checkpoint};
use support::runs::{ADAMW, config, finished, go, metrics, new, newest, resume, train};
use support::{bits, cpu, fixture, floats};

/// The net of `make_average.py`.
#[derive(Module, Debug)]
struct Normed {
    norm: BatchNorm2d,
}

impl Forward for Normed {
    type In = Tensor<4>;
    type Out = Tensor<2>;
    const NAMES: &'static [(&'static str, &'static str)] = &[("norm.", "")];

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.norm.forward(x).flatten(1, 3)
    }
}

/// What the script's net has after optimizer step `t`.
fn at(t: u32) -> StateDict {
    let names = ["weight", "bias", "running_mean", "running_var"];
    let one = |(k, name): (usize, &&str)| {
        let values: Vec<f32> =
            (0..3).map(|i| (0.1 * f64::from(t) + (3 * k + i) as f64).sin() as f32).collect();
        ((*name).to_string(), TensorData::new(values, [3]))
    };
    names.iter().enumerate().map(one).collect()
}

fn plan() -> Plan {
    let schedule = Schedule::new(&Default::default(), 1.0, 100, 20);
    Plan {
        train_samples: 100,
        batches_per_epoch: 20,
        accumulation: 1,
        steps_per_epoch: 20,
        total_steps: 100,
        schedule,
    }
}

#[test]
fn averages_equal_timms_and_torchs() {
    let fixture = fixture("average.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let config: AverageConfig = serde_json::from_value(case["config"].clone()).unwrap();
        let mut net: Box<dyn Net> = Box::new(Normed { norm: BatchNorm2d::new(3, &cpu()) });
        let mut average = Average::new(&config);
        let mut compared = 0;
        for t in 1..=100 {
            assert!(net.load_state(&at(t)).is_exact());
            average.update(&*net, t.into(), t.into(), &plan(), None);
            let Some(expected) = case["after"].get(t.to_string()) else { continue };
            let state = average.state().unwrap();
            for (name, values) in expected.as_object().unwrap() {
                let got = state[name].as_slice::<f32>().unwrap();
                for (got, expected) in got.iter().zip(floats(values)) {
                    let distance = (f64::from(*got) - expected).abs();
                    assert!(distance < 1e-6, "{config:?}, step {t}, {name}: {got}, expected {expected}");
                    compared += 1;
                }
            }
        }
        assert!(compared >= 36, "{compared}");
    }
}

fn model(folder: &Path) -> StateDict {
    let path = folder.join("model.safetensors");
    weights::from_safetensors(&std::fs::read(&path).unwrap(), &path).unwrap()
}

/// A net with batch norm, so that running statistics are averaged too.
const RESNET: &str = "kind = \"resnet\"\npreset = \"cifar20\"\n";

#[test]
fn an_average_is_scored_saved_beside_the_trained_weights_and_continues_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "{ADAMW}[train]\nmax_steps = 12\n[evaluate]\nevery = \"4 steps\"\n[checkpoint]\nkeep_best = false\n\
         [average]\nkind = \"ema\"\ndecay = 0.8\n"
    );
    let path = config(folder.path(), RESNET, &rest);
    let whole = train(&path, &["run_name=whole"]);
    let last = newest(&whole.run);
    let average = last.average.clone().unwrap();
    assert_eq!(last.progress.averaged, 12);
    assert_eq!(bits(&model(&whole.model)), bits(&average), "the model is the average");
    assert_eq!(
        bits(&model(&whole.run.join("model_raw"))),
        bits(&last.model),
        "the trained weights lie beside"
    );
    for (name, value) in &average {
        assert!(value.as_bytes() != last.model[name].as_bytes(), "{name} is averaged");
    }

    // The other weights on request; what is trained does not depend on it, what is scored does.
    let raw = train(&path, &["run_name=raw", "average.evaluate=raw"]);
    assert_eq!(bits(&newest(&raw.run).model), bits(&last.model));
    assert_eq!(bits(&model(&raw.model)), bits(&last.model));
    assert_eq!(bits(&model(&raw.run.join("model_average"))), bits(&average));
    assert_ne!(raw.validation.unwrap().loss, whole.validation.unwrap().loss);

    let outcome = go(&new(&path, &["run_name=cut"]), 7).unwrap();
    let Outcome::Interrupted { run, .. } = outcome else { panic!("not interrupted") };
    finished(go(&resume(&run, &[]), 0).unwrap());
    let resumed = newest(&run);
    assert_eq!(bits(&resumed.average.unwrap()), bits(&average));
    assert_eq!(bits(&resumed.model), bits(&last.model));
    assert_eq!(metrics(&run), metrics(&whole.run));
}

#[test]
fn the_best_step_brings_the_average_of_that_step() {
    let folder = tempfile::tempdir().unwrap();
    // The average of the last half; with a rate like this the validation loss jumps about.
    let rest = "[optimizer]\nkind = \"sgd\"\nlearning_rate = 1.0\n[train]\nmax_steps = 40\n\
                [evaluate]\nevery = \"2 steps\"\n[average]\nkind = \"swa\"\nstart = 0.5\nevery = \"1 step\"\n";
    let path = config(folder.path(), RESNET, rest);
    for seed in 0..3 {
        let summary = train(&path, &[&format!("seed={seed}"), &format!("run_name=seed-{seed}")]);
        let chosen = checkpoint::folder(&summary.run.join("checkpoints"), summary.chosen_step);
        let chosen = checkpoint::load(&chosen).unwrap();
        let begun = summary.chosen_step > 20;
        assert_eq!(chosen.average.is_some(), begun, "averaging begins after step 20");
        let expected = chosen.average.as_ref().unwrap_or(&chosen.model);
        assert_eq!(bits(&model(&summary.model)), bits(expected), "step {}", summary.chosen_step);
        assert_eq!(summary.run.join("model_raw").exists(), begun);
    }
}

#[test]
fn faults_of_an_average_are_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), RESNET, &format!("{ADAMW}[train]\nmax_steps = 3\n"));
    let refused = |words: &[&str], parts: &[&str]| {
        let error = go(&new(&path, words), 0).unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{part} in {error}"));
    };
    refused(&["average={kind=\"ema\",decay=1.0}"], &["average.decay", "never"]);
    refused(&["average={kind=\"ema\",warmup_power=0.5}"], &["average.warmup_power", "without `warmup`"]);
    refused(&["average={kind=\"swa\",every=\"5 minutes\"}"], &["average.every", "machine's speed"]);
    refused(&["average={kind=\"swa\",start=1.0}"], &["average.start"]);
    refused(&["average={kind=\"sma\"}"], &["sma", "ema"]);
    assert!(train(&path, &["average={kind=\"ema\"}"]).run.join("model_raw").is_dir());
}
