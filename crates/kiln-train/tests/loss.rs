//! `[loss]` in runs: accumulation stays exact under class weights, balanced weights are scikit-learn's, faults are refused.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::Path;

use kiln_train::TrainError;
use support::runs::{MLP, SGD, config, go, new, newest, train};

#[test]
fn accumulation_equals_the_big_batch_under_class_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), MLP, &format!("{SGD}[train]\nepochs = 2\n"));
    let plain = train(&path, &["run_name=plain", "data.loader.batch_size=32"]);
    for (name, loss) in [
        ("weighted", "loss={class_weights=[0.1,3.0,1.0,1.0,0.5,1.0,2.0,1.0,1.0,4.0]}"),
        ("focal", "loss={kind=\"focal\",gamma=2.0,class_weights=\"balanced\"}"),
        ("binary", "loss={kind=\"binary_cross_entropy\"}"),
    ] {
        let (big, small) = (format!("run_name={name}-big"), format!("run_name={name}-small"));
        let big = train(&path, &[&big, loss, "data.loader.batch_size=32"]);
        let small =
            train(&path, &[&small, loss, "data.loader.batch_size=8", "train.gradient_accumulation_steps=4"]);
        let (big, small, plain) = (newest(&big.run), newest(&small.run), newest(&plain.run));
        let mut moved = 0.0f32;
        for (weight, expected) in &big.model {
            let values = |from: &kiln_core::StateDict| from[weight].as_slice::<f32>().unwrap().to_vec();
            let expected = expected.as_slice::<f32>().unwrap();
            let distance = |others: Vec<f32>| {
                expected.iter().zip(others).map(|(e, g)| (e - g).abs()).fold(0.0, f32::max)
            };
            let apart = distance(values(&small.model));
            assert!(apart < 3e-6, "{name}, {weight}: {apart:.1e}");
            moved = moved.max(distance(values(&plain.model)));
        }
        assert!(moved > 1e-2, "{name} trains as the plain loss does: {moved:.1e}");
    }
}

fn classes(folder: &Path, rows: &str) -> String {
    let path = folder.join("rows.csv");
    std::fs::write(&path, rows).unwrap();
    format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[data]\nkind = \"csv\"\ntrain = {path:?}\nfeatures = [\"x\"]\nlabel = \"y\"\n\
         [model]\nkind = \"mlp\"\n[optimizer]\nkind = \"sgd\"\n[train]\nmax_steps = 2\n",
        folder.join("runs")
    )
}

#[test]
fn balanced_weights_are_said_as_scikit_learn_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    // compute_class_weight("balanced"): 6 / (3 * count).
    std::fs::write(&path, classes(folder.path(), "x,y\n1,a\n2,a\n3,a\n4,b\n5,b\n6,c\n")).unwrap();
    let notes = std::cell::RefCell::new(Vec::new());
    struct Notes<'a>(&'a std::cell::RefCell<Vec<String>>);
    impl kiln_core::event::Callback for Notes<'_> {
        fn on(&mut self, event: &kiln_core::event::Event<'_>) {
            if let kiln_core::event::Event::Note(note) = event {
                self.0.borrow_mut().push((*note).to_string());
            }
        }
    }
    let never = std::sync::atomic::AtomicBool::new(false);
    let mut session = kiln_train::Session {
        callbacks: vec![Box::new(Notes(&notes))],
        interrupt: &never,
        process_start: std::time::Instant::now(),
    };
    let start = new(&path, &["loss.class_weights=balanced"]);
    kiln_train::Run::start(&start, &mut session).unwrap();
    drop(session);
    let notes = notes.into_inner();
    assert!(notes.contains(&"class weights: a 0.667, b 1.000, c 2.000".to_string()), "{notes:?}");
}

#[test]
fn faults_of_the_loss_are_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, classes(folder.path(), "x,y\n1,a\n2,a\n3,b\n4,b\n")).unwrap();
    let refused = |words: &[&str], parts: &[&str]| {
        let error: TrainError = go(&new(&path, words), 0).unwrap_err();
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        parts.iter().for_each(|part| assert!(said.contains(part), "{part} in {said}"));
    };
    let resumable = train(&path, &["loss={class_weights=\"balanced\"}", "run_name=weighed"]);
    support::runs::finished(go(&support::runs::resume(&resumable.run, &[]), 0).unwrap());
    refused(&["loss.gamma=3.0"], &["loss.gamma", "focal"]);
    refused(&["loss.class_weights=[1.0]"], &["loss.class_weights", "expected 2 numbers", "a, b"]);
    refused(&["loss.class_weights=[0.0,0.0]"], &["loss.class_weights", "one above it"]);
    refused(&["loss.class_weights=[1.0,-1.0]"], &["loss.class_weights"]);
    refused(&["loss.class_weights=equal"], &["loss.class_weights", "balanced"]);
    refused(&["loss.kind=focal", "train.label_smoothing_factor=0.1"], &["label_smoothing_factor", "focal"]);
    refused(&["task.kind=regression", "loss.kind=focal"], &["[loss] is for classes"]);
}
