//! Inputs that are there more than once: within a split, across splits, and with other labels.
//! Owns the counting; never reads a sample. Hands counts and names to the report.

use std::collections::HashMap;

use serde::Serialize;

use super::samples::Print;
use crate::label::Label;
use crate::split::Split;

/// Exact duplicates of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicates {
    /// How many different inputs are there more than once.
    pub groups: usize,
    /// In each split, samples whose input an earlier sample of the same split has: `(split, count)`.
    pub within: Vec<(&'static str, usize)>,
    /// For each two splits that share inputs.
    pub across: Vec<Across>,
    /// How many different inputs have more than one label.
    pub conflicting: usize,
    /// The groups with their members, those across splits first, then those with other labels; at most as many as were
    /// asked for.
    pub listed: Vec<Group>,
}

/// Inputs that two splits share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Across {
    /// The earlier split.
    pub first: &'static str,
    /// The later split.
    pub second: &'static str,
    /// Samples of `second` whose input is in `first`.
    pub samples: usize,
    /// Samples of `first` whose input is in `second`.
    pub samples_of_first: usize,
    /// Different inputs that both have.
    pub inputs: usize,
}

/// One input that is there more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Whether its samples have different labels.
    pub conflicting: bool,
    /// Its samples, in the splits' order.
    pub members: Vec<Member>,
}

/// A sample of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The split.
    pub split: &'static str,
    /// Path, or file and row.
    pub name: String,
    /// The label in words; empty where there is none.
    pub label: String,
}

/// A split with the fingerprints of its samples.
pub(crate) struct Printed<'a> {
    pub(crate) name: &'static str,
    pub(crate) split: &'a Split,
    pub(crate) prints: Vec<Option<Print>>,
}

impl Duplicates {
    /// Of these splits; lists at most `limit` groups.
    pub(crate) fn of(splits: &[Printed<'_>], classes: &[String], limit: usize) -> Self {
        let mut by_print: HashMap<Print, Vec<(usize, usize)>> = HashMap::new();
        for (s, printed) in splits.iter().enumerate() {
            for (i, print) in printed.prints.iter().enumerate() {
                if let Some(print) = print {
                    by_print.entry(*print).or_default().push((s, i));
                }
            }
        }
        let mut groups: Vec<Vec<(usize, usize)>> = by_print.into_values().filter(|g| g.len() > 1).collect();
        groups.sort_unstable();
        let label = |&(s, i): &(usize, usize)| splits[s].split.label(i);
        let conflicts = |g: &Vec<(usize, usize)>| g.iter().any(|member| label(member) != label(&g[0]));
        let crosses = |g: &Vec<(usize, usize)>| g.iter().any(|member| member.0 != g[0].0);
        let mut within = vec![0; splits.len()];
        let mut across: HashMap<(usize, usize), Across> = HashMap::new();
        for group in &groups {
            let mut counts = vec![0_usize; splits.len()];
            group.iter().for_each(|&(s, _)| counts[s] += 1);
            for (s, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                within[s] += count - 1;
                for t in (s + 1..splits.len()).filter(|&t| counts[t] > 0) {
                    let (first, second) = (splits[s].name, splits[t].name);
                    let empty = Across { first, second, samples: 0, samples_of_first: 0, inputs: 0 };
                    let shared = across.entry((s, t)).or_insert(empty);
                    shared.samples += counts[t];
                    shared.samples_of_first += count;
                    shared.inputs += 1;
                }
            }
        }
        let conflicting = groups.iter().filter(|g| conflicts(g)).count();
        let mut order: Vec<&Vec<(usize, usize)>> = groups.iter().collect();
        order.sort_by_key(|g| (!crosses(g), !conflicts(g)));
        let member = |&(s, i): &(usize, usize)| Member {
            split: splits[s].name,
            name: splits[s].split.name(i),
            label: word(splits[s].split.label(i), classes),
        };
        let listed = order.into_iter().take(limit).map(|group| Group {
            conflicting: conflicts(group),
            members: group.iter().map(member).collect(),
        });
        let listed = listed.collect();
        let mut across: Vec<((usize, usize), Across)> = across.into_iter().collect();
        across.sort_by_key(|(key, _)| *key);
        Self {
            groups: groups.len(),
            within: splits.iter().map(|s| s.name).zip(within).collect(),
            across: across.into_iter().map(|(_, shared)| shared).collect(),
            conflicting,
            listed,
        }
    }
}

/// A label as a person reads it.
pub(crate) fn word(label: &Label, classes: &[String]) -> String {
    let class = |i: usize| classes.get(i).cloned().unwrap_or_else(|| i.to_string());
    match label {
        Label::None => String::new(),
        Label::Class(i) => class(*i),
        Label::MultiHot(flags) => {
            let there = flags.iter().enumerate().filter(|(_, flag)| **flag > 0.0);
            there.map(|(i, _)| class(i)).collect::<Vec<_>>().join(", ")
        }
        Label::Values(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Label::Tags(tags) => tags.iter().map(|tag| class(*tag)).collect::<Vec<_>>().join(" "),
        Label::Tokens(_) => String::new(),
    }
}
