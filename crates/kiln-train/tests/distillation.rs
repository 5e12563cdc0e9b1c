//! Distillation: the loss against PyTorch's, in the loop as the formula says, and what a teacher must share.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use kiln_nn::loss::distillation;
use kiln_nn::token_cross_entropy;
use kiln_train::{Outcome, load};
use support::runs::{ADAMW, CNN, MLP, SGD, config, go, metrics, new, newest, resume, train};
use support::{bits, cpu, fixture, floats};

#[test]
fn the_loss_and_its_gradient_are_pytorchs() {
    let all = fixture("distillation.json");
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap();
        let (rows, k) = (number("rows") as usize, number("classes") as usize);
        let logits = |key: &str| {
            let values: Vec<f32> = floats(&case[key]).into_iter().map(|x| x as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, k]), &cpu())
        };
        let (student, teacher) = (logits("student").require_grad(), logits("teacher"));
        let targets: Vec<i64> = serde_json::from_value(case["targets"].clone()).unwrap();
        let scored = targets.iter().filter(|t| **t >= 0).count();
        let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [1, rows]), &cpu());
        let counted = targets.clone().greater_equal_elem(0).float().reshape([rows, 1]);
        let counted = (scored < rows).then_some(counted);
        let soft = distillation(student.clone(), teacher, number("temperature"), counted);
        let hard = token_cross_entropy(student.clone().reshape([1, rows, k]), targets, scored as u64, 0.0);
        let weight = number("weight");
        let near = |what: &str, got: f64, expected: f64, of: f64| {
            let apart = (got - expected).abs();
            assert!(apart <= 1e-5 * of.max(1e-3), "{}: {what} {got}, PyTorch has {expected}", case["name"]);
        };
        near("soft", soft.clone().into_scalar::<f32>().into(), number("soft"), number("soft"));
        let loss = hard.mul_scalar(1.0 - weight) + soft.mul_scalar(weight);
        near("loss", loss.clone().into_scalar::<f32>().into(), number("loss"), number("loss"));
        let gradient = student.grad(&loss.backward()).unwrap().into_data().try_to_vec::<f32>().unwrap();
        let expected = floats(&case["gradient"]);
        let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for (got, expected) in gradient.iter().zip(&expected) {
            near("gradient", f64::from(*got), *expected, largest);
        }
    }
}

fn losses(run: &Path) -> Vec<f64> {
    metrics(run).iter().filter_map(|line| line["grad_norm"].as_f64().and(line["loss"].as_f64())).collect()
}

#[test]
fn a_student_learns_from_a_run_and_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!("{SGD}[train]\nmax_steps = 200\n");
    let teacher = train(&config(folder.path(), MLP, &rest), &["run_name=teacher"]);
    let crop = "[[data.transforms]]\nkind = \"random_crop\"\nsize = 8\npadding = 1\n";
    let student = |weight: f64, rest: &str| {
        let words = format!("[distillation]\nteacher = {:?}\nweight = {weight}\n", teacher.run);
        format!("{ADAMW}{words}[train]\nmax_steps = 12\ngradient_accumulation_steps = 2\n{rest}{crop}")
    };
    // The loss of the first step, before anything was learned: linear in the weight.
    let of = |text: &str, name: &str| {
        losses(&train(&config(folder.path(), CNN, text), &[&format!("run_name={name}")]).run)[0]
    };
    let plain = format!("{ADAMW}[train]\nmax_steps = 12\ngradient_accumulation_steps = 2\n{crop}");
    let (hard, soft, mixed) =
        (of(&plain, "hard"), of(&student(1.0, ""), "soft"), of(&student(0.25, ""), "mixed"));
    assert!((mixed - (0.75 * hard + 0.25 * soft)).abs() < 1e-5, "{mixed} of {hard} and {soft}");
    assert!((hard - soft).abs() > 0.1, "{hard} {soft}");

    let path = config(folder.path(), CNN, &student(0.5, "activation_checkpointing = false\n"));
    let whole = train(&path, &[]);
    let Outcome::Interrupted { run, .. } = go(&new(&path, &[]), 5).unwrap() else { panic!("not stopped") };
    go(&resume(&run, &[]), 0).unwrap();
    assert_eq!(bits(&newest(&run).model), bits(&newest(&whole.run).model));
    assert_eq!(metrics(&run), metrics(&whole.run));
}

#[test]
fn a_teacher_must_share_classes_task_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    let rest = format!("{SGD}[train]\nmax_steps = 1\n");
    let teacher = train(&config(folder.path(), MLP, &rest), &["run_name=teacher"]);
    let words = format!("[distillation]\nteacher = {:?}\n", teacher.model);
    let path = config(folder.path(), CNN, &format!("{ADAMW}{words}[train]\nmax_steps = 2\n"));
    let fault = |overrides: &[&str]| go(&new(&path, overrides), 0).unwrap_err().to_string();
    let said = fault(&["data.transforms=[{kind=\"resize\", size=16}]"]);
    assert!(said.contains("it reads images of 1x8x8, the batches have images of 1x16x16"), "{said}");
    let said = fault(&["data.transforms=[{kind=\"normalize\", mean=[0.5], std=[0.5]}]"]);
    assert!(said.contains("normalised with"), "{said}");
    let said = fault(&[&format!("distillation.teacher={:?}", folder.path().join("runs"))]);
    assert!(said.contains("not a model"), "{said}");

    // Other names: both lists are said, and `kiln check` says it too. Another order is none of them.
    let card = teacher.model.join("config.json");
    let text = fs::read_to_string(&card).unwrap();
    fs::write(&card, text.replace("\"7\": \"7\"", "\"7\": \"seven\"").replace("\"7\": 7", "\"seven\": 7"))
        .unwrap();
    let said = fault(&[]);
    assert!(
        said.contains("[0, 1, 2, 3, 4, 5, 6, seven, 8, 9], those of this run [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        "{said}"
    );
    let report = load::check(&path, &[]).unwrap_err().to_string();
    assert!(report.contains("distillation.teacher") && report.contains("seven"), "{report}");
}
