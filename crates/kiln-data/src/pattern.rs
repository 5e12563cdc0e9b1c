//! Names of shards: `train-{000..015}.tar`, `train-*.tar`.
//! Owns the expansion, and the refusal of a shard that is not there; opens no file. Hands paths to the layout.

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::shards::listed;

/// Most names that one pattern may stand for.
const MOST: usize = 1_000_000;

/// Whether a path is a pattern and no name.
pub fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['{', '*', '?', '['])
}

/// The shards that a path stands for, in the order of the braces' numbers and of names.
pub(crate) fn expand(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let text = path.to_string_lossy();
    let names = braces(&text).map_err(|problem| {
        let remedy = "write a range of numbers or a list: shard-{000..015}.tar, {a,b}.tar";
        DataError::config("path", format!("\"{text}\": {problem}"), remedy)
    })?;
    let mut found = Vec::new();
    for name in names {
        let path = PathBuf::from(&name);
        if path.is_dir() {
            found.extend(listed(&path, "tar")?);
        } else if name.contains(['*', '?', '[']) {
            let matches = glob::glob(&name).map_err(|e| {
                DataError::config("path", format!("\"{name}\": {e}"), "write * and ? as in a shell")
            })?;
            found.extend(matches.flatten());
        } else {
            std::fs::metadata(&path).map_err(DataError::opening(&path, "a tar file"))?;
            found.push(path);
        }
    }
    match found.is_empty() {
        true => Err(DataError::Missing { path: path.into(), expected: "tar files".into() }),
        false => Ok(found),
    }
}

/// Every name of a text with `{first..last}` and `{a,b}`; numbers are as wide as the first.
fn braces(text: &str) -> Result<Vec<String>, String> {
    let Some((head, rest)) = text.split_once('{') else { return Ok(vec![text.into()]) };
    let Some((inner, tail)) = rest.split_once('}') else { return Err("a brace is not closed".into()) };
    let parts: Vec<String> = match inner.split_once("..") {
        Some((first, last)) => {
            let number = |word: &str| word.parse::<usize>().map_err(|_| format!("\"{word}\" is no number"));
            let (from, to) = (number(first)?, number(last)?);
            if from > to || to - from >= MOST {
                return Err(format!("{{{inner}}} stands for no names, or for more than {MOST}"));
            }
            let width = first.len();
            (from..=to).map(|n| format!("{n:0width$}")).collect()
        }
        None => inner.split(',').map(String::from).collect(),
    };
    let tails = braces(tail)?;
    if parts.len().saturating_mul(tails.len()) > MOST {
        return Err(format!("it stands for more than {MOST} names"));
    }
    Ok(parts.iter().flat_map(|part| tails.iter().map(move |tail| format!("{head}{part}{tail}"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_numbers_and_words() {
        assert_eq!(braces("a-{008..010}.tar").unwrap(), ["a-008.tar", "a-009.tar", "a-010.tar"]);
        assert_eq!(braces("{a,b}/{1..2}").unwrap(), ["a/1", "a/2", "b/1", "b/2"]);
        assert_eq!(braces("plain.tar").unwrap(), ["plain.tar"]);
        for (text, problem) in [
            ("a-{0..1.tar", "a brace is not closed"),
            ("{x..3}", "\"x\" is no number"),
            ("{3..1}", "{3..1} stands for no names, or for more than 1000000"),
            ("{0..999}{0..9999}", "it stands for more than 1000000 names"),
        ] {
            assert_eq!(braces(text).unwrap_err(), problem);
        }
    }
}
