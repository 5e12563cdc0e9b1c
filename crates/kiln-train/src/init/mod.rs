//! A config for data that nobody has written one for: `kiln init`, and `kiln train data.path=...` without a file.
//! Owns what goes into it and in which order; `recipe` chooses model, epochs and sizes, kiln-data's `sketch` has looked at
//! the data. Trains nothing. Hands a text that loads without faults.

mod recipe;

use std::path::{Path, PathBuf};

use kiln_core::TaskKind;
use kiln_data::look::leakage;
use kiln_data::sketch::{Sketch, SketchInputs, Wish, sketch};
use kiln_data::{DataError, OpenOptions};
use serde_json::json;

use crate::error::TrainError;
use crate::load;
use recipe::Recipe;

/// What somebody has already said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Label, text and task.
    pub wish: Wish,
    /// `model.kind`.
    pub kind: Option<String>,
    /// `model.preset`.
    pub preset: Option<String>,
    /// `model.pretrained`.
    pub pretrained: Option<PathBuf>,
    /// The keys of all that is laid over the config: what they set is not guessed.
    pub keys: Vec<String>,
}

impl Asked {
    /// Reads it off `key=value` words; what else they say is laid over the config as ever.
    ///
    /// # Errors
    /// A task that there is not.
    pub fn of(overrides: &[String]) -> Result<Self, TrainError> {
        let value = |key: &str| {
            let text = overrides.iter().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            text.map(|text| text.trim_matches(['"', '\'']).to_string())
        };
        let task = value("task.kind").map(|word| {
            serde_json::from_value::<TaskKind>(json!(word)).map_err(|_| {
                let problem = format!("\"{word}\" is no task");
                DataError::Config {
                    field: "label".into(),
                    problem,
                    remedy: "see `kiln config schema`".into(),
                }
            })
        });
        let wish = Wish { label: value("data.label"), text: value("data.text"), task: task.transpose()? };
        Ok(Self {
            wish,
            kind: value("model.kind"),
            preset: value("model.preset"),
            pretrained: value("model.pretrained").map(PathBuf::from),
            keys: overrides.iter().filter_map(|word| Some(word.split_once('=')?.0.to_string())).collect(),
        })
    }

    fn says(&self, key: &str) -> bool {
        self.keys.iter().any(|own| own == key)
    }
}

/// A config that was written from a look at the data.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Commented TOML.
    pub text: String,
    /// What was seen, guessed and left out, a sentence each.
    pub notes: Vec<String>,
    /// The kind of the data: `[data] kind`.
    pub kind: &'static str,
}

/// Looks at `data` and writes a config of it. `place` writes a path as the config shall have it, `origin` is where the
/// config will be.
///
/// # Errors
/// Data that kiln cannot read or that do not say what to learn; a model that is not there or does not read such data.
pub fn draft(
    data: &Path,
    asked: &Asked,
    origin: &Path,
    place: impl Fn(&Path) -> PathBuf,
) -> Result<Draft, TrainError> {
    let sketch = sketch(data, &asked.wish)?;
    if !sketch.splits[0] {
        return Err(DataError::Folder {
            path: data.into(),
            problem: "there are no training samples: only splits to validate or test on".into(),
            remedy: "add a train split".into(),
        }
        .into());
    }
    let recipe = Recipe::new(&sketch, asked, &place)?;
    let mut notes = sketch.notes.clone();
    let shares = shares(&sketch, asked, &mut notes);
    notes.extend(recipe.notes.clone());
    let written =
        |leaks: Option<&str>, notes: &[String]| text(data, &sketch, &recipe, shares, &place, leaks, notes);
    let first = written(None, &notes);
    if let Ok(loaded) = load::load_text(&first, origin, &[]) {
        let folder = loaded.config.model.pretrained().map(PathBuf::as_path);
        let options = OpenOptions { tokenizer_folder: folder, task: loaded.config.task, known_classes: None };
        if let Some(problem) = leakage(&loaded.config.data, &options).ok().and_then(|leak| leak.problem()) {
            notes.push(format!("{problem}. `allow_leakage` lets `kiln check` pass; better remove them: kiln data stats lists all"));
            return Ok(Draft { text: written(Some(&problem), &notes), notes, kind: sketch.kind });
        }
    }
    Ok(Draft { text: first, notes, kind: sketch.kind })
}

/// Shares of the training samples to validate and to test on.
fn shares(sketch: &Sketch, asked: &Asked, notes: &mut Vec<String>) -> [Option<f64>; 2] {
    let fewest = sketch.rarest.unwrap_or(sketch.samples);
    let missing = [(1, "validation"), (2, "test")].map(|(i, name)| {
        let said =
            [format!("data.{name}"), format!("data.{name}_fraction")].iter().any(|key| asked.says(key));
        !sketch.splits[i] && !said
    });
    let needed = 1 + missing.iter().filter(|missing| **missing).count();
    let rarest = if sketch.rarest.is_some() { "the rarest class has" } else { "there are" };
    match missing {
        [false, false] => [None, None],
        [validation, test] if fewest >= needed => {
            let share = |wanted: bool, name: &str, notes: &mut Vec<String>| {
                wanted.then(|| {
                    notes.push(format!("no {name} split: a tenth of the training samples is kept for it"));
                    0.1
                })
            };
            [share(validation, "validation", notes), share(test, "test", notes)]
        }
        [true, _] if fewest >= 2 => {
            notes.push(format!("{rarest} {fewest} samples: enough to validate on one, not to test"));
            [Some(0.1), None]
        }
        _ => {
            notes.push(format!(
                "{rarest} {fewest} sample(s), too few to keep some for validation: the last weights are kept"
            ));
            [None, None]
        }
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A column by name, or by place where columns have none.
fn column(sketch: &Sketch, name: &str) -> String {
    if sketch.header { quoted(name) } else { name.to_string() }
}

fn list(sketch: &Sketch, names: &[String]) -> String {
    let all: Vec<String> = names.iter().map(|name| column(sketch, name)).collect();
    let line = all.join(", ");
    match line.len() {
        0..=90 => format!("[{line}]"),
        _ => format!("[\n    {},\n]", all.join(",\n    ")),
    }
}

fn text(
    data: &Path,
    sketch: &Sketch,
    recipe: &Recipe,
    shares: [Option<f64>; 2],
    place: &impl Fn(&Path) -> PathBuf,
    leaks: Option<&str>,
    notes: &[String],
) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("# Written by kiln after a look at {}.", plain(&data.display().to_string())));
    line("# What it saw and guessed; change what is wrong, then: kiln check, kiln data preview, kiln train");
    line("#");
    notes.iter().for_each(|note| line(&format!("# - {}", plain(note))));
    line("");
    if sketch.task != TaskKind::Classification {
        line("[task]");
        line(&format!("kind = \"{}\"", sketch.task));
        if sketch.task == TaskKind::Regression {
            line(&noted(
                "standardize = true",
                "learn (y - mean) / std; scores stay in the label's own units",
            ));
        }
        line("");
    }
    line("[data]");
    line(&format!("kind = \"{}\"", sketch.kind));
    for (key, path) in &sketch.places {
        line(&format!("{key} = {}", quoted(&place(path).display().to_string())));
    }
    if !sketch.header {
        line(&noted("header = false", "columns by their places, from 0"));
    }
    inputs(sketch, recipe, &mut line);
    for (key, share) in ["validation", "test"].into_iter().zip(shares) {
        if let Some(share) = share {
            let what = if key == "validation" {
                "chooses the best checkpoint"
            } else {
                "is scored once, at the end"
            };
            line(&noted(
                &format!("{key}_fraction = {share}"),
                &format!("{what}; fixed by a hash of each sample"),
            ));
        }
    }
    if let Some(problem) = leaks {
        let counts = problem.split(" (").next().unwrap_or_default();
        line(&noted("allow_leakage = true", counts));
    }
    recipe.transforms.iter().for_each(|transform| line(transform));
    line("");
    line("[data.loader]");
    line(&format!("batch_size = {}", recipe.batch_size));
    line("");
    line("[model]");
    recipe.model.iter().for_each(|text| line(text));
    line("");
    line("[optimizer]");
    line("kind = \"adamw\"");
    line(&format!("learning_rate = {}", recipe.learning_rate));
    line(&format!("weight_decay = {}", recipe.weight_decay));
    line("");
    line("[schedule]");
    line("lr_scheduler_type = \"cosine\"");
    line(&noted("warmup_steps = 0.1", "a tenth of all steps"));
    line("");
    line("[train]");
    line(&format!("epochs = {}", recipe.epochs));
    if recipe.clip {
        line("max_grad_norm = 1.0");
    }
    out
}

/// What the model reads.
fn inputs(sketch: &Sketch, recipe: &Recipe, line: &mut impl FnMut(&str)) {
    match &sketch.inputs {
        SketchInputs::Images { column: name, .. } => {
            if let Some(name) = name {
                line(&format!("image = {}", column(sketch, name)));
            }
            if let Some(channels) = recipe.channels {
                line(&format!("channels = {channels}"));
            }
        }
        SketchInputs::Text { column: name, pair, .. } => {
            line(&format!("text = {}", column(sketch, name)));
            if let Some(pair) = pair {
                line(&format!("text_pair = {}", column(sketch, pair)));
            }
        }
        SketchInputs::Columns { features, categories } => {
            if !features.is_empty() {
                line(&format!("features = {}", list(sketch, features)));
            }
            if !categories.is_empty() {
                line(&format!("categories = {}", list(sketch, categories)));
            }
            if sketch.missing {
                line(&noted(
                    "table = { missing = \"mean\" }",
                    "missing numbers become the training rows' mean",
                ));
            }
        }
    }
    if let Some(label) = &sketch.label {
        let label = format!("label = {}", column(sketch, label));
        line(&if sketch.classes.is_empty() { label } else { noted(&label, &classes(sketch)) });
    }
}

/// The first classes.
fn classes(sketch: &Sketch) -> String {
    let few = sketch.classes.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
    let more = if sketch.classes.len() > 6 { ", ..." } else { "" };
    format!("{} classes: {few}{more}", sketch.classes.len())
}

/// A line with a comment.
fn noted(text: &str, comment: &str) -> String {
    format!("{text:<41} # {}", plain(comment))
}

/// One line without control characters, for a comment.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
