//! Fitting a file's tensors to a net: names as the net spells them, a new head where the classes differ, and the
//! rule that nothing else may be missing. Owns that rule; never reads files (`weights` does).
//! `build` and `open` call it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Bytes, DType, TensorData};
use kiln_core::{LoadReport, Net, StateDict, TaskKind};

use crate::dialect;
use crate::families::Family;
use crate::{Card, ModelError, WeightsError, card};

/// A file's tensors as a net has them, all that it needs.
pub(crate) struct Fitted {
    state: StateDict,
    pub(crate) report: LoadReport,
    pub(crate) notes: Vec<String>,
}

impl Fitted {
    /// Puts the tensors into the net that they were fitted to.
    pub(crate) fn load(self, net: &mut dyn Net) -> (LoadReport, Vec<String>) {
        net.load_state(&self.state);
        (self.report, self.notes)
    }
}

/// Fits `state` to a net, whose own values it does not look at; the head may be missing or of another number of
/// classes, and is then new.
pub(crate) fn fit(
    net: &dyn Net,
    state: StateDict,
    family: &dyn Family,
    card: &Card,
    path: &Path,
) -> Result<Fitted, ModelError> {
    let mut state = spelled_as(net, state, family, card)?;
    let copies = retie(&mut state, family.tied(card)?, path)?;
    let fitted = family.fit(card, &mut state).map_err(|fault| fault.at(path))?;
    let (heads, classes) = (family.heads(card)?, card.num_labels());
    let renamed = reorder_head(&mut state, &heads, &card.classes(), path);
    let was = heads.iter().filter_map(|head| drop_unfit_head(net, &mut state, head)).max();
    let (mut report, mut notes) = compare(net, &state, path)?;
    notes.extend(fitted);
    notes.extend(copies);
    notes.extend(renamed.filter(|_| was.is_none()));
    let in_head = |name: &String| heads.iter().any(|head| is_in(name, head));
    let (head_missing, missing) = report.missing.drain(..).partition(in_head);
    report.missing = missing;
    if !report.missing.is_empty() || !report.mismatched.is_empty() || report.matched.is_empty() {
        report.missing.extend(head_missing);
        return Err(unfit(net, &state, report, path));
    }
    if !head_missing.is_empty() {
        let was = was.map(|n| format!(" (the file's head has {n})")).unwrap_or_default();
        let of = if classes > 0 { format!(" for {classes} classes") } else { String::new() };
        notes.insert(0, format!("new head{of}{was}: {}", head_missing.join(", ")));
    }
    report.missing = head_missing;
    Ok(Fitted { state, report, notes })
}

/// Names of the classes that a pretrained folder's head answers, in its order; `None` where it does not say.
pub fn brought_classes(path: &Path) -> Option<Vec<String>> {
    let inside = path.join("model");
    let folder = if inside.join(card::FILE).is_file() { inside } else { path.to_path_buf() };
    let card = Card::read(&folder).ok()?;
    let named = card.task().is_ok_and(TaskKind::has_classes) && card.num_labels() > 1;
    // What transformers calls classes that nobody named.
    let unnamed = |(i, name): (usize, &String)| *name == format!("LABEL_{i}");
    let classes = card.classes();
    (named && !classes.iter().enumerate().all(unnamed)).then_some(classes)
}

/// Puts the rows of a head whose classes have the same names in another order into the net's order; answers what a
/// person should know of it, also where a head of as many other classes is used as it is.
fn reorder_head(state: &mut StateDict, heads: &[&str], classes: &[String], path: &Path) -> Option<String> {
    let known = brought_classes(path)?;
    if known == classes || known.len() != classes.len() {
        return None;
    }
    let places: Option<Vec<usize>> =
        classes.iter().map(|class| known.iter().position(|name| name == class)).collect();
    let Some(places) = places else {
        return Some(format!(
            "the file's head answers {}: it starts as it is and learns {}",
            known.join(", "),
            classes.join(", ")
        ));
    };
    let rows = |data: &TensorData| data.shape().first() == Some(&classes.len());
    for (_, data) in
        state.iter_mut().filter(|(name, data)| heads.iter().any(|h| is_in(name, h)) && rows(data))
    {
        *data = picked(data, &places)?;
    }
    Some(format!("the head's rows are put into the order of the classes: {}", classes.join(", ")))
}

/// Rows of `data [K, ..]` in another order.
fn picked(data: &TensorData, places: &[usize]) -> Option<TensorData> {
    let width = data.bytes().len() / places.len().max(1);
    let bytes: Vec<u8> =
        places.iter().flat_map(|k| data.bytes()[k * width..(k + 1) * width].iter().copied()).collect();
    TensorData::try_from_bytes(Bytes::from_bytes_vec(bytes), data.shape().to_vec(), data.dtype()).ok()
}

/// Fits `state`; every tensor of the net must be in it.
pub(crate) fn fit_exactly(
    net: &dyn Net,
    state: StateDict,
    family: &dyn Family,
    card: &Card,
    path: &Path,
) -> Result<Fitted, ModelError> {
    let mut state = spelled_as(net, state, family, card)?;
    let copies = retie(&mut state, family.tied(card)?, path)?;
    let (report, mut notes) = compare(net, &state, path)?;
    notes.extend(copies);
    match report.missing.is_empty() && report.mismatched.is_empty() {
        true => Ok(Fitted { state, report, notes }),
        false => Err(unfit(net, &state, report, path)),
    }
}

/// Renames tensors to the net's names where the file spells them in a way that the family knows: in one of its
/// dialects, without the base model's prefix, with fused projections split or split ones fused, or, as older files do,
/// `gamma` and `beta` for a norm's weight and bias.
fn spelled_as(
    net: &dyn Net,
    state: StateDict,
    family: &dyn Family,
    card: &Card,
) -> Result<StateDict, ModelError> {
    let shapes: BTreeMap<String, Vec<usize>> =
        net.parameters().into_iter().map(|p| (p.name, p.shape)).collect();
    let wanted: BTreeSet<String> = shapes.keys().cloned().collect();
    let (dialects, fused) = (family.dialects(card)?, family.fused());
    let mut known = wanted.clone();
    known.extend(wanted.iter().flat_map(|name| dialect::spelled_otherwise(name, fused)));
    let rename = |name: String| -> String {
        if known.contains(&name) {
            return name;
        }
        let modern = name.replace(".gamma", ".weight").replace(".beta", ".bias");
        let candidates = dialects.iter().flat_map(|d| [d.candidates(&name), d.candidates(&modern)]).flatten();
        candidates.into_iter().find(|c| known.contains(c)).unwrap_or(name)
    };
    let told = state.into_iter().filter(|(name, data)| !dialect::is_empty_counter(name, data));
    let mut state: StateDict = told.map(|(name, data)| (rename(name), data)).collect();
    dialect::join_and_split(&mut state, &wanted, fused);
    let fitted = |(name, data): (String, _)| match shapes.get(&name) {
        Some(shape) => (name, dialect::pointwise_as_linear(data, shape)),
        None => (name, data),
    };
    let mut state = state.into_iter().map(fitted).collect();
    family.take_in(card, &mut state)?;
    Ok(state)
}

/// Takes the second copies of tied tensors out of `state`; answers what it took. A copy alone becomes the original.
fn retie(
    state: &mut StateDict,
    tied: &[(&'static str, &'static str)],
    path: &Path,
) -> Result<Option<String>, ModelError> {
    let mut taken = Vec::new();
    for (copy, original) in tied {
        let Some(data) = state.remove(*copy) else { continue };
        match state.get(*original) {
            None => drop(state.insert((*original).to_string(), data)),
            Some(own) if *own == data => taken.push(*copy),
            Some(_) => {
                let message = format!(
                    "{copy} and {original} differ, expected equal: this model has them as one tensor"
                );
                let remedy =
                    "give weights with tied embeddings, or take the copy that is not meant out of the file";
                return Err(
                    WeightsError::Content { path: path.into(), message, remedy: remedy.into() }.into()
                );
            }
        }
    }
    let n = taken.len();
    Ok((n > 0).then(|| format!("{n} {} equal to tied ones left out: {}", tensors(n), taken.join(", "))))
}

/// Takes the head out of `state` if any of its tensors has another shape; answers the file's number of classes.
fn drop_unfit_head(net: &dyn Net, state: &mut StateDict, head: &str) -> Option<usize> {
    let parameters = net.parameters();
    let mut shapes = parameters.iter().filter(|p| is_in(&p.name, head));
    let unfit = shapes.find_map(|p| {
        let got = state.get(&p.name)?.shape().to_vec();
        // Only the number of classes, the first dimension, may differ.
        (got != p.shape && got.get(1..) == p.shape.get(1..)).then(|| got.first().copied())?
    });
    if unfit.is_some() {
        state.retain(|name, _| !is_in(name, head));
    }
    unfit
}

fn is_in(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// What loading `state` would come to, and what is converted or not used.
fn compare(net: &dyn Net, state: &StateDict, path: &Path) -> Result<(LoadReport, Vec<String>), ModelError> {
    let wanted = net.parameters();
    let mut converted: BTreeMap<&'static str, usize> = BTreeMap::new();
    for p in &wanted {
        match state.get(&p.name).map(|data| data.dtype()) {
            None | Some(DType::F32) => {}
            Some(dtype) => match float_name(dtype) {
                Some(name) => *converted.entry(name).or_default() += 1,
                None => return Err(not_float(path, &p.name, dtype)),
            },
        }
    }
    let report = LoadReport::of(&wanted, state);
    let mut notes: Vec<String> = converted
        .into_iter()
        .map(|(dtype, n)| format!("converted {n} {} from {dtype} to float32", tensors(n)))
        .collect();
    notes.extend(unused(&report.unexpected));
    Ok((report, notes))
}

fn not_float(path: &Path, name: &str, dtype: DType) -> ModelError {
    let message = format!("tensor {name} holds {dtype:?} values, expected floating point");
    WeightsError::Content { path: path.into(), message, remedy: "give unquantised weights".into() }.into()
}

fn float_name(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F16 => Some("float16"),
        DType::BF16 => Some("bfloat16"),
        DType::F64 => Some("float64"),
        _ => None,
    }
}

/// Says which tensors were not used, and which of them are counters and constants that no inference needs.
fn unused(unexpected: &[String]) -> Vec<String> {
    let harmless = |name: &&String| name.ends_with("num_batches_tracked") || name.ends_with("position_ids");
    let (buffers, others): (Vec<&String>, Vec<&String>) = unexpected.iter().partition(harmless);
    let line = |what: &str, names: &[&String]| {
        (!names.is_empty())
            .then(|| format!("{} {} {what}: {}", names.len(), tensors(names.len()), some(names)))
    };
    [
        line("of the file not used (counters and constants that kiln does not need)", &buffers),
        line("of the file not used by this model", &others),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn tensors(n: usize) -> &'static str {
    if n == 1 { "tensor" } else { "tensors" }
}

/// The first few names; the report has them all.
fn some<T: AsRef<str>>(names: &[T]) -> String {
    let first: Vec<&str> = names.iter().take(4).map(AsRef::as_ref).collect();
    let rest = names.len() - first.len();
    first.join(", ") + &if rest > 0 { format!(" and {rest} more") } else { String::new() }
}

fn unfit(net: &dyn Net, state: &StateDict, report: LoadReport, path: &Path) -> ModelError {
    let remedy = if report.matched.is_empty() {
        let wanted: Vec<String> = net.parameters().into_iter().map(|p| p.name).collect();
        let held: Vec<&String> = state.keys().collect();
        format!(
            "no name matches: the model has {}; the file has {}. Give weights of the same family and form",
            some(&wanted),
            some(&held)
        )
    } else {
        "give weights of the same family, form and sizes, or change the sizes in [model]".into()
    };
    ModelError::Weights { path: path.into(), report: Box::new(report), remedy }
}
