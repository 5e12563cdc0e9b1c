//! How the reference implementations spell one architecture's tensors: rules between their names and the net's own.
//! Owns renaming both ways, splitting and joining of fused projections, and pointwise layers kept as 1x1 convolutions;
//! never which dialect a folder is in (its family says) nor what may be missing (`pretrained` does).
//! A folder keeps the dialect it came in: `pretrained` reads through this, `save` writes through it.

use std::collections::BTreeSet;

use burn::tensor::{Shape, TensorData};
use kiln_core::StateDict;

/// One spelling of a family's tensors.
#[derive(Debug, Clone, Default)]
pub struct Dialect {
    /// What a file of the model without its head leaves off the front of every name; empty where it leaves nothing.
    base: &'static str,
    /// (own, theirs): the start of a name, whole path segments; `{}` stands for an index. The first match counts.
    rules: Vec<(String, String)>,
    /// Own names of linear layers whose weights `[OUT, IN]` this dialect writes as `[OUT, IN, 1, 1]`.
    pointwise: Vec<String>,
    /// Whether batch norms have a counter beside their running statistics.
    counters: bool,
}

const COUNTER: &str = "num_batches_tracked";

/// A projection that some dialects keep whole and others in equal parts along the first dimension.
#[derive(Debug, Clone, Copy)]
pub struct Fused {
    /// The path segment of the whole, such as `qkv`.
    pub whole: &'static str,
    /// The path segments of the parts, in order.
    pub parts: &'static [&'static str],
}

impl Dialect {
    /// The net's own names; a file without the head leaves `base` off.
    pub fn own(base: &'static str) -> Self {
        Self { base, ..Self::default() }
    }

    /// Names by rules `(own, theirs)`; a name that no rule matches is spelled the same on both sides.
    pub fn new(base: &'static str, rules: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { base, rules: rules.into_iter().collect(), ..Self::default() }
    }

    /// Writes these own linear layers as 1x1 convolutions.
    #[must_use]
    pub fn with_pointwise(mut self, layers: impl IntoIterator<Item = &'static str>) -> Self {
        self.pointwise = layers.into_iter().map(String::from).collect();
        self
    }

    /// Writes a counter beside each running mean, as PyTorch's batch norm has it, so that no reader misses it. PyTorch
    /// uses it only in layers without a momentum; kiln does not count, and writes 0.
    #[must_use]
    pub fn with_counters(mut self) -> Self {
        self.counters = true;
        self
    }

    /// Their name of the net's tensor `own`.
    pub fn theirs(&self, own: &str) -> String {
        translate(self.rules.iter().map(|(own, theirs)| (own, theirs)), own)
            .unwrap_or_else(|| own.to_string())
    }

    /// The net's name of their tensor.
    pub fn ours(&self, theirs: &str) -> String {
        translate(self.rules.iter().map(|(own, theirs)| (theirs, own)), theirs)
            .unwrap_or_else(|| theirs.to_string())
    }

    /// What their tensor may be called by the net: as it is, and with the base model's prefix put back.
    pub(crate) fn candidates(&self, theirs: &str) -> [String; 2] {
        [self.ours(theirs), self.ours(&format!("{}{theirs}", self.base))]
    }

    /// A net's state as this dialect's file has it.
    pub fn write(&self, state: StateDict) -> StateDict {
        let mut file: StateDict =
            state.into_iter().map(|(own, data)| (self.theirs(&own), self.shaped(&own, data))).collect();
        let layers = file.keys().filter_map(|name| name.strip_suffix("running_mean"));
        let counters: Vec<String> =
            layers.filter(|_| self.counters).map(|l| format!("{l}{COUNTER}")).collect();
        file.extend(counters.into_iter().map(|name| (name, TensorData::new(vec![0i64], Shape::new([])))));
        file
    }

    fn shaped(&self, own: &str, data: TensorData) -> TensorData {
        let listed = || self.pointwise.iter().any(|layer| matched(layer, own).is_some());
        match data.shape()[..] {
            [out, input] if listed() => reshaped(data, &[out, input, 1, 1]),
            _ => data,
        }
    }
}

/// Whether a tensor is a batch norm's counter that has counted nothing.
pub(crate) fn is_empty_counter(name: &str, data: &TensorData) -> bool {
    name.ends_with(COUNTER) && data.as_slice::<i64>().is_ok_and(|count| count == [0])
}

/// `[OUT, IN, 1, 1]`, the weight of a pointwise convolution, as the linear layer's `[OUT, IN]` where the net has that.
pub(crate) fn pointwise_as_linear(data: TensorData, wanted: &[usize]) -> TensorData {
    match (&data.shape()[..], wanted) {
        ([out, input, 1, 1], [o, i]) if out == o && input == i => reshaped(data, wanted),
        _ => data,
    }
}

fn reshaped(data: TensorData, shape: &[usize]) -> TensorData {
    let (bytes, _, dtype) = data.into_parts();
    TensorData::from_bytes(bytes, shape.to_vec(), dtype)
}

/// The names that `wanted` can be made of besides itself: parts of a whole, the whole of parts.
pub(crate) fn spelled_otherwise(wanted: &str, fused: &[Fused]) -> Vec<String> {
    let mut names = Vec::new();
    for f in fused {
        names.extend(with_segment(wanted, f.whole, f.parts));
        for part in f.parts {
            names.extend(with_segment(wanted, part, &[f.whole]));
        }
    }
    names
}

/// Joins or splits fused projections in `state`, so that it has each of `wanted` that it has the makings of.
pub(crate) fn join_and_split(state: &mut StateDict, wanted: &BTreeSet<String>, fused: &[Fused]) {
    for name in wanted {
        for f in fused {
            if state.contains_key(name) {
                break;
            }
            join(state, name, f);
            split(state, name, f);
        }
    }
    let used = |name: &String| {
        wanted.contains(name) || !spelled_otherwise(name, fused).iter().any(|n| wanted.contains(n))
    };
    state.retain(|name, _| used(name));
}

fn join(state: &mut StateDict, name: &str, fused: &Fused) {
    let names = with_segment(name, fused.whole, fused.parts);
    let parts: Vec<&TensorData> = names.iter().filter_map(|n| state.get(n)).collect();
    let Some(first) = parts.first().filter(|_| parts.len() == fused.parts.len()) else { return };
    let same = |p: &&TensorData| p.shape() == first.shape() && p.dtype() == first.dtype();
    if !parts.iter().all(same) {
        return;
    }
    let (mut shape, dtype) = (first.shape().to_vec(), first.dtype());
    let Some(rows) = shape.first_mut() else { return };
    *rows *= parts.len();
    let bytes: Vec<u8> = parts.iter().flat_map(|p| p.bytes().iter().copied()).collect();
    if let Ok(whole) = TensorData::try_from_bytes_vec(bytes, shape, dtype) {
        state.insert(name.to_string(), whole);
    }
}

fn split(state: &mut StateDict, name: &str, fused: &Fused) {
    for (at, part) in fused.parts.iter().enumerate() {
        let Some(whole) = with_segment(name, part, &[fused.whole]).pop().and_then(|n| state.get(&n)) else {
            continue;
        };
        let (mut shape, dtype) = (whole.shape().to_vec(), whole.dtype());
        let Some(rows) = shape.first_mut().filter(|rows| rows.is_multiple_of(fused.parts.len())) else {
            continue;
        };
        *rows /= fused.parts.len();
        let length = whole.bytes().len() / fused.parts.len();
        let bytes = whole.bytes()[at * length..(at + 1) * length].to_vec();
        if let Ok(part) = TensorData::try_from_bytes_vec(bytes, shape, dtype) {
            state.insert(name.to_string(), part);
        }
    }
}

/// `name` with its path segment `from` replaced by each of `to`; nothing where it has no such segment.
fn with_segment(name: &str, from: &str, to: &[&str]) -> Vec<String> {
    if !name.split('.').any(|segment| segment == from) {
        return Vec::new();
    }
    let put = |new: &&str| {
        let segments: Vec<&str> = name.split('.').map(|s| if s == from { *new } else { s }).collect();
        segments.join(".")
    };
    to.iter().map(put).collect()
}

/// `name` by the first rule `(from, to)` whose `from` starts it.
fn translate<'a>(rules: impl Iterator<Item = (&'a String, &'a String)>, name: &str) -> Option<String> {
    for (from, to) in rules {
        let Some((indices, rest)) = matched(from, name) else { continue };
        let mut indices = indices.into_iter();
        let put = |segment| if segment == "{}" { indices.next().unwrap_or(segment) } else { segment };
        let start: Vec<&str> = to.split('.').map(put).collect();
        return Some(start.join(".") + rest);
    }
    None
}

/// What the pattern's `{}` stand for in the start of `name`, and the rest of it with its dot.
fn matched<'a>(pattern: &str, name: &'a str) -> Option<(Vec<&'a str>, &'a str)> {
    let (mut indices, mut rest) = (Vec::new(), name);
    for wanted in pattern.split('.') {
        let text = rest.strip_prefix('.').unwrap_or(rest);
        let end = text.find('.').unwrap_or(text.len());
        let (segment, after) = text.split_at(end);
        match wanted {
            "{}" if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) => {
                indices.push(segment)
            }
            same if same == segment => {}
            _ => return None,
        }
        rest = after;
    }
    Some((indices, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Dialect {
        let pairs =
            [("blocks.{}.{}.bn", "layer.{}.part.{}.norm"), ("norm", "base.layernorm"), ("head", "out.1")];
        Dialect::new("base.", pairs.map(|(a, b)| (a.to_string(), b.to_string())))
    }

    #[test]
    fn names_go_out_and_come_back() {
        let pairs = [
            ("blocks.10.2.bn.weight", "layer.10.part.2.norm.weight"),
            ("norm.bias", "base.layernorm.bias"),
            ("head.weight", "out.1.weight"),
            ("norm1.weight", "norm1.weight"),
            ("blocks.x.2.bn", "blocks.x.2.bn"),
        ];
        for (own, theirs) in pairs {
            assert_eq!(rules().theirs(own), theirs);
            assert_eq!(rules().ours(theirs), own);
        }
        assert_eq!(rules().candidates("layernorm.bias")[1], "norm.bias");
    }

    fn rows(n: usize, start: f32) -> TensorData {
        TensorData::new((0..n * 2).map(|i| start + i as f32).collect::<Vec<_>>(), [n, 2])
    }

    const QKV: &[Fused] = &[Fused { whole: "qkv", parts: &["query", "key", "value"] }];

    #[test]
    fn a_fused_projection_is_split_and_joined_without_loss() {
        let whole: StateDict = [("a.qkv.weight".to_string(), rows(6, 0.0))].into();
        let parts: StateDict = [("query", 0.0), ("key", 4.0), ("value", 8.0)]
            .map(|(name, start)| (format!("a.{name}.weight"), rows(2, start)))
            .into();
        let mut state = whole.clone();
        join_and_split(&mut state, &parts.keys().cloned().collect(), QKV);
        assert_eq!(state, parts);
        join_and_split(&mut state, &whole.keys().cloned().collect(), QKV);
        assert_eq!(state, whole);
    }

    #[test]
    fn parts_that_do_not_fit_are_left_for_the_report() {
        let mut state: StateDict = [("a.query.weight".to_string(), rows(2, 0.0))].into();
        join_and_split(&mut state, &["b.weight".to_string()].into(), QKV);
        assert_eq!(state.len(), 1);
        join_and_split(&mut state, &["a.qkv.weight".to_string()].into(), QKV);
        assert!(!state.contains_key("a.qkv.weight"));
    }

    #[test]
    fn pointwise_layers_become_convolutions_and_linear_again() {
        let dialect = Dialect::own("").with_pointwise(["blocks.{}.fc1"]);
        let state: StateDict =
            ["blocks.0.fc1.weight", "blocks.0.fc2.weight"].map(|n| (n.to_string(), rows(3, 1.0))).into();
        let written = dialect.write(state.clone());
        assert_eq!(written["blocks.0.fc1.weight"].shape().to_vec(), [3, 2, 1, 1]);
        assert_eq!(written["blocks.0.fc2.weight"].shape().to_vec(), [3, 2]);
        let back = pointwise_as_linear(written["blocks.0.fc1.weight"].clone(), &[3, 2]);
        assert_eq!(back, state["blocks.0.fc1.weight"]);
    }
}
