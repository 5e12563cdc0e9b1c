//! A tree as TOML text.
//! Owns layout and quoting: plain values first, then tables; one line a value. Hands text to `Resolved`.

use super::tree::{Node, Table, Value};
use super::walk::join;

/// Says where a value came from.
pub(crate) type Annotate<'a> = &'a dyn Fn(&Node) -> String;

/// The whole tree, with the annotations as comments in one column.
pub(crate) fn toml(root: &Node, annotate: Option<Annotate<'_>>) -> String {
    let mut lines = Vec::new();
    if let Some(table) = root.table() {
        lines_of(table, "", annotate, &mut lines);
    }
    // One long line must not push every comment out of sight.
    let width = lines.iter().map(|(text, _)| text.chars().count()).filter(|&n| n <= 60).max().unwrap_or(0);
    let mut out = String::new();
    for (text, comment) in lines {
        match comment {
            Some(comment) => out.push_str(&format!("{text:width$}  # {comment}")),
            None => out.push_str(&text),
        }
        out.push('\n');
    }
    out
}

type Lines = Vec<(String, Option<String>)>;

fn lines_of(table: &Table, path: &str, annotate: Option<Annotate<'_>>, lines: &mut Lines) {
    let (below, plain): (Vec<_>, Vec<_>) = table.entries.iter().partition(|e| is_table(&e.node));
    for entry in plain {
        let text = format!("{} = {}", entry.key, inline(&entry.node));
        lines.push((text, annotate.map(|annotate| annotate(&entry.node))));
    }
    for entry in below {
        let path = join(path, &entry.key);
        let header = |lines: &mut Lines, text| lines.extend([(String::new(), None), (text, None)]);
        match &entry.node.value {
            Value::Table(table) => {
                header(lines, format!("[{path}]"));
                lines_of(table, &path, annotate, lines);
            }
            Value::Array(items) => {
                for table in items.iter().filter_map(Node::table) {
                    header(lines, format!("[[{path}]]"));
                    lines_of(table, &path, annotate, lines);
                }
            }
            _ => {}
        }
    }
}

fn is_table(node: &Node) -> bool {
    match &node.value {
        Value::Table(_) => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(|item| item.table().is_some()),
        _ => false,
    }
}

/// A value on one line.
pub(crate) fn inline(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(yes) => yes.to_string(),
        Value::Other(name) => quoted(name),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let entries = table.entries.iter().map(|e| format!("{} = {}", e.key, inline(&e.node)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A basic string. `${` is doubled to `$${`: what is printed is already filled in.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
