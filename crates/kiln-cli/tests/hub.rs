//! `kiln hub` and `pretrained = "org/name"` through the binary, in builds with and without the feature.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

#[cfg(feature = "hub")]
#[path = "../../kiln-hub/tests/support/mod.rs"]
mod hub;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Said, kiln};

/// A config that starts from a name, beside it nothing of that name.
fn config(folder: &Path, pretrained: &str) -> PathBuf {
    let path = support::digits(folder, "");
    let text = fs::read_to_string(&path).unwrap();
    let named = text.replace("kind = \"mlp\"", &format!("kind = \"mlp\"\npretrained = \"{pretrained}\""));
    fs::write(&path, named).unwrap();
    path
}

#[test]
fn a_text_that_is_no_name_is_refused_with_its_rule() {
    Said::by(kiln().args(["hub", "pull", "a/b/c"])).expect(2, &["not a model's name", "more than one `/`"]);
    Said::by(kiln().args(["hub", "pull", "../up"])).expect(2, &["not a model's name"]);
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_build_without_the_hub_says_how_to_build_with_it() {
    let remedy = "cargo build --release -p kiln-cli --features hub";
    Said::by(kiln().args(["hub", "pull", "org/tiny"]))
        .expect(2, &["org/tiny", "built without the Hugging Face Hub", remedy]);
    Said::by(kiln().args(["hub", "push", "org/tiny"]).arg(support::root())).expect(4, &["not a model"]);
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "org/tiny");
    let words = ["digits.toml:11:14", "`model.pretrained` is not there", "org/tiny", remedy];
    Said::by(kiln().arg("check").arg(&config)).expect(4, &words);
}

#[cfg(feature = "hub")]
#[test]
fn a_name_in_a_config_is_pulled_once_and_then_found_offline() {
    let folder = tempfile::tempdir().unwrap();
    let plain = support::digits(folder.path(), "");
    let trained = Said::by(kiln().arg("train").arg(&plain)).expect(0, &[]).run();
    let model = trained.join("model");
    let read = |name: &str| fs::read(model.join(name)).unwrap();
    let (card, weights) = (read("config.json"), read("model.safetensors"));
    let server = hub::Hub::start(&[("config.json", &card), ("model.safetensors", &weights)]);
    server.state().tag = Some(|name, content| format!("{}-{}", name.replace('.', "_"), content.len()));
    let cache = folder.path().join("cache");
    let hub = |words: &[&str]| {
        let mut command = kiln();
        command
            .args(words)
            .env("HF_ENDPOINT", &server.url)
            .env("HF_HUB_CACHE", &cache)
            .env("HF_HOME", folder.path());
        command
    };
    let named = config(folder.path(), "org/tiny");
    let words = ["org/tiny: commit 0123456789ab", "MiB pulled", "pretrained weights"];
    let run = Said::by(hub(&["train"]).arg(&named)).expect(0, &words).run();
    let snapshot = cache.join("models--org--tiny/snapshots").join(hub::COMMIT).display().to_string();
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains(&snapshot));
    let adapted = Said::by(hub(&["train", "lora.rank=2"]).arg(&named)).expect(0, &["adapters"]).run();
    let adapter: serde_json::Value =
        serde_json::from_slice(&fs::read(adapted.join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!(adapter["base_model_name_or_path"], "org/tiny");
    assert_eq!(adapter["revision"], hub::COMMIT);
    let offline = Said::by(hub(&["hub", "pull", "org/tiny"]).env("HF_HUB_OFFLINE", "1"));
    assert_eq!(offline.expect(0, &["from the cache"]).out.trim(), snapshot);
    Said::by(hub(&["train", "model.pretrained=org/other"]).arg(&named))
        .expect(4, &["`model.pretrained`: there is no /", "org/other, and on the Hub", "no such model"]);

    let run = trained.display().to_string();
    Said::by(&mut hub(&["hub", "push", "org/tiny", &run])).expect(2, &["needs a token", "HF_TOKEN"]);
    let pushed = Said::by(hub(&["hub", "push", "org/tiny", &run]).env("HF_TOKEN", "hf_write"));
    assert_eq!(pushed.expect(0, &["config.json"]).out.trim(), "http://hub/org/tiny/commit/0");
    let other = config(folder.path(), "org/other");
    Said::by(hub(&["check"]).arg(other)).expect(4, &["no such model"]);
}
