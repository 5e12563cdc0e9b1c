//! Tables: columns to roles, labels to a task, words to a length.
//! Owns the reading of the first rows and the splits' agreement. Part of `sketch`.

use std::path::{Path, PathBuf};

use kiln_core::TaskKind;
use serde_json::json;

use super::folder::pictures;
use super::roles::{may_be_classes, roles};
use super::{Sketch, SketchInputs, Wish, refused};
use crate::config::DataConfig;
use crate::error::DataError;
use crate::layout::Layout;
use crate::look::{Profile, Sheet, profile};
use crate::source::rows::nearest;
use crate::source::table::Format;

/// Rows that are read.
const ROWS: usize = 50_000;

/// A table of a kind; `files` are those of train, validation and test.
pub(super) fn table(
    kind: &'static str,
    format: Format,
    mut places: Vec<(&'static str, PathBuf)>,
    files: &[Vec<PathBuf>; 3],
    wish: &Wish,
) -> Result<Sketch, DataError> {
    let train = files.iter().find(|files| !files.is_empty()).cloned().unwrap_or_default();
    let Some(first) = train.first() else {
        return Err(refused(Path::new(""), "no table", "give a file with rows"));
    };
    let mut notes = Vec::new();
    let header = match format {
        Format::Separated(_) => has_header(first, format)?,
        Format::Jsonl | Format::Parquet => true,
    };
    if !header {
        notes.push("the first row looks like data, so the columns have no names and are called by their places from 0".into());
    }
    let (columns, whole) = profile(&train, format, header, ROWS)?;
    let samples = columns.first().map_or(0, |c| c.rows);
    if !whole {
        notes.push(format!("the guesses are of the first {ROWS} rows"));
    }
    let find = |name: &Option<String>| name.as_ref().map(|name| named(first, &columns, name)).transpose();
    let guessed = roles(&columns, find(&wish.label)?, find(&wish.text)?);
    notes.extend(guessed.notes.clone());
    let Some(label) = guessed.label else {
        return Err(refused(
            first,
            format!("no column that could be a label; the columns are {}", list(&columns)),
            "say which: label = \"...\" in a config, or data.label=COLUMN",
        ));
    };
    let name = |k: usize| columns[k].name.clone();
    let task = task(first, &columns[label], wish, &mut notes)?;
    let inputs = match (guessed.image, guessed.text) {
        (Some(image), _) => {
            SketchInputs::Images { column: Some(name(image)), one_size: None, side: 0, grey: false }
        }
        (None, Some(text)) => {
            let pair = guessed.pair.map(name);
            let words = columns[text].long_words() + guessed.pair.map_or(0, |k| columns[k].long_words());
            SketchInputs::Text { column: name(text), pair, max_length: length(words) }
        }
        (None, None) => SketchInputs::Columns {
            features: guessed.features.iter().map(|&k| name(k)).collect(),
            categories: guessed.categories.iter().map(|&k| name(k)).collect(),
        },
    };
    if let SketchInputs::Columns { features, categories } = &inputs
        && features.is_empty()
        && categories.is_empty()
    {
        let problem = format!(
            "beside the label \"{}\" no column that a model could read: {}",
            name(label),
            list(&columns)
        );
        return Err(refused(first, problem, "write a config that names them, or repair the table"));
    }
    let missing_in: Vec<String> = guessed
        .features
        .iter()
        .filter_map(|&k| match columns[k].missing + columns[k].nothing_words {
            0 => None,
            n => Some(format!("{} of {}", n, columns[k].name)),
        })
        .collect();
    if !missing_in.is_empty() {
        notes
            .push(format!("missing numbers become the mean of the training rows: {}", missing_in.join(", ")));
    }
    let mut splits = files.each_ref().map(|files| !files.is_empty());
    for (k, key) in ["train", "validation", "test"].into_iter().enumerate().skip(1) {
        if let Some(other) = files[k].first().filter(|_| splits[0])
            && !labelled(other, format, header, &columns[label].name, label)?
        {
            if let ("path", 1) = (places[0].0, places.len()) {
                return Err(refused(
                    other,
                    format!("has no label \"{}\"", name(label)),
                    "label it, or move it out of the folder",
                ));
            }
            notes.push(format!("{} has no values in \"{}\" and is left out", other.display(), name(label)));
            places.retain(|(own, _)| *own != key);
            splits[k] = false;
        }
    }
    let mut classes: Vec<(String, usize)> =
        columns[label].values.iter().map(|(v, n)| (v.clone(), *n)).collect();
    classes.sort();
    let classification = task == TaskKind::Classification;
    let mut sketch = Sketch {
        kind,
        places,
        splits,
        task,
        inputs,
        label: Some(name(label)),
        rarest: classes.iter().map(|(_, n)| *n).min().filter(|_| classification),
        classes: if classification { classes.into_iter().map(|(v, _)| v).collect() } else { Vec::new() },
        samples,
        header,
        missing: !missing_in.is_empty(),
        notes,
    };
    if let SketchInputs::Images { column: Some(column), .. } = &sketch.inputs {
        let column = column.clone();
        let mut notes = std::mem::take(&mut sketch.notes);
        sketch.inputs = stored(&sketch, column, &mut notes)?;
        sketch.notes = notes;
    }
    Ok(sketch)
}

/// Looks at a table's images.
fn stored(sketch: &Sketch, column: String, notes: &mut Vec<String>) -> Result<SketchInputs, DataError> {
    let mut config =
        json!({"kind": sketch.kind, "image": column, "label": sketch.label, "header": sketch.header});
    for (key, path) in &sketch.places {
        config[*key] = json!(path);
    }
    let config: DataConfig = serde_json::from_value(config)
        .map_err(|e| DataError::config("kind", e.to_string(), "report this as a fault"))?;
    let layout = Layout::new(&config)?;
    let Some(place) = layout.places().iter().flatten().next() else {
        return Err(refused(Path::new(""), "no table", "give a file with rows"));
    };
    pictures(&*place.open(&config)?, Some(column), notes)
}

fn list(columns: &[Profile]) -> String {
    columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn named(path: &Path, columns: &[Profile], name: &str) -> Result<usize, DataError> {
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    names.iter().position(|own| own == name).ok_or_else(|| DataError::Column {
        path: path.into(),
        column: format!("\"{name}\""),
        similar: nearest(name, &names),
        there: names,
    })
}

/// Classes or numbers; what could be both is said.
fn task(path: &Path, label: &Profile, wish: &Wish, notes: &mut Vec<String>) -> Result<TaskKind, DataError> {
    let name = &label.name;
    let distinct = label.values.len();
    if label.missing > 0 {
        notes.push(format!(
            "{} rows have no \"{name}\": training refuses rows without a label, so label or remove them",
            label.missing
        ));
    }
    if let Some(task) = wish.task {
        return Ok(task);
    }
    if label.numeric() && !may_be_classes(label) {
        let many = if label.many { "more than 10000".into() } else { distinct.to_string() };
        notes.push(format!("\"{name}\" holds numbers ({many} different ones): a regression"));
        return Ok(TaskKind::Regression);
    }
    if !label.many && distinct >= 2 && (may_be_classes(label) || label.classes > 0) {
        notes.push(format!("\"{name}\" has {distinct} different values: a classification"));
        if label.numeric() && distinct > 2 {
            notes.push(format!(
                "\"{name}\" could also be a number to predict: for that set [task] kind = \"regression\""
            ));
        }
        return Ok(TaskKind::Classification);
    }
    let seen = match (label.many, distinct) {
        (true, _) => "more than 10000 different words".to_string(),
        (false, n) => format!("{n} different value(s) in {} rows", label.there()),
    };
    Err(refused(
        path,
        format!("the label's column \"{name}\" has {seen}: neither classes nor numbers"),
        "name another column: data.label=COLUMN",
    ))
}

/// Whether the first rows of a table have a label.
fn labelled(path: &Path, format: Format, header: bool, name: &str, place: usize) -> Result<bool, DataError> {
    let (columns, _) = profile(&[path.to_path_buf()], format, header, 100)?;
    let own = if header { columns.iter().find(|c| c.name == name) } else { columns.get(place) };
    Ok(own.is_some_and(|column| column.there() > 0))
}

/// Whether the first row names columns: no cell is a number, empty, twice there, or a value of its own column.
fn has_header(path: &Path, format: Format) -> Result<bool, DataError> {
    let names = Sheet::open(path, format, true)?.names;
    let twice = names.iter().enumerate().any(|(i, name)| names[..i].contains(name));
    let number = names.iter().any(|name| name.trim().parse::<f64>().is_ok());
    if twice || number {
        return Ok(false);
    }
    let (columns, _) = profile(&[path.to_path_buf()], format, true, 1000)?;
    let again = columns.iter().any(|c| !c.many && c.values.get(&c.name).copied().unwrap_or(0) > 0);
    Ok(!again)
}

/// Room for the words, their punctuation and special tokens: a multiple of 16.
fn length(words: usize) -> usize {
    ((words * 5).div_ceil(4) + 2).next_multiple_of(16).clamp(16, 512)
}
