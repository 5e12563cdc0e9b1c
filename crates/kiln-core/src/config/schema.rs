//! A JSON Schema (as schemars writes it) seen the way the walk needs it: references followed, tagged tables as branches.
//! Owns that reading; must never see a config. Hands views to the walk.

use serde_json::Value as Json;

/// One place in the schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    root: &'a Json,
    node: &'a Json,
}

/// One `kind` of a tagged table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Branch<'a> {
    pub(crate) kind: &'a str,
    pub(crate) view: View<'a>,
}

impl<'a> View<'a> {
    pub(crate) fn root(schema: &'a Json) -> Self {
        Self { root: schema, node: schema }
    }

    fn at(&self, node: &'a Json) -> Self {
        Self { root: self.root, node }
    }

    /// The definition this one points to.
    fn target(&self) -> Option<Self> {
        let reference = self.node.get("$ref")?.as_str()?;
        Some(self.at(self.root.pointer(reference.strip_prefix('#')?)?))
    }

    /// A word of this definition or of the one it points to; what is said here wins.
    pub(crate) fn get(&self, word: &str) -> Option<&'a Json> {
        self.node.get(word).or_else(|| self.target()?.get(word))
    }

    /// Keys of a table, those said here before those of the definition it points to.
    pub(crate) fn properties(&self) -> Vec<(&'a str, View<'a>)> {
        let own = self.node.get("properties").and_then(Json::as_object).into_iter().flatten();
        let mut all: Vec<_> = own.map(|(key, node)| (key.as_str(), self.at(node))).collect();
        all.extend(self.target().map(|t| t.properties()).unwrap_or_default());
        all
    }

    pub(crate) fn required(&self) -> Vec<&'a str> {
        let own = self.node.get("required").and_then(Json::as_array).into_iter().flatten();
        let mut all: Vec<_> = own.filter_map(Json::as_str).collect();
        all.extend(self.target().map(|t| t.required()).unwrap_or_default());
        all
    }

    fn list(&self, word: &str) -> Vec<View<'a>> {
        let items = self.get(word).and_then(Json::as_array).into_iter().flatten();
        items.map(|node| self.at(node)).filter(|v| v.types() != ["null"]).collect()
    }

    /// The kinds of a tagged table; empty where this is none.
    pub(crate) fn branches(&self) -> Vec<Branch<'a>> {
        let tagged = |view: View<'a>| {
            let kind = view.node.get("properties")?.get("kind")?.get("const")?.as_str()?;
            Some(Branch { kind, view })
        };
        self.list("oneOf").into_iter().filter_map(tagged).collect()
    }

    /// The words of an enumeration; empty where this is none.
    pub(crate) fn words(&self) -> Vec<&'a str> {
        let single = self.get("const").into_iter();
        let listed = self.get("enum").and_then(Json::as_array).into_iter().flatten();
        let own: Vec<_> = single.chain(listed).filter_map(Json::as_str).collect();
        if !own.is_empty() {
            return own;
        }
        self.list("oneOf").iter().flat_map(View::words).collect()
    }

    /// Forms of which one must fit; empty where there is but one form.
    pub(crate) fn alternatives(&self) -> Vec<View<'a>> {
        let nested = |view: View<'a>| match view.alternatives() {
            inner if inner.is_empty() => vec![view],
            inner => inner,
        };
        self.list("anyOf").into_iter().flat_map(nested).collect()
    }

    /// `string`, `integer`, `number`, `boolean`, `array`, `object`; an absent value needs no `null` in TOML.
    pub(crate) fn types(&self) -> Vec<&'a str> {
        match self.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => {
                many.iter().filter_map(Json::as_str).filter(|&name| name != "null").collect()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn items(&self) -> Option<View<'a>> {
        self.get("items").map(|node| self.at(node))
    }

    pub(crate) fn number(&self, word: &str) -> Option<f64> {
        self.get(word)?.as_f64()
    }

    pub(crate) fn format(&self) -> Option<&'a str> {
        self.get("format")?.as_str()
    }

    /// What is expected, as in "expected an integer".
    pub(crate) fn expectation(&self) -> String {
        let alternatives = self.alternatives();
        if !alternatives.is_empty() {
            return alternatives.iter().map(View::expectation).collect::<Vec<_>>().join(" or ");
        }
        if !self.branches().is_empty() {
            return "a table".into();
        }
        if !self.words().is_empty() {
            return format!("one of {}", self.words().join(", "));
        }
        let names = self.types().into_iter().map(|name| match name {
            "integer" => "an integer",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "an array",
            "object" => "a table",
            _ => "a string",
        });
        names.collect::<Vec<_>>().join(" or ")
    }

    /// A value that would do, as TOML on the right of `key =`; for tables the header's first key.
    pub(crate) fn example(&self, key: &str) -> String {
        if let Some(branch) = self.branches().first() {
            return format!("[{key}] with kind = \"{}\"", branch.kind);
        }
        let first = self.alternatives().first().copied().unwrap_or(*self);
        let value = match first.types().first().copied() {
            _ if !first.words().is_empty() => format!("\"{}\"", first.words()[0]),
            _ if first.get("default").is_some() => {
                first.get("default").map(Json::to_string).unwrap_or_default()
            }
            Some("integer") => format!("{}", first.number("minimum").unwrap_or(1.0)),
            Some("number") => format!("{:?}", first.number("minimum").unwrap_or(0.5)),
            Some("boolean") => "true".into(),
            Some("array") => "[...]".into(),
            Some("object") => return format!("[{key}]"),
            _ => "\"...\"".into(),
        };
        format!("{key} = {value}")
    }

    /// The tables in which `key` is known, as dotted paths.
    pub(crate) fn homes(&self, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_homes(key, "", &mut found);
        found.sort();
        found.dedup();
        found
    }

    fn collect_homes(&self, key: &str, path: &str, found: &mut Vec<String>) {
        for branch in self.branches() {
            branch.view.collect_homes(key, path, found);
        }
        for (name, view) in self.properties() {
            if name == key {
                found.push(path.to_owned());
            }
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            view.collect_homes(key, &below, found);
        }
    }
}

/// The candidate that `word` most likely means, if one is close: fewest edits, then the longest common start.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let scored = candidates.into_iter().map(|c| (strsim::jaro_winkler(&word, c), c));
    let close = scored.filter(|(score, _)| *score >= 0.8);
    let edits = |c: &str| strsim::osa_distance(&word, c);
    close.min_by(|a, b| edits(a.1).cmp(&edits(b.1)).then(b.0.total_cmp(&a.0))).map(|(_, c)| c)
}
