//! Every kind of fault by its exact text, and the ways a value can come in. Fixtures are inline.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{MISSING_FILE, Origin, Reading, Report, Spec};
use crate::{Every, Exit};

/// A run.
#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
struct Config {
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100))]
    seed: u64,
    /// The net. It learns.
    model: Model,
    #[serde(default)]
    loader: Loader,
    #[serde(default)]
    steps: Vec<Step>,
    name: Option<String>,
    #[serde(default)]
    column: Option<Column>,
    #[schemars(extend("format" = "path"))]
    path: Option<String>,
    #[serde(default)]
    pair: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Model {
    Mlp {
        hidden: Vec<usize>,
    },
    Resnet {
        /// Depth.
        preset: Preset,
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 0.5))]
        dropout: f64,
    },
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Preset {
    Cifar20,
    Cifar32,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(default)]
struct Loader {
    batch_size: usize,
    every: Every,
}

impl Default for Loader {
    fn default() -> Self {
        Self { batch_size: 32, every: Every::Epochs(1) }
    }
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Step {
    Flip { p: f64 },
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
enum Column {
    Index(usize),
    Name(String),
}

fn one() -> u64 {
    1
}

const GOOD: &str = "[model]\nkind = \"resnet\"\npreset = \"cifar20\"\n";

fn spec() -> Spec {
    Spec { schema: schemars::schema_for!(Config).to_value(), unhashed: &["name"], exclusive: &[] }
}

fn read(text: &str, overrides: &[&str]) -> Reading<Config> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let variables = |name: &str| (name == "SET").then(|| "from-env".to_owned());
    spec().read_text_in(text, Path::new("a.toml"), &overrides, &variables)
}

fn faults(text: &str, overrides: &[&str]) -> String {
    Report::new(read(text, overrides).faults).to_string()
}

fn good(text: &str, overrides: &[&str]) -> Reading<Config> {
    let reading = read(text, overrides);
    assert!(reading.faults.is_empty(), "{}", Report::new(reading.faults));
    reading
}

/// The first line and what stands under the caret, of each fault.
fn heads(text: &str, overrides: &[&str]) -> Vec<(String, usize, String)> {
    let report = Report::new(read(text, overrides).faults);
    let head = |fault: &super::Fault| {
        let line = fault.at.as_ref().map_or(0, |at| at.line);
        (fault.message.clone(), line, fault.label.clone().unwrap_or_default())
    };
    report.faults.iter().map(head).collect()
}

fn one_fault(text: &str, message: &str, line: usize, label: &str) {
    assert_eq!(heads(text, &[]), [(message.to_owned(), line, label.to_owned())], "{text}");
}

#[test]
fn renders_as_rustc_does() {
    let text =
        "seed = 1\n\n[model]\nkind = \"resnet\"\npresett = \"cifar20\"\n[loader]\n\n\n\tbatch_size = 1.5\n";
    assert_eq!(
        faults(text, &["seed=101"]),
        r#"error: missing key `preset` in `model`
 --> a.toml:3:1
  |
3 | [model]
  | ^^^^^^^ Depth
  = for example: preset = "cifar20"

error: unknown key `presett`
 --> a.toml:5:1
  |
5 | presett = "cifar20"
  | ^^^^^^^ did you mean `preset`?
  = allowed under `model`: kind, preset, dropout

error: wrong type for `loader.batch_size`
 --> a.toml:9:15
  |
9 |  batch_size = 1.5
  |               ^^^ expected an integer, got a float

error: `seed` is out of range
 --> command line
  |
  | seed=101
  |      ^^^ expected 0 to 100, got 101

4 errors; nothing was started"#
    );
}

#[test]
fn names_every_kind_of_fault() {
    let with = |line: &str| format!("{line}\n{GOOD}");
    one_fault(&with("seeds = 1"), "unknown key `seeds`", 1, "did you mean `seed`?");
    one_fault(&with("batch_size = 1"), "unknown key `batch_size`", 1, "`batch_size` belongs under [loader]");
    one_fault(&with("zzzz = 1"), "unknown key `zzzz`", 1, "");
    one_fault(&with("seed = \"1\""), "wrong type for `seed`", 1, "expected an integer, got a string");
    one_fault(&with("seed = 1.0"), "wrong type for `seed`", 1, "expected an integer, got a float");
    one_fault(&with("name = 3"), "wrong type for `name`", 1, "expected a string, got an integer");
    one_fault(&with("name = 1979-05-27"), "wrong type for `name`", 1, "expected a string, got a date");
    one_fault(&with("loader = 3"), "wrong type for `loader`", 1, "expected a table, got an integer");
    one_fault(&with("seed = -1"), "`seed` is out of range", 1, "expected 0 to 100, got -1");
    one_fault(&with("pair = [1]"), "wrong number of items in `pair`", 1, "expected 2 items, got 1");
    one_fault(&with("pair = [1, nan]"), "`pair.1` is out of range", 1, "expected a finite number, got NaN");
    one_fault(
        &with("column = 1.5"),
        "wrong type for `column`",
        1,
        "expected an integer or a string, got a float",
    );
    one_fault(&with("path = \"\""), "wrong value for `path`", 1, "expected a path, got an empty string");
    one_fault(&with("seed = 1\nseed = 2"), "duplicate key `seed`", 2, "already set above; keep one");
    one_fault("seed = 1", "missing key `model`", 1, "The net");
    let every =
        "expected a number and a unit such as \"500 steps\", \"1 epoch\" or \"10 minutes\", got \"3 weeks\"";
    one_fault(&format!("{GOOD}[loader]\nevery = \"3 weeks\""), "wrong value for `loader.every`", 5, every);
    let inf = format!("{GOOD}dropout = inf");
    one_fault(&inf, "`model.dropout` is out of range", 4, "expected 0 to 0.5, got inf");
    let huge = with("seed = 99999999999999999999");
    one_fault(&huge, "wrong type for `seed`", 1, "expected an integer, got an integer beyond 64 bits");
}

#[test]
fn validates_a_tagged_table_against_its_own_branch() {
    let kind = "unknown kind `resnt` for `model`";
    one_fault("[model]\nkind = \"resnt\"\npreset = \"x\"", kind, 2, "did you mean `resnet`?");
    one_fault("[model]\npreset = \"cifar20\"", "missing key `kind` in `model`", 1, "");
    one_fault(
        "[model]\nkind = 1",
        "wrong type for `model.kind`",
        2,
        "expected one of mlp, resnet, got an integer",
    );
    one_fault("model = \"mlp\"", "wrong type for `model`", 1, "expected a table with `kind`, got a string");
    let foreign = "[model]\nkind = \"mlp\"\nhidden = [1]\npreset = \"cifar20\"";
    one_fault(foreign, "unknown key `preset`", 4, "`preset` belongs to kind = \"resnet\"");
    let word = "[model]\nkind = \"resnet\"\npreset = \"cifar21\"";
    one_fault(word, "unknown value `cifar21` for `model.preset`", 3, "did you mean `cifar20`?");
    let item = format!("steps = [{{ kind = \"flip\", p = 1 }}, {{ kind = \"flop\" }}]\n{GOOD}");
    one_fault(&item, "unknown kind `flop` for `steps.1`", 1, "did you mean `flip`?");
    let brackets = format!("{GOOD}[steps]\nkind = \"flip\"\np = 1");
    assert!(faults(&brackets, &[]).contains("  = write [[steps]] with two brackets, once for each element"));
}

#[test]
fn reports_all_syntax_faults() {
    let report = faults("a = \n[x\n", &[]);
    assert!(report.contains("--> a.toml:1:5") && report.contains("--> a.toml:2:3"), "{report}");
    assert!(report.ends_with("2 errors; nothing was started"), "{report}");
}

#[test]
fn fills_defaults_and_accepts_integers_for_numbers() {
    let text = format!("pair = [1, 2]\ncolumn = \"x\"\n{GOOD}[[steps]]\nkind = \"flip\"\np = 1\n");
    let config = good(&text, &[]).config.unwrap();
    assert_eq!(config.pair, Some([1.0, 2.0]));
    assert_eq!(config.column, Some(Column::Name("x".into())));
    assert_eq!(config.loader, Loader::default());
    assert_eq!(config.model, Model::Resnet { preset: Preset::Cifar20, dropout: 0.0 });
    assert_eq!(config.steps, [Step::Flip { p: 1.0 }]);
    assert_eq!((config.seed, config.name), (1, None));
}

#[test]
fn overrides_are_typed_and_dotted() {
    let text = format!("pair = [1, 2]\n{GOOD}[[steps]]\nkind = \"flip\"\np = 1\n");
    let over = ["name=7", "column=no", "loader.batch_size=4", "steps.0.p=0.25", "pair=[3, 4.5]"];
    let config = good(&text, &over).config.unwrap();
    assert_eq!(config.name.as_deref(), Some("7"));
    assert_eq!(config.column, Some(Column::Name("no".into())));
    assert_eq!(config.loader.batch_size, 4);
    assert_eq!(config.steps, [Step::Flip { p: 0.25 }]);
    assert_eq!(config.pair, Some([3.0, 4.5]));
    for (over, message) in [
        ("seed", "`seed` is not an override"),
        ("=1", "`` is not a key"),
        ("loader..x=1", "`loader..x` is not a key"),
        ("steps.1.p=1", "no element `1` in an array of 1"),
        ("pair=[1", "not a TOML value"),
        ("model.preset.x=1", "`x` cannot be set inside a string"),
        ("loader.batch_sise=1", "unknown key `batch_sise`"),
        ("optimzer.x=1", "unknown key `optimzer`"),
    ] {
        let heads = heads(&text, &[over]);
        assert_eq!(heads.len(), 1, "{over}: {heads:?}");
        assert_eq!(heads[0].0, message);
        assert!(faults(&text, &[over]).contains(&format!("--> command line\n  |\n  | {over}\n")), "{over}");
    }
}

#[test]
fn variables_come_from_the_environment() {
    let config = good(&format!("name = \"a/${{SET}}/${{NOT:-b}}/$${{C}}\"\n{GOOD}"), &[]).config.unwrap();
    assert_eq!(config.name.as_deref(), Some("a/from-env/b/${C}"));
    let unset = format!("name = \"a/${{NOT}}\"\n{GOOD}");
    let message = "environment variable `NOT` is not set";
    one_fault(&unset, message, 1, "set it, or write ${NOT:-default}");
    assert!(faults(&unset, &[]).contains("1 | name = \"a/${NOT}\"\n  |           ^^^^^^\n".trim_end()));
    good(&unset, &["name=b"]);
    for bad in ["${", "${}", "${1A}", "${A B}"] {
        assert_eq!(heads(&format!("name = \"{bad}\"\n{GOOD}"), &[])[0].0, "not a variable in a string");
    }
}

#[test]
fn extends_merges_and_reports_where_a_value_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    write(
        "sub/base.toml",
        "seed = 5\npath = \"data\"\n[model]\nkind = \"mlp\"\nhidden = [1]\n[loader]\nbatch_size = 8\n",
    );
    write("a.toml", &format!("extends = \"sub/base.toml\"\n{GOOD}[loader]\nevery = \"2 steps\"\n"));
    let read = |name: &str| spec().read::<Config>(&folder.path().join(name), &[]);
    let reading = read("a.toml");
    assert!(reading.faults.is_empty(), "{}", Report::new(reading.faults));
    let config = reading.config.unwrap();
    // Deep merge, another kind replaces whole, and a path stays relative to the file it is written in.
    assert_eq!(config.loader, Loader { batch_size: 8, every: Every::Steps(2) });
    assert_eq!(config.model, Model::Resnet { preset: Preset::Cifar20, dropout: 0.0 });
    assert_eq!(Path::new(&config.path.unwrap()), folder.path().join("sub/data"));
    let base = folder.path().join("sub/base.toml").display().to_string();
    assert_eq!(reading.resolved.origin_of("seed"), Some(Origin::File(base, 1)));

    write("sub/base.toml", "sed = 5\n");
    let report = Report::new(read("a.toml").faults).to_string();
    let place = format!("base.toml:1:1 (included from {}:1:11)", folder.path().join("a.toml").display());
    assert!(report.contains(&place), "{report}");

    write("b.toml", "extends = \"c.toml\"");
    write("c.toml", "extends = \"b.toml\"");
    assert!(read("b.toml").faults[0].message.ends_with("b.toml` extends itself"));
    write("d.toml", "extends = \"none.toml\"");
    let fault = &read("d.toml").faults[0];
    assert!(fault.message.contains("cannot read config") && fault.message.contains("none.toml"));
    assert_eq!(fault.at.as_ref().unwrap().column, 11);
    write("e.toml", "extends = 3");
    assert_eq!(read("e.toml").faults[0].message, "wrong type for `extends`");
    assert!(read("absent.toml").faults[0].message.contains("absent.toml"));
}

#[test]
fn what_is_resolved_loads_to_the_same_values() {
    let text =
        format!("pair = [1, 1e-8]\nname = \"a\\\"\\\\\\n${{SET}} $${{X}}\"\npath = \"x/../y\"\n{GOOD}");
    let text = format!("{text}[[steps]]\nkind = \"flip\"\np = 1\n[[steps]]\nkind = \"flip\"\np = 0.5\n");
    let first = good(&text, &["loader.batch_size=3"]);
    for printed in [first.resolved.to_toml(), first.resolved.annotated()] {
        let again = good(&printed, &[]);
        assert_eq!(again.config, first.config, "{printed}");
        assert_eq!(again.resolved.hash(), first.resolved.hash());
    }
    let shown = first.resolved.annotated();
    assert!(shown.contains("# environment SET\n") && shown.contains("# command line\n"), "{shown}");
    assert!(shown.contains("# a.toml:6\n") && shown.contains("# default\n"), "{shown}");
    let json = first.resolved.to_json();
    assert_eq!(json["loader.batch_size"], serde_json::json!({ "value": 3, "origin": "command line" }));
    assert_eq!(json["steps.1.p"], serde_json::json!({ "value": 0.5, "origin": "a.toml:12" }));
}

#[test]
fn hash_and_diff_see_what_changes_training() {
    let base = good(GOOD, &[]).resolved;
    assert_eq!(base.hash(), good(GOOD, &["name=x"]).resolved.hash());
    assert_eq!(base.hash(), good(&format!("# hi\nseed = 1\n{GOOD}"), &[]).resolved.hash());
    let other = good(GOOD, &["seed=2", "name=x", "column=3"]).resolved;
    assert_ne!(base.hash(), other.hash());
    let text = |s: &str| s.to_owned();
    let wanted = [(text("column"), text("not set"), text("3")), (text("seed"), text("1"), text("2"))];
    assert_eq!(base.diff(&other), wanted);
    assert!(base.diff(&base).is_empty());
}

#[test]
fn a_fault_finds_its_key_and_its_exit_code() {
    let resolved = good(&format!("seed = 1\n{GOOD}"), &["name=x"]).resolved;
    let line = |key: &str| resolved.fault(key, "m", "h").record();
    assert_eq!((line("model.preset").line, line("model.preset").column), (Some(4), Some(10)));
    assert_eq!(line("model.dropout").line, Some(2));
    assert_eq!(line("loader.batch_size").line, Some(1));
    assert_eq!((line("name").file.as_deref(), line("name").line), (Some("command line"), None));
    assert_eq!(line("seed").hint.as_deref(), Some("h"));
    let missing = resolved.fault_of(MISSING_FILE, "seed", "m", "");
    assert!(missing.notes.is_empty());
    assert_eq!(Report::new(vec![missing.clone()]).exit(), Exit::Data);
    assert_eq!(Report::new(vec![missing, resolved.fault("seed", "m", "h")]).exit(), Exit::Usage);
}
