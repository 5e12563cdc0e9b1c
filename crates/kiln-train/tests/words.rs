//! Small BERTs from scratch on tagged words, several classes, pairs and hidden tokens: each learns its rule, is saved,
//! scores the same again, and answers; hidden tokens come back to the bit after an interruption.
//! Folders for tests/peers/transformers_scores_tags.py are written when KILN_PEER_OUT names a place.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::Device;
use kiln_core::event::{Callback, Event};
use kiln_data::{Dataset, Raw};
use kiln_eval::{Answer, Bundle, Evaluation, Predictor, Scores};
use kiln_train::{Outcome, Run, Session, Start, Summary, checkpoint};
use serde_json::{Value, json};
use support::bits;

const WORDS: [&str; 8] = ["a", "stirring", "film", "yuks", "good", "movie", "the", "very"];

/// The words of text `i`, the same for ever.
fn words(i: u64) -> Vec<&'static str> {
    let draw = |k: u64| ((support::hashed(i + 1, k) + 0.5) * 8.0) as usize % 8;
    (0..3 + i % 6).map(|k| WORDS[draw(k)]).collect()
}

/// A config of a tiny BERT; `data` holds the kind and the columns.
fn config(folder: &Path, task: &str, data: &str, rest: &str) -> PathBuf {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-data/tests/fixtures/tokenizer.json");
    let text = format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[task]\n{task}\n[data]\n{data}\nvalidation_fraction = 0.2\n\
         [data.tokenizer]\npath = {tokenizer:?}\nmax_length = 32\n[data.loader]\nbatch_size = 16\nworkers = 1\n\
         [model]\nkind = \"bert\"\nhidden_size = 32\nnum_hidden_layers = 1\nnum_attention_heads = 2\n\
         intermediate_size = 64\nmax_position_embeddings = 32\nhidden_dropout_prob = 0.0\n\
         attention_probs_dropout_prob = 0.0\n[optimizer]\nkind = \"adamw\"\nlearning_rate = 5e-3\n{rest}",
        folder.join("runs")
    );
    let path = folder.join("words.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Asks to stop after a step, as a signal would.
struct InterruptAt<'a>(u64, &'a AtomicBool);

impl Callback for InterruptAt<'_> {
    fn on(&mut self, event: &Event<'_>) {
        if matches!(event, Event::Step(info) if info.step == self.0) {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

/// Burn's CPU generator is one a process.
static ONE_RUN: Mutex<()> = Mutex::new(());

fn go(start: &Start, interrupt_at: u64) -> Outcome {
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let interrupt = AtomicBool::new(false);
    let mut session = Session {
        callbacks: vec![Box::new(InterruptAt(interrupt_at, &interrupt))],
        interrupt: &interrupt,
        process_start: Instant::now(),
    };
    let run = Run::start(start, &mut session).unwrap_or_else(|e| panic!("{e}"));
    run.finish(&mut session).unwrap_or_else(|e| panic!("{e}"))
}

fn new(config: &Path, overrides: &[&str]) -> Start {
    Start::New { config: config.into(), overrides: overrides.iter().map(ToString::to_string).collect() }
}

fn train(config: &Path, overrides: &[&str]) -> Summary {
    match go(&new(config, overrides), 0) {
        Outcome::Finished(summary) => *summary,
        Outcome::Interrupted { step, .. } => panic!("interrupted after step {step}"),
    }
}

/// The validation scores of the saved model, which must be those of the run.
fn scores(config: &Path, run: &Summary) -> Scores {
    let loaded = kiln_train::load::load(config, &[]).unwrap().config;
    let device = Device::flex();
    let bundle = Bundle::open(&run.model, &device).unwrap();
    let kind = bundle.task.kind();
    let data = Dataset::open_for(&loaded.data, bundle.preprocessor.clone(), &bundle.classes, kind).unwrap();
    let evaluation = Evaluation {
        net: &*bundle.model.net,
        task: bundle.task,
        labels: &bundle.classes,
        split: data.validation.as_ref().unwrap(),
        preprocessor: &bundle.preprocessor,
        loader: loaded.data.loader(),
        device: &device,
        tta: kiln_eval::Tta::None,
    };
    let scores = evaluation.run(&mut |_, _| true).unwrap().unwrap();
    let first = &run.validation.as_ref().unwrap();
    assert!((first.loss - scores.loss).abs() < 1e-6, "{} {}", first.loss, scores.loss);
    assert_eq!(first.metrics, scores.metrics);
    scores
}

fn predict(run: &Summary, inputs: Vec<Raw>) -> Vec<Value> {
    let device = Device::flex();
    let predictor = Predictor::new(Bundle::open(&run.model, &device).unwrap(), device, 2);
    let inputs = inputs.into_iter().enumerate().map(|(i, raw)| (i.to_string(), Ok(raw)));
    predictor.predict(inputs).map(|answer| serde_json::to_value::<Answer>(answer.unwrap()).unwrap()).collect()
}

fn number(scores: &Scores, name: &str) -> f64 {
    scores.metric(name).unwrap_or_else(|| panic!("no {name} in {:?}", scores.metrics))
}

/// `stirring` begins an X, `yuks` goes on with it or begins one; `film` is a Y.
fn tags(words: &[&str]) -> Vec<&'static str> {
    let tag = |i: usize| match (words[i], i.checked_sub(1).map(|k| words[k])) {
        ("stirring", _) => "B-X",
        ("yuks", Some("stirring" | "yuks")) => "I-X",
        ("yuks", _) => "B-X",
        ("film", _) => "B-Y",
        _ => "O",
    };
    (0..words.len()).map(tag).collect()
}

#[test]
fn tagged_words() {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("KILN_PEER_OUT").map(|out| PathBuf::from(out).join("tags"));
    let place = kept.as_deref().unwrap_or(folder.path());
    fs::create_dir_all(place).unwrap();
    let file = |name: &str, range: std::ops::Range<u64>| {
        let sentence = |i: u64| {
            let words = words(i);
            let lines: Vec<_> = words.iter().zip(tags(&words)).map(|(w, t)| format!("{w} X {t}\n")).collect();
            lines.concat() + "\n"
        };
        fs::write(place.join(name), range.map(sentence).collect::<String>()).unwrap();
    };
    file("train.conll", 0..400);
    file("test.conll", 500..560);
    // Longer than 16 tokens: its end is cut, as run_ner does.
    let long: Vec<&str> = WORDS.iter().copied().cycle().take(20).collect();
    let lines: Vec<_> = long.iter().zip(tags(&long)).map(|(w, t)| format!("{w} X {t}\n")).collect();
    let mut text = fs::read_to_string(place.join("test.conll")).unwrap();
    text.push_str(&lines.concat());
    fs::write(place.join("test.conll"), text).unwrap();
    let data = format!(
        "kind = \"conll\"\ntrain = {:?}\ntest = {:?}",
        place.join("train.conll"),
        place.join("test.conll")
    );
    let path = config(folder.path(), "kind = \"token_classification\"", &data, "[train]\nepochs = 12\n");
    let run = train(&path, &["data.tokenizer.max_length=16"]);
    let validation = scores(&path, &run);
    assert!(number(&validation, "f1") > 0.9, "{:?}", validation.metrics);
    assert_eq!(validation.metrics["words_cut"], 0);
    let report = validation.report.unwrap();
    assert_eq!(report.per_class.iter().map(|line| line.class.as_str()).collect::<Vec<_>>(), ["X", "Y"]);
    let test = run.test.as_ref().unwrap();
    // 20 words in 25 tokens and more ([CLS] and [SEP] with them): 14 tokens are kept.
    assert!(test.metrics["words_cut"].as_u64().unwrap() > 0, "{:?}", test.metrics);

    let split = ["the", "stirring", "yuks", "film"].map(String::from).to_vec();
    let answers = predict(&run, vec![Raw::Text("the  stirring yuks film".into()), Raw::Words(split)]);
    for (answer, from) in answers.iter().zip([5, 4]) {
        let entities = answer["entities"].as_array().unwrap();
        let named: Vec<_> = entities.iter().map(|e| (e["type"].clone(), e["text"].clone())).collect();
        assert_eq!(named, [(json!("X"), json!("stirring yuks")), (json!("Y"), json!("film"))], "{answer}");
        assert_eq!((&entities[0]["start"], &entities[0]["end"]), (&json!(from), &json!(from + 13)));
        assert!(entities[0]["score"].as_f64().unwrap() > 0.5);
    }
    if kept.is_some() {
        let model = place.join("model");
        let _ = fs::remove_dir_all(&model);
        fs::create_dir(&model).unwrap();
        for entry in fs::read_dir(&run.model).unwrap() {
            let file = entry.unwrap().path();
            fs::copy(&file, model.join(file.file_name().unwrap())).unwrap();
        }
        fs::write(place.join("scores.json"), serde_json::to_string(test).unwrap()).unwrap();
    }
}

#[test]
fn several_classes() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("several.csv");
    let row = |i: u64| {
        let words = words(i);
        let named: Vec<&str> = ["film", "good", "very"].into_iter().filter(|w| words.contains(w)).collect();
        format!("{},{}\n", words.join(" "), named.join(";"))
    };
    fs::write(&table, "text,about\n".to_string() + &(0..250).map(row).collect::<String>()).unwrap();
    let data = format!(
        "kind = \"csv\"\npath = {table:?}\ntext = \"text\"\nlabel = \"about\"\nlabel_separator = \";\""
    );
    let path =
        config(folder.path(), "kind = \"multi_label_classification\"", &data, "[train]\nepochs = 15\n");
    let run = train(&path, &[]);
    let scores = scores(&path, &run);
    assert!(
        number(&scores, "macro_f1") > 0.9 && number(&scores, "macro_auroc") > 0.9,
        "{:?}",
        scores.metrics
    );
    assert!(number(&scores, "hamming_loss") < 0.1 && number(&scores, "subset_accuracy") > 0.8);
    let answers = predict(&run, vec![Raw::Text("a very good movie".into()), Raw::Text("the a movie".into())]);
    assert_eq!(answers[0]["labels"], json!(["good", "very"]), "{}", answers[0]);
    assert_eq!(answers[1]["labels"], json!([]), "{}", answers[1]);
    assert_eq!(answers[0]["probabilities"].as_object().unwrap().len(), 3);
}

#[test]
fn pairs_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("pairs.jsonl");
    let row = |i: u64| {
        let (a, b) = (words(i), words(i + 1000));
        // Of the second text alone, so that the segments count.
        let score = if b.contains(&"good") { 1.0 } else { -1.0 };
        format!("{}\n", json!({"a": a.join(" "), "b": b.join(" "), "score": score}))
    };
    fs::write(&table, (0..400).map(row).collect::<String>()).unwrap();
    let data =
        format!("kind = \"jsonl\"\npath = {table:?}\ntext = \"a\"\ntext_pair = \"b\"\nlabel = \"score\"");
    let path = config(folder.path(), "kind = \"regression\"", &data, "[train]\nepochs = 20\n");
    let run = train(&path, &[]);
    let scores = scores(&path, &run);
    assert!(number(&scores, "pearson") > 0.7, "{:?}", scores.metrics);
    // Pairs that it has not seen; chance is half of them.
    let asked: Vec<_> = (3000..3040).map(|i| (words(i).join(" "), words(i + 1000).join(" "))).collect();
    let mut raws: Vec<Raw> = asked.iter().map(|(a, b)| Raw::Pair(a.clone(), b.clone())).collect();
    raws.push(Raw::Text("a good film".into()));
    let answers = predict(&run, raws);
    let agrees = |((_, b), answer): (&(String, String), &Value)| {
        b.contains("good") == (answer["values"]["score"].as_f64().unwrap() > 0.0)
    };
    let right = asked.iter().zip(&answers).filter(|pair| agrees(*pair)).count();
    assert!(right >= 30, "{right} of 40");
    assert!(answers[40]["error"].as_str().unwrap().contains("expected a pair of texts"), "{}", answers[40]);
}

/// Texts of `the film` and `a movie`: every second word is `film` or `movie`.
fn guessable(i: u64) -> String {
    let word = |k: u64| if (support::hashed(i + 1, k)) < 0.0 { "the film" } else { "a movie" };
    (0..2 + i % 4).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn hidden_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("text.csv");
    fs::write(&table, (0..300).map(|i| guessable(i) + "\n").collect::<String>()).unwrap();
    let data = format!("kind = \"csv\"\nheader = false\npath = {table:?}\ntext = 0");
    let task = "kind = \"masked_language_modeling\"\nmlm_probability = 0.2\nwhole_word = true";
    let rest = "[train]\nepochs = 20\ngradient_accumulation_steps = 2\n";
    let path = config(folder.path(), task, &data, rest);
    let whole = train(&path, &["run_name=whole"]);
    let scores = scores(&path, &whole);
    assert!(number(&scores, "perplexity") < 3.0 && number(&scores, "accuracy") > 0.7, "{:?}", scores.metrics);
    let answers =
        predict(&whole, vec![Raw::Text("the [MASK] a [MASK]".into()), Raw::Text("the film".into())]);
    let masks = answers[0]["masks"].as_array().unwrap();
    for mask in masks {
        let mut best: Vec<&str> = (0..2).map(|k| mask["tokens"][k]["token"].as_str().unwrap()).collect();
        best.sort_unstable();
        assert_eq!(best, ["film", "movie"], "what comes second in each pair: {}", answers[0]);
    }
    assert_eq!(masks.iter().map(|mask| mask["position"].clone()).collect::<Vec<_>>(), [2, 4]);
    let sum: f64 = masks[0]["tokens"].as_array().unwrap().iter().map(|t| t["score"].as_f64().unwrap()).sum();
    assert!(masks[0]["tokens"].as_array().unwrap().len() == 5 && sum > 0.5 && sum <= 1.0 + 1e-9);
    assert!(answers[1]["error"].as_str().unwrap().contains("no [MASK] in the text"), "{}", answers[1]);

    let Outcome::Interrupted { run, step: 11 } =
        go(&new(&path, &["run_name=cut", "data.loader.workers=4"]), 11)
    else {
        panic!("not interrupted")
    };
    let overrides = vec!["data.loader.workers=0".to_string()];
    let Outcome::Finished(_) = go(&Start::Resume { run: run.clone(), config: None, overrides }, 0) else {
        panic!("interrupted again")
    };
    let newest = |run: &Path| checkpoint::latest(&run.join("checkpoints")).unwrap().unwrap().checkpoint;
    let (a, b) = (newest(&whole.run), newest(&run));
    assert_eq!(bits(&a.model), bits(&b.model), "weights after an interruption");
    assert_eq!(bits(&a.optimizer), bits(&b.optimizer), "optimizer after an interruption");
}
