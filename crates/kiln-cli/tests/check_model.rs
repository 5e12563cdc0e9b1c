//! `kiln check` of weights, adapters and patterns: it finds what `kiln train` finds, in the same words, before anything
//! starts. Owns that both say the same; what they say of each file is kiln-models' to test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Said, kiln, reviews, texts, tokenizer, write};

const CONFIG: i32 = 2;
const FILES: i32 = 4;

/// A config of texts and the model folder that a run of it left.
fn trained(folder: &Path, extra: &str) -> (PathBuf, PathBuf) {
    let config = texts(folder, &reviews(20), 8);
    let text = fs::read_to_string(&config).unwrap() + extra;
    let config = write(folder, "texts.toml", text);
    let run = Said::by(kiln().arg("train").arg(&config)).expect(0, &[]).run();
    (config, run)
}

/// What train says of a config is what check says of it, with the same exit code, and neither starts anything.
#[track_caller]
fn both_refuse(config: &Path, overrides: &[&str], code: i32, words: &[&str]) {
    let runs = config.with_file_name("none");
    let output = format!("output_dir={}", runs.display());
    let train = Said::by(kiln().arg("train").arg(config).args(overrides).arg(&output)).expect(code, words);
    let check = Said::by(kiln().arg("check").arg(config).args(overrides)).expect(code, words);
    let said = train.err.split_once("error: ").unwrap().1;
    let message = said.split_once("\nhint: ").map_or(said, |(message, _)| message);
    assert!(check.err.contains(message.trim()), "train: {}\ncheck: {}", train.err, check.err);
    assert!(!runs.exists(), "a run folder was made for a run that never began");
}

/// Changes the JSON object in a file.
fn edit(path: &Path, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn weights_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = trained(folder.path(), "");
    let model = run.join("model");
    let start = format!("model.pretrained={}", model.display());
    let card = fs::read(model.join("config.json")).unwrap();
    let set =
        |key: &str, value: Value| edit(&model.join("config.json"), |c| drop(c.insert(key.into(), value)));
    let restore = || fs::write(model.join("config.json"), &card).unwrap();
    Said::by(kiln().arg("check").arg(&config).arg(&start)).expect(0, &["ok"]);

    set("model_type", json!("berty"));
    both_refuse(&config, &[&start], FILES, &["model_type is \"berty\""]);
    set("model_type", json!("roberta"));
    both_refuse(&config, &[&start], FILES, &["model_type is \"roberta\"", "set [model] kind = \"roberta\""]);
    restore();
    both_refuse(&config, &["model.intermediate_size=24", &start], CONFIG, &["config.json says 16"]);
    set("intermediate_size", json!(24));
    let shapes = ["the model has [24, 8], the file has [16, 8]", "intermediate.dense.weight"];
    both_refuse(&config, &["model.intermediate_size=24", &start], FILES, &shapes);
    restore();
    set("num_hidden_layers", json!(2));
    let absent = ["missing     bert.encoder.layer.1.attention.self.query.weight"];
    both_refuse(&config, &["model.num_hidden_layers=2", &start], FILES, &absent);
    restore();

    tokenizer(&folder.path().join("more.json"), 50);
    let more = format!("data.tokenizer.path={}", folder.path().join("more.json").display());
    both_refuse(&config, &[&start, &more], CONFIG, &["52 tokens", "embeddings for 10"]);
    let longer = ["model.max_position_embeddings=16", "data.tokenizer.max_length=64", &start];
    both_refuse(&config, &longer, CONFIG, &["max_length", "16"]);

    let file = model.join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 4]).unwrap();
    both_refuse(&config, &[&start], FILES, &["model.safetensors", "bytes by its header"]);
    fs::remove_file(&file).unwrap();
    both_refuse(&config, &[&start], FILES, &["no weights here"]);
    let index = model.join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": {"a": "model-00001-of-00002.safetensors"}}).to_string()).unwrap();
    both_refuse(&config, &[&start], FILES, &["the shard model-00001-of-00002.safetensors is missing"]);
    fs::write(&index, "{\"weight_map\": {").unwrap();
    both_refuse(&config, &[&start], FILES, &["model.safetensors.index.json", "line 1"]);
}

#[test]
fn a_file_of_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::digits(folder.path(), "");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-models/tests/fixtures");
    let start = format!("model.pretrained={}", fixtures.join("half.pt").display());
    both_refuse(
        &config,
        &[&start],
        FILES,
        &["half.pt", "layers.0.weight: the model has [512, 64], the file has [3, 4]"],
    );
    let start = format!("model.pretrained={}", fixtures.join("malicious.pt").display());
    both_refuse(&config, &[&start], FILES, &["malicious.pt"]);
}

#[test]
fn patterns_that_match_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::digits(folder.path(), "");
    let none = "matches no";
    both_refuse(&config, &["finetune.freeze=[\"hed.*\"]"], CONFIG, &["`finetune.freeze`", none]);
    both_refuse(&config, &["finetune.train_only=[\"hed.*\"]"], CONFIG, &["`finetune.train_only`", none]);
    both_refuse(&config, &["finetune.freeze=[\"*\"]"], CONFIG, &["nothing is left to train"]);
    both_refuse(&config, &["lora.target_modules=[\"query\"]"], CONFIG, &["`lora.target_modules`", none]);
    both_refuse(&config, &["lora.modules_to_save=[\"query\"]"], CONFIG, &["`lora.modules_to_save`", none]);
    let text = fs::read_to_string(&config).unwrap()
        + "[[finetune.groups]]\nparameters = [\"lora_C*\"]\nlearning_rate = 0.1\n";
    let groups = write(folder.path(), "groups.toml", text);
    both_refuse(&groups, &[], CONFIG, &["`finetune.groups.0.parameters`", none]);
    Said::by(kiln().arg("check").arg(&config).args(["lora.rank=2", "finetune.freeze=[\"*lora_A*\"]"]))
        .expect(0, &["ok"]);
}

#[test]
fn an_adapter_of_another_base_or_with_another_head() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = trained(folder.path(), "[lora]\nrank = 2\n");
    let text = fs::read_to_string(&config).unwrap().replace("rank = 2", "pretrained = \"ADAPTER\"");
    let adapter = run.join("adapter");
    let config =
        write(folder.path(), "brought.toml", text.replace("ADAPTER", &adapter.display().to_string()));
    Said::by(kiln().arg("check").arg(&config)).expect(0, &["ok"]);
    let wider = ["model.hidden_size=16"];
    both_refuse(&config, &wider, FILES, &["adapter_model.safetensors: the adapter does not fit", "[2, 16]"]);

    let rows = (0..20).map(|n| format!("w{},{}\n", n % 5, n % 3)).collect::<String>();
    write(folder.path(), "rows.csv", format!("review,stars\n{rows}"));
    both_refuse(&config, &[], FILES, &["classifier", "expected [3", "got [2", "as many classes"]);
    fs::write(adapter.join("adapter_config.json"), "{\"peft_type\": \"IA3\"}").unwrap();
    both_refuse(&config, &[], FILES, &["peft_type is \"IA3\""]);
}
