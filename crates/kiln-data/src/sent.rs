//! Samples that a client sends instead of a file: JSON objects by the columns of training or by plain names, or a table.
//! Owns which keys mean what; the columns' own rules are those of files. The server hands it objects and tables.

use std::io::{Read, empty};
use std::path::Path;

use serde_json::{Map, Value};

use crate::config::Column;
use crate::error::DataError;
use crate::preprocessor::{Columns, Preprocessor, Program, Wanted};
use crate::source::jsonl::Objects;
use crate::source::rows::{Rows, Separated, row};
use crate::split::Raw;

/// The name of a client's objects in messages; the line is the object's number from 1.
const PLACE: &str = "input";
const REMEDY: &str = "send every input as the model was trained on it";

/// What one sample of a model is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// The bytes of an image file.
    Image,
    /// A text, or two.
    Text {
        /// Whether two texts are read as one.
        pair: bool,
    },
    /// A row of a table.
    Row {
        /// Names of the `F` columns of numbers; places where the table had no header.
        numbers: Vec<String>,
        /// Names of the `N` columns of categories.
        categories: Vec<String>,
    },
}

impl Preprocessor {
    /// What one sample is made of.
    pub fn reads(&self) -> Reads {
        let names = |columns: &[Column]| columns.iter().map(name).collect();
        match &self.program {
            Program::Image(_) => Reads::Image,
            Program::Text { columns, .. } => Reads::Text { pair: columns.pair.is_some() },
            Program::Corpus(_) => Reads::Text { pair: false },
            Program::Table(table) => Reads::Row {
                numbers: match &table.columns.wanted {
                    Wanted::Features(columns) => names(columns),
                    _ => Vec::new(),
                },
                categories: names(&table.columns.categories),
            },
        }
    }
}

fn name(column: &Column) -> String {
    match column {
        Column::Name(name) => name.clone(),
        Column::Index(i) => i.to_string(),
    }
}

/// The samples of JSON objects. Keys are the columns of training, or plain ones: `text` (and `text_pair`), `numbers`
/// (with `null` for a missing one) and `categories`. Other keys are passed over, as the other columns of a file are.
///
/// # Errors
/// A key that is missing, or a value of another type, under `input:NUMBER`.
pub fn rows(preprocessor: &Preprocessor, objects: &[Map<String, Value>]) -> Result<Vec<Raw>, DataError> {
    let usual = Columns::text();
    let columns = match &preprocessor.program {
        Program::Text { columns, .. } => columns,
        Program::Table(table) => &table.columns,
        Program::Corpus(_) => &usual,
        Program::Image(_) => return Err(fault(0, "the bytes of an image", "a JSON object")),
    };
    let mut by_column = None;
    let mut raws = Vec::with_capacity(objects.len());
    for (i, object) in objects.iter().enumerate() {
        raws.push(match plain(columns, object, i)? {
            Some(raw) => raw,
            None => {
                let reader = match &mut by_column {
                    Some(reader) => reader,
                    slot => slot.insert(Objects::new(empty(), Path::new(PLACE), columns, &[])?),
                };
                reader.at_line(i as u64 + 1);
                reader.raw(object)?
            }
        });
    }
    Ok(raws)
}

/// The samples of a table's rows, one by one, as `kiln predict` reads them from a file.
///
/// # Errors
/// At once: an image model, no first row, a column of training that is not in it. Row by row: another number of cells,
/// a number that is none, bytes that are no UTF-8; under `input:LINE`.
pub fn separated_rows(
    preprocessor: &Preprocessor,
    table: impl Read,
    separated: Separated,
) -> Result<impl Iterator<Item = Result<Raw, DataError>>, DataError> {
    let usual = Columns::text();
    let columns = match &preprocessor.program {
        Program::Text { columns, .. } => columns,
        Program::Table(table) => &table.columns,
        Program::Corpus(_) => &usual,
        Program::Image(_) => {
            let (place, got) = (PLACE.into(), "a table".into());
            return Err(DataError::Kind { place, expected: "the bytes of an image", got });
        }
    };
    let rows = Rows::new(table, Path::new(PLACE), separated, columns, &[])?;
    Ok(rows.map(|row| row.map(|row| row.raw)))
}

/// A sample under plain names; `None` where the object has the columns of training, or neither.
fn plain(columns: &Columns, object: &Map<String, Value>, i: usize) -> Result<Option<Raw>, DataError> {
    if columns.inputs().into_iter().any(|column| object.contains_key(&name(column))) {
        return Ok(None);
    }
    if let Wanted::Features(_) = columns.wanted {
        return match object.contains_key("numbers") || object.contains_key("categories") {
            true => plain_row(object, i).map(Some),
            false => by_place(columns, &["numbers", "categories"], object, i),
        };
    }
    let text = |key: &str| match object.get(key) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(fault(i, &format!("a string in \"{key}\""), &other.to_string())),
        None => Ok(None),
    };
    match (text("text")?, &columns.pair) {
        (Some(first), None) => Ok(Some(Raw::Text(first))),
        (Some(first), Some(_)) => match text("text_pair")? {
            Some(second) => Ok(Some(Raw::Pair(first, second))),
            None => Err(fault(i, "the key \"text_pair\" beside \"text\"", &keys(object))),
        },
        (None, pair) => {
            by_place(columns, if pair.is_some() { &["text", "text_pair"] } else { &["text"] }, object, i)
        }
    }
}

fn plain_row(object: &Map<String, Value>, i: usize) -> Result<Raw, DataError> {
    let list = |key: &str| match object.get(key) {
        None => Ok([].as_slice()),
        Some(Value::Array(list)) => Ok(list.as_slice()),
        Some(other) => Err(fault(i, &format!("a list in \"{key}\""), &other.to_string())),
    };
    let number = |value: &Value| match value {
        Value::Null => Ok(f32::NAN),
        value => value.as_f64().map(|x| x as f32).filter(|x| x.is_finite()).ok_or_else(|| {
            fault(i, "finite numbers (or null where one is missing) in \"numbers\"", &value.to_string())
        }),
    };
    let word = |value: &Value| match value {
        Value::Null => Ok(String::new()),
        Value::String(word) => Ok(word.trim().to_string()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(fault(i, "strings in \"categories\"", &other.to_string())),
    };
    Ok(Raw::Row {
        numbers: list("numbers")?.iter().map(number).collect::<Result<_, _>>()?,
        categories: list("categories")?.iter().map(word).collect::<Result<_, _>>()?,
    })
}

/// Columns that only have places have no keys: then the plain names are what is missing.
fn by_place(
    columns: &Columns,
    names: &[&str],
    object: &Map<String, Value>,
    i: usize,
) -> Result<Option<Raw>, DataError> {
    match columns.inputs().iter().any(|column| matches!(column, Column::Index(_))) {
        true => Err(fault(i, &format!("the key \"{}\"", names.join("\" or \"")), &keys(object))),
        false => Ok(None),
    }
}

fn keys(object: &Map<String, Value>) -> String {
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    if keys.is_empty() { "no key".into() } else { keys.join(", ") }
}

fn fault(i: usize, expected: &str, got: &str) -> DataError {
    row(Path::new(PLACE), i as u64 + 1, expected, got, REMEDY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Missing;

    fn columns(wanted: Wanted, pair: Option<Column>) -> Columns {
        Columns { header: true, wanted, pair, categories: Vec::new(), missing: Missing::default() }
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn plain_names_stand_in_for_columns_but_never_replace_them() {
        let text = columns(Wanted::Text(Column::Name("review".into())), None);
        let of = |value| plain(&text, &object(value), 0);
        assert_eq!(of(json!({"text": "a"})).unwrap(), Some(Raw::Text("a".into())));
        assert_eq!(of(json!({"text": "a", "review": "b"})).unwrap(), None, "the column of training wins");
        let said = of(json!({"text": 3})).unwrap_err().to_string();
        assert_eq!(said, "input:1: expected a string in \"text\", got 3");
    }

    #[test]
    fn columns_by_place_are_sent_by_plain_names() {
        let pair = columns(Wanted::Text(Column::Index(0)), Some(Column::Index(1)));
        let of = |value| plain(&pair, &object(value), 4);
        let both = of(json!({"text": "a", "text_pair": "b"})).unwrap();
        assert_eq!(both, Some(Raw::Pair("a".into(), "b".into())));
        let said = of(json!({"text": "a"})).unwrap_err().to_string();
        assert!(said.starts_with("input:5: expected the key \"text_pair\""), "{said}");
        let said = of(json!({"words": 1})).unwrap_err().to_string();
        assert!(said.ends_with("\"text\" or \"text_pair\", got words"), "{said}");
    }

    #[test]
    fn rows_take_null_for_a_missing_number_and_refuse_other_types() {
        let raw = plain_row(&object(json!({"numbers": [1, null], "categories": ["x", 2, null]})), 0).unwrap();
        let Raw::Row { numbers, categories } = raw else { panic!("{raw:?}") };
        assert!(numbers[0] == 1.0 && numbers[1].is_nan());
        assert_eq!(categories, ["x", "2", ""]);
        assert!(plain_row(&object(json!({"numbers": ["1"]})), 0).is_err());
        assert!(plain_row(&object(json!({"numbers": 1})), 0).is_err());
    }
}
