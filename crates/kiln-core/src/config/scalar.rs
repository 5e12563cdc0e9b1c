//! One value against its part of the schema: type, range, words, durations, paths.
//! Owns the small conversions (integer to number, path to absolute path). Part of the walk.

use std::env;
use std::path::{Component, Path, PathBuf};

use super::fault::Fault;
use super::schema::View;
use super::tree::{Node, Value};
use super::walk::{Walk, guess};
use crate::Every;

/// Whether the value has one of the types; an integer will do for a number, a float never for an integer.
pub(crate) fn fits(view: View<'_>, value: &Value) -> bool {
    let types = view.types();
    let any = |wanted: &[&str]| wanted.iter().any(|t| types.contains(t));
    match value {
        Value::Text(_) => any(&["string"]) || !view.words().is_empty(),
        Value::Integer(_) => any(&["integer", "number"]),
        Value::Float(_) => any(&["number"]),
        Value::Bool(_) => any(&["boolean"]),
        Value::Other(_) => false,
        Value::Array(_) => any(&["array"]),
        Value::Table(_) => any(&["object"]) || !view.branches().is_empty(),
    }
}

impl Walk<'_> {
    pub(crate) fn is_command_line(&self, node: &Node) -> bool {
        node.place.as_ref().is_some_and(|place| self.sources[place.source].command_line)
    }

    /// Words, strings, numbers and booleans.
    pub(crate) fn scalar(&mut self, view: View<'_>, node: &mut Node, path: &str) {
        self.text_of_override(view, node);
        if !fits(view, &node.value) {
            return self.wrong_type(view, node, path);
        }
        match &node.value {
            Value::Integer(number) => {
                let number = *number as f64;
                self.range(view, number, node, path);
                if !view.types().contains(&"integer") {
                    node.value = Value::Float(number);
                }
            }
            Value::Float(number) => self.range(view, *number, node, path),
            Value::Text(text) if !view.words().is_empty() => {
                let words = view.words();
                if !words.contains(&text.as_str()) {
                    let fault = Fault::new("unknown_value", format!("unknown value `{text}` for `{path}`"));
                    let fault = guess(fault, text, &words).note(format!("allowed: {}", words.join(", ")));
                    self.fault(fault, node.place.as_ref());
                }
            }
            Value::Text(_) => self.formatted(view, node, path),
            _ => {}
        }
    }

    /// An override like `run_name=7` means the text where a string is wanted.
    fn text_of_override(&self, view: View<'_>, node: &mut Node) {
        let text_wanted = view.types().contains(&"string") || !view.words().is_empty();
        let compound = matches!(node.value, Value::Array(_) | Value::Table(_) | Value::Text(_));
        if text_wanted && !compound && !fits(view, &node.value) && self.is_command_line(node) {
            let written = node.place.as_ref().and_then(|p| self.sources[p.source].text.get(p.span.clone()));
            if let Some(text) = written {
                node.value = Value::Text(text.to_owned());
            }
        }
    }

    fn range(&mut self, view: View<'_>, number: f64, node: &Node, path: &str) {
        let (least, most) = (view.number("minimum"), view.number("maximum"));
        let inside = least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
        if number.is_finite() && inside {
            return;
        }
        let expected = match (least, most) {
            (Some(least), Some(most)) => format!("{} to {}", short(least), short(most)),
            (Some(least), None) => format!("at least {}", short(least)),
            (None, Some(most)) => format!("at most {}", short(most)),
            (None, None) => "a finite number".into(),
        };
        let label = format!("expected {expected}, got {}", short(number));
        self.fault(
            Fault::new("out_of_range", format!("`{path}` is out of range")).label(label),
            node.place.as_ref(),
        );
    }

    fn formatted(&mut self, view: View<'_>, node: &mut Node, path: &str) {
        let Value::Text(text) = &mut node.value else { return };
        let wrong = match view.format() {
            Some("every") => text.parse::<Every>().err(),
            Some("path") => {
                let folder = node.place.as_ref().map_or(Path::new(""), |p| &self.sources[p.source].folder);
                match resolve(folder, text) {
                    Ok(path) => {
                        *text = path;
                        None
                    }
                    Err(wrong) => Some(wrong),
                }
            }
            _ => None,
        };
        if let Some(label) = wrong {
            let fault = Fault::new("wrong_format", format!("wrong value for `{path}`")).label(label);
            self.fault(fault, node.place.as_ref());
        }
    }
}

/// Short in decimal, else with an exponent.
fn short(number: f64) -> String {
    let plain = number.to_string();
    if plain.len() > 8 { format!("{number:e}") } else { plain }
}

/// The absolute path that `text`, written in a file of `folder`, means.
fn resolve(folder: &Path, text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected a path, got an empty string".into());
    }
    let path = match text.strip_prefix("~/") {
        Some(rest) => {
            let home = env::var_os("HOME").ok_or("the home folder is not known: HOME is not set")?;
            Path::new(&home).join(rest)
        }
        None => folder.join(text),
    };
    let path = std::path::absolute(&path).map_err(|error| error.to_string())?;
    tidy(&path)
        .into_os_string()
        .into_string()
        .map_err(|_| "the folder of this config is not valid UTF-8".into())
}

/// Takes `a/..` out, unless `a` is a link: its parent is elsewhere.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        let through_link = component == Component::ParentDir && out.is_symlink();
        if component != Component::ParentDir || through_link || out.ends_with("..") || !out.pop() {
            out.push(component);
        }
    }
    out
}
