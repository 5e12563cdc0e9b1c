//! Patterns over the names of parameters and modules: shell globs, in which `*` also crosses dots.
//! Owns matching and the words for a pattern that matches nothing; never what a match means (freezing, adapters).

use glob::Pattern;

use crate::ModelError;

/// Compiled patterns, each with the key it was given under for messages.
#[derive(Debug, Clone, Default)]
pub struct Names {
    patterns: Vec<Pattern>,
}

impl Names {
    /// Compiles; `key` is the config's key.
    ///
    /// # Errors
    /// A pattern that is no glob.
    pub fn new(key: &str, patterns: &[String]) -> Result<Self, ModelError> {
        let compile = |text: &String| {
            Pattern::new(text).map_err(|e| {
                let message = format!("`{key}`: {text:?} is not a pattern: {e}");
                ModelError::config(message, "use names with * ? and [abc], such as \"bert.embeddings.*\"")
            })
        };
        Ok(Self { patterns: patterns.iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// Whether a pattern matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|p| p.matches(name))
    }

    /// Whether a pattern matches the name or the last of its parts, as `peft` reads `target_modules`: `query` is the
    /// module `query` of every layer.
    pub fn matches_end(&self, name: &str) -> bool {
        self.patterns.iter().any(|p| ends(name).any(|end| p.matches(end)))
    }

    /// Refuses patterns that match none of `names`.
    ///
    /// # Errors
    /// The first such pattern, with the closest names.
    pub fn all_used(&self, key: &str, what: &str, names: &[&str], ends_too: bool) -> Result<(), ModelError> {
        let hits =
            |p: &Pattern, name: &str| p.matches(name) || (ends_too && ends(name).any(|end| p.matches(end)));
        match self.patterns.iter().find(|p| !names.iter().any(|name| hits(p, name))) {
            Some(unused) => Err(ModelError::config(
                format!("`{key}`: \"{unused}\" matches no {what} of this model"),
                format!("the closest are {}", closest(unused.as_str(), names).join(", ")),
            )),
            None => Ok(()),
        }
    }
}

/// The name and what follows each of its dots.
fn ends(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').map(|(i, _)| &name[i + 1..]))
}

/// The four names that share most with a pattern: pairs of neighbouring letters, wherever they stand.
pub(crate) fn closest<'a>(pattern: &str, names: &[&'a str]) -> Vec<&'a str> {
    let pairs = |text: &str| -> Vec<(char, char)> {
        let letters: Vec<char> = text.chars().filter(|c| !"*?[]".contains(*c)).collect();
        letters.windows(2).map(|w| (w[0], w[1])).collect()
    };
    let wanted = pairs(pattern);
    let score = |name: &str| {
        let own = pairs(name);
        let common = wanted.iter().filter(|pair| own.contains(pair)).count();
        2.0 * common as f64 / (wanted.len() + own.len()).max(1) as f64
    };
    let mut scored: Vec<(f64, &str)> = names.iter().map(|name| (score(name), *name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(4).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] =
        ["bert.embeddings.word", "bert.layer.0.query", "bert.layer.1.query", "classifier"];

    fn names(patterns: &[&str]) -> Names {
        Names::new("k", &patterns.iter().map(|p| p.to_string()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn whole_names_and_ends() {
        assert!(names(&["bert.*"]).matches(NAMES[1]) && !names(&["query"]).matches(NAMES[1]));
        assert!(names(&["query"]).matches_end(NAMES[1]) && !names(&["uery"]).matches_end(NAMES[1]));
        assert!(names(&["layer.[01].q*"]).matches_end(NAMES[2]));
    }

    #[test]
    fn a_pattern_without_a_match_names_the_closest() {
        let error =
            names(&["bert.*", "bert.embedings.*"]).all_used("k", "parameter", &NAMES, false).unwrap_err();
        assert!(error.to_string().contains("\"bert.embedings.*\" matches no parameter"), "{error}");
        assert!(
            error.hint().unwrap().starts_with("the closest are bert.embeddings.word"),
            "{:?}",
            error.hint()
        );
        assert!(names(&["query"]).all_used("k", "layer", &NAMES, true).is_ok());
        assert!(Names::new("k", &["a[".into()]).is_err());
    }
}
