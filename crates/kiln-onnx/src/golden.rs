//! Golden cases: inputs, and what the model itself answers to them. An export is checked by them, and anywhere again.
//! Owns which inputs these are, and their file (safetensors, `CASE/INPUT` and `CASE/OUTPUT`); never a graph.
//! Some go through the model's own preprocessing; others take values from everywhere in the vocabulary or in the
//! categories, with padding on both sides. No random number, so that the same model gives the same file.
//!
//! Shapes: `B` batch, `T` tokens, `C` channels, `H W` pixels, `F` numbers, `N` categories.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use kiln_core::{InputSpec, Net, Output, StateDict};
use kiln_data::{DecodedImage, Features, HostBatch, HostFeatures, Label, Preprocessor, Raw, Scale, collate};
use kiln_eval::EvalError;
use kiln_models::weights::{from_safetensors, to_safetensors};
use kiln_nn::ops::plainly;
use tract_onnx::pb::GraphProto;

use crate::OnnxError;

/// The file beside the model.
pub const FILE: &str = "model.golden.safetensors";

/// Inputs and the right answer.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) inputs: BTreeMap<String, TensorData>,
    pub(crate) answer: TensorData,
}

const TEXTS: [&str; 4] = [
    "A quiet, funny and very human film.",
    "No.",
    "The plot does not hold together, but the two leads are so good that I did not mind at all & stayed to the end!",
    "12 of 30 readers said: \"it rains - again\"",
];

/// The cases of a model; `units` are what a regression's answers are scaled by.
///
/// # Errors
/// Inputs that the preprocessing refuses, or a net that cannot answer.
pub(crate) fn cases(
    net: &dyn Net,
    preprocessor: &Preprocessor,
    units: &[Scale],
    device: &Device,
) -> Result<Vec<Case>, OnnxError> {
    let input = preprocessor.input();
    let batches = match input {
        InputSpec::Image { channels, height, width } => images(preprocessor, [*channels, *height, *width])?,
        InputSpec::Tokens { vocab_size, max_length, pad_id } => {
            texts(preprocessor, *vocab_size, *max_length, *pad_id)?
        }
        InputSpec::Table { features, cardinalities } => rows(preprocessor, *features, cardinalities)?,
    };
    batches
        .into_iter()
        .map(|(name, batch)| {
            let inputs = named(&batch.features);
            // In the plain form padding is computed like the rest, and a runtime's answers to it can be compared too.
            let output = plainly(|| net.apply(collate(batch, device).input));
            let answer = answered(output.map_err(EvalError::from)?, units)?;
            Ok(Case { name: name.into(), inputs, answer })
        })
        .collect()
}

type Batches = Vec<(&'static str, HostBatch)>;

fn gathered(features: Vec<Features>, input: &InputSpec) -> HostBatch {
    let samples = features.into_iter().enumerate().map(|(i, one)| (i, one, Label::None)).collect();
    HostBatch::gather(samples, input)
}

fn images(preprocessor: &Preprocessor, [channels, height, width]: [usize; 3]) -> Result<Batches, OnnxError> {
    let image = |seed: usize| {
        let level = |i: usize| (spread(i + 7919 * seed) % 256) as u8;
        let pixels = (0..height * width * channels).map(level).collect();
        let raw = Raw::Image(DecodedImage { height, width, channels, pixels });
        preprocessor.prepare_named(raw, "the golden image", None)
    };
    let batch = |seeds: std::ops::Range<usize>| {
        Ok::<_, OnnxError>(gathered(seeds.map(image).collect::<Result<_, _>>()?, preprocessor.input()))
    };
    Ok(vec![("one", batch(0..1)?), ("three", batch(1..4)?)])
}

fn texts(
    preprocessor: &Preprocessor,
    vocab_size: usize,
    max_length: usize,
    pad_id: u32,
) -> Result<Batches, OnnxError> {
    let input = preprocessor.input();
    let read =
        TEXTS.iter().map(|text| read(preprocessor, text, max_length)).collect::<Result<Vec<_>, _>>()?;
    let some = |which: &[usize]| {
        let chosen = which.iter().filter_map(|i| read.get(*i).cloned()).collect();
        gathered(chosen, input)
    };
    Ok(vec![
        ("one_text", some(&[0])),
        ("three_texts", some(&[1, 2, 3])),
        ("one_of_ids", of_ids(1, 9.min(max_length), vocab_size, pad_id)),
        ("three_of_ids", of_ids(3, 16.min(max_length), vocab_size, pad_id)),
    ])
}

/// A text as the model's preprocessing reads it: alone, as a pair, in words, or cut out of plain text.
fn read(preprocessor: &Preprocessor, text: &str, max_length: usize) -> Result<Features, OnnxError> {
    let words = text.split(' ').map(String::from).collect();
    let forms = [Raw::Text(text.into()), Raw::Pair(text.into(), "Yes, twice.".into()), Raw::Words(words)];
    if let Some(features) = forms.into_iter().find_map(|raw| preprocessor.prepare(raw, None).ok()) {
        return Ok(features);
    }
    let mut ids = preprocessor.encode(text).transpose()?.unwrap_or_default(); // blocks of plain text
    ids.truncate(max_length);
    Ok(Features::Tokens { types: vec![0; ids.len()], ids })
}

/// Ids from the whole vocabulary. The second row is padded on the right, the third on the left.
fn of_ids(rows: usize, length: usize, vocab_size: usize, pad_id: u32) -> HostBatch {
    let real = |row: usize, t: usize| match row {
        1 => t < length.div_ceil(2),
        2 => t >= length / 3,
        _ => true,
    };
    let places = || (0..rows).flat_map(|row| (0..length).map(move |t| (row, t)));
    let id = |row: usize, t: usize| match real(row, t) {
        true => (spread(row * length + t) % vocab_size.max(1)) as i32,
        false => pad_id as i32,
    };
    let features = HostFeatures::Tokens {
        ids: places().map(|(row, t)| id(row, t)).collect(),
        mask: places().map(|(row, t)| real(row, t)).collect(),
        types: vec![0; rows * length],
        shape: [rows, length],
    };
    HostBatch { features, target: None, indices: (0..rows).collect(), padding: false }
}

fn rows(preprocessor: &Preprocessor, features: usize, cardinalities: &[usize]) -> Result<Batches, OnnxError> {
    let raw = Raw::Row {
        numbers: (0..features).map(|i| i as f32 / 2.0 - 1.0).collect(),
        categories: vec![String::new(); cardinalities.len()],
    };
    let one = preprocessor.prepare_named(raw, "the golden row", None)?;
    let number = |i: usize| (spread(i) % 4001) as f32 / 1000.0 - 2.0;
    let index = |i: usize| (spread(i) % cardinalities[i % cardinalities.len()].max(1)) as i32;
    let features = HostFeatures::Table {
        numbers: (0..3 * features).map(number).collect(),
        categories: (0..3 * cardinalities.len()).map(index).collect(),
        shape: [3, features, cardinalities.len()],
    };
    let three = HostBatch { features, target: None, indices: vec![0, 1, 2], padding: false };
    Ok(vec![("one", gathered(vec![one], preprocessor.input())), ("three", three)])
}

/// A number for a number, without a pattern (the finaliser of MurmurHash3).
fn spread(i: usize) -> usize {
    let mut bits = i as u32 ^ 0x9E37_79B9;
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85EB_CA6B);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xC2B2_AE35);
    (bits ^ (bits >> 16)) as usize
}

/// A batch under the inputs' names.
pub(crate) fn named(features: &HostFeatures) -> BTreeMap<String, TensorData> {
    let wide = |ids: &[i32]| ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
    let all = match features {
        HostFeatures::Image { values, shape } => {
            vec![("pixel_values", TensorData::new(values.clone(), *shape))]
        }
        HostFeatures::Tokens { ids, mask, types, shape } => {
            let mask: Vec<i64> = mask.iter().map(|real| i64::from(*real)).collect();
            vec![
                ("input_ids", TensorData::new(wide(ids), *shape)),
                ("attention_mask", TensorData::new(mask, *shape)),
                ("token_type_ids", TensorData::new(wide(types), *shape)),
            ]
        }
        HostFeatures::Table { numbers, categories, shape: [b, f, n] } => vec![
            ("numbers", TensorData::new(numbers.clone(), [*b, *f])),
            ("categories", TensorData::new(wide(categories), [*b, *n])),
        ],
    };
    all.into_iter().map(|(name, data)| (name.to_string(), data)).collect()
}

/// An answer on the host, a regression's in the labels' own units.
fn answered(output: Output, units: &[Scale]) -> Result<TensorData, OnnxError> {
    let (data, shape) = match output {
        Output::Logits(logits) => (logits.clone().into_data(), logits.dims().to_vec()),
        Output::TokenLogits(logits) => (logits.clone().into_data(), logits.dims().to_vec()),
    };
    let mut values: Vec<f32> = data.iter::<f32>().collect();
    if !units.is_empty() {
        for (i, value) in values.iter_mut().enumerate() {
            *value = units.get(i % units.len()).map_or(*value, |scale| scale.undo(*value));
        }
    }
    Ok(TensorData::new(values, shape))
}

/// The cases with the inputs alone that a graph reads.
pub(crate) fn read_by(graph: &GraphProto, cases: Vec<Case>) -> Vec<Case> {
    let reads = |name: &String| graph.input.iter().any(|input| input.name == *name);
    let one = |case: Case| Case {
        inputs: case.inputs.into_iter().filter(|(name, _)| reads(name)).collect(),
        ..case
    };
    cases.into_iter().map(one).collect()
}

/// The file's bytes; `output` is the graph's name of the answer.
///
/// # Errors
/// None that these tensors' types can give.
pub(crate) fn bytes(cases: &[Case], output: &str) -> Result<Vec<u8>, OnnxError> {
    let mut state = StateDict::new();
    for case in cases {
        let inputs = case.inputs.iter().map(|(name, data)| (format!("{}/{name}", case.name), data.clone()));
        state.extend(inputs);
        state.insert(format!("{}/{output}", case.name), case.answer.clone());
    }
    Ok(to_safetensors(&state, &[]).map_err(kiln_models::ModelError::from)?)
}

/// The cases of a file's bytes.
///
/// # Errors
/// A file of another form.
pub(crate) fn read_bytes(bytes: &[u8], path: &Path, output: &str) -> Result<Vec<Case>, OnnxError> {
    let fault = |problem: String| OnnxError::Golden { path: path.into(), problem };
    let state = from_safetensors(bytes, path).map_err(kiln_models::ModelError::from)?;
    let mut found: BTreeMap<String, BTreeMap<String, TensorData>> = BTreeMap::new();
    for (name, data) in state {
        let (case, tensor) = name.split_once('/').ok_or_else(|| fault(format!("no case in {name:?}")))?;
        found.entry(case.into()).or_default().insert(tensor.into(), data);
    }
    let case = |(name, mut inputs): (String, BTreeMap<String, TensorData>)| {
        let answer = inputs.remove(output).ok_or_else(|| fault(format!("{name} has no {output}")))?;
        Ok(Case { name, inputs, answer })
    };
    found.into_iter().map(case).collect()
}
