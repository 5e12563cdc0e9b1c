//! An inference request: JSON, or JSON with bytes behind it.
//! Owns its parsing and every check of names, types and shapes; each refusal says what was expected and what came.

use axum::http::HeaderMap;
use bytes::Bytes;
use kiln_data::{Raw, Reads};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::signature::{self, BYTES, CATEGORIES, FP32, IMAGE, NUMBERS, TEXT, TEXT_PAIR};
use super::tensor::{Elements, floats, strings};
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
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    data: Option<Elements>,
    /// Its part of the bytes.
    #[serde(skip)]
    binary: Option<Bytes>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Output {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
}

/// The elements of one input.
enum Column {
    Bytes(Vec<Bytes>),
    Floats(Vec<f32>),
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
        let sent = match &served.reads {
            Reads::Image => inputs.images()?,
            Reads::Text { pair: false } => {
                texts(inputs.bytes(TEXT, None)?, TEXT)?.into_iter().map(|t| Sent::Raw(Raw::Text(t))).collect()
            }
            Reads::Text { pair: true } => {
                let first = texts(inputs.bytes(TEXT, None)?, TEXT)?;
                let second = texts(inputs.bytes(TEXT_PAIR, None)?, TEXT_PAIR)?;
                same(first.len(), second.len(), TEXT_PAIR)?;
                first.into_iter().zip(second).map(|(a, b)| Sent::Raw(Raw::Pair(a, b))).collect()
            }
            Reads::Row { numbers, categories } => inputs.rows(numbers, categories)?,
        };
        inputs.nothing_left()?;
        Ok(sent)
    }
}

/// The inputs of a request that nobody has taken yet.
struct Inputs<'a> {
    all: Vec<Input>,
    served: &'a Served,
}

impl Inputs<'_> {
    fn has(&self, name: &str) -> bool {
        self.all.iter().any(|input| input.name == name)
    }

    fn take(&mut self, name: &str) -> Result<Input, Refusal> {
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
                "model {:?} has no input {:?}, or it stands twice; expected {}",
                self.served.name,
                input.name,
                self.expected()
            ))),
        }
    }

    fn column(&mut self, name: &str, datatype: &str, width: Option<usize>) -> Result<Column, Refusal> {
        self.take(name)?.column(datatype, width)
    }

    fn bytes(&mut self, name: &str, width: Option<usize>) -> Result<Vec<Bytes>, Refusal> {
        match self.column(name, BYTES, width)? {
            Column::Bytes(bytes) => Ok(bytes),
            Column::Floats(_) => Err(Refusal::internal()),
        }
    }

    fn floats(&mut self, name: &str, width: Option<usize>) -> Result<Vec<f32>, Refusal> {
        match self.column(name, FP32, width)? {
            Column::Floats(floats) => Ok(floats),
            Column::Bytes(_) => Err(Refusal::internal()),
        }
    }

    /// Files as they are, or in base64 where JSON carries them.
    fn images(&mut self) -> Result<Vec<Sent>, Refusal> {
        let in_json = self.all.iter().any(|input| input.name == IMAGE && input.binary.is_none());
        let files = self.bytes(IMAGE, None)?;
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
                columns = transposed(self.floats(NUMBERS, Some(f))?, f);
            }
            if n > 0 {
                words = transposed(texts(self.bytes(CATEGORIES, Some(n))?, CATEGORIES)?, n);
            }
        } else {
            columns = numbers.iter().map(|name| self.floats(name, None)).collect::<Result<_, _>>()?;
            let word = |name: &String| texts(self.bytes(name, None)?, name);
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

impl Input {
    fn bad(&self, expected: &str, got: &str) -> Refusal {
        Refusal::bad(format!("input {:?}: expected {expected}, got {got}", self.name))
    }

    /// Its elements, after every check: `[n]` or `[n, width]`.
    fn column(mut self, datatype: &str, width: Option<usize>) -> Result<Column, Refusal> {
        if let Some(key) = self.parameters.keys().find(|key| key.starts_with("shared_memory")) {
            return Err(self.bad("its data in the request", &format!("{key:?}")));
        }
        if self.datatype != datatype {
            return Err(self.bad(&format!("datatype {datatype}"), &self.datatype));
        }
        let count = self.count(width)?;
        let binary = self.binary.take();
        let elements = match (binary, self.data.take()) {
            (Some(bytes), _) if datatype == BYTES => Column::Bytes(strings(bytes, &self.name, count)?),
            (Some(bytes), _) => Column::Floats(floats(&bytes, &self.name)?),
            (None, Some(Elements::None)) if datatype == BYTES => Column::Bytes(Vec::new()),
            (None, Some(Elements::None)) => Column::Floats(Vec::new()),
            (None, Some(Elements::Texts(texts))) if datatype == BYTES => {
                Column::Bytes(texts.into_iter().map(Bytes::from).collect())
            }
            (None, Some(Elements::Numbers(numbers))) if datatype == FP32 => {
                Column::Floats(numbers.into_iter().map(|x| x as f32).collect())
            }
            (None, Some(data)) => {
                let (expected, got) = match (datatype, &data) {
                    (BYTES, Elements::Numbers(_)) => ("strings", "numbers"),
                    (BYTES, _) => ("strings", "booleans"),
                    (_, Elements::Texts(_)) => ("numbers", "strings"),
                    (_, _) => ("numbers", "booleans"),
                };
                return Err(self.bad(expected, &format!("{} {got}", data.len())));
            }
            (None, None) => return Err(self.bad("`data`, or `binary_data_size` and bytes", "neither")),
        };
        let got = match &elements {
            Column::Bytes(list) => list.len(),
            Column::Floats(list) => list.len(),
        };
        match got == count {
            true => Ok(elements),
            false => {
                Err(self.bad(&format!("{count} elements by its shape {:?}", self.shape), &got.to_string()))
            }
        }
    }

    /// The number of elements that its shape says.
    fn count(&self, width: Option<usize>) -> Result<usize, Refusal> {
        let expected = match width {
            None => "shape [n] or [n, 1]".to_string(),
            Some(k) => format!("shape [n, {k}]"),
        };
        let wrong = || self.bad(&expected, &format!("{:?}", self.shape));
        let (n, k) = match (self.shape.as_slice(), width) {
            ([n], None) | ([n, 1], None) => (*n, 1),
            ([n, k], Some(width)) if *k == width as u64 => (*n, *k),
            _ => return Err(wrong()),
        };
        n.checked_mul(k).and_then(|all| usize::try_from(all).ok()).ok_or_else(wrong)
    }
}
