//! What the loader makes of mixed images, budgets of tokens, weighted sources and caches, through the trainer: interrupted
//! runs continue to the bit, steps are known before the first, gradients are those of the whole batch, faults are said.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kiln_core::event::{Callback, Event};
use kiln_train::{Outcome, Run, Session, Start, Summary, checkpoint, load};
use support::bits;

/// Asks to stop after a step, as a signal would; keeps what is told.
struct Watch<'a>(u64, &'a AtomicBool, &'a Mutex<Vec<String>>);

impl Callback for Watch<'_> {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(info) if info.step == self.0 => self.1.store(true, Ordering::SeqCst),
            Event::Note(note) => self.2.lock().unwrap().push(note.to_string()),
            _ => {}
        }
    }
}

/// Burn's CPU generator is one a process: runs of two tests at once would draw from each other's.
static ONE_RUN: Mutex<()> = Mutex::new(());

fn go(start: &Start, interrupt_at: u64) -> (Outcome, Vec<String>) {
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let (interrupt, notes) = (AtomicBool::new(false), Mutex::default());
    let callbacks: Vec<Box<dyn Callback + '_>> = vec![Box::new(Watch(interrupt_at, &interrupt, &notes))];
    let mut session = Session { callbacks, interrupt: &interrupt, process_start: Instant::now() };
    let run = Run::start(start, &mut session).unwrap_or_else(|e| panic!("{e}: {:?}", e.hint()));
    let outcome = run.finish(&mut session).unwrap_or_else(|e| panic!("{e}"));
    drop(session);
    (outcome, notes.into_inner().unwrap())
}

fn new(config: &Path, overrides: &[&str]) -> Start {
    Start::New { config: config.into(), overrides: overrides.iter().map(ToString::to_string).collect() }
}

fn train(config: &Path, overrides: &[&str]) -> (Summary, Vec<String>) {
    match go(&new(config, overrides), 0) {
        (Outcome::Finished(summary), notes) => (*summary, notes),
        (Outcome::Interrupted { step, .. }, _) => panic!("interrupted after step {step}"),
    }
}

fn newest(run: &Path) -> checkpoint::Checkpoint {
    checkpoint::latest(&run.join("checkpoints")).unwrap().unwrap().checkpoint
}

/// Runs whole, then again with an interruption after each of `at` and other workers; both must end the same.
fn continues(config: &Path, overrides: &[&str], at: &[u64]) -> (Summary, Vec<String>) {
    let (whole, notes) = train(config, &[overrides, &["run_name=whole"]].concat());
    for (k, &at) in at.iter().enumerate() {
        let (name, workers) =
            (format!("run_name=cut-{at}"), format!("data.loader.workers={}", [0, 1, 4][k % 3]));
        let start = new(config, &[overrides, &[name.as_str(), workers.as_str()]].concat());
        let (Outcome::Interrupted { run, step }, _) = go(&start, at) else { panic!("not interrupted") };
        assert_eq!(step, at);
        let overrides = vec![format!("data.loader.workers={}", [3, 0, 2][k % 3])];
        let (Outcome::Finished(_), _) = go(&Start::Resume { run: run.clone(), config: None, overrides }, 0)
        else {
            panic!("interrupted again")
        };
        let (a, b) = (newest(&whole.run), newest(&run));
        assert_eq!(bits(&a.model), bits(&b.model), "weights after an interruption at {at}");
        assert_eq!(bits(&a.optimizer), bits(&b.optimizer), "optimizer after an interruption at {at}");
        let model = |run: &Path| fs::read(run.join("model/model.safetensors")).unwrap();
        assert!(model(&whole.run) == model(&run), "final model after an interruption at {at}");
    }
    (whole, notes)
}

/// Two classes of eleven images.
fn images(folder: &Path) -> PathBuf {
    for class in ["cat", "dog"] {
        fs::create_dir_all(folder.join("photos").join(class)).unwrap();
        for i in 0..11u8 {
            let level = i * 9 + if class == "dog" { 120 } else { 0 };
            let image = image::RgbImage::from_fn(14, 12, |x, y| image::Rgb([level, (x * 9) as u8, y as u8]));
            image.save(folder.join("photos").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let text = format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[data]\nkind = \"image_folder\"\npath = \"photos\"\n\
         transforms = [{{ kind = \"resize\", size = [10, 10] }}, {{ kind = \"random_crop\", size = 8 }}]\n\
         [data.loader]\nbatch_size = 3\n[model]\nkind = \"cnn\"\nchannels = [4]\nhidden = 8\ndropout = 0.2\n\
         [optimizer]\nkind = \"adamw\"\n[train]\nepochs = 3\n",
        folder.join("runs")
    );
    fs::write(folder.join("c.toml"), text).unwrap();
    folder.join("c.toml")
}

/// 90 texts of 1 to 15 words, of two classes, and 30 to validate on.
fn texts(folder: &Path) -> PathBuf {
    let row = |i: usize| format!("{} {}\t{}\n", ["dull", "grand"][i % 2], "film ".repeat(i * 7 % 15), i % 2);
    fs::write(folder.join("train.tsv"), (0..90).map(row).collect::<String>()).unwrap();
    fs::write(folder.join("more.tsv"), (7..37).map(row).collect::<String>()).unwrap();
    let text = format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[data]\nkind = \"tsv\"\ntrain = \"train.tsv\"\n\
         validation = \"more.tsv\"\nallow_leakage = true\nheader = false\ntext = 0\nlabel = 1\n\
         tokenizer = {{ kind = \"words\", max_length = 32 }}\n[model]\nkind = \"textcnn\"\n\
         [optimizer]\nkind = \"adamw\"\n[schedule]\nlr_scheduler_type = \"linear\"\nwarmup_steps = 0.1\n\
         [train]\nepochs = 2\ngradient_accumulation_steps = 3\n",
        folder.join("runs")
    );
    fs::write(folder.join("c.toml"), text).unwrap();
    folder.join("c.toml")
}

#[test]
fn mixed_images_continue_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path());
    let mixup = "data.mixup={ mixup_alpha = 0.8, cutmix_alpha = 1.0, mixup_mode = 'elem' }";
    let (whole, _) = continues(&config, &[mixup], &[1, 9, 17]);
    assert_eq!(whole.steps, 24);
    let (plain, _) = train(&config, &["run_name=plain"]);
    assert_ne!(bits(&newest(&whole.run).model), bits(&newest(&plain.run).model), "it does mix");
}

#[test]
fn a_cache_changes_no_weight_and_may_come_and_go_with_a_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path());
    let (plain, _) = train(&config, &["run_name=plain"]);
    let disk = format!("data.loader.cache_dir={}", folder.path().join("kept").display());
    for (name, words) in [
        ("memory", vec!["data.loader.cache=memory", "data.loader.cache_max_mb=5"]),
        ("disk", vec!["data.loader.cache=disk", disk.as_str()]),
        ("again", vec!["data.loader.cache=disk", disk.as_str()]),
    ] {
        let run_name = format!("run_name={name}");
        let (cached, notes) = train(&config, &[&words[..], &[run_name.as_str()]].concat());
        assert_eq!(bits(&newest(&plain.run).model), bits(&newest(&cached.run).model), "{name}");
        let said = notes.iter().filter(|note| note.starts_with("decoded images are kept"));
        assert_eq!(said.count(), 2, "at the start, and after the first pass: {notes:?}");
    }
    let start = new(&config, &["run_name=cut", "data.loader.cache=memory"]);
    let (Outcome::Interrupted { run, .. }, _) = go(&start, 5) else { panic!("not interrupted") };
    let overrides = vec!["data.loader.cache=none".to_string()];
    let (Outcome::Finished(_), _) = go(&Start::Resume { run: run.clone(), config: None, overrides }, 0)
    else {
        panic!("interrupted again")
    };
    assert_eq!(bits(&newest(&plain.run).model), bits(&newest(&run).model));
}

#[test]
fn budgets_of_tokens_have_known_steps_and_continue_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = texts(folder.path());
    let (whole, notes) = continues(&config, &["data.loader.max_tokens=48"], &[1, 5, 8]);
    let said = notes.iter().find(|note| note.starts_with("an epoch: ")).unwrap();
    let numbers: Vec<u64> =
        said.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [batches, 48, steps] = numbers[..] else { panic!("{said}") };
    assert_eq!((batches.div_ceil(3), 2 * steps), (steps, whole.steps), "{said}");
    // Linear to zero: the schedule knew the number of steps.
    let lines = fs::read_to_string(whole.run.join("metrics.jsonl")).unwrap();
    let rates: Vec<f64> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["learning_rate"].as_f64())
        .collect();
    assert_eq!(rates.len() as u64, whole.steps);
    assert!(rates[rates.len() - 1] > 0.0 && rates[rates.len() - 1] < rates[rates.len() - 2], "{rates:?}");
    let validation = whole.validation.unwrap();
    // The same scores as with batches of a number of samples: every sample once, padding without effect.
    let plain = ["data.loader.max_tokens=48", "train.max_steps=1", "optimizer.learning_rate=0"];
    let (budget, _) = train(&config, &[&plain[..], &["run_name=a"]].concat());
    let (fixed, _) = train(&config, &[&plain[1..], &["run_name=b", "data.loader.batch_size=7"]].concat());
    let (a, b) = (budget.validation.unwrap(), fixed.validation.unwrap());
    assert!((a.loss - b.loss).abs() < 1e-6 && a.metrics == b.metrics, "{a:?} {b:?}");
    assert!(validation.loss < a.loss, "it learns");
}

#[test]
fn accumulated_budgets_equal_one_large_batch() {
    let folder = tempfile::tempdir().unwrap();
    let config = texts(folder.path());
    let still = ["optimizer.kind=sgd", "train.epochs=1", "model.dropout=0"];
    let all = ["run_name=all", "data.loader.batch_size=90", "train.gradient_accumulation_steps=1"];
    let (all, _) = train(&config, &[&still[..], &all].concat());
    let parts = ["run_name=parts", "data.loader.max_tokens=48", "train.gradient_accumulation_steps=1000"];
    let (parts, _) = train(&config, &[&still[..], &parts].concat());
    assert_eq!((all.steps, parts.steps), (1, 1));
    let (a, b) = (newest(&all.run).model, newest(&parts.run).model);
    for (name, expected) in &a {
        let (expected, got) = (expected.as_slice::<f32>().unwrap(), b[name].as_slice::<f32>().unwrap());
        let distance = expected.iter().zip(got).map(|(e, g)| (e - g).abs()).fold(0.0, f32::max);
        assert!(distance < 2e-6, "{name}: {distance:.1e}");
    }
}

/// The texts of `train.tsv` and of `more.tsv`, three to one.
fn two(folder: &Path) -> PathBuf {
    let path = texts(folder);
    let text = fs::read_to_string(&path).unwrap().replace("train = \"train.tsv\"\n", "").replace(
        "[model]",
        "[[data.sources]]\npath = \"train.tsv\"\nweight = 3\n[[data.sources]]\npath = \"more.tsv\"\nweight = 1\n[model]",
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn weighted_sources_have_known_steps_and_continue_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let config = two(folder.path());
    let (whole, notes) = continues(&config, &["data.loader.batch_size=4"], &[1, 12, 19]);
    // 120 samples, 30 batches, 10 steps; two epochs.
    assert_eq!(whole.steps, 20);
    let said = "an epoch: 120 samples, by source 90 (of 90), 30 (of 30); 10 steps";
    assert!(notes.iter().any(|note| note == said), "{notes:?}");
}

fn refused(config: &Path, overrides: &[&str], key: &str, said: &str) {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    let report = load::load(config, &overrides).err().unwrap_or_else(|| panic!("{said}: accepted"));
    let text = report.to_string();
    assert_eq!(report.faults.len(), 1, "{text}");
    assert!(text.contains(said) && text.contains(key), "{text}");
}

#[test]
fn keys_that_do_nothing_or_exclude_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = images(folder.path());
    let at = |path: &Path| fs::create_dir_all(path).map(|()| path.to_path_buf()).unwrap();
    let words = texts(&at(&folder.path().join("words")));
    let sources = two(&at(&folder.path().join("sources")));
    let loader = |words: &str| format!("data.loader.{words}");
    let both = |a: &str, b: &str| [loader(a), loader(b)];
    for (config, words, said) in [
        (&pictures, both("max_tokens=9", "workers=1"), "there is no text to sort by length in images"),
        (&words, both("max_tokens=9", "length_bucketing=true"), "`max_tokens` sorts texts by length already"),
        (&words, both("max_tokens=9", "shuffle=false"), "shuffle = false keeps their order"),
        (&words, both("max_tokens=9", "drop_last=true"), "never short of samples"),
        (&words, both("max_tokens=9", "repeats=2"), "goes with no repeats"),
        (&words, both("max_tokens=9", "shuffle_by=shards"), "goes with no shuffle_by"),
        (&sources, both("max_tokens=9", "workers=1"), "goes with no weights of `sources`"),
        (&words, both("cache=memory", "workers=1"), "there are none here to be decoded"),
        (&pictures, both("cache_max_mb=5", "workers=1"), "`cache_max_mb` does nothing without a cache"),
        (&pictures, both("cache=memory", "cache_dir=x"), "`cache_dir` does nothing for a cache in memory"),
        (&pictures, both("samples_per_epoch=5", "workers=1"), "is for sources with weights"),
        (&pictures, both("stopping_strategy=all_exhausted", "workers=1"), "is for sources with weights"),
        (
            &sources,
            both("stopping_strategy=all_exhausted", "samples_per_epoch=9"),
            "both say when an epoch ends",
        ),
    ] {
        refused(config, &[&words[0], &words[1]], "", said);
    }
    let path = format!("data.path={}", folder.path().join("words/train.tsv").display());
    for (words, key, said) in [
        ("data.sources.1.weight=0", "weight", "`weight` is 0"),
        (path.as_str(), "path", "both `path` and `sources` are set"),
        ("data.sources.0.path=nowhere.tsv", "data.sources.0.path", "is not there"),
        ("data.sources.1.text=1", "text", "the label's column is also what the model reads"),
        ("data.sources.1.text=name", "text", "has no name to be found by"),
        ("data.sources.0.wieght=2", "wieght", "did you mean"),
    ] {
        refused(&sources, &[words], key, said);
    }
    // Budgets are known to be too small before anything starts, where no sample can be cut to them.
    let error = load::check(&words, &["data.loader.max_tokens=9".into()]).unwrap_err().to_string();
    assert!(error.contains("tokens, and a batch has 9 at most"), "{error}");
    load::check(&words, &["data.loader.max_tokens=32".into()]).unwrap();
    load::check(&sources, &[]).unwrap();
    load::check(&pictures, &["data.loader.cache=disk".into()]).unwrap();
    let loaded = load::load(&words, &["data.loader.max_tokens=48".into()]).unwrap();
    assert_eq!(loaded.config.data.loader().batch_size, 48, "as many as fit");
}
