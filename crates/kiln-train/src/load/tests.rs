//! Each rule by its message, key and line; the saved form read back; every schema key read by code.

mod data;
mod engine;
mod rates;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_core::Exit;
use kiln_core::config::{FaultRecord, Report};
use serde_json::Value;

use super::{from_resolved_toml, load, resolve, schema};

const IMAGES: &str = r#"
[data]
kind = "image_folder"
path = "there"
validation_fraction = 0.1

[model]
kind = "cnn"

[optimizer]
kind = "sgd"

[train]
epochs = 1
"#;

const TEXT: &str = r#"
[data]
kind = "tsv"
train = "train.tsv"
text = "sentence"
label = "label"

[model]
kind = "bert"
pretrained = "there"

[optimizer]
kind = "adamw"

[train]
max_steps = 10
"#;

/// A folder with a config `c.toml` and the files that the texts above name.
fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    fs::write(folder.path().join("there/config.json"), "{}").unwrap();
    fs::write(folder.path().join("train.tsv"), "").unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn report(text: &str, overrides: &[&str]) -> Option<Report> {
    let (_folder, path) = folder(text);
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    load(&path, &overrides).err()
}

/// The faults of a config with overrides.
fn records(text: &str, overrides: &[&str]) -> Vec<FaultRecord> {
    report(text, overrides).map(|r| r.faults.iter().map(|f| f.record()).collect()).unwrap_or_default()
}

fn refused(text: &str, overrides: &[&str], message: &str) {
    let found = records(text, overrides);
    assert_eq!(found.len(), 1, "{overrides:?}: {found:#?}");
    assert!(found[0].message.contains(message), "{overrides:?}: {found:#?}");
    assert!(found[0].hint.is_some() && found[0].file.is_some(), "{found:#?}");
}

#[test]
fn a_device_that_differs_from_run_to_run_is_refused_where_that_must_not_be() {
    for device in ["cuda:0", "vulkan:0", "metal", "rocm:1", "ndarray"] {
        let device = format!("device={device}");
        refused(IMAGES, &["deterministic=true", &device], "`deterministic` cannot be kept on");
        assert!(records(IMAGES, &[&device]).is_empty());
    }
    for device in ["device=cpu", "device=wgpu:0", "device=auto"] {
        assert!(records(IMAGES, &["deterministic=true", device]).is_empty());
    }
    refused(IMAGES, &["deterministic=1"], "deterministic");
    refused(IMAGES, &["train.on_nonfinite=ignore"], "on_nonfinite");
}

#[test]
fn good_configs_load() {
    for text in [IMAGES, TEXT] {
        let report = report(text, &[]);
        assert!(report.is_none(), "{}", report.unwrap());
    }
}

#[test]
fn an_override_of_the_duration_displaces_the_other_way_to_say_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let overrides = vec!["train.max_steps=3".to_string()];
    fs::write(&path, IMAGES).unwrap();
    let loaded = resolve(&path, &overrides).unwrap();
    assert_eq!((loaded.config.train.epochs, loaded.config.train.max_steps), (None, Some(3)));
    assert_eq!(
        (loaded.resolved.text("train.epochs"), loaded.resolved.is_set("train.max_steps")),
        (None, true)
    );
    let test = resolve(&path, &["data.test_fraction=0.1".into(), "data.validation=v".into()]).unwrap();
    let (fraction, file) =
        (test.resolved.text("data.validation_fraction"), test.resolved.text("data.validation"));
    assert!(fraction.is_none() && file.is_some());
    let saved = from_resolved_toml(&loaded.resolved.to_toml(), &path).unwrap();
    assert_eq!((&saved.config, saved.resolved.hash()), (&loaded.config, loaded.resolved.hash()));
}

#[test]
fn rules_of_training() {
    refused(&IMAGES.replace("epochs = 1", ""), &[], "set `epochs` or `max_steps`");
    refused(&IMAGES.replace("epochs = 1", "epochs = 1\nmax_steps = 3"), &[], "both `epochs` and `max_steps`");
    refused(IMAGES, &["train.max_steps=3", "train.epochs=2"], "both `epochs` and `max_steps`");
    refused(IMAGES, &["optimizer.nesterov=true"], "`nesterov` needs `momentum`");
    let nesterov = ["optimizer.nesterov=true", "optimizer.momentum=0.9"];
    assert_eq!(records(IMAGES, &nesterov), []);
    refused(IMAGES, &[nesterov[0], nesterov[1], "optimizer.dampening=0.1"], "`nesterov` needs");
    refused(IMAGES, &["schedule.warmup_steps=2.5"], "neither whole steps nor a fraction");
    refused(TEXT, &["schedule.warmup_steps=11"], "more than the 10 steps");
    assert_eq!(records(TEXT, &["schedule.warmup_steps=10"]), []);
    refused(TEXT, &["optimizer.betas=[0.9, 1.0]"], "`optimizer.betas` must be");
    refused(TEXT, &["train.early_stopping_patience=2"], "early stopping needs validation");
    refused(TEXT, &["checkpoint.keep_best=true"], "`keep_best` needs validation");
    refused(TEXT, &["checkpoint.keep_best=3"], "`keep_best` needs validation");
    refused(IMAGES, &["checkpoint.keep_best=0"], "keep_best");
    refused(IMAGES, &["checkpoint.keep_last=0", "checkpoint.keep_best=3"], "keep_last");
    assert_eq!(records(IMAGES, &["checkpoint.keep_best=3", "checkpoint.on_error=continue"]), []);
    refused(IMAGES, &["train.token_budget=100"], "`token_budget` counts tokens");
    assert_eq!(records(TEXT, &["train.token_budget=100"]), []);
    refused(IMAGES, &["device=cuda:0,cuda:1"], "one device a run");
    refused(IMAGES, &["device=gpu"], "`gpu` is not a device");
    for name in ["a/b", "..", "''", ".x"] {
        refused(IMAGES, &[&format!("run_name={name}")], "not a folder's name");
    }
    refused(IMAGES, &["output_dir=''"], "`output_dir` is empty");
}

#[test]
fn a_pretrained_models_normalisers_are_the_default() {
    let (folder, path) = folder(TEXT);
    let kiln = serde_json::json!({"kiln": {"kind": "text", "text_transforms": [
        {"kind": "lowercase"}, {"kind": "random_swap", "alpha": 0.1, "p": 0.5}]}});
    fs::write(folder.path().join("there/tokenizer_config.json"), kiln.to_string()).unwrap();
    let of = |overrides: &[String]| {
        let loaded = load(&path, overrides).unwrap();
        (serde_json::to_value(loaded.config.data.text_transforms()).unwrap(), loaded.notes)
    };
    let (list, notes) = of(&[]);
    assert_eq!(list, serde_json::json!([{"kind": "lowercase"}]), "random ones are each training's own");
    assert!(notes.iter().any(|note| note.contains("texts are normalised")), "{notes:?}");
    let (list, notes) = of(&["data.text_transforms=[]".into()]);
    assert_eq!((list, notes), (serde_json::json!([]), vec![]));
}

#[test]
fn a_preset_may_be_named_alone() {
    let of = |words: &str| {
        let (_folder, path) = folder(IMAGES);
        let loaded = load(&path, &[format!("data.transforms={words}")]).unwrap();
        serde_json::to_value(&loaded.config.data).unwrap()["transforms"].clone()
    };
    let named = of("imagenet");
    assert_eq!(named[0]["kind"], "random_resized_crop");
    assert_eq!(named, of("[{ kind = 'preset', name = 'imagenet' }]"));
    let text = IMAGES.replace("path = \"there\"", "path = \"there\"\ntransforms = \"cifar\"");
    let (_folder, path) = folder(&text);
    let loaded = load(&path, &[]).unwrap();
    let again = from_resolved_toml(&loaded.resolved.to_toml(), &path).unwrap();
    assert_eq!(again.config, loaded.config, "a resumed run reads the list that it stands for");
    assert_eq!(serde_json::to_value(&again.config.data).unwrap()["transforms"], of("cifar"));
    refused(IMAGES, &["data.transforms=imagnet"], "imagnet");
    refused(IMAGES, &["data.transforms=3"], "transforms");
}

#[test]
fn keys_that_would_do_nothing_are_refused() {
    refused(TEXT, &["data.tokenizer.max_vocab=5000"], "`max_vocab` is of kind = \"words\"");
    refused(TEXT, &["data.tokenizer.min_frequency=2"], "`min_frequency` is of kind = \"words\"");
    let words = ["model={ kind = 'textcnn' }", "data.tokenizer={ kind = 'words', max_vocab = 5000 }"];
    assert_eq!(records(TEXT, &words), []);
    refused(TEXT, &["data.table.missing=mean"], "`table` is for columns of numbers");
    refused(TEXT, &["data.channels=1"], "`channels`, `background`, `mixup` and `transforms`");
    let masked = "task.kind=masked_language_modeling";
    refused(TEXT, &[masked], "`label` does nothing");
    let hidden = TEXT.replace("label = \"label\"", "");
    assert_eq!(records(&hidden, &[masked]), []);
    refused(&hidden, &[masked, "data.classes=['a', 'b']"], "`data.classes` does nothing");
    refused(&hidden, &[masked, "model.classifier_dropout=0.1"], "`classifier_dropout` does nothing");
    refused(TEXT, &["evaluate.every='5 steps'"], "[evaluate] does nothing without validation data");
    refused(
        TEXT,
        &["evaluate.metric_for_best_model=loss"],
        "[evaluate] does nothing without validation data",
    );
    refused(IMAGES, &["optimizer.dampening=0.1"], "`dampening` does nothing without `momentum`");
    let numbers = TEXT.replace("text = \"sentence\"", "features = ['a']").replace("bert", "mlp");
    let regression = "task={ kind = 'regression' }";
    refused(&numbers, &[regression, "data.classes=['a', 'b']"], "`data.classes` does nothing");
    let image = numbers.replace("features = ['a']", "image = 'file'");
    refused(&image, &["data.table.numeric=none"], "`table` is for columns of numbers");
}

#[test]
fn rules_of_models() {
    let scratch = TEXT.replace("pretrained = \"there\"", "");
    let tokenizer = "data.tokenizer.path=.";
    refused(&scratch, &[tokenizer], "needs its sizes; not set: hidden_size, num_hidden_layers");
    refused(TEXT, &["model.hidden_size=10", "model.num_attention_heads=4"], "does not divide");
    refused(TEXT, &["model.max_position_embeddings=64"], "more than the model's 64 positions");
    refused(IMAGES, &["model.channels=[]"], "`channels` is empty");
    refused(IMAGES, &["model.channels=[0]"], "must be at least 1");
    refused(&IMAGES.replace("cnn\"", "bert\"\npretrained = \"there\""), &[], "does not read images");
    refused(&TEXT.replace("bert", "mlp"), &[], "does not read text");
    let numbers = TEXT.replace("text = \"sentence\"", "features = ['a']");
    refused(&numbers.replace("bert", "cnn"), &[], "does not read numbers");
    let sizes = ["hidden_size=8", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=8"];
    let mut sizes: Vec<String> = sizes.iter().map(|size| format!("model.{size}")).collect();
    sizes.push("model.max_position_embeddings=512".into());
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    refused(&scratch, &sizes, "text needs a tokenizer");
}

#[test]
fn missing_files_are_data_faults_at_their_line() {
    let report = report(&IMAGES.replace("there", "gone"), &[]).unwrap();
    assert_eq!(report.exit(), Exit::Data);
    let record = report.faults[0].record();
    assert_eq!((record.code.as_str(), record.line, record.column), ("missing_file", Some(4), Some(8)));
    assert!(record.message.starts_with("`data.path` is not there: ") && record.message.ends_with("/gone"));
    refused(&TEXT.replace("\"there\"", "\".\""), &[], "holds no config.json");
    refused(TEXT, &["data.test=none.tsv"], "`data.test` is not there");
    let (_folder, path) = folder(&IMAGES.replace("there", "gone"));
    assert!(resolve(&path, &[]).is_ok());
}

#[test]
fn faults_of_rules_and_schema_come_together() {
    let found = records(IMAGES, &["optimizer.nesterov=true", "sed=1"]);
    let messages: Vec<&str> = found.iter().map(|f| f.message.as_str()).collect();
    assert!(messages.contains(&"unknown key `sed`") && messages.len() == 2, "{messages:?}");
}

#[test]
fn the_saved_form_reads_back() {
    for text in [IMAGES, TEXT] {
        let (_folder, path) = folder(text);
        let first = load(&path, &[]).unwrap();
        assert_eq!(first.config.checkpoint.keep_best.most(), usize::from(text == IMAGES));
        for saved in [first.resolved.to_toml(), first.resolved.annotated()] {
            let again = from_resolved_toml(&saved, Path::new("elsewhere/config.toml")).unwrap();
            assert_eq!(again.config, first.config);
            assert_eq!(again.resolved.hash(), first.resolved.hash());
            assert!(again.resolved.diff(&first.resolved).is_empty());
        }
        let named = load(&path, &["run_name=x".into(), "output_dir=y".into(), "device=cpu".into()]).unwrap();
        assert_eq!(named.resolved.hash(), first.resolved.hash());
        let other = load(&path, &["seed=7".into()]).unwrap();
        assert_eq!(other.resolved.diff(&first.resolved), [("seed".into(), "7".into(), "42".into())]);
    }
    assert!(from_resolved_toml("seed = 1", Path::new("x.toml")).is_err());
}

/// Every property of the schema.
fn properties(schema: &Value, found: &mut Vec<(String, Value)>) {
    match schema {
        Value::Object(map) => {
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                found.extend(properties.iter().map(|(name, view)| (name.clone(), view.clone())));
            }
            map.values().for_each(|value| properties(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, found)),
        _ => {}
    }
}

/// The code of all rooms without tests, comments and the files that define the config.
fn code(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "load", "target", "config"].contains(&name.as_str()) {
            code(&path, out);
        } else if name.ends_with(".rs") && !["config.rs", "load.rs", "tests.rs"].contains(&name.as_str()) {
            let text = fs::read_to_string(&path).unwrap();
            let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = before_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| out.extend([line, "\n"]));
        }
    }
}

/// Whether the code reads a field: `.name` that is no call, or `name` in a pattern of braces (`name`, or
/// `name: [a, b]` before `} =`).
fn is_read(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(i, _)| {
        let before = code[..i].trim_end();
        let after = &code[i + name.len()..];
        let whole = !code[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let field = before.ends_with('.') && !after.starts_with('(');
        let in_braces = before.ends_with('{') || before.ends_with(',');
        let bound = after.trim_start().starts_with([',', '}']);
        let statement = after.split(';').next().unwrap_or("");
        let taken_apart = after.starts_with(':') && !after.starts_with(": _") && statement.contains("} =");
        whole && (field || (in_braces && (bound || taken_apart)))
    })
}

#[test]
fn fine_tuning_tables_are_read_back_and_their_conflicts_refused() {
    let tables = "[finetune]\nfreeze = [\"bert.embeddings.*\"]\nunfreeze_every = \"2 epochs\"\nlayer_decay = 0.75\n\
        [[finetune.groups]]\nparameters = [\"classifier.*\"]\nlearning_rate = 1e-3\n\
        [[finetune.groups]]\nparameters = [\"*.bias\"]\nweight_decay = 0.0\n";
    let text = format!("{TEXT}{tables}");
    let (_folder, path) = folder(&text);
    let loaded = load(&path, &[]).unwrap();
    assert_eq!(loaded.config.finetune.as_ref().unwrap().groups.len(), 2);
    let again = from_resolved_toml(&loaded.resolved.to_toml(), &path).unwrap();
    assert_eq!(again.config, loaded.config);
    for (from, to, message) in [
        ("layer_decay", "train_only = [\"*\"]\nlayer_decay", "both `freeze` and `train_only`"),
        ("2 epochs", "2 minutes", "is a time"),
        ("bert.embeddings.*", "bert.[", "is not a pattern"),
        ("layer_decay = 0.75", "layer_decay = 1.5", "layer_decay"),
        ("[\"*.bias\"]\nweight_decay = 0.0", "[\"*.bias\"]", "changes nothing"),
        ("[\"classifier.*\"]", "[]", "without parameters"),
    ] {
        refused(&text.replace(from, to), &[], message);
    }
    refused(&text, &["optimizer.learning_rate=0"], "which is 0");
    refused(&format!("{text}[lora]\n"), &[], "has nothing to thaw");
    let lora = format!("{TEXT}[lora]\nrank = 4\ntarget_modules = [\"query\"]\n");
    refused(&lora, &["lora.target_modules=[]"], "`target_modules` is empty");
    refused(&lora, &["lora.rank=0"], "lora.rank");
    let brought = format!("{TEXT}[lora]\npretrained = \"there\"\nrank = 4\n");
    refused(&brought, &[], "`lora.rank` is the adapter's own to say");
    refused(&brought.replace("there\"\nrank = 4", "nowhere\""), &[], "`lora.pretrained` is not there");
}

#[test]
fn every_key_of_the_schema_is_read_by_code() {
    let mut found = Vec::new();
    properties(&schema(), &mut found);
    let mut names: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    // `kind` chooses the branch of an enum, which the compiler checks; `extends` is gone once the file is read.
    names.retain(|name| !["kind", "extends"].contains(&name.as_str()));
    assert!(names.len() > 50, "{names:?}");
    let mut text = String::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for room in fs::read_dir(crates).unwrap() {
        code(&room.unwrap().path().join("src"), &mut text);
    }
    let unread: Vec<&String> = names.iter().filter(|name| !is_read(&text, name)).collect();
    assert!(unread.is_empty(), "no code reads: {unread:?}");
    for unread in ["a.beta_x = 1;", "Config { a, beta: 1 };", ".beta()", "let C { beta: _, a } = c;"] {
        assert!(!is_read(unread, "beta"), "{unread}");
    }
    for read in ["a.beta;", "let C { a, beta } = c;", "let C { a, beta: [x, y] } = c;"] {
        assert!(is_read(read, "beta"), "{read}");
    }
}

#[test]
fn the_schema_has_a_description_for_every_key() {
    let schema = schema();
    assert_eq!(schema["properties"]["extends"]["type"], "string");
    assert_eq!(schema["properties"]["seed"]["default"], 42);
    let mut found = Vec::new();
    properties(&schema, &mut found);
    for (name, view) in found.iter().filter(|(name, _)| name != "kind") {
        assert!(view["description"].is_string(), "{name} has no description");
    }
}
