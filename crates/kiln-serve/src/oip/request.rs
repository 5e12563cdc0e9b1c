//! An inference request: JSON, or JSON with bytes behind it.
//! Owns its parsing and which inputs there must be; each refusal says what was expected and what came. Types and shapes are
//! `column`'s, inputs that the client has prepared itself `prepared`'s.

use axum::http::HeaderMap;
use bytes::Bytes;
use kiln_data::{Raw, Reads};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::column::{Column, Input, Layout};
use super::signature::{self, BYTES, CATEGORIES, FP32, IMAGE, NUMBERS, TEXT, TEXT_PAIR};
use crate::ask::Sent;
use crate::friendly::of_base64;
use crate::reply::Refusal;
use crate::served::Served;

/// Where the JSON ends and bytes begin.
pub(super) const JSON_LENGTH: &str = "inference-header-content-length";

/// A request, parsed.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
    inputs: Vec<Input>,
    #[serde(default)]
    pub(super) outputs: Option<Vec<Output>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Output {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
}

impl Asked {
    pub(super) fn parse(headers: &HeaderMap, mut bytes: Bytes) -> Result<Self, Refusal> {
        let json = match headers.get(JSON_LENGTH) {
            None => std::mem::take(&mut bytes),
            Some(length) => {
                let length = length.to_str().ok().and_then(|n| n.parse::<usize>().ok());
                let length = length.filter(|n| *n <= bytes.len()).ok_or_else(|| {
                    Refusal::bad(format!("{JSON_LENGTH}: expected a number of at most {}", bytes.len()))
                })?;
                bytes.split_to(length)
            }
        };
        let mut asked: Self = serde_json::from_slice(&json)
            .map_err(|e| Refusal::bad(format!("expected an inference request in JSON: {e}")))?;
        asked.take_binary(bytes)?;
        Ok(asked)
    }

    /// Gives every input that says so its part of the bytes, in order.
    fn take_binary(&mut self, mut bytes: Bytes) -> Result<(), Refusal> {
        for input in &mut self.inputs {
            let Some(size) = input.parameters.get("binary_data_size") else { continue };
            let size = size.as_u64().filter(|n| *n <= bytes.len() as u64).ok_or_else(|| {
                let expected = bytes.len();
                input.bad(&format!("binary_data_size of at most {expected}"), &size.to_string())
            })?;
            if input.data.is_some() {
                return Err(input.bad("`data` or `binary_data_size`", "both"));
            }
            input.binary = Some(bytes.split_to(size as usize));
        }
        match bytes.is_empty() {
            true => Ok(()),
            false => Err(Refusal::bad(format!("{} bytes behind the last input belong to none", bytes.len()))),
        }
    }

    /// Microseconds, as Triton's clients send it.
    pub(super) fn timeout(&self) -> Result<Option<u64>, Refusal> {
        match self.parameters.get("timeout") {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                Refusal::bad(format!("parameters.timeout: expected microseconds, got {value}"))
            }),
        }
    }

    /// What the model is to be asked.
    pub(super) fn inputs(self, served: &Served) -> Result<Vec<Sent>, Refusal> {
        let mut inputs = Inputs { all: self.inputs, served };
        let sent = match inputs.prepared()? {
            Some(sent) => sent,
            None => inputs.raw()?,
        };
        inputs.nothing_left()?;
        Ok(sent)
    }
}

/// The inputs of a request that nobody has taken yet.
pub(super) struct Inputs<'a> {
    all: Vec<Input>,
    pub(super) served: &'a Served,
}

impl Inputs<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|input| input.name == name)
    }

    pub(super) fn take(&mut self, name: &str) -> Result<Input, Refusal> {
        let place = self.all.iter().position(|input| input.name == name);
        place.map(|i| self.all.swap_remove(i)).ok_or_else(|| {
            let there: Vec<&str> = self.all.iter().map(|input| input.name.as_str()).take(20).collect();
            Refusal::bad(format!(
                "model {:?} expected an input {name:?} ({}); got {}",
                self.served.name,
                self.expected(),
                if there.is_empty() { "no other input".into() } else { there.join(", ") }
            ))
        })
    }

    fn expected(&self) -> String {
        let slots = signature::inputs(self.served);
        let named = |s: &signature::Slot| format!("{} {} {:?}", s.name, s.datatype, s.shape);
        slots.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    fn nothing_left(&self) -> Result<(), Refusal> {
        match self.all.first() {
            None => Ok(()),
            Some(input) => Err(Refusal::bad(format!(
                "model {:?} has no input {:?} beside the others, or it stands twice; expected {}",
                self.served.name,
                input.name,
                self.expected()
            ))),
        }
    }

    fn bytes(&mut self, name: &str, layout: Layout) -> Result<Vec<Bytes>, Refusal> {
        match self.take(name)?.column(BYTES, layout)? {
            Column::Bytes(bytes) => Ok(bytes),
            _ => Err(Refusal::internal()),
        }
    }

    pub(super) fn floats(&mut self, name: &str, layout: Layout) -> Result<Vec<f32>, Refusal> {
        match self.take(name)?.column(FP32, layout)? {
            Column::Floats(floats) => Ok(floats),
            _ => Err(Refusal::internal()),
        }
    }

    /// Inputs as they were before any preparation.
    fn raw(&mut self) -> Result<Vec<Sent>, Refusal> {
        let text = |t| Sent::Raw(Raw::Text(t));
        match &self.served.reads {
            Reads::Image => self.images(),
            Reads::Text { pair: false } => {
                Ok(texts(self.bytes(TEXT, Layout::List)?, TEXT)?.into_iter().map(text).collect())
            }
            Reads::Text { pair: true } => {
                let first = texts(self.bytes(TEXT, Layout::List)?, TEXT)?;
                let second = texts(self.bytes(TEXT_PAIR, Layout::List)?, TEXT_PAIR)?;
                same(first.len(), second.len(), TEXT_PAIR)?;
                Ok(first.into_iter().zip(second).map(|(a, b)| Sent::Raw(Raw::Pair(a, b))).collect())
            }
            Reads::Row { numbers, categories } => self.rows(numbers, categories),
        }
    }

    /// Files as they are, or in base64 where JSON carries them.
    fn images(&mut self) -> Result<Vec<Sent>, Refusal> {
        let in_json = self.all.iter().any(|input| input.name == IMAGE && input.binary.is_none());
        let files = self.bytes(IMAGE, Layout::List)?;
        match in_json {
            true => texts(files, IMAGE)?.iter().map(|base64| of_base64(base64)).collect(),
            false => Ok(files.into_iter().map(Sent::Image).collect()),
        }
    }

    /// Rows from `numbers` and `categories`, or from columns by their names.
    fn rows(&mut self, numbers: &[String], categories: &[String]) -> Result<Vec<Sent>, Refusal> {
        let (f, n) = (numbers.len(), categories.len());
        let gathered = [(NUMBERS, f), (CATEGORIES, n)].iter().any(|(name, k)| *k > 0 && self.has(name));
        let mut columns = Vec::new();
        let mut words = Vec::new();
        if gathered {
            if f > 0 {
                columns = transposed(self.floats(NUMBERS, Layout::Rows(f))?, f);
            }
            if n > 0 {
                words = transposed(texts(self.bytes(CATEGORIES, Layout::Rows(n))?, CATEGORIES)?, n);
            }
        } else {
            columns = numbers.iter().map(|name| self.floats(name, Layout::List)).collect::<Result<_, _>>()?;
            let word = |name: &String| texts(self.bytes(name, Layout::List)?, name);
            words = categories.iter().map(word).collect::<Result<_, _>>()?;
        }
        let lengths = columns.iter().map(Vec::len).chain(words.iter().map(Vec::len));
        let names = numbers.iter().chain(categories);
        let rows = columns.first().map(Vec::len).or(words.first().map(Vec::len)).unwrap_or(0);
        lengths.zip(names).try_for_each(|(length, name)| same(rows, length, name))?;
        if let Some(x) = columns.iter().flatten().find(|x| x.is_infinite()) {
            return Err(Refusal::bad(format!(
                "expected finite numbers, or NaN where one is missing; got {x}"
            )));
        }
        Ok((0..rows)
            .map(|i| {
                Sent::Raw(Raw::Row {
                    numbers: columns.iter().map(|column| column[i]).collect(),
                    categories: words.iter().map(|column| column[i].trim().to_string()).collect(),
                })
            })
            .collect())
    }
}

/// `[rows, K]` to `K` columns.
fn transposed<T: Clone>(flat: Vec<T>, k: usize) -> Vec<Vec<T>> {
    (0..k).map(|column| flat.iter().skip(column).step_by(k).cloned().collect()).collect()
}

fn same(expected: usize, got: usize, name: &str) -> Result<(), Refusal> {
    match expected == got {
        true => Ok(()),
        false => Err(Refusal::bad(format!(
            "input {name:?}: expected {expected} elements as in the first, got {got}"
        ))),
    }
}

fn texts(bytes: Vec<Bytes>, name: &str) -> Result<Vec<String>, Refusal> {
    let text = |(i, bytes): (usize, Bytes)| {
        String::from_utf8(bytes.into()).map_err(|e| {
            Refusal::bad(format!("input {name:?}: element {i}: expected UTF-8 text, got {}", e.utf8_error()))
        })
    };
    bytes.into_iter().enumerate().map(text).collect()
}
