//! A regular expression as a word of a config, and the check of what it is replaced by.
//! Owns its compiling, once a program; rewrites no sample itself.

use std::sync::OnceLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transforms::Faults;

/// A regular expression in the syntax of the Rust crate `regex`: as Perl's, without look-around and back-references;
/// `(?i)` at its start ignores case.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// The expression; `None` where it is none, which `check` refuses.
    pub(super) fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&self.text).ok()).as_ref()
    }

    /// Faults of `pattern`, and of the groups that `replacement` (the value of `key`) names.
    pub(super) fn check(&self, key: &str, replacement: &str, faults: &mut Faults) {
        let regex = match Regex::new(&self.text) {
            Ok(regex) => regex,
            Err(e) => {
                let said = e.to_string();
                let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
                let problem = format!("`pattern` is no regular expression: {last}");
                return faults.add(
                    "pattern",
                    problem,
                    "correct it; a backslash before . ( [ * + ? takes them as they are",
                );
            }
        };
        let problem = "`pattern` matches the empty text, and so between any two characters";
        faults.add_if(regex.is_match(""), "pattern", problem, "ask for at least one character");
        let groups: Vec<&str> = regex.capture_names().flatten().collect();
        for name in named(replacement) {
            let known = match name.parse::<usize>() {
                Ok(number) => number < regex.captures_len(),
                Err(_) => groups.contains(&name),
            };
            let problem = format!("`{key}` names the group ${name}, which `pattern` has not");
            faults.add_if(!known, key, problem, "write ${1} for the first (...), and $$ for a dollar sign");
        }
    }
}

/// The groups that a replacement names, as the crate `regex` reads it: `$1`, `$name`, `${name}`; `$$` is a dollar sign.
fn named(replacement: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            names.push(name);
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            names.extend((end > 0).then_some(&rest[..end]));
            rest = &rest[end..];
        }
    }
    names
}
