//! `${NAME}` and `${NAME:-default}` inside strings, from the environment; `$${` stands for a literal `${`.
//! Owns that syntax; an unset variable is a fault at its place, never an empty string. Hands the tree back filled.

use super::fault::Fault;
use super::place::{Place, Source};
use super::tree::{Node, Value};

/// Looks a variable up.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills in every string of the tree.
pub(crate) fn interpolate(node: &mut Node, lookup: Lookup<'_>, sources: &[Source], faults: &mut Vec<Fault>) {
    match &mut node.value {
        Value::Table(table) => {
            table.entries.iter_mut().for_each(|e| interpolate(&mut e.node, lookup, sources, faults));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| interpolate(item, lookup, sources, faults)),
        Value::Text(text) if text.contains("${") => match expand(text, lookup) {
            Ok((filled, variable)) => {
                *text = filled;
                node.variable = variable;
            }
            Err(wrong) => faults.push(wrong.fault(node.place.as_ref(), sources)),
        },
        _ => {}
    }
}

enum Wrong {
    Unset(String),
    Malformed(String),
}

impl Wrong {
    fn fault(self, place: Option<&Place>, sources: &[Source]) -> Fault {
        let (fault, needle) = match self {
            Wrong::Unset(name) => (
                Fault::new("unset_variable", format!("environment variable `{name}` is not set"))
                    .label(format!("set it, or write ${{{name}:-default}}")),
                format!("${{{name}"),
            ),
            Wrong::Malformed(part) => (
                Fault::new("bad_variable", "not a variable in a string")
                    .label("expected ${NAME} or ${NAME:-default}; for a literal ${ write $${"),
                part,
            ),
        };
        let Some(place) = place else { return fault };
        fault.at(sources, &narrow(place, &needle, sources))
    }
}

/// The part of the string that names the variable.
fn narrow(place: &Place, needle: &str, sources: &[Source]) -> Place {
    let text = sources[place.source].text.get(place.span.clone()).unwrap_or("");
    let Some(start) = text.find(needle) else { return place.clone() };
    let length = text[start..].find('}').map_or(needle.len(), |end| end + 1);
    let start = place.span.start + start;
    Place { source: place.source, span: start..start + length }
}

/// The text filled in, and the first variable that was read.
fn expand(text: &str, lookup: Lookup<'_>) -> Result<(String, Option<String>), Wrong> {
    let (mut out, mut rest, mut variable) = (String::new(), text, None);
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start - 1]);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let malformed = || Wrong::Malformed(rest[start..].to_owned());
        let inside = &rest[start + 2..];
        let end = inside.find('}').ok_or_else(malformed)?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        if !is_name(name) {
            return Err(malformed());
        }
        match (lookup(name), default) {
            (Some(value), _) => {
                out.push_str(&value);
                variable.get_or_insert_with(|| name.to_owned());
            }
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(Wrong::Unset(name.to_owned())),
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok((out, variable))
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}
