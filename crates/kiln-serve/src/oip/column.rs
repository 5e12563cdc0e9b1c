//! One tensor of a request: its type, its shape and its elements.
//! Owns the checks of these, and both forms that elements come in; what a tensor means is `request`'s.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::signature::{BYTES, FP32, INT64};
use super::tensor::{Elements, floats, integers, strings};
use crate::reply::Refusal;

/// Whole numbers beyond this are not exact in JSON, and no id or mask is one.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
    pub(super) data: Option<Elements>,
    /// Its part of the bytes.
    #[serde(skip)]
    pub(super) binary: Option<Bytes>,
}

/// The elements of one input.
pub(super) enum Column {
    Bytes(Vec<Bytes>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

/// The shapes that an input may have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout {
    /// `[n]` or `[n, 1]`
    List,
    /// `[n, K]`
    Rows(usize),
    /// `[n, T]`, at most so many `T`.
    Sequences(usize),
    /// `[n, C, H, W]`
    Images([usize; 3]),
}

impl Layout {
    fn fits(self, shape: &[u64]) -> bool {
        match self {
            Layout::List => matches!(shape, [_] | [_, 1]),
            Layout::Rows(k) => matches!(shape, [_, width] if *width == k as u64),
            Layout::Sequences(most) => matches!(shape, [_, t] if (1..=most as u64).contains(t)),
            Layout::Images(own) => {
                matches!(shape, [_, rest @ ..] if rest.iter().copied().eq(own.map(|d| d as u64)))
            }
        }
    }

    fn described(self) -> String {
        match self {
            Layout::List => "shape [n] or [n, 1]".into(),
            Layout::Rows(k) => format!("shape [n, {k}]"),
            Layout::Sequences(most) => format!("shape [n, T] with T from 1 to {most}"),
            Layout::Images([c, h, w]) => format!("shape [n, {c}, {h}, {w}]"),
        }
    }
}

impl Input {
    pub(super) fn bad(&self, expected: &str, got: &str) -> Refusal {
        Refusal::bad(format!("input {:?}: expected {expected}, got {got}", self.name))
    }

    /// Its elements, after every check.
    pub(super) fn column(mut self, datatype: &str, layout: Layout) -> Result<Column, Refusal> {
        if let Some(key) = self.parameters.keys().find(|key| key.starts_with("shared_memory")) {
            return Err(self.bad("its data in the request", &format!("{key:?}")));
        }
        if self.datatype != datatype {
            return Err(self.bad(&format!("datatype {datatype}"), &self.datatype));
        }
        let count = self.count(layout)?;
        let binary = self.binary.take();
        let elements = match (binary, self.data.take()) {
            (Some(bytes), _) if datatype == BYTES => Column::Bytes(strings(bytes, &self.name, count)?),
            (Some(bytes), _) if datatype == INT64 => Column::Integers(integers(&bytes, &self.name)?),
            (Some(bytes), _) => Column::Floats(floats(&bytes, &self.name)?),
            (None, Some(Elements::None)) if datatype == BYTES => Column::Bytes(Vec::new()),
            (None, Some(Elements::None)) if datatype == INT64 => Column::Integers(Vec::new()),
            (None, Some(Elements::None)) => Column::Floats(Vec::new()),
            (None, Some(Elements::Texts(texts))) if datatype == BYTES => {
                Column::Bytes(texts.into_iter().map(Bytes::from).collect())
            }
            (None, Some(Elements::Numbers(numbers))) if datatype == FP32 => {
                Column::Floats(numbers.into_iter().map(|x| x as f32).collect())
            }
            (None, Some(Elements::Numbers(numbers))) if datatype == INT64 => {
                let whole = |x: &f64| x.fract() == 0.0 && x.abs() <= EXACT;
                if let Some(x) = numbers.iter().find(|x| !whole(x)) {
                    return Err(self.bad("whole numbers", &x.to_string()));
                }
                Column::Integers(numbers.into_iter().map(|x| x as i64).collect())
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
            Column::Integers(list) => list.len(),
        };
        match got == count {
            true => Ok(elements),
            false => {
                Err(self.bad(&format!("{count} elements by its shape {:?}", self.shape), &got.to_string()))
            }
        }
    }

    /// The number of elements that its shape says.
    fn count(&self, layout: Layout) -> Result<usize, Refusal> {
        let wrong = || self.bad(&layout.described(), &format!("{:?}", self.shape));
        let all = self.shape.iter().try_fold(1_u64, |all, d| all.checked_mul(*d));
        all.filter(|_| layout.fits(&self.shape)).and_then(|all| usize::try_from(all).ok()).ok_or_else(wrong)
    }
}
