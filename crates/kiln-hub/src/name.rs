//! A model's name on the Hub: `org/name`, with `@revision` where it is not the main branch.
//! Owns which texts are names; never looks anything up. Hands `Name` to pull and push.

use std::fmt;
use std::str::FromStr;

use crate::HubError;

/// The branch that every repository has.
const MAIN: &str = "main";
/// The Hub's own limit.
const LONGEST: usize = 96;

/// A model on the Hub, at a branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `org/name`, or a bare `name` of the Hub's first models.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl Name {
    /// Whether the text says whose model it is: such a text may stand where a path could.
    pub fn has_owner(&self) -> bool {
        self.id.contains('/')
    }
}

impl FromStr for Name {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let (id, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let fault = |why: &str| HubError::Name { text: text.into(), why: why.into() };
        let parts: Vec<&str> = id.split('/').collect();
        if parts.len() > 2 {
            return Err(fault("it has more than one `/`"));
        }
        if let Some(part) = parts.iter().find(|part| !is_part(part)) {
            return Err(fault(&format!("{part:?} is not letters, digits, `-`, `_` and single dots")));
        }
        if id.len() > LONGEST {
            return Err(fault("it is longer than 96 characters"));
        }
        match is_revision(revision) {
            true => Ok(Self { id: id.into(), revision: revision.into() }),
            false => Err(fault(&format!("{revision:?} is not a branch, tag or commit"))),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            MAIN => f.write_str(&self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

/// Letters and digits, with single `-`, `.` inside, and `_`.
fn is_part(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    edge(part.chars().next())
        && edge(part.chars().next_back())
        && !part.contains("--")
        && !part.contains("..")
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// What git takes for a reference, as far as it may be part of a path and of an address.
fn is_revision(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+".contains(c))
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_a_revision() {
        let plain: Name = "sentence-transformers/all-MiniLM-L6-v2".parse().unwrap();
        assert_eq!(
            (plain.id.as_str(), plain.revision.as_str()),
            ("sentence-transformers/all-MiniLM-L6-v2", "main")
        );
        assert_eq!(plain.to_string(), "sentence-transformers/all-MiniLM-L6-v2");
        let at: Name = "org/name@refs/pr/1".parse().unwrap();
        assert_eq!((at.id.as_str(), at.revision.as_str()), ("org/name", "refs/pr/1"));
        assert_eq!(at.to_string(), "org/name@refs/pr/1");
        assert!(!"gpt2".parse::<Name>().unwrap().has_owner());
    }

    #[test]
    fn paths_and_tricks_are_no_names() {
        let long = format!("org/{}", "x".repeat(96));
        for text in [
            "",
            "/",
            "org/",
            "/name",
            "a/b/c",
            "../up",
            "./here",
            "org/..",
            "~/model",
            "org/na me",
            "org/a--b",
            "org/a..b",
            "org/name@",
            "org/name@../main",
            "org/name@a//b",
            "org/name@/etc",
            "org/.name",
            "C:\\models",
            &long,
        ] {
            let error = text.parse::<Name>().unwrap_err();
            assert!(error.to_string().contains("not a model's name"), "{text:?}: {error}");
        }
    }
}
