//! Wrong parameters of text transforms, each refused at its key.

use kiln_core::TaskKind;
use serde_json::{Value, json};

use super::made;
use crate::text_transforms::{TextTransform, Texts, text_faults};

fn found(list: Value, of: &Texts<'_>) -> Vec<String> {
    let list: Vec<TextTransform> = made(list);
    let faults = text_faults(&list, of).into_iter();
    faults.map(|(i, fault)| format!("{i}.{}: {} ({})", fault.key, fault.problem, fault.remedy)).collect()
}

#[track_caller]
fn refused(list: Value, of: &Texts<'_>, start: &str) {
    let all = found(list, of);
    assert!(all.len() == 1 && all[0].starts_with(start), "{all:?}");
}

#[test]
fn each_wrong_key_is_named() {
    let classes = ["a", "b"].map(String::from);
    let of = Texts { task: Some(TaskKind::Classification), classes: Some(&classes), ..Texts::default() };
    for kind in ["random_swap", "random_delete"] {
        assert_eq!(found(json!([{"kind": kind}]), &of), [""; 0]);
        refused(json!([{"kind": kind, "alpha": 1.5}]), &of, "0.alpha: `alpha` is 1.5");
        refused(json!([{"kind": kind, "p": -1}]), &of, "0.p: `p` is -1");
    }
    refused(json!([{"kind": "random_insert"}]), &of, "0.words: neither `words` nor `synonyms`");
    let both = json!([{"kind": "random_insert", "words": ["x"], "synonyms": [["a", "b"]]}]);
    refused(both, &of, "0.words: both `words` and `synonyms`");
    refused(json!([{"kind": "random_insert", "words": ["x y"]}]), &of, "0.words: `words` holds \"x y\"");
    refused(json!([{"kind": "random_insert", "words": [""]}]), &of, "0.words: `words` holds \"\"");
    let single = json!([{"kind": "replace_synonyms", "synonyms": [["a", "b"], ["c"]]}]);
    refused(single, &of, "0.synonyms: a group of `synonyms` has 1 word");
    refused(json!([{"kind": "replace_synonyms", "synonyms": []}]), &of, "0.synonyms: `synonyms` is empty");
    refused(json!([{"kind": "token_dropout", "p": 2}]), &of, "0.p: `p` is 2");
    refused(
        json!([{"kind": "token_dropout"}, {"kind": "lowercase"}]),
        &of,
        "0.: token_dropout stands before another",
    );
}

#[test]
fn patterns_replacements_and_labels_are_checked() {
    let classes = ["a", "b"].map(String::from);
    let of = Texts { task: Some(TaskKind::Classification), classes: Some(&classes), ..Texts::default() };
    let rule = |pattern: &str, replacement: &str, labels: Value| json!([{"kind": "rewrite", "pattern": pattern, "replacement": replacement, "labels": labels}]);
    assert_eq!(found(rule("(?P<w>is)", "$w not ${1} $1 $$5", json!([["a", "b"], ["b", "a"]])), &of), [""; 0]);
    refused(
        rule("(is", "x", json!([])),
        &of,
        "0.pattern: `pattern` is no regular expression: unclosed group",
    );
    refused(rule("x*", "x", json!([])), &of, "0.pattern: `pattern` matches the empty text");
    refused(rule("(x)", "${2}", json!([])), &of, "0.replacement: `replacement` names the group $2");
    refused(rule("(x)", "$1not", json!([])), &of, "0.replacement: `replacement` names the group $1not");
    refused(
        rule("x", "y", json!([["a", "c"]])),
        &of,
        "0.labels: `labels` names \"c\", which is no class (classes: a, b)",
    );
    refused(rule("x", "y", json!([["a", "a"]])), &of, "0.labels: `labels` leaves \"a\" as it is");
    refused(rule("x", "y", json!([["a", "b"], ["a", "b"]])), &of, "0.labels: `labels` says twice");
    let regression = Texts { task: Some(TaskKind::Regression), ..Texts::default() };
    refused(rule("x", "y", json!([["a", "b"]])), &regression, "0.labels: `labels` changes the class");
    let replace = json!([{"kind": "replace", "pattern": "[", "replacement": "x"}]);
    refused(replace, &of, "0.pattern: `pattern` is no regular expression");
    let part = json!([{"kind": "rewrite", "pattern": "x", "replacement": "y", "part": "text_pair"}]);
    refused(part.clone(), &of, "0.part: there is no second text");
    assert_eq!(found(part, &Texts { pair: true, ..of }), [""; 0]);
}

#[test]
fn what_does_not_fit_the_samples_is_refused() {
    let words = Texts { task: Some(TaskKind::TokenClassification), words: true, ..Texts::default() };
    assert_eq!(
        found(json!([{"kind": "lowercase"}, {"kind": "unicode_normalize", "form": "nfkc"}]), &words),
        [""; 0]
    );
    for kind in [json!({"kind": "random_swap"}), json!({"kind": "token_dropout"})] {
        refused(json!([kind]), &words, "0.: a random transform of sentences in words");
    }
    let masked = Texts { task: Some(TaskKind::MaskedLanguageModeling), ..Texts::default() };
    assert_eq!(found(json!([{"kind": "random_swap"}]), &masked), [""; 0]);
    refused(json!([{"kind": "token_dropout"}]), &masked, "0.: a masked language model has its tokens hidden");
}
