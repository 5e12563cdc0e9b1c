//! Numbers that are not finite, from the data and from a checkpoint: which run stops, which goes on, and what is named. What
//! gradients and updates plant is tested beside the loop (`run/guard/tests.rs`).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use kiln_train::snapshot::Snapshot;
use kiln_train::{Outcome, TrainError, checkpoint, replay};
use support::bits;
use support::runs::{finished, go, metrics, new, newest, resume, train};

const ROWS: usize = 64;
/// The row whose label's square is infinite.
const BAD: usize = 37;

/// A table whose row 37 has a label that overflows the loss, and a config on it.
fn planted(folder: &Path, policy: &str) -> PathBuf {
    let table = folder.join("large.csv");
    let label = |i: usize| if i == BAD { "1e30".to_string() } else { format!("{}", i % 7) };
    let rows: String = (0..ROWS).map(|i| format!("{},{}\n", i as f64 / 64.0, label(i))).collect();
    std::fs::write(&table, format!("x,y\n{rows}")).unwrap();
    let text = format!(
        "device = \"cpu\"\noutput_dir = {out:?}\n[task]\nkind = \"regression\"\nstandardize = false\n[model]\n\
         kind = \"mlp\"\nhidden = [8]\n[optimizer]\nkind = \"adamw\"\n[data]\nkind = \"csv\"\ntrain = {table:?}\n\
         features = [\"x\"]\nlabel = \"y\"\nloader = {{ batch_size = 4 }}\n[train]\nmax_steps = 40\n\
         gradient_accumulation_steps = 2\non_nonfinite = {policy:?}\n[checkpoint]\nevery = \"3 steps\"\nkeep_last = 100\n",
        out = folder.join("runs"),
    );
    let path = folder.join(format!("{policy}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn steps_skipped(run: &Path) -> Vec<u64> {
    let lines = metrics(run);
    lines
        .iter()
        .filter(|line| line.get("skipped").is_some())
        .map(|line| line["step"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_run_stops_and_names_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = planted(folder.path(), "stop");
    // With this seed the row comes after the first checkpoint.
    let error = go(&new(&path, &["run_name=stop", "seed=3"]), 0).unwrap_err();
    assert_eq!(error.exit(), kiln_core::Exit::Failed);
    let TrainError::NonFinite { step, what, value, samples, .. } = &error else { panic!("{error}") };
    assert_eq!((*what, *value), ("loss", f32::INFINITY));
    // Header and counting from 1: row 37 is the file's line 39. It is in the batch that is named first.
    let place = samples.split(", ").position(|name| name.contains("large.csv") && name.ends_with("39"));
    assert!(place.is_some_and(|place| place < 4), "{samples}");
    assert_eq!(samples.split(", ").count(), 8, "both batches: {samples}");
    assert!(error.hint().unwrap().contains(&format!("kiln replay RUN --step {step}")));
    let run = folder.path().join("runs/stop");
    assert!(newest(&run).model.values().all(|data| data.iter::<f32>().all(f32::is_finite)));
    assert!(newest(&run).progress.step < *step);
    // The run goes on when it is told to.
    let summary = finished(go(&resume(&run, &["train.on_nonfinite=skip"]), 0).unwrap());
    assert_eq!(steps_skipped(&summary.run)[0], *step);
}

#[test]
fn runs_that_leave_steps_out_resume_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut models = Vec::new();
    for policy in ["skip", "rewind"] {
        let path = planted(folder.path(), policy);
        let whole = train(&path, &[&format!("run_name={policy}-whole")]);
        let skipped = steps_skipped(&whole.run);
        assert_eq!(skipped.len(), 5, "once an epoch of 8 steps: {skipped:?}");
        let last = newest(&whole.run);
        for at in [skipped[0] + 1, skipped[2] - 1] {
            let name = format!("run_name={policy}-{at}");
            let Outcome::Interrupted { run, .. } = go(&new(&path, &[&name]), at).unwrap() else { panic!() };
            finished(go(&resume(&run, &[]), 0).unwrap());
            let resumed = newest(&run);
            assert_eq!(bits(&resumed.model), bits(&last.model), "{policy} at {at}");
            assert_eq!(bits(&resumed.optimizer), bits(&last.optimizer), "{policy} at {at}");
            assert_eq!(metrics(&run), metrics(&whole.run), "{policy} at {at}");
        }
        // As after a kill between the way back and the next save: the newest checkpoint knows nothing of it yet.
        for step in checkpoint::steps(&whole.run.join("checkpoints")).unwrap() {
            if step >= skipped[1] {
                std::fs::remove_dir_all(checkpoint::folder(&whole.run.join("checkpoints"), step)).unwrap();
            }
        }
        finished(go(&resume(&whole.run, &[]), 0).unwrap());
        assert_eq!(bits(&newest(&whole.run).model), bits(&last.model), "{policy} after a kill");
        assert_eq!(bits(&newest(&whole.run).optimizer), bits(&last.optimizer), "{policy} after a kill");
        models.push(bits(&last.model));
    }
    assert_eq!(models[0], models[1]);
}

#[test]
fn a_checkpoint_with_a_weight_that_is_not_finite_is_refused_or_left_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = support::runs::config(
        folder.path(),
        support::runs::MLP,
        "[optimizer]\nkind = \"adamw\"\n[train]\nmax_steps = 20\n[checkpoint]\nevery = \"5 steps\"\nkeep_last = 9\n",
    );
    let whole = train(&path, &["run_name=whole"]);
    let Outcome::Interrupted { run, .. } = go(&new(&path, &["run_name=cut"]), 12).unwrap() else { panic!() };
    let mut damaged = newest(&run);
    let (name, data) = damaged.model.iter().next().map(|(n, d)| (n.clone(), d.clone())).unwrap();
    let mut values: Vec<f32> = data.iter().collect();
    values[0] = f32::NAN;
    damaged.model.insert(name.clone(), TensorData::new(values, data.shape().to_vec()));
    let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let average = damaged.average.map(Into::into);
    let (model, optimizer) = (damaged.model.into(), damaged.optimizer.into());
    let snapshot = Snapshot { model, optimizer, average, progress: damaged.progress };
    checkpoint::save(&run.join("checkpoints"), snapshot, &text).unwrap();

    let seen = replay(&run, 13, &[], &mut |_| {}).unwrap();
    let trouble = seen.trouble.unwrap();
    assert_eq!((trouble.part, &trouble.name, trouble.values), ("parameter", &name, 1));

    let error = go(&resume(&run, &[]), 0).unwrap_err();
    assert!(matches!(&error, TrainError::NonFiniteWeights { step: 12, .. }), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
    let summary = finished(go(&resume(&run, &["train.on_nonfinite=rewind"]), 0).unwrap());
    assert_eq!(bits(&newest(&summary.run).model), bits(&newest(&whole.run).model));
    assert_eq!(metrics(&summary.run), metrics(&whole.run));
}

#[test]
fn every_step_replayed_has_the_loss_and_the_norm_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "[optimizer]\nkind = \"adamw\"\n[train]\nepochs = 2\ngradient_accumulation_steps = 6\n\
                [checkpoint]\nevery = \"5 steps\"\nkeep_last = 9\nkeep_best = false\n[schedule]\nlr_scheduler_type = \"reduce_lr_on_plateau\"\n\
                patience = 0\n[evaluate]\nevery = \"2 steps\"\n";
    let path = support::runs::config(folder.path(), support::runs::CNN, rest);
    let turned = "data.transforms=[{kind=\"random_crop\",size=8,padding=1}]";
    let run = train(&path, &[turned, "run_name=whole"]).run;
    let steps: Vec<_> = metrics(&run).into_iter().filter(|line| line.get("grad_norm").is_some()).collect();
    assert_eq!(steps.len(), 14);
    for line in &steps {
        let step = line["step"].as_u64().unwrap();
        let seen = replay(&run, step, &[], &mut |_| {}).unwrap();
        assert_eq!(line["loss"].as_f64().unwrap() as f32, seen.loss, "step {step}");
        assert_eq!(line["grad_norm"].as_f64().unwrap() as f32, seen.grad_norm, "step {step}");
        assert_eq!(line["learning_rate"].as_f64().unwrap(), seen.learning_rate, "step {step}");
        assert_eq!(seen.trained, (step - 1) % 5, "step {step}");
        let samples: usize = seen.batches.iter().map(|batch| batch.samples.len()).sum();
        assert_eq!(line["samples"].as_u64().unwrap() as usize, samples, "step {step}");
    }
}
