//! The rooms of the house and the doors between them: reads every `crates/*/Cargo.toml` and refuses an edge that the
//! design does not have.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Which rooms each room may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("kiln-core", &[]),
    ("kiln-nn", &["kiln-core"]),
    ("kiln-data", &["kiln-core"]),
    ("kiln-hub", &["kiln-core"]),
    ("kiln-models", &["kiln-core", "kiln-nn"]),
    ("kiln-eval", &["kiln-core", "kiln-nn", "kiln-models", "kiln-data"]),
    ("kiln-serve", &["kiln-core", "kiln-data", "kiln-eval"]),
    ("kiln-train", &["kiln-core", "kiln-nn", "kiln-models", "kiln-data", "kiln-eval"]),
    ("kiln-onnx", &["kiln-core", "kiln-nn", "kiln-models", "kiln-data", "kiln-eval"]),
    (
        "kiln-cli",
        &[
            "kiln-core",
            "kiln-nn",
            "kiln-models",
            "kiln-data",
            "kiln-eval",
            "kiln-serve",
            "kiln-onnx",
            "kiln-train",
            "kiln-hub",
        ],
    ),
];

/// Room -> the rooms in its `[dependencies]`, with or without a target or feature.
fn edges() -> BTreeMap<String, Vec<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut edges = BTreeMap::new();
    for entry in fs::read_dir(crates).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        edges.insert(folder.file_name().unwrap().to_string_lossy().into_owned(), used(&text));
    }
    edges
}

fn used(manifest: &str) -> Vec<String> {
    let mut in_dependencies = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            in_dependencies = header.contains("dependencies");
            found.extend(header.split('.').find(|part| part.starts_with("kiln-")).map(str::to_owned));
        } else if in_dependencies && line.starts_with("kiln-") {
            found.extend(line.split(['.', '=', ' ']).next().map(str::to_owned));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn rooms_use_only_the_rooms_that_the_design_allows() {
    let edges = edges();
    assert!(edges.len() >= MAY_USE.len(), "{edges:?}");
    for (room, uses) in &edges {
        let allowed = MAY_USE.iter().find(|(name, _)| name == room);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("{room} is not in the design: add its edges here"));
        for other in uses {
            assert!(allowed.contains(&other.as_str()), "{room} must not use {other}; it may use {allowed:?}");
        }
    }
}

#[test]
fn manifests_are_read_in_every_form() {
    let text = "[dependencies]\nkiln-a.workspace = true\nkiln-b = { path = \"b\" }\n[dev-dependencies]\nkiln-c = \"1\"\n\
                [dependencies.kiln-d]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\nkiln-e = \"1\"\n[features]\nkiln-f = []\n";
    assert_eq!(used(text), ["kiln-a", "kiln-b", "kiln-c", "kiln-d", "kiln-e"]);
    assert_eq!(edges()["kiln-nn"], ["kiln-core"]);
}
