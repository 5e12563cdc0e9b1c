//! Class names from the card of a Hugging Face dataset: `dataset_info` in the front matter of its `README.md`.
//! Owns the few forms of YAML that the Hub writes there (mappings and lists in block style, plain or quoted words); what it
//! does not understand gives no names. Asked where a file's own footer has none.
//!
//! ```yaml
//! ---
//! dataset_info:
//!   features:
//!   - name: label
//!     dtype:
//!       class_label:
//!         names:
//!           '0': airplane
//!           '1': automobile
//! ---
//! ```

use std::path::{Path, PathBuf};

use crate::error::DataError;

const CARD: &str = "README.md";
/// Most of a card that is looked at.
const LONGEST: u64 = 4 << 20;

/// The names that the card beside `file`, or in the folder above, gives the classes of `column`.
pub(super) fn class_names(file: &Path, column: &str) -> Result<Option<Vec<String>>, DataError> {
    let folders = file.ancestors().skip(1).take(2);
    let cards: Vec<PathBuf> = folders.map(|folder| folder.join(CARD)).collect();
    for card in cards {
        let small = std::fs::metadata(&card).is_ok_and(|about| about.is_file() && about.len() <= LONGEST);
        let text = if small { std::fs::read_to_string(&card).unwrap_or_default() } else { String::new() };
        let mut found = names(&text, column).into_iter();
        let Some(first) = found.next() else { continue };
        if found.any(|other| other != first) {
            let problem = format!("its configurations give the classes of \"{column}\" different names");
            let remedy = "list the classes in data.classes, or leave one configuration in dataset_info";
            return Err(DataError::Unreadable { path: card, problem, remedy: remedy.into() });
        }
        return Ok(Some(first));
    }
    Ok(None)
}

/// A line without its indentation.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    depth: usize,
    text: &'a str,
}

/// The names of every feature called `column` that is a class label, one list a configuration.
fn names(card: &str, column: &str) -> Vec<Vec<String>> {
    let lines = front_matter(card);
    let mut found = Vec::new();
    let info = lines.iter().position(|line| line.depth == 0 && line.text.starts_with("dataset_info:"));
    let Some(info) = info else { return found };
    // A list under a key may stand as deep as the key itself.
    let below = |line: &&Line<'_>| line.depth > 0 || line.text.starts_with("- ");
    let lines: Vec<Line<'_>> = lines[info + 1..].iter().take_while(below).copied().collect();
    for (at, line) in lines.iter().enumerate() {
        let named = line.text.strip_prefix("- name:").map(|name| word(name.trim()));
        if named.as_deref() != Some(column) {
            continue;
        }
        let own: Vec<Line<'_>> =
            lines[at + 1..].iter().take_while(|l| l.depth > line.depth).copied().collect();
        found.extend(labels(&own));
    }
    found
}

/// The names below `class_label:`, which are numbered in order.
fn labels(feature: &[Line<'_>]) -> Option<Vec<String>> {
    let label = feature.iter().position(|line| line.text == "class_label:")?;
    let at = label + 1 + feature[label + 1..].iter().position(|line| line.text == "names:")?;
    let depth = feature[at].depth;
    let entry = |line: &&Line<'_>| line.depth > depth || (line.depth == depth && line.text.starts_with("- "));
    let mut names = Vec::new();
    for line in feature[at + 1..].iter().take_while(entry) {
        match line.text.strip_prefix("- ") {
            Some(name) => names.push(word(name.trim())),
            None => {
                let (number, name) = line.text.split_once(':')?;
                (word(number) == names.len().to_string()).then_some(())?;
                names.push(word(name.trim()));
            }
        }
    }
    (!names.is_empty()).then_some(names)
}

/// The lines between the first `---` and the next, without blank ones.
fn front_matter(card: &str) -> Vec<Line<'_>> {
    let mut lines = card.trim_start_matches('\u{feff}').lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Vec::new();
    }
    let own = lines.take_while(|line| line.trim_end() != "---");
    let line = |line: &'_ str| {
        let text = line.trim_start_matches(' ');
        (line.len() - text.len(), text.trim_end().len())
    };
    own.map(|text| (text, line(text)))
        .filter(|(_, (_, length))| *length > 0)
        .map(|(text, (depth, length))| Line { depth, text: &text[depth..depth + length] })
        .collect()
}

/// A scalar without its quotes.
fn word(text: &str) -> String {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match (inner('\''), inner('"')) {
        (Some(own), _) => own.replace("''", "'"),
        (None, Some(own)) => own.replace("\\\"", "\"").replace("\\\\", "\\"),
        (None, None) => text.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CARD: &str = "---\nlicense: mit\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    \
                        dtype:\n      class_label:\n        names:\n          '0': air plane\n          '1': 'it''s'\n          \
                        '2': \"a: b\"\n  - name: tags\n    sequence:\n      class_label:\n        names:\n        - O\n        - B-X\n  \
                        splits:\n  - name: train\n    num_bytes: 1\n---\n# label\n- name: label\n";

    #[test]
    fn names_are_found_in_every_form() {
        assert_eq!(names(CARD, "label"), [["air plane", "it's", "a: b"]]);
        assert_eq!(names(CARD, "tags"), [["O", "B-X"]]);
        for absent in ["image", "train", "other"] {
            assert!(names(CARD, absent).is_empty(), "{absent}");
        }
        // Lists under a key at its own depth, several configurations.
        let two = "---\ndataset_info:\n- config_name: a\n  features:\n  - name: label\n    dtype:\n      class_label:\n        \
                   names:\n          '0': x\n          '1': y\n- config_name: b\n  features:\n  - name: label\n    dtype:\n      \
                   class_label:\n        names:\n          '0': y\n          '1': x\nconfigs:\n- name: label\n---\n";
        assert_eq!(names(two, "label"), [["x", "y"], ["y", "x"]]);
        let crlf = CARD.replace('\n', "\r\n");
        assert_eq!(names(&crlf, "label"), [["air plane", "it's", "a: b"]]);
    }

    #[test]
    fn what_is_not_understood_gives_no_names() {
        for (from, to) in
            [("---\nlicense", "license"), ("'1': 'it", "'5': 'it"), ("dataset_info:", "dataset:")]
        {
            assert!(names(&CARD.replacen(from, to, 1), "label").is_empty(), "{to}");
        }
        assert!(names("", "label").is_empty());
    }

    #[test]
    fn configurations_that_differ_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data/train-0.parquet");
        std::fs::create_dir(dir.path().join("data")).unwrap();
        assert_eq!(class_names(&file, "label").unwrap(), None);
        std::fs::write(dir.path().join("README.md"), CARD).unwrap();
        assert_eq!(class_names(&file, "tags").unwrap().unwrap(), ["O", "B-X"]);
        let other = "---\ndataset_info:\n- features:\n  - name: l\n    dtype:\n      class_label:\n        names:\n        - a\n- \
                     features:\n  - name: l\n    dtype:\n      class_label:\n        names:\n        - b\n---\n";
        std::fs::write(dir.path().join("data/README.md"), other).unwrap();
        let error = class_names(&file, "l").unwrap_err().to_string();
        assert!(error.contains("README.md") && error.contains("different names"), "{error}");
    }
}
