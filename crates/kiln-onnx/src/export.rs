//! From an open model to a folder with its ONNX file, golden cases and preprocessing, checked before anybody sees it.
//! Owns the order of these steps and the folder's appearance; each step is another file's.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use kiln_core::Net;
use kiln_core::files::{self, FileError};
use kiln_data::{DataError, HostBatch, Preprocessor, pipeline_hashes};
use kiln_models::Card;
use serde_json::json;
use tract_onnx::pb::GraphProto;

use crate::check::Checked;
use crate::families::{Answer, EXPORTERS};
use crate::graph::{Graph, Side};
use crate::{OnnxError, file, golden, half, int8, units};

/// Numbers of the weights and of what is computed from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// float16 inside; inputs and answers are float32.
    F16,
    /// Weights in int8; activations too where there is something to calibrate with ([`Options::calibration`]).
    Int8,
}

impl Precision {
    /// The word in metadata and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
        }
    }
}

/// How far answers of a float32 graph may be from the model's own, by largest answers up to 1.
pub(crate) const F32: f32 = 1e-4;
/// The same in float16.
const F16: f32 = 1e-2;
/// Of activations in steps of 1/255 of their range, between two runtimes that round one step otherwise.
const STEPS: f32 = 5e-2;

/// How to export.
pub struct Options<'a> {
    /// Numbers.
    pub precision: Precision,
    /// More bytes of weights than this are a file of their own; [`file::LARGEST`] by default.
    pub largest: u64,
    /// Batches of training samples by which int8 activations are scaled; without, activations stay float32.
    pub calibration: Option<Calibration<'a>>,
}

/// Batches of prepared samples.
pub type Calibration<'a> = Box<dyn Iterator<Item = Result<HostBatch, DataError>> + 'a>;

impl Default for Options<'_> {
    fn default() -> Self {
        Self { precision: Precision::default(), largest: file::LARGEST, calibration: None }
    }
}

impl Options<'_> {
    fn tolerance(&self) -> f32 {
        match self.precision {
            Precision::F32 => F32,
            Precision::F16 => F16,
            Precision::Int8 if self.calibration.is_some() => STEPS,
            Precision::Int8 => F32,
        }
    }
}

/// A model to export: as it answers on `device`, in evaluation.
pub struct Subject<'a> {
    /// The net.
    pub net: &'a dyn Net,
    /// Its `config.json`.
    pub card: &'a Card,
    /// How its input is made.
    pub preprocessor: &'a Preprocessor,
    /// Where the net is.
    pub device: &'a Device,
    /// The model folder.
    pub folder: &'a Path,
}

/// What an export left.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The folder.
    pub folder: PathBuf,
    /// Bytes of the model with its weights.
    pub bytes: u64,
    /// Nodes of the graph.
    pub nodes: usize,
    /// The golden cases, each within its tolerance.
    pub checked: Vec<Checked>,
    /// (file, BLAKE3 hash) of what is in the folder, the model card left out.
    pub hashes: Vec<(String, String)>,
    /// Of int8: the largest difference of a golden answer from the model's own, by the largest answer where that is above 1.
    /// Nothing is checked by it: scores say what was lost.
    pub differs: Option<f32>,
}

/// Exports into `folder`, which must not be there yet or be empty: [`file::MODEL`], [`golden::FILE`], `config.json`, the
/// files of the preprocessing, and `README.md` by what `readme` says.
///
/// # Errors
/// A layer without an ONNX form; answers that differ; the system refuses. Then there is no folder.
pub fn export(
    subject: &Subject<'_>,
    mut options: Options<'_>,
    folder: &Path,
    readme: impl FnOnce(&Report) -> String,
) -> Result<Report, OnnxError> {
    let staged = Staged::beside(folder)?;
    let (mut graph, output) = draw(subject)?;
    let scales = subject.preprocessor.targets();
    let cases = golden::cases(subject.net, subject.preprocessor, scales, subject.device)?;
    let mut cases = golden::read_by(&graph, cases);
    let tolerance = options.tolerance();
    let mut differs = None;
    match options.precision {
        Precision::F32 => units::undo(&mut graph, output, scales),
        Precision::F16 => {
            half::halve(&mut graph)?;
            units::undo(&mut graph, output, scales);
        }
        Precision::Int8 => {
            let calibration = options.calibration.take();
            let narrow = |graph: &mut GraphProto| units::undo(graph, output, scales);
            differs = Some(int8::narrow(
                &mut graph,
                &mut cases,
                calibration,
                narrow,
                &staged.path().join(file::MODEL),
            )?);
            refuse_large(&graph, options.largest)?;
        }
    }
    let nodes = graph.node.len();
    let golden = golden::bytes(&cases, output)?;
    files::write_synced(&staged.path().join(golden::FILE), &golden)?;
    let metadata = metadata(subject, options.precision, tolerance, output, &golden)?;
    file::write(&mut file::model(graph, metadata), staged.path(), options.largest)?;
    copy_inputs(subject.folder, staged.path())?;
    files::write_synced(&staged.path().join("config.json"), subject.card.to_json().as_bytes())?;
    let checked = crate::verify::verify(&staged.path().join(file::MODEL))?;
    let bytes = size(&staged.path().join(file::MODEL)) + size(&staged.path().join(file::DATA));
    let hashes = hashes(staged.path())?;
    let report = Report { folder: folder.into(), bytes, nodes, checked, hashes, differs };
    files::write_synced(&staged.path().join("README.md"), readme(&report).as_bytes())?;
    staged.appear()?;
    Ok(report)
}

/// (file, BLAKE3 hash) of the files in a folder, by name.
///
/// # Errors
/// The system refuses.
pub fn hashes(folder: &Path) -> Result<Vec<(String, String)>, FileError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::at(folder, "list"))? {
        let path = entry.map_err(FileError::at(folder, "list"))?.path();
        if path.is_file() {
            let mut hasher = blake3::Hasher::new();
            let file = fs::File::open(&path).map_err(FileError::at(&path, "open"))?;
            hasher.update_reader(file).map_err(FileError::at(&path, "read"))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.push((name, hasher.finalize().to_hex().to_string()));
        }
    }
    all.sort();
    Ok(all)
}

/// Weights in another file are not widened for a check.
fn refuse_large(graph: &GraphProto, largest: u64) -> Result<(), OnnxError> {
    let bytes: u64 = graph.initializer.iter().map(|tensor| tensor.raw_data.len() as u64).sum();
    if bytes <= largest {
        return Ok(());
    }
    Err(OnnxError::Unfit {
        message: format!("{bytes} bytes of int8 weights are more than one file of ONNX holds"),
        remedy: "export with precision=f16".into(),
    })
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// The graph in float32 and the name of its answer.
pub(crate) fn draw(subject: &Subject<'_>) -> Result<(GraphProto, &'static str), OnnxError> {
    let family = kiln_models::families::of_card(subject.card, subject.folder)?;
    let known = EXPORTERS.iter().find(|(name, _)| *name == family.name());
    let (name, draw) = known.ok_or_else(|| OnnxError::NoFamily { family: family.name().into() })?;
    let (state, facts) = (subject.net.state(), family.facts(subject.card)?);
    let mut graph = Graph::new(name, &state);
    let answer = draw(&mut graph, &facts, subject.preprocessor.input());
    let (batch, sequence) = (Side::Any("batch_size"), Side::Any("sequence_length"));
    let (output, value, shape) = match answer {
        Answer::Sample(value, k) => ("logits", value, vec![batch, Side::Fixed(k)]),
        Answer::Tokens(value, k) => ("logits", value, vec![batch, sequence, Side::Fixed(k)]),
        Answer::Embedding(value, d) => ("sentence_embedding", value, vec![batch, Side::Fixed(d)]),
    };
    graph.output(output, &value, &shape);
    Ok((graph.finish()?, output))
}

/// What the file says of itself: labels by index, the program from raw sample to input, and where the golden cases are.
fn metadata(
    subject: &Subject<'_>,
    precision: Precision,
    tolerance: f32,
    output: &str,
    golden: &[u8],
) -> Result<Vec<(String, String)>, OnnxError> {
    let card = subject.card;
    let golden = json!({
        "file": golden::FILE,
        "blake3": blake3::hash(golden).to_hex().to_string(),
        "output": output,
        "tolerance": tolerance,
    });
    let mut all = vec![
        (
            "kiln.task",
            if output == "logits" { card.task()?.to_string() } else { "sentence_embedding".into() },
        ),
        ("kiln.precision", precision.word().into()),
        ("kiln.labels", json!(card.classes()).to_string()),
        ("kiln.config", serde_json::to_string(card).unwrap_or_default()),
        ("kiln.pipeline", json!(pipeline_hashes(subject.folder)?).to_string()),
        ("kiln.golden", golden.to_string()),
    ];
    if !subject.preprocessor.targets().is_empty() {
        all.push((
            "kiln.units",
            "answers are in the labels' own units: the graph undoes their scaling".into(),
        ));
    }
    for name in ["preprocessor_config.json", "tokenizer_config.json"] {
        let path = subject.folder.join(name);
        if path.is_file() {
            all.push(("kiln.preprocessing", files::read_text(&path)?));
            break;
        }
    }
    Ok(all.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

/// The files that say how raw samples become inputs.
fn copy_inputs(from: &Path, to: &Path) -> Result<(), OnnxError> {
    for name in files::OF_INPUTS {
        let path = from.join(name);
        if path.is_file() {
            files::write_synced(&to.join(name), &files::read(&path)?)?;
        }
    }
    Ok(())
}

/// A folder that appears whole or not at all.
struct Staged {
    fresh: PathBuf,
    place: PathBuf,
    appeared: bool,
}

impl Staged {
    fn beside(place: &Path) -> Result<Self, OnnxError> {
        let empty = fs::read_dir(place).map(|mut entries| entries.next().is_none());
        if matches!(empty, Ok(false)) || place.is_file() {
            return Err(OnnxError::Occupied { path: place.into() });
        }
        let parent = place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(FileError::at(parent, "create"))?;
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fresh = parent.join(format!(".kiln-{name}-{}.tmp", std::process::id()));
        fs::create_dir(&fresh).map_err(FileError::at(&fresh, "create"))?;
        Ok(Self { fresh, place: place.into(), appeared: false })
    }

    fn path(&self) -> &Path {
        &self.fresh
    }

    fn appear(mut self) -> Result<(), OnnxError> {
        files::sync_folder(&self.fresh)?;
        fs::rename(&self.fresh, &self.place).map_err(FileError::at(&self.place, "rename into place"))?;
        self.appeared = true;
        let parent = self.place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(files::sync_folder(parent)?)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.appeared {
            let _ = fs::remove_dir_all(&self.fresh);
        }
    }
}
