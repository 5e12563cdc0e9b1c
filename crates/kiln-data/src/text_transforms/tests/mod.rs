//! Text transforms against Python (tests/fixtures/make_text_transforms.py), and their draws against the definitions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod draws;
mod faults;

use std::path::Path;

use serde_json::Value;

use super::TextTransform;

fn made<T: serde::de::DeserializeOwned>(words: Value) -> T {
    serde_json::from_value(words).unwrap()
}

fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text_transforms.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn normalisers_equal_pythons() {
    let fixture = fixture();
    let texts: Vec<String> = made(fixture["texts"].clone());
    let all = fixture["made"].as_object().unwrap();
    assert_eq!(all.len(), 8);
    let mut changed = 0;
    for (words, wanted) in all {
        let transform: TextTransform = serde_json::from_str(words).unwrap();
        for (text, wanted) in texts.iter().zip(wanted.as_array().unwrap()) {
            let own = transform.op().normalize(text.clone());
            assert_eq!(own, wanted.as_str().unwrap(), "{words} of {text:?}");
            changed += usize::from(own != *text);
        }
    }
    assert!(changed > 60, "{changed} texts were changed");
}

#[test]
fn stripped_and_lowered_text_equals_tokenizers() {
    let fixture = fixture();
    let lower: TextTransform = made(serde_json::json!({"kind": "lowercase"}));
    let strip: TextTransform = made(serde_json::json!({"kind": "strip_accents"}));
    let wanted = fixture["tokenizers"].as_object().unwrap();
    assert!(wanted.len() > 20);
    for (i, wanted) in wanted {
        let text = fixture["texts"][i.parse::<usize>().unwrap()].as_str().unwrap();
        let own = lower.op().normalize(strip.op().normalize(text.into()));
        assert_eq!(own, wanted.as_str().unwrap(), "{text:?}");
    }
}
