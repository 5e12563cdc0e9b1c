//! `kiln models` through the real binary: every family and preset, and what a preset, a config and a run cost.

#![allow(clippy::expect_used)] // helpers of tests are tests too

mod support;

use serde_json::Value;
use support::{Said, kiln};

fn shown(words: &[&str]) -> Value {
    let said = Said::by(kiln().args(["models", "show"]).args(words).arg("--json")).expect(0, &[]);
    serde_json::from_str(&said.out).expect("one JSON object")
}

#[test]
fn every_family_is_listed_with_its_presets() {
    let said = Said::by(kiln().args(["models", "ls"])).expect(0, &[]);
    for family in kiln_models::FAMILIES {
        assert!(said.out.lines().any(|l| l.starts_with(family.name())), "{} in {}", family.name(), said.out);
    }
    let said = Said::by(kiln().args(["models", "ls", "--json"])).expect(0, &[]);
    let lines: Vec<Value> = serde_json::from_str(&said.out).expect("an array");
    let resnet = lines.iter().find(|l| l["kind"] == "resnet").expect("resnet");
    assert!(resnet["presets"].as_array().is_some_and(|p| p.contains(&"resnet50".into())), "{resnet}");
}

#[test]
fn a_preset_costs_what_torch_counts() {
    let page = shown(&["resnet18"]);
    assert_eq!(page["trainable"], 11_689_512);
    assert_eq!(page["forward_flops"], 3_628_146_688_u64);
    assert_eq!(page["input"]["height"], 224);
    assert_eq!(shown(&["resnet18", "--batch", "2"])["forward_flops"], 2 * 3_628_146_688_u64);
    let said = Said::by(kiln().args(["models", "show", "resnet18"])).expect(0, &[]);
    for words in ["1 images of 3x224x224", "3.628 GFLOPs", "11689512 train"] {
        assert!(said.out.contains(words), "{words} in {}", said.out);
    }
}

#[test]
fn a_config_shows_what_trains_and_a_run_what_it_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::digits(folder.path(), "");
    let config = config.to_str().expect("a path in UTF-8");
    let all = shown(&[config]);
    assert_eq!(all["trainable"], all["values"]);
    let lora = ["lora.rank=1", "lora.modules_to_save=[]", "--parameters"];
    let page = shown(&[&[config], &lora[..]].concat());
    let parameters = page["parameters"].as_array().expect("a list");
    for p in parameters {
        let name = p["name"].as_str().expect("a name");
        assert_eq!(p["trainable"], name.contains(".lora_"), "{name}");
    }
    assert!(page["trainable"].as_u64() < all["trainable"].as_u64());
    let said = Said::by(kiln().args(["models", "show", config, "lora.rank=1"])).expect(0, &[]);
    assert!(said.out.contains("frozen") && said.out.contains("adapters"), "{}", said.out);

    let run = Said::by(kiln().args(["train", config, "lora.rank=2"])).expect(0, &["adapters"]).run();
    let left = shown(&[run.to_str().expect("a path in UTF-8")]);
    assert_eq!(left["values"], all["values"]);
    assert!(run.join("adapter/adapter_config.json").is_file());
}

#[test]
fn what_is_no_model_is_refused() {
    Said::by(kiln().args(["models", "show", "resnet19"])).expect(2, &["no preset is called", "resnet18"]);
    Said::by(kiln().args(["models", "show", "no/where"])).expect(4, &["not a model"]);
    Said::by(kiln().args(["models", "show", "resnet18", "--batch", "0"])).expect(2, &["--batch"]);
}
