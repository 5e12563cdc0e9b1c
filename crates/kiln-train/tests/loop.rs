//! The loop on real digits: accumulation, interruption and resume to the bit, damage, refusals, early stopping.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_core::event::{Callback, Event};
use kiln_train::{Outcome, Start, Summary, TrainError, checkpoint};
use serde_json::Value;
use support::bits;
use support::runs::{
    ADAMW, CNN, MLP, SGD, config, finished, go, metrics, new, newest, resume, train, watched,
};

/// Asks to stop in the middle of the n-th evaluation, from 1.
struct InterruptEvaluation<'a>(u64, u64, &'a AtomicBool);

impl Callback for InterruptEvaluation<'_> {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::Evaluating { done, total, .. } = event {
            self.1 += u64::from(done == total);
            if self.1 + 1 == self.0 && done < total {
                self.2.store(true, Ordering::SeqCst);
            }
        }
    }
}

#[test]
fn accumulation_equals_the_big_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{SGD}[train]\nepochs = 2\n"));
    // 1294 training samples: the last group of a pass has 3 batches of 8 and one of 6, the big batch has 14.
    let big = train(&path, &["run_name=big", "data.loader.batch_size=32", "data.loader.workers=0"]);
    let small =
        train(&path, &["run_name=small", "data.loader.batch_size=8", "train.gradient_accumulation_steps=4"]);
    assert_eq!(big.steps, small.steps);
    let (big, small) = (newest(&big.run), newest(&small.run));
    for (name, expected) in &big.model {
        let (expected, got) =
            (expected.as_slice::<f32>().unwrap(), small.model[name].as_slice::<f32>().unwrap());
        let distance = expected.iter().zip(got).map(|(e, g)| (e - g).abs()).fold(0.0, f32::max);
        assert!(distance < 2e-6, "{name}: {distance:.1e}");
    }
}

#[test]
fn an_interrupted_run_continues_to_the_bit_for_any_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "{ADAMW}[schedule]\nlr_scheduler_type = \"cosine\"\nwarmup_steps = 0.1\n[train]\nepochs = 2\n\
         gradient_accumulation_steps = 3\nmax_grad_norm = 1.0\nlabel_smoothing_factor = 0.1\nlogging_steps = 3\n\
         [[data.transforms]]\nkind = \"random_crop\"\nsize = 8\npadding = 1\n\
         [[data.transforms]]\nkind = \"random_horizontal_flip\"\n"
    );
    let path = config(folder.path(), CNN, &rest);
    let whole = train(&path, &["run_name=whole"]);
    assert_eq!(whole.steps, 28); // 41 batches a pass, 14 groups
    for (at, workers) in [(6, 0), (14, 1), (18, 4)] {
        let name = format!("run_name=cut-{at}");
        let outcome = go(&new(&path, &[&name, &format!("data.loader.workers={workers}")]), at).unwrap();
        let Outcome::Interrupted { run, step } = outcome else { panic!("not interrupted") };
        assert_eq!(step, at);
        let resumed =
            finished(go(&resume(&run, &[&format!("data.loader.workers={}", 4 - workers)]), 0).unwrap());
        assert_eq!(resumed.chosen_step, whole.chosen_step);
        let (a, b) = (newest(&whole.run), newest(&run));
        assert_eq!(bits(&a.model), bits(&b.model), "weights after an interruption at {at}");
        assert_eq!(bits(&a.optimizer), bits(&b.optimizer), "optimizer after an interruption at {at}");
        assert_eq!(metrics(&whole.run), metrics(&run), "losses after an interruption at {at}");
        let model = |run: &Path| std::fs::read(run.join("model/model.safetensors")).unwrap();
        assert!(model(&whole.run) == model(&run), "final model after an interruption at {at}");
    }
}

#[test]
fn every_optimizer_and_a_falling_rate_resume_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "[schedule]\nlr_scheduler_type = \"reduce_lr_on_plateau\"\npatience = 0\nthreshold = 100.0\n\
         [evaluate]\nevery = \"5 steps\"\n[train]\nmax_steps = 20\n";
    for kind in ["adam", "rmsprop", "adagrad", "adafactor", "lion", "lamb", "muon"] {
        let path = config(folder.path(), MLP, &format!("[optimizer]\nkind = \"{kind}\"\n{rest}"));
        let whole = train(&path, &[&format!("run_name={kind}")]);
        let outcome = go(&new(&path, &[&format!("run_name={kind}-cut")]), 12).unwrap();
        let Outcome::Interrupted { run, .. } = outcome else { panic!("{kind} was not interrupted") };
        finished(go(&resume(&run, &[]), 0).unwrap());
        let (a, b, lines) = (newest(&whole.run), newest(&run), metrics(&run));
        assert_eq!((bits(&a.model), bits(&a.optimizer)), (bits(&b.model), bits(&b.optimizer)), "{kind}");
        assert_eq!((a.progress.plateau, &metrics(&whole.run)), (b.progress.plateau, &lines), "{kind}");
        assert!(b.progress.plateau.unwrap().learning_rate < lines[0]["learning_rate"].as_f64().unwrap());
    }
}

#[test]
fn an_interrupted_evaluation_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    // A rate of nothing: the second evaluation is no better than the first, and ends the run.
    let path = config(
        folder.path(),
        MLP,
        "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.0\n[train]\nepochs = 5\nearly_stopping_patience = 1\n",
    );
    let small = "data.loader.eval_batch_size=10";
    let whole = train(&path, &["run_name=whole", small]);
    assert!(whole.stopped_early.is_some());
    for (number, step) in [(1, 41), (2, 82), (3, 82)] {
        let start = new(&path, &[&format!("run_name=cut-{number}"), small]);
        let outcome =
            watched(&start, |interrupt| Box::new(InterruptEvaluation(number, 0, interrupt))).unwrap();
        // The third is of the test split, after the last step.
        let Outcome::Interrupted { run, step: at } = outcome else { panic!("not interrupted in {number}") };
        assert_eq!((at, newest(&run).progress.pending_evaluation), (step, number < 3));
        let resumed = finished(go(&resume(&run, &[]), 0).unwrap());
        assert_eq!((resumed.steps, resumed.stopped_early), (whole.steps, whole.stopped_early.clone()));
        assert_eq!(metrics(&whole.run), metrics(&run), "after evaluation {number} was cut short");
    }
}

#[test]
fn a_file_called_stop_saves_and_stops_and_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 60\n"));
    let whole = train(&path, &["run_name=whole"]);
    let stop = folder.path().join("runs/cut/stop");
    struct StopAt(u64, PathBuf);
    impl Callback for StopAt {
        fn on(&mut self, event: &Event<'_>) {
            if matches!(event, Event::Step(info) if info.step == self.0) {
                std::fs::write(&self.1, "").unwrap();
            }
        }
    }
    // In a step, and in the one whose evaluation follows.
    for at in [7, 41] {
        let outcome = match folder.path().join("runs/cut").exists() {
            false => watched(&new(&path, &["run_name=cut"]), |_| Box::new(StopAt(at, stop.clone()))),
            true => {
                watched(&resume(&folder.path().join("runs/cut"), &[]), |_| Box::new(StopAt(at, stop.clone())))
            }
        };
        let Outcome::Interrupted { step, .. } = outcome.unwrap() else { panic!("went on") };
        assert_eq!((step, stop.exists()), (at, false));
    }
    let run = folder.path().join("runs/cut");
    finished(go(&resume(&run, &[]), 0).unwrap());
    assert_eq!(metrics(&whole.run), metrics(&run));
}

#[test]
fn a_budget_of_time_ends_a_run_with_a_model_and_a_larger_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 60\n"));
    let whole = train(&path, &["run_name=whole", "checkpoint.keep_best=false"]);
    let none = ["run_name=short", "checkpoint.keep_best=false", "train.max_minutes=1e-6"];
    let short = train(&path, &none);
    assert_eq!((short.steps, short.chosen_step), (1, 1));
    assert!(short.stopped_early.unwrap().contains("train.max_minutes"));
    assert_eq!(short.validation.unwrap().step, 1, "it is scored at its end");
    let more = finished(go(&resume(&short.run, &["train.max_minutes=60.0"]), 0).unwrap());
    assert_eq!((more.steps, more.stopped_early), (60, None));
    assert_eq!(bits(&newest(&more.run).model), bits(&newest(&whole.run).model));
}

#[test]
fn a_finished_run_can_be_resumed_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 7\n"));
    let first = train(&path, &[]);
    let (lines, model) = (metrics(&first.run), std::fs::read(first.model.join("model.safetensors")).unwrap());
    let again = finished(go(&resume(&first.run, &[]), 0).unwrap());
    assert_eq!((again.steps, again.test), (first.steps, first.test));
    assert_eq!(metrics(&first.run), lines);
    assert_eq!(std::fs::read(first.model.join("model.safetensors")).unwrap(), model);
    let latest = Start::ResumeLatest { config: path, overrides: vec![] };
    assert_eq!(finished(go(&latest, 0).unwrap()).run, first.run);
}

#[test]
fn numbers_that_are_not_finite_never_reach_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(
        folder.path(),
        MLP,
        "[optimizer]\nkind = \"adamw\"\nlearning_rate = 10.0\nweight_decay = 10.0\n[train]\nepochs = 5\n[checkpoint]\n\
         every = \"1 steps\"\nkeep_last = 1000\n",
    );
    let error = go(&new(&path, &["run_name=boom"]), 0).unwrap_err();
    let TrainError::NonFinite { step, samples, .. } = &error else { panic!("{error}") };
    assert!(samples.contains("train-images"), "{samples}");
    let kept = newest(&folder.path().join("runs/boom"));
    assert_eq!(kept.progress.step, step - 1);
    for (name, data) in &kept.model {
        assert!(data.as_slice::<f32>().unwrap().iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn a_damaged_newest_checkpoint_gives_way_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(
        folder.path(),
        MLP,
        &format!("{ADAMW}[train]\nmax_steps = 12\n[checkpoint]\nevery = \"4 steps\"\nkeep_last = 9\n"),
    );
    let whole = train(&path, &["run_name=whole"]);
    let Outcome::Interrupted { run, .. } = go(&new(&path, &["run_name=cut"]), 9).unwrap() else { panic!() };
    let newest_folder = checkpoint::folder(&run.join("checkpoints"), 9);
    for (file, place) in [("model.safetensors", 200), ("optimizer.safetensors", 300), ("progress.json", 5)] {
        let file = newest_folder.join(file);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[place] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let error = checkpoint::load(&newest_folder).unwrap_err().to_string();
        assert!(error.contains("BLAKE3 hash: expected"), "{error}");
        let latest = checkpoint::latest(&run.join("checkpoints")).unwrap().unwrap();
        assert_eq!((latest.checkpoint.progress.step, latest.damaged.len()), (8, 1));
        std::fs::write(&file, &good[..good.len() - 1]).unwrap();
        assert!(checkpoint::load(&newest_folder).unwrap_err().to_string().contains("size in bytes"));
        std::fs::write(&file, good).unwrap();
    }
    std::fs::remove_file(newest_folder.join("manifest.json")).unwrap();
    finished(go(&resume(&run, &[]), 0).unwrap());
    assert_eq!(bits(&newest(&whole.run).model), bits(&newest(&run).model));
}

#[test]
fn a_resume_with_other_numbers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 9\n"));
    let Outcome::Interrupted { run, .. } = go(&new(&path, &[]), 3).unwrap() else { panic!() };
    let error = go(&resume(&run, &["model.hidden=[64]", "optimizer.eps=1e-7"]), 0).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TrainError::Changed { .. }), "{text}");
    assert!(text.contains("model.hidden") && text.contains("optimizer.eps"), "{text}");
    let other = config(folder.path(), CNN, &format!("{ADAMW}[train]\nmax_steps = 9\n"));
    let start = Start::Resume { run: run.clone(), config: Some(other.clone()), overrides: vec![] };
    assert!(matches!(go(&start, 0), Err(TrainError::Changed { .. })));
    let start = Start::ResumeLatest { config: other, overrides: vec![] };
    assert!(matches!(go(&start, 0), Err(TrainError::NothingToResume(_))));
    assert_eq!(finished(go(&resume(&run, &[]), 0).unwrap()).steps, 9);
}

#[test]
fn a_run_that_is_held_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 2\n"));
    let run = train(&path, &[]).run;
    let holder = kiln_core::RunDir::open(&run).unwrap();
    let error = go(&resume(&run, &[]), 0).unwrap_err();
    assert_eq!(error.exit(), kiln_core::Exit::Locked, "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(holder);
}

#[test]
fn early_stopping_ends_with_the_best_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(
        folder.path(),
        MLP,
        "[optimizer]\nkind = \"sgd\"\nlearning_rate = 0.0\n[train]\nepochs = 50\nearly_stopping_patience = 2\n",
    );
    let summary = train(&path, &[]);
    assert_eq!(summary.stopped_early.as_deref(), Some("no improvement in 2 evaluations"));
    let steps_per_epoch = 41;
    assert_eq!((summary.steps, summary.chosen_step), (3 * steps_per_epoch, steps_per_epoch));
}

#[test]
fn the_best_and_the_last_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(
        folder.path(),
        MLP,
        &format!("{ADAMW}[train]\nepochs = 6\n[checkpoint]\nevery = \"10 steps\"\nkeep_last = 2\n"),
    );
    let summary = train(&path, &[]);
    let steps = checkpoint::steps(&summary.run.join("checkpoints")).unwrap();
    let mut expected = vec![summary.chosen_step, 240, 246];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(steps, expected);
}

#[test]
fn a_batch_that_is_never_full_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{ADAMW}[train]\nmax_steps = 2\n"));
    let start = new(&path, &["data.loader.drop_last=true", "data.loader.batch_size=5000"]);
    let error = go(&start, 0).unwrap_err();
    assert!(matches!(error, TrainError::NoBatch { samples: 1292, batch_size: 5000 }), "{error}");
    assert!(error.hint().unwrap().contains("1292 or less"));
}

#[test]
fn half_precision_learns_as_float32_does_and_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), CNN, &format!("[train]\nmax_steps = 60\nlogging_steps = 1\n{ADAMW}"));
    let loss = |summary: &Summary| {
        let lines = metrics(&summary.run);
        let last: Vec<f64> = lines.iter().rev().filter_map(|line| line["loss"].as_f64()).take(10).collect();
        last.iter().sum::<f64>() / last.len() as f64
    };
    let full = train(&config, &["run_name=f32"]);
    for precision in ["bf16", "f16"] {
        let wish = format!("precision={precision}");
        let name = |name: &str| format!("run_name={precision}-{name}");
        let whole = train(&config, &[&wish, &name("whole")]);
        let (half, full) = (loss(&whole), loss(&full));
        assert!((half - full).abs() < 0.05 * full && half != full, "{precision}: {half}, f32 {full}");

        let Outcome::Interrupted { run, .. } = go(&new(&config, &[&wish, &name("cut")]), 23).unwrap() else {
            panic!("not interrupted")
        };
        assert_eq!(newest(&run).progress.loss_scale.is_some(), precision == "f16");
        let resumed = finished(go(&resume(&run, &[]), 0).unwrap());
        assert_eq!(bits(&newest(&resumed.run).model), bits(&newest(&whole.run).model), "{precision}");
        let error = go(&resume(&run, &["precision=f32"]), 0).unwrap_err();
        assert!(error.to_string().contains("precision"), "{error}");
    }
}

#[test]
fn steps_that_overflow_in_float16_change_nothing_and_are_said_until_the_scale_fits() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("large.csv");
    let rows = (0..64).map(|i| format!("{},{}\n", f64::from(i) / 64.0, 3000 * (i % 7)));
    std::fs::write(&table, format!("x,y\n{}", rows.collect::<String>())).unwrap();
    let text = format!(
        "device = \"cpu\"\nprecision = \"f16\"\noutput_dir = {:?}\n[task]\nkind = \"regression\"\n[model]\nkind = \"mlp\"\n\
         hidden = [8]\n[optimizer]\nkind = \"sgd\"\nlearning_rate = 1e-6\n[data]\nkind = \"csv\"\ntrain = {table:?}\n\
         features = [\"x\"]\nlabel = \"y\"\n[train]\nmax_steps = 12\nlogging_steps = 1\n",
        folder.path().join("runs")
    );
    let config = folder.path().join("large.toml");
    std::fs::write(&config, text).unwrap();
    let run = train(&config, &[]).run;
    let lines = metrics(&run);
    let skipped: Vec<&Value> = lines.iter().filter(|line| line.get("skipped").is_some()).collect();
    assert!(!skipped.is_empty() && skipped.len() < 12, "{lines:?}");
    // Each halves the scale, from 65536.
    let scales: Vec<f64> = skipped.iter().map(|line| line["loss_scale"].as_f64().unwrap()).collect();
    let halved = |n: i32| 65536.0 / 2f64.powi(n + 1);
    assert!(scales.iter().zip(0..).all(|(scale, n)| *scale == halved(n)), "{scales:?}");
    let scale = newest(&run).progress.loss_scale.unwrap();
    assert_eq!((f64::from(scale.factor), scale.steps as usize), (*scales.last().unwrap(), 12 - scales.len()));
    // Losses of steps that changed nothing are equal but for their batches: the first epoch's order decides, so the
    // optimizer's own count tells.
    let updates =
        newest(&run).optimizer.iter().find(|(name, _)| name.starts_with("step.")).map(|(_, n)| n.clone());
    assert_eq!(updates.unwrap().as_slice::<i64>().unwrap(), [12 - scales.len() as i64]);
}
