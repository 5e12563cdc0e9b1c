//! An inference response: the outputs that were asked for, in JSON or as bytes behind it.
//! Owns their form; what they hold is what the model answered.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::request::{Asked, JSON_LENGTH};
use super::signature::{self, BYTES, INT64, LOGITS, Slot};
use crate::ask::Answers;
use crate::reply::{Refusal, json};
use crate::served::Served;

/// The outputs to give, each with whether as bytes.
#[derive(Debug)]
pub(super) struct Wanted(Vec<(Slot, bool)>);

/// The elements of one output.
enum Column {
    Strings(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

impl Wanted {
    /// Those asked for, in that order; all where none are.
    pub(super) fn of(asked: &Asked, served: &Served) -> Result<Self, Refusal> {
        let all = signature::outputs(served);
        let binary = flag(&asked.parameters, "binary_data_output")?.unwrap_or(false);
        let Some(outputs) = asked.outputs.as_ref().filter(|outputs| !outputs.is_empty()) else {
            return Ok(Self(all.into_iter().map(|slot| (slot, binary)).collect()));
        };
        let mut wanted: Vec<(Slot, bool)> = Vec::new();
        for output in outputs {
            let unknown = |problem: &str| {
                let names: Vec<&str> = all.iter().map(|slot| slot.name).collect();
                let message = format!("output {:?}: {problem}; there are {}", output.name, names.join(", "));
                Refusal::bad(message)
            };
            let unmet =
                output.parameters.keys().find(|k| *k == "classification" || k.starts_with("shared_memory"));
            if let Some(key) = unmet {
                return Err(unknown(&format!("{key:?} is not offered")));
            }
            let slot = all.iter().find(|slot| slot.name == output.name);
            let slot = slot.ok_or_else(|| unknown("the model has no such output"))?;
            if wanted.iter().any(|(one, _)| one == slot) {
                return Err(unknown("it stands twice"));
            }
            wanted.push((slot.clone(), flag(&output.parameters, "binary_data")?.unwrap_or(binary)));
        }
        Ok(Self(wanted))
    }

    /// Whether the net's own numbers are among them.
    pub(super) fn logits(&self) -> bool {
        self.0.iter().any(|(slot, _)| slot.name == LOGITS)
    }

    /// The response to one request.
    pub(super) fn answer(
        &self,
        served: &Served,
        id: Option<String>,
        answers: &Answers,
    ) -> Result<Response, Refusal> {
        let n = answers.rows.len() as i64;
        let mut bytes = Vec::new();
        let mut outputs = Vec::new();
        for (slot, binary) in &self.0 {
            let column = column(slot, served, answers).ok_or_else(Refusal::internal)?;
            let shape: Vec<i64> = std::iter::once(n).chain(slot.shape[1..].iter().copied()).collect();
            let mut output = json!({"name": slot.name, "datatype": slot.datatype, "shape": shape});
            match binary {
                true => {
                    let before = bytes.len();
                    column.append_to(&mut bytes);
                    output["parameters"] = json!({"binary_data_size": bytes.len() - before});
                }
                false => output["data"] = column.json(),
            }
            outputs.push(output);
        }
        let mut body =
            json!({"model_name": served.name, "model_version": served.version, "outputs": outputs});
        if let Some(id) = id {
            body["id"] = json!(id);
        }
        match self.0.iter().any(|(_, binary)| *binary) {
            false => Ok(json(&body)),
            true => Ok(with_bytes(&body, bytes)),
        }
    }
}

fn with_bytes(body: &Value, bytes: Vec<u8>) -> Response {
    let mut all = body.to_string().into_bytes();
    let length = all.len();
    all.extend(bytes);
    let octets = HeaderValue::from_static("application/octet-stream");
    let mut response = ([(header::CONTENT_TYPE, octets)], Body::from(all)).into_response();
    response.headers_mut().insert(JSON_LENGTH, length.into());
    response
}

impl Column {
    fn json(self) -> Value {
        match self {
            Column::Strings(list) => json!(list),
            Column::Floats(list) => json!(list),
            Column::Integers(list) => json!(list),
        }
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Column::Floats(list) => bytes.extend(list.iter().flat_map(|x| x.to_le_bytes())),
            Column::Integers(list) => bytes.extend(list.iter().flat_map(|x| x.to_le_bytes())),
            Column::Strings(list) => {
                for text in list {
                    bytes.extend((text.len() as u32).to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
    }
}

/// One output of every row; `None` where a row lacks it, which is a fault of kiln.
fn column(slot: &Slot, served: &Served, answers: &Answers) -> Option<Column> {
    let rows = &answers.rows;
    if slot.name == LOGITS {
        let all = answers.logits.len() == rows.len() * served.classes.len();
        return all.then(|| Column::Floats(answers.logits.clone()));
    }
    if slot.datatype == INT64 {
        let whole = |row: &Map<String, Value>| row.get(slot.name)?.as_i64();
        return rows.iter().map(whole).collect::<Option<_>>().map(Column::Integers);
    }
    if slot.datatype == BYTES {
        let text = |row: &Map<String, Value>| match slot.name {
            "prediction" => Some(Value::Object(row.clone()).to_string()),
            name @ ("label" | "text" | "finish_reason") => row.get(name)?.as_str().map(str::to_string),
            name => row.get(name).map(Value::to_string),
        };
        return rows.iter().map(text).collect::<Option<_>>().map(Column::Strings);
    }
    let float = |value: &Value| value.as_f64().map(|x| x as f32);
    let mut floats = Vec::with_capacity(rows.len() * served.classes.len());
    for row in rows {
        match row.get(slot.name)? {
            Value::Object(named) => {
                for class in &served.classes {
                    floats.push(float(named.get(class)?)?);
                }
            }
            value => floats.push(float(value)?),
        }
    }
    Some(Column::Floats(floats))
}

fn flag(parameters: &Map<String, Value>, key: &str) -> Result<Option<bool>, Refusal> {
    match parameters.get(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(Refusal::bad(format!("parameters.{key}: expected true or false, got {other}"))),
    }
}
