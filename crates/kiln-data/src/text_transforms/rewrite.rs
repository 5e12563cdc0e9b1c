//! Rewriting by rule, with the label that follows from it: negate a sentence and flip its class.
//! Owns when the rule holds; the classes are the data's. For example (TOML):
//!
//! ```toml
//! [[data.text_transforms]]
//! kind = "rewrite"
//! pattern = '\b(is|was)\b'
//! replacement = "${1} not"
//! labels = [["positive", "negative"], ["negative", "positive"]]
//! p = 0.2
//! ```

use kiln_core::TaskKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::eda::half;
use super::{Draft, Pattern, Stage, TextOp, Texts};
use crate::draw::{Generator, chance};
use crate::transforms::Faults;

/// Replace the first match of a pattern with probability `p`, and the sample's class by the one that `labels` gives it. A
/// text without a match, and a sample whose class `labels` does not name, stay as they are (training only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rewrite {
    /// What is replaced.
    pub pattern: Pattern,
    /// What stands in its place; `${1}` is the first group of the pattern.
    pub replacement: String,
    /// Pairs of class names, before and after: [["positive", "negative"], ["negative", "positive"]]. Without them every
    /// sample may be rewritten and keeps its label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<[String; 2]>,
    /// Replace every match instead of the first.
    #[serde(default)]
    pub all: bool,
    /// Which text of a pair.
    #[serde(default)]
    pub part: Part,
    /// Probability.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
}

/// A text of a pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The column `text`.
    #[default]
    Text,
    /// The column `text_pair`.
    TextPair,
}

impl Rewrite {
    /// The class after it; `None` where the sample stays as it is.
    fn class(&self, draft: &Draft<'_>) -> Option<Option<usize>> {
        if self.labels.is_empty() {
            return Some(draft.class);
        }
        let before = draft.classes.get(draft.class?)?;
        let [_, after] = self.labels.iter().find(|[own, _]| own == before)?;
        draft.classes.iter().position(|name| name == after).map(Some)
    }
}

impl TextOp for Rewrite {
    fn check(&self, of: &Texts<'_>, faults: &mut Faults) {
        self.pattern.check("replacement", &self.replacement, faults);
        faults.share("p", self.p);
        let second = self.part == Part::TextPair && !of.pair;
        faults.add_if(second, "part", "there is no second text", "leave `part` out, or set data.text_pair");
        let classes = matches!(of.task, None | Some(TaskKind::Classification));
        let problem = "`labels` changes the class of a sample, and [task] kind is not classification";
        faults.add_if(!self.labels.is_empty() && !classes, "labels", problem, "leave `labels` out");
        for (i, [before, after]) in self.labels.iter().enumerate() {
            let twice = self.labels[..i].iter().any(|[own, _]| own == before);
            let problem = format!("`labels` says twice what \"{before}\" becomes");
            faults.add_if(twice, "labels", problem, "say it once");
            let same = before == after;
            let problem = format!("`labels` leaves \"{before}\" as it is");
            faults.add_if(
                same,
                "labels",
                problem,
                "name another class, or leave `labels` out to keep all labels",
            );
            for name in [before, after] {
                let unknown = of.classes.filter(|classes| !classes.contains(name));
                let problem = format!("`labels` names \"{name}\", which is no class");
                let remedy = format!("classes: {}", unknown.unwrap_or_default().join(", "));
                faults.add_if(unknown.is_some(), "labels", problem, remedy);
            }
        }
    }

    fn augment(&self, draft: &mut Draft<'_>, rng: &mut Generator) {
        let drawn = chance(rng, self.p);
        let (Some(class), Some(regex), true) = (self.class(draft), self.pattern.regex(), drawn) else {
            return;
        };
        let part = usize::from(self.part == Part::TextPair);
        let Some(text) = draft.texts.get_mut(part).filter(|text| regex.is_match(text)) else { return };
        let matches = if self.all { 0 } else { 1 };
        *text = regex.replacen(text, matches, self.replacement.as_str()).into_owned();
        draft.class = class;
    }

    fn stage(&self) -> Stage {
        Stage::Random
    }
}
