//! Random text transforms against their definitions (EDA's, AEDA's, and those of kiln's own).

use std::collections::BTreeSet;

use serde_json::json;

use super::made;
use crate::order::generator;
use crate::text_transforms::eda::WordOp;
use crate::text_transforms::{
    Draft, RandomDelete, RandomInsert, RandomSwap, ReplaceSynonyms, Sequence, TextTransform,
};
use crate::transforms::tests::statistics::{chosen, evenly};

const N: usize = 6000;

fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

fn draft<'a>(text: &str, class: Option<usize>, classes: &'a [String]) -> Draft<'a> {
    Draft { texts: vec![text.into()], class, classes }
}

#[test]
fn a_swap_exchanges_any_two_places_evenly() {
    let op: RandomSwap = made(json!({"alpha": 0.1}));
    let mut rng = generator(1);
    let mut pairs = Vec::new();
    for _ in 0..N {
        let words = op.act(numbered(5), &mut rng); // max(1, int(0.5)) = 1 swap
        let moved: Vec<usize> = (0..5).filter(|&i| words[i] != i.to_string()).collect();
        assert_eq!(moved.len(), 2, "{words:?}");
        pairs.push(moved[0] * 5 + moved[1]);
    }
    let mut all = pairs.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10);
    evenly(pairs.iter().map(|pair| all.binary_search(pair).unwrap()), 10, "pairs");
    // Many swaps shuffle: each word ends anywhere. Swaps alone keep the words.
    let op: RandomSwap = made(json!({"alpha": 1.0}));
    let ends = (0..N).map(|_| op.act(numbered(12), &mut rng).iter().position(|w| w == "0").unwrap());
    let ends: Vec<usize> = ends.collect();
    assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), 12);
    let mut kept = op.act(numbered(30), &mut rng);
    kept.sort_by_key(|word| word.parse::<usize>().unwrap());
    assert_eq!(kept, numbered(30));
    assert_eq!(op.act(numbered(1), &mut rng), ["0"]);
}

#[test]
fn each_word_is_deleted_alike_and_one_stays() {
    let op: RandomDelete = made(json!({"alpha": 0.3}));
    let mut rng = generator(2);
    let mut kept = vec![0; 10];
    for _ in 0..N {
        for word in op.act(numbered(10), &mut rng) {
            kept[word.parse::<usize>().unwrap()] += 1;
        }
    }
    for (place, kept) in kept.into_iter().enumerate() {
        // 0.3 ** 10 of all texts would be empty: too few to tell.
        chosen(&[kept, N - kept], &[0.7, 0.3], &format!("word {place}"));
    }
    let all: RandomDelete = made(json!({"alpha": 1.0}));
    let last = (0..N).map(|_| all.act(numbered(4), &mut rng)).map(|words| {
        assert_eq!(words.len(), 1);
        words[0].parse().unwrap()
    });
    evenly(last, 4, "the word that stays");
}

#[test]
fn insertions_fall_anywhere_and_take_any_word() {
    let op: RandomInsert = made(json!({"words": ["x", "y", "z"], "alpha": 0.25}));
    let mut rng = generator(3);
    let (mut places, mut words) = (Vec::new(), Vec::new());
    for _ in 0..N {
        let text = op.act(numbered(4), &mut rng);
        assert_eq!(text.len(), 5, "one word in four");
        let place = text.iter().position(|word| ["x", "y", "z"].contains(&word.as_str())).unwrap();
        places.push(place);
        words.push(["x", "y", "z"].iter().position(|own| *own == text[place]).unwrap());
    }
    evenly(places.into_iter(), 5, "places");
    evenly(words.into_iter(), 3, "words");
    assert_eq!(op.act(numbered(12), &mut rng).len(), 15);
    // Synonyms: of a random word that has some, never the word itself.
    let op: RandomInsert = made(json!({"synonyms": [["good", "fine", "nice"], ["bad", "poor"]]}));
    let names = ["fine", "nice", "poor"];
    let mut put_in = Vec::new();
    for _ in 0..N {
        let text = op.act(["a", "GOOD", "bad", "film"].map(String::from).to_vec(), &mut rng);
        let new = text.into_iter().filter(|word| !["a", "GOOD", "bad", "film"].contains(&word.as_str()));
        let new: Vec<String> = new.collect();
        assert_eq!(new.len(), 1);
        put_in.push(names.iter().position(|name| *name == new[0]).unwrap());
    }
    let counts = [0, 1, 2].map(|k| put_in.iter().filter(|own| **own == k).count());
    chosen(&counts, &[0.25, 0.25, 0.5], "synonyms");
    assert_eq!(op.act(numbered(3), &mut rng), numbered(3), "no word has a synonym");
}

#[test]
fn synonyms_replace_a_word_wherever_it_stands() {
    let op: ReplaceSynonyms =
        made(json!({"synonyms": [["good", "fine", "nice"], ["bad", "poor"]], "alpha": 0.2}));
    let mut rng = generator(4);
    let text = ["good", "film", "bad", "end", "Good"].map(String::from);
    let mut kinds = Vec::new();
    for _ in 0..N {
        let new = op.act(text.to_vec(), &mut rng);
        assert_eq!((new.len(), &*new[1], &*new[3]), (5, "film", "end"));
        assert_eq!(new[0] == "good", new[4] == "Good", "both or none: {new:?}");
        kinds.push(match (&*new[0], &*new[2]) {
            ("fine", "bad") => 0,
            ("nice", "bad") => 1,
            ("good", "poor") => 2,
            _ => panic!("one distinct word of five: {new:?}"),
        });
    }
    let counts = [0, 1, 2].map(|k| kinds.iter().filter(|own| **own == k).count());
    chosen(&counts, &[0.25, 0.25, 0.5], "replacements");
    let two: ReplaceSynonyms = made(json!({"synonyms": [["good", "fine"], ["bad", "poor"]], "alpha": 0.4}));
    assert_eq!(two.act(text.to_vec(), &mut rng), ["fine", "film", "poor", "end", "fine"]);
}

#[test]
fn chances_are_kept() {
    for (words, p) in [
        (json!({"kind": "random_swap"}), 0.5),
        (json!({"kind": "random_swap", "p": 0.0}), 0.0),
        (json!({"kind": "random_delete", "alpha": 1.0, "p": 0.2}), 0.2),
        (json!({"kind": "random_insert", "words": ["x"], "p": 0.7}), 0.7),
        (json!({"kind": "replace_synonyms", "synonyms": [["a", "b"]], "p": 1.0}), 1.0),
        (json!({"kind": "rewrite", "pattern": "a", "replacement": "b", "p": 0.3}), 0.3),
    ] {
        let transform: TextTransform = made(words.clone());
        let mut rng = generator(5);
        let mut changed = 0;
        for _ in 0..N {
            let mut own = draft("a  c  d", None, &[]);
            transform.op().augment(&mut own, &mut rng);
            changed += usize::from(own.texts[0] != "a  c  d");
        }
        match p {
            0.0 | 1.0 => assert_eq!(changed, (p * N as f64) as usize, "{words}"),
            _ => chosen(&[changed, N - changed], &[p, 1.0 - p], &words.to_string()),
        }
        assert_eq!(transform.op().normalize("a  c  d".into()), "a  c  d", "{words}: evaluation");
    }
}

#[test]
fn a_rule_changes_text_and_class_together_or_neither() {
    let classes = ["neg", "neutral", "pos"].map(String::from);
    let rule = json!({"kind": "rewrite", "pattern": r"\b(is|was)\b", "replacement": "${1} not",
        "labels": [["pos", "neg"], ["neg", "pos"]], "p": 1.0});
    let act = |rule: &serde_json::Value, text: &str, class| {
        let mut own = draft(text, Some(class), &classes);
        made::<TextTransform>(rule.clone()).op().augment(&mut own, &mut generator(6));
        (own.texts[0].clone(), own.class.unwrap())
    };
    assert_eq!(act(&rule, "it is what it was", 2), ("it is not what it was".into(), 0));
    assert_eq!(act(&rule, "it is what it was", 0), ("it is not what it was".into(), 2));
    assert_eq!(act(&rule, "it is what it was", 1), ("it is what it was".into(), 1), "no label of the rule");
    assert_eq!(act(&rule, "this film", 0), ("this film".into(), 0), "no match");
    let mut all = rule.clone();
    all["all"] = json!(true);
    assert_eq!(act(&all, "it is what it was", 2), ("it is not what it was not".into(), 0));
    let mut kept = rule.clone();
    kept["labels"] = json!([]);
    assert_eq!(act(&kept, "it is", 1), ("it is not".into(), 1), "every sample, and its label stays");
    let mut second = rule;
    second["part"] = json!("text_pair");
    let mut own = Draft { texts: vec!["it is".into(), "it was".into()], class: Some(0), classes: &classes };
    made::<TextTransform>(second).op().augment(&mut own, &mut generator(7));
    assert_eq!((own.texts, own.class), (vec!["it is".to_string(), "it was not".into()], Some(2)));
}

#[test]
fn tokens_are_dropped_alike_and_special_ones_never() {
    let start: Vec<u32> = std::iter::once(101).chain(0..8).chain([102]).collect();
    for (dropped, p) in [("removed", 0.2), ("mask", 0.4), ("removed", 1.0)] {
        let transform: TextTransform = made(json!({"kind": "token_dropout", "p": p, "dropped": dropped}));
        let mut rng = generator(8);
        let mut gone = vec![0; 8];
        for _ in 0..N {
            let special = start.iter().map(|id| *id > 100).collect();
            let mut tokens = Sequence { ids: start.clone(), types: start.clone(), special, mask: Some(103) };
            transform.op().augment_tokens(&mut tokens, &mut rng);
            let Sequence { ids, types, special, .. } = tokens;
            assert_eq!(special.len(), ids.len());
            assert_eq!((ids[0], ids[ids.len() - 1]), (101, 102));
            if dropped == "mask" {
                assert_eq!(types, start);
                (0..8).for_each(|i| gone[i] += usize::from(ids[i + 1] == 103));
            } else {
                assert_eq!(ids, types, "segments go with their tokens");
                (0..8).for_each(|i| gone[i] += usize::from(!ids.contains(&(i as u32))));
            }
        }
        if p == 1.0 {
            evenly(
                gone.iter().enumerate().flat_map(|(i, gone)| std::iter::repeat_n(i, N - gone)),
                8,
                "one stays",
            );
            continue;
        }
        for (place, gone) in gone.into_iter().enumerate() {
            chosen(&[gone, N - gone], &[p, 1.0 - p], &format!("{dropped}: token {place}"));
        }
    }
}
