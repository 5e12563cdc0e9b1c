//! The schema laid over the tree: every fault collected in one pass, defaults filled in, keys put in the schema's order.
//! Owns what a fault is; must never stop at the first. Scalars are checked in `scalar.rs`; hands back the tree.

use super::fault::Fault;
use super::files::EXTENDS;
use super::place::{Place, Source};
use super::schema::{Branch, View, closest};
use super::tree::{Entry, Node, Table, Value};

pub(crate) struct Walk<'a> {
    pub(crate) root: View<'a>,
    pub(crate) sources: &'a [Source],
    pub(crate) faults: Vec<Fault>,
}

/// A path as shown: `optimizer.betas.0`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Walk<'_> {
    /// Reports at the place, or, for what stands nowhere, at the start of the config.
    pub(crate) fn fault(&mut self, fault: Fault, place: Option<&Place>) {
        let start = Place { source: 0, span: 0..0 };
        self.faults.push(fault.at(self.sources, place.unwrap_or(&start)));
    }

    pub(crate) fn value(&mut self, view: View<'_>, node: &mut Node, path: &str) {
        if !view.branches().is_empty() {
            return self.tagged(&view.branches(), node, path);
        }
        if view.words().is_empty() && !view.alternatives().is_empty() {
            return self.alternatives(view, node, path);
        }
        if !view.words().is_empty() || !view.types().iter().any(|t| ["array", "object"].contains(t)) {
            return self.scalar(view, node, path);
        }
        let place = node.place.clone();
        match (&mut node.value, view.items()) {
            (Value::Array(items), Some(item)) => self.array(view, item, items, place.as_ref(), path),
            (Value::Table(table), None) => self.table(view, table, place.as_ref(), path, &[]),
            _ => self.wrong_type(view, node, path),
        }
    }

    pub(crate) fn wrong_type(&mut self, view: View<'_>, node: &Node, path: &str) {
        let label = format!("expected {}, got {}", view.expectation(), node.type_name());
        let mut fault = Fault::new("wrong_type", format!("wrong type for `{path}`")).label(label);
        let of_tables = view.items().is_some_and(|item| item.expectation() == "a table");
        if of_tables && node.table().is_some() {
            fault = fault.note(format!("write [[{path}]] with two brackets, once for each element"));
        }
        self.fault(fault, node.place.as_ref());
    }

    fn alternatives(&mut self, view: View<'_>, node: &mut Node, path: &str) {
        let forms = view.alternatives();
        let fitting = forms.iter().find(|form| super::scalar::fits(**form, &node.value));
        if let Some(form) = fitting.or(forms.first().filter(|_| forms.len() == 1)) {
            return self.value(*form, node, path);
        }
        match forms.iter().find(|form| form.types().contains(&"string")) {
            Some(form) if self.is_command_line(node) => self.value(*form, node, path),
            _ => self.wrong_type(view, node, path),
        }
    }

    fn array(
        &mut self,
        view: View<'_>,
        item: View<'_>,
        items: &mut [Node],
        place: Option<&Place>,
        path: &str,
    ) {
        let (least, most) = (view.number("minItems"), view.number("maxItems"));
        let n = items.len() as f64;
        if least.is_some_and(|least| n < least) || most.is_some_and(|most| n > most) {
            let wanted = match (least, most) {
                (Some(least), Some(most)) if least == most => format!("{least}"),
                (Some(least), None) => format!("at least {least}"),
                (None, Some(most)) => format!("at most {most}"),
                (least, most) => format!("{} to {}", least.unwrap_or(0.0), most.unwrap_or(0.0)),
            };
            let label = format!("expected {wanted} items, got {n}");
            self.fault(
                Fault::new("wrong_length", format!("wrong number of items in `{path}`")).label(label),
                place,
            );
        }
        for (i, node) in items.iter_mut().enumerate() {
            self.value(item, node, &join(path, &i.to_string()));
        }
    }

    fn tagged(&mut self, branches: &[Branch<'_>], node: &mut Node, path: &str) {
        let place = node.place.clone();
        let got = node.type_name();
        let Value::Table(table) = &mut node.value else {
            let label = format!("expected a table with `kind`, got {got}");
            let fault = Fault::new("wrong_type", format!("wrong type for `{path}`")).label(label);
            return self.fault(fault, place.as_ref());
        };
        let kinds: Vec<&str> = branches.iter().map(|b| b.kind).collect();
        match table.get("kind").map(|kind| (&kind.value, kind)) {
            Some((Value::Text(kind), kind_node)) => match branches.iter().find(|b| b.kind == kind) {
                Some(branch) => return self.table(branch.view, table, place.as_ref(), path, branches),
                None => {
                    let fault = Fault::new("unknown_kind", format!("unknown kind `{kind}` for `{path}`"));
                    let fault = guess(fault, kind, &kinds).note(format!("kinds: {}", kinds.join(", ")));
                    self.fault(fault, kind_node.place.as_ref());
                }
            },
            Some((_, kind)) => {
                let label = format!("expected one of {}, got {}", kinds.join(", "), kind.type_name());
                let fault = Fault::new("wrong_type", format!("wrong type for `{path}.kind`")).label(label);
                self.fault(fault, kind.place.as_ref());
            }
            None => {
                let fault = Fault::new("missing_key", format!("missing key `kind` in `{path}`"))
                    .note(format!("kinds: {}; for example: kind = \"{}\"", kinds.join(", "), kinds[0]));
                self.fault(fault, place.as_ref());
            }
        }
        // Without a kind, a key can still be known to be in none of them.
        let properties: Vec<_> = branches.iter().flat_map(|b| b.view.properties()).collect();
        let known: Vec<&str> = properties.iter().map(|(key, _)| *key).collect();
        self.unknown_keys(&known, table, path, &[]);
    }

    fn table(
        &mut self,
        view: View<'_>,
        table: &mut Table,
        place: Option<&Place>,
        path: &str,
        branches: &[Branch<'_>],
    ) {
        let properties = view.properties();
        let known: Vec<&str> = properties.iter().map(|(key, _)| *key).collect();
        self.unknown_keys(&known, table, path, branches);
        let required = view.required();
        for (key, property) in &properties {
            let below = join(path, key);
            if let Some(entry) = table.entry_mut(key) {
                self.value(*property, &mut entry.node, &below);
            } else if let Some(default) = property.get("default").and_then(from_json) {
                let mut node = default;
                self.value(*property, &mut node, &below);
                table.set(Entry { key: (*key).into(), key_place: None, node });
            } else if required.contains(key) {
                let table_name = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
                let mut fault = Fault::new("missing_key", format!("missing key `{key}`{table_name}"));
                if let Some(description) = property.get("description").and_then(serde_json::Value::as_str) {
                    fault = fault.label(first_sentence(description));
                }
                self.fault(fault.note(format!("for example: {}", property.example(key))), place);
            }
        }
        table.entries.sort_by_key(|e| known.iter().position(|key| *key == e.key).unwrap_or(usize::MAX));
    }

    fn unknown_keys(&mut self, known: &[&str], table: &Table, path: &str, branches: &[Branch<'_>]) {
        for entry in table.entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
            let key = entry.key.as_str();
            let place = entry.key_place.as_ref().or(entry.node.place.as_ref());
            let fault = Fault::new("unknown_key", format!("unknown key `{key}`"));
            let has = |b: &&Branch<'_>| b.view.properties().iter().any(|(name, _)| *name == key);
            let owners: Vec<String> =
                branches.iter().filter(has).map(|b| format!("\"{}\"", b.kind)).collect();
            let mut fault = if owners.is_empty() {
                guess(fault, key, known)
            } else {
                fault.label(format!("`{key}` belongs to kind = {}", owners.join(" or ")))
            };
            if owners.is_empty() && fault.label.is_none() {
                fault.label = self.home(key);
            }
            let under = if path.is_empty() { "at the top".to_owned() } else { format!("under `{path}`") };
            self.fault(fault.note(format!("allowed {under}: {}", known.join(", "))), place);
        }
    }

    /// Where a key that is unknown here would be known.
    fn home(&self, key: &str) -> Option<String> {
        let homes = self.root.homes(key);
        let home = homes.first()?;
        let place =
            if home.is_empty() { "at the top, before any [table]".into() } else { format!("under [{home}]") };
        (key == EXTENDS || homes.len() == 1).then(|| format!("`{key}` belongs {place}"))
    }
}

/// A label with what was probably meant.
pub(crate) fn guess(fault: Fault, word: &str, candidates: &[&str]) -> Fault {
    match closest(word, candidates.iter().copied()) {
        Some(close) => fault.label(format!("did you mean `{close}`?")),
        None => fault,
    }
}

fn first_sentence(description: &str) -> String {
    let line = description.lines().next().unwrap_or("");
    line.split(". ").next().unwrap_or(line).trim_end_matches('.').to_owned()
}

/// A value that nobody wrote; `None` for null.
pub(crate) fn from_json(json: &serde_json::Value) -> Option<Node> {
    use serde_json::Value as Json;
    let value = match json {
        Json::Null => return None,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Float(number.as_f64()?),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::Array(items.iter().filter_map(from_json).collect()),
        Json::Object(map) => {
            let entry = |(key, json): (&String, _)| {
                Some(Entry { key: key.clone(), key_place: None, node: from_json(json)? })
            };
            Value::Table(Table { entries: map.iter().filter_map(entry).collect() })
        }
    };
    Some(Node::new(value, None))
}
