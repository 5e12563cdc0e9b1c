//! A tiny model as a folder: saved, opened, scored and asked, through the public API.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use kiln_data::config::DataConfig;
use kiln_data::{Dataset, OpenOptions, Split};
use kiln_eval::{Answer, Bundle, EvalError, Evaluation, Prediction, Predictor, Scores};
use kiln_models::SaveOptions;
use kiln_models::config::{MlpConfig, ModelConfig};

/// 60 rows of three numbers in three classes, 20 of them to test on.
fn dataset(folder: &Path) -> Dataset {
    for (name, rows) in [("train.csv", 0..40), ("test.csv", 40..60)] {
        let row = |i: i32| {
            let x = f64::from(i);
            format!(
                "{:.3},{:.3},{:.3},{}\n",
                (x * 0.7).sin(),
                (x * 1.3).cos(),
                x / 60.0,
                ["oak", "ash", "elm"][i as usize % 3]
            )
        };
        let text: String = std::iter::once("a,b,c,tree\n".to_string()).chain(rows.map(row)).collect();
        fs::write(folder.join(name), text).unwrap();
    }
    Dataset::open(&config(folder), &OpenOptions::default()).unwrap()
}

fn config(folder: &Path) -> DataConfig {
    serde_json::from_value(serde_json::json!({
        "kind": "csv", "train": folder.join("train.csv"), "test": folder.join("test.csv"),
        "features": ["a", "b", "c"], "label": "tree", "loader": {"batch_size": 7, "workers": 0},
    }))
    .unwrap()
}

fn save(folder: &Path, dataset: &Dataset, seed: u64) {
    let model = MlpConfig { pretrained: None, hidden: vec![8], dropout: 0.5 };
    let model = kiln_models::build(
        &ModelConfig::Mlp(model),
        &dataset.input,
        &dataset.classes,
        kiln_core::TaskKind::Classification,
        &Device::flex(),
        seed,
    )
    .unwrap();
    Bundle::save(folder, &model.card, &model.net.state(), &dataset.preprocessor, &SaveOptions::default())
        .unwrap();
}

fn score(bundle: &Bundle, split: &Split, batch_size: usize) -> Scores {
    let loader = kiln_data::config::LoaderConfig { batch_size, workers: 0, ..Default::default() };
    let evaluation = Evaluation {
        net: &*bundle.model.net.valid(),
        task: bundle.task,
        labels: &bundle.classes,
        split,
        preprocessor: &bundle.preprocessor,
        loader: &loader,
        device: &Device::flex(),
        tta: kiln_eval::Tta::None,
    };
    evaluation.run(&mut |_, _| true).unwrap().unwrap()
}

fn ask(bundle: Bundle, split: &Split, batch_size: usize) -> Vec<Prediction> {
    let predictor = Predictor::new(bundle, Device::flex(), batch_size);
    let inputs = (0..split.len()).map(|i| (split.name(i), split.raw(i)));
    let answer = |answer: Result<Answer, EvalError>| match answer.unwrap() {
        Answer::Prediction(prediction) => prediction,
        Answer::Unanswered { error, .. } => panic!("{error}"),
    };
    predictor.predict(inputs).map(answer).collect()
}

#[test]
fn predictions_and_scores_agree_at_any_batch_size() {
    let out = tempfile::tempdir().unwrap();
    let dataset = dataset(out.path());
    let (folder, test) = (out.path().join("model"), dataset.test.clone().unwrap());
    save(&folder, &dataset, 3);
    let open = || Bundle::open(&folder, &Device::flex()).unwrap();
    assert_eq!(open().classes, ["ash", "elm", "oak"]);
    let scores = score(&open(), &test, 20);
    for batch_size in [1, 6, 64] {
        let other = score(&open(), &test, batch_size);
        assert!((other.loss - scores.loss).abs() < 1e-6);
        assert_eq!(other.report, scores.report);

        let answers = ask(open(), &test, batch_size);
        let names: Vec<_> = (0..test.len()).map(|i| test.name(i)).collect();
        assert_eq!(answers.iter().map(|p| p.input.clone()).collect::<Vec<_>>(), names);
        let truth = |i: usize| dataset.classes[test.label(i).class().unwrap()].clone();
        let p = |i: usize| answers[i].answer["probabilities"][&truth(i)].as_f64().unwrap();
        let loss = (0..test.len()).map(|i| -p(i).ln()).sum::<f64>() / test.len() as f64;
        assert!((loss - scores.loss).abs() < 1e-6, "{loss} {}", scores.loss);
        let right = (0..test.len()).filter(|i| answers[*i].answer["label"] == truth(*i)).count();
        assert!((right as f64 / test.len() as f64 - scores.metric("accuracy").unwrap()).abs() < 1e-12);
        for answer in &answers {
            let answer = &answer.answer;
            let probabilities = answer["probabilities"].as_object().unwrap();
            let sum: f64 = probabilities.values().filter_map(|p| p.as_f64()).sum();
            assert!((sum - 1.0).abs() < 1e-12);
            assert_eq!(probabilities[answer["label"].as_str().unwrap()], answer["score"]);
        }
    }
}

#[test]
fn an_unreadable_input_keeps_its_place() {
    let out = tempfile::tempdir().unwrap();
    let dataset = dataset(out.path());
    let folder = out.path().join("model");
    save(&folder, &dataset, 3);
    let predictor = Predictor::new(Bundle::open(&folder, &Device::flex()).unwrap(), Device::flex(), 2);
    let rows: [Vec<f32>; 4] = [vec![0.0; 3], vec![0.0; 2], vec![0.0; 4], vec![1.0; 3]];
    let inputs = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| (i.to_string(), Ok(kiln_data::Raw::Row { numbers: row, categories: vec![] })));
    let answers: Vec<_> = predictor.predict(inputs).map(|a| a.unwrap()).collect();
    let input = |a: &Answer| match a {
        Answer::Prediction(p) => (p.input.clone(), true),
        Answer::Unanswered { input, .. } => (input.clone(), false),
    };
    let expected = [("0", true), ("1", false), ("2", false), ("3", true)].map(|(n, ok)| (n.to_string(), ok));
    assert_eq!(answers.iter().map(input).collect::<Vec<_>>(), expected);
    let line = serde_json::to_string(&answers[2]).unwrap();
    assert!(line.starts_with(r#"{"input":"2","error":"#), "{line}");
}

#[test]
fn a_model_is_replaced_whole_and_nothing_else_is() {
    let out = tempfile::tempdir().unwrap();
    let dataset = dataset(out.path());
    let folder = out.path().join("model");
    save(&folder, &dataset, 1);
    let first = fs::read(folder.join("model.safetensors")).unwrap();
    save(&folder, &dataset, 2);
    assert_ne!(fs::read(folder.join("model.safetensors")).unwrap(), first);
    let left: Vec<_> = fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with('.')), "{left:?}");

    // A save that was cut off between its two renames: the old model comes back.
    fs::rename(&folder, out.path().join(".model.kiln-old")).unwrap();
    Bundle::open(&folder, &Device::flex()).unwrap();
    assert!(folder.is_dir());

    let model = kiln_models::open(&folder, &Device::flex()).unwrap();
    let other = out.path().join("photos");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("cat.jpg"), "").unwrap();
    let refused =
        Bundle::save(&other, &model.card, &model.net.state(), &dataset.preprocessor, &SaveOptions::default());
    assert!(matches!(refused, Err(EvalError::Occupied { .. })), "{refused:?}");
    assert!(other.join("cat.jpg").is_file());
}

#[test]
fn another_pipeline_than_the_weights_were_saved_with_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let dataset = dataset(out.path());
    let (folder, other) = (out.path().join("model"), out.path().join("other"));
    save(&folder, &dataset, 3);
    let file = folder.join("preprocessor_config.json");
    let own = fs::read_to_string(&file).unwrap();
    let refusal = || {
        let error = Bundle::open(&folder, &Device::flex()).err().expect("it was opened");
        assert!(matches!(error, EvalError::Pipeline { .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("put back")));
        error.to_string()
    };
    // A changed number, as a person's editor would leave it.
    let mut changed: serde_json::Value = serde_json::from_str(&own).unwrap();
    let scale = changed["kiln"]["scales"][0]["mean"].as_f64().expect("a scale");
    changed["kiln"]["scales"][0]["mean"] = serde_json::json!(scale + 0.5);
    fs::write(&file, serde_json::to_string_pretty(&changed).unwrap()).unwrap();
    let said = refusal();
    assert!(
        said.contains("preprocessor_config.json") && said.contains("saved with a file of hash"),
        "{said}"
    );
    // That of another model, which is whole in itself.
    let shifted = fs::read_to_string(out.path().join("train.csv")).unwrap().replacen("0.000", "9.000", 1);
    fs::write(out.path().join("train.csv"), shifted).unwrap();
    save(&other, &Dataset::open(&config(out.path()), &OpenOptions::default()).unwrap(), 3);
    Bundle::open(&other, &Device::flex()).unwrap();
    fs::copy(other.join("preprocessor_config.json"), &file).unwrap();
    assert!(refusal().contains("saved with a file of hash"));
    fs::remove_file(&file).unwrap();
    assert!(refusal().contains("it is gone"));
    // A file beside it that would be read first.
    fs::write(&file, &own).unwrap();
    Bundle::open(&folder, &Device::flex()).unwrap();
    fs::write(folder.join("tokenizer_config.json"), "{}").unwrap();
    assert!(refusal().contains("saved without it"));
    fs::remove_file(folder.join("tokenizer_config.json")).unwrap();
    let model = kiln_models::open(&folder, &Device::flex()).unwrap();
    let metadata = kiln_models::weights::metadata(&folder).unwrap();
    assert_eq!(metadata.get("format").map(String::as_str), Some("pt"));
    assert!(metadata["kiln_pipeline"].contains("preprocessor_config.json"));
    // Weights that another tool wrote record nothing, and nothing is refused.
    kiln_models::save(&folder, &model.card, &model.net.state()).unwrap();
    fs::write(&file, serde_json::to_string(&changed).unwrap()).unwrap();
    Bundle::open(&folder, &Device::flex()).unwrap();
}

#[test]
fn what_is_no_model_is_said() {
    let out = tempfile::tempdir().unwrap();
    for path in [out.path().to_path_buf(), out.path().join("missing")] {
        let error = Bundle::open(&path, &Device::flex()).err().expect("no model");
        assert!(matches!(error, EvalError::NotAModel { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}
