//! Words from lists at random put in or put in others' place: random insertion and synonym replacement of EDA (Wei and
//! Zou, 2019), and the punctuation of AEDA (Karimi et al., 2021).
//! Owns the draws; the lists are the config's, where EDA asks WordNet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::eda::{WordOp, count, half, tenth};
use crate::draw::Generator;
use crate::order::{below, shuffle};
use crate::transforms::Faults;

/// Put words into a text at random places, as often as `alpha` of its words, at least once: synonyms of its words (EDA),
/// or words of a list (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RandomInsert {
    /// Words of which any may be put in; AEDA's are [".", ";", "?", ":", "!", ","].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Groups of synonyms, instead of `words`: a synonym of a random word of the text is put in, and nothing where none of
    /// its words has one. For example [["good", "fine"], ["bad", "poor", "weak"]]; upper and lower case are one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synonyms: Vec<Vec<String>>,
    /// Insertions as a share of the text's words, rounded down; at least one.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Probability that a text is changed at all.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// Replace words of a text by synonyms, `alpha` of its words, at least one: each chosen word wherever it stands, by one
/// synonym (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplaceSynonyms {
    /// Groups of synonyms, any of which may stand for another. For example [["good", "fine"], ["bad", "poor", "weak"]];
    /// upper and lower case are one.
    pub synonyms: Vec<Vec<String>>,
    /// Distinct words to replace as a share of the text's words, rounded down; at least one.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Probability that a text is changed at all.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// The words that may stand for `word`, itself left out.
fn others<'a>(synonyms: &'a [Vec<String>], word: &str) -> Vec<&'a String> {
    let word = word.to_lowercase();
    let is = |own: &String| own.to_lowercase() == word;
    let groups = synonyms.iter().filter(|group| group.iter().any(is));
    groups.flatten().filter(|own| !is(own)).collect()
}

fn check_synonyms(synonyms: &[Vec<String>], faults: &mut Faults) {
    let single = synonyms.iter().find(|group| group.len() < 2);
    let problem = format!("a group of `synonyms` has {} word", single.map_or(0, Vec::len));
    faults.add_if(single.is_some(), "synonyms", problem, "give at least two words a group");
    check_words("synonyms", synonyms.iter().flatten(), faults);
}

fn check_words<'a>(key: &str, mut words: impl Iterator<Item = &'a String>, faults: &mut Faults) {
    let odd = words.find(|word| word.is_empty() || word.contains(char::is_whitespace));
    let problem = format!("`{key}` holds \"{}\"", odd.map_or("", String::as_str));
    faults.add_if(odd.is_some(), key, problem, "words have no white space in them, and are not empty");
}

impl WordOp for RandomInsert {
    fn shares(&self) -> [f64; 2] {
        [self.alpha, self.p]
    }

    fn act(&self, mut words: Vec<String>, rng: &mut Generator) -> Vec<String> {
        let own: Vec<Vec<&String>> = match self.synonyms.is_empty() {
            true => Vec::new(),
            false => words.iter().map(|w| others(&self.synonyms, w)).filter(|o| !o.is_empty()).collect(),
        };
        for _ in 0..count(self.alpha, words.len()) {
            let list: &[&String] = match (self.words.is_empty(), own.is_empty()) {
                (false, _) => &self.words.iter().collect::<Vec<_>>(),
                (true, false) => &own[below(rng, own.len())],
                (true, true) => break,
            };
            let word = list[below(rng, list.len())].clone();
            words.insert(below(rng, words.len() + 1), word);
        }
        words
    }

    fn check_lists(&self, faults: &mut Faults) {
        let given = (!self.words.is_empty(), !self.synonyms.is_empty());
        let problem = match given {
            (true, true) => "both `words` and `synonyms` are given",
            _ => "neither `words` nor `synonyms` is given",
        };
        let remedy = "for example: words = [\".\", \";\", \"?\", \":\", \"!\", \",\"]";
        faults.add_if(given.0 == given.1, "words", problem, remedy);
        check_words("words", self.words.iter(), faults);
        check_synonyms(&self.synonyms, faults);
    }
}

impl WordOp for ReplaceSynonyms {
    fn shares(&self) -> [f64; 2] {
        [self.alpha, self.p]
    }

    fn act(&self, words: Vec<String>, rng: &mut Generator) -> Vec<String> {
        let mut distinct: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        distinct.sort();
        distinct.dedup();
        let mut known: Vec<(String, Vec<&String>)> = distinct
            .into_iter()
            .map(|word| (others(&self.synonyms, &word), word))
            .map(|(o, w)| (w, o))
            .collect();
        known.retain(|(_, others)| !others.is_empty());
        shuffle(&mut known, rng);
        known.truncate(count(self.alpha, words.len()));
        let chosen: Vec<(String, &String)> =
            known.into_iter().map(|(word, others)| (word, others[below(rng, others.len())])).collect();
        let replaced = |word: String| {
            let lower = word.to_lowercase();
            chosen.iter().find(|(own, _)| *own == lower).map_or(word, |(_, other)| (*other).clone())
        };
        words.into_iter().map(replaced).collect()
    }

    fn check_lists(&self, faults: &mut Faults) {
        let remedy = "for example: synonyms = [[\"good\", \"fine\"]]";
        faults.add_if(self.synonyms.is_empty(), "synonyms", "`synonyms` is empty", remedy);
        check_synonyms(&self.synonyms, faults);
    }
}
