//! `key=value` from the command line, laid over the tree: dotted keys, array elements by index.
//! Owns their syntax; a value is TOML where it parses and a string otherwise. Hands the tree back changed.

use super::fault::Fault;
use super::place::{Place, Source};
use super::tree::{Entry, Node, Table, Value, parse_value};

/// Applies one override; it becomes a source of its own, so that faults can show it.
pub(crate) fn apply(root: &mut Node, text: &str, sources: &mut Vec<Source>, faults: &mut Vec<Fault>) {
    sources.push(Source::command_line(text));
    let source = sources.len() - 1;
    if let Err((message, span, label)) = set(root, text, source) {
        faults.push(Fault::new("override", message).at(sources, &Place { source, span }).label(label));
    }
}

/// Of two exclusive keys that are both set, takes out the one that only a file says.
pub(crate) fn displace(root: &mut Node, exclusive: &[(&str, &str)], sources: &[Source]) {
    for (one, other) in exclusive {
        let overridden = |key: &str| {
            let node = key.split('.').try_fold(&*root, |node, segment| node.child(segment))?;
            node.place.as_ref().map(|place| sources[place.source].command_line)
        };
        match (overridden(one), overridden(other)) {
            (Some(true), Some(false)) => remove(root, other),
            (Some(false), Some(true)) => remove(root, one),
            _ => {}
        }
    }
}

fn remove(root: &mut Node, key: &str) {
    let mut node = root;
    let mut segments = key.split('.').peekable();
    while let Some(segment) = segments.next() {
        let Value::Table(table) = &mut node.value else { return };
        if segments.peek().is_none() {
            table.remove(segment);
            return;
        }
        let Some(entry) = table.entry_mut(segment) else { return };
        node = &mut entry.node;
    }
}

type Wrong = (String, std::ops::Range<usize>, String);

fn set(root: &mut Node, text: &str, source: usize) -> Result<(), Wrong> {
    let Some((path, value)) = text.split_once('=') else {
        let label = "expected key=value, for example train.epochs=3";
        return Err((format!("`{text}` is not an override"), 0..text.len(), label.into()));
    };
    let value = read_value(value, source, path.len() + 1)?;
    let mut segments = Vec::new();
    let mut start = 0;
    for segment in path.split('.') {
        let span = start..start + segment.len();
        if segment.is_empty() || segment.trim() != segment {
            let label = "expected names joined by dots, for example train.epochs=3";
            return Err((format!("`{path}` is not a key"), 0..path.len().max(1), label.into()));
        }
        segments.push((segment, Place { source, span }));
        start += segment.len() + 1;
    }
    descend(root, &segments, value)
}

fn read_value(text: &str, source: usize, offset: usize) -> Result<Node, Wrong> {
    let span = offset..offset + text.len();
    match parse_value(text, source, offset) {
        Ok(node) => Ok(node),
        Err(message) if text.starts_with(['[', '{', '"', '\'']) => {
            Err(("not a TOML value".into(), span, message))
        }
        Err(_) => Ok(Node::new(Value::Text(text.into()), Some(Place { source, span }))),
    }
}

fn descend(node: &mut Node, segments: &[(&str, Place)], value: Node) -> Result<(), Wrong> {
    let Some(((key, place), rest)) = segments.split_first() else {
        *node = value;
        return Ok(());
    };
    let got = node.type_name();
    match &mut node.value {
        Value::Table(table) => {
            if table.get(key).is_none() {
                let fresh = Node::new(Value::Table(Table::default()), Some(place.clone()));
                table.set(Entry { key: (*key).into(), key_place: None, node: fresh });
            }
            let Some(entry) = table.entry_mut(key) else { return Ok(()) };
            // A key that is written in a file keeps its place there: only its value comes from the command line.
            entry.key_place.get_or_insert_with(|| place.clone());
            descend(&mut entry.node, rest, value)
        }
        Value::Array(items) => {
            let n = items.len();
            let item = key.parse::<usize>().ok().and_then(|i| items.get_mut(i));
            let label = format!("expected an index below {n}");
            let item =
                item.ok_or((format!("no element `{key}` in an array of {n}"), place.span.clone(), label))?;
            descend(item, rest, value)
        }
        _ => {
            let message = format!("`{key}` cannot be set inside {got}");
            Err((message, place.span.clone(), "the key before it is not a table".into()))
        }
    }
}
