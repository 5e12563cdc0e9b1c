//! `kiln export`: a trained model as ONNX that checks itself, or as a Hugging Face folder; each with a model card.
//! Owns its words and what a run adds to the card; kiln-onnx and kiln-eval write.

use std::path::{Path, PathBuf};

use kiln_core::device::{self, Chosen, DeviceSpec};
use kiln_core::{Exit, files};
use kiln_data::{Dataset, Split};
use kiln_eval::{Bundle, Embedder, ModelCard, model_card};
use kiln_models::{SaveOptions, SaveType};
use kiln_onnx::{Options, Precision, Report, Subject};
use kiln_train::runs::Overview;
use serde_json::{Map, Value, json};

use crate::report::{self, Failure, Outcome};
use crate::stdout;
use crate::target::{self, Target};
use crate::verbs::verify;

mod snippet;
mod words;

use words::{Format, Number, Words};

/// Write a trained model as ONNX, or as a Hugging Face folder, with a model card
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder or model folder
    model: PathBuf,
    /// format=onnx|hf precision=f32|f16|bf16|int8 (bf16: hf alone; int8: onnx alone) calibration=none|static samples=256
    /// (int8: activations too, by samples of the run's training data)
    #[arg(value_name = "KEY=VALUE")]
    words: Vec<String>,
    /// Folder to make; by default export/FORMAT in the run, or MODEL-FORMAT beside the model
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// The encoder alone, answering sentence embeddings: the mean over the text's tokens, of length 1 (onnx)
    #[arg(long)]
    embed: bool,
    /// Device that computes the golden answers; by default the CPU
    #[arg(long)]
    device: Option<DeviceSpec>,
}

/// What is exported, and the run it is of.
struct Source {
    model: PathBuf,
    run: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let words = Words::read(&args.words)?;
    let source = source(&args.model)?;
    let folder = args.output.clone().unwrap_or_else(|| place(&source, &words));
    match words.format {
        Format::Onnx => onnx(&args, &words, &source, &folder)?,
        Format::HuggingFace if args.embed => {
            return Err(Failure::new(Exit::Usage, "--embed is a form of format=onnx")
                .hint("the model folder holds the encoder already"));
        }
        Format::HuggingFace => hugging_face(&args, &words, &source, &folder)?,
    }
    stdout::line(&folder.display().to_string())?;
    Ok(Exit::Done)
}

fn source(path: &Path) -> Result<Source, Failure> {
    Ok(match Target::of(path)? {
        Target::Run { model, config } => Source { model, run: config.parent().map(Path::to_path_buf) },
        Target::Model { model, config } => {
            Source { model, run: config.and_then(|config| config.parent().map(Path::to_path_buf)) }
        }
        target @ Target::Config(_) => Source { model: target.model(path)?, run: None },
    })
}

fn place(source: &Source, words: &Words) -> PathBuf {
    match &source.run {
        Some(run) => run.join("export").join(words.name()),
        None => {
            let mut name = source.model.file_name().unwrap_or_default().to_os_string();
            name.push(format!("-{}", words.name()));
            source.model.with_file_name(name)
        }
    }
}

/// The device asked for; by default the processor, whose answers every other device's are compared with.
fn chosen(asked: Option<DeviceSpec>) -> Result<Chosen, Failure> {
    let processor = device::processor().map(|_| "cpu");
    target::device(asked, processor)
}

/// What the golden answers of an int8 file are worth, for people: the checks say only that every runtime gives these.
fn lost(differs: f32) -> String {
    format!(
        "int8: its golden answers differ from the float32 model's by up to {differs:.2} of the largest; golden inputs are made up, \
         so score the file on data of yours"
    )
}

fn onnx(args: &Args, words: &Words, source: &Source, folder: &Path) -> Result<(), Failure> {
    let precision = match words.precision {
        Number::F32 => Precision::F32,
        Number::F16 => Precision::F16,
        Number::Int8 => Precision::Int8,
        Number::Bf16 => {
            return Err(Failure::new(Exit::Usage, "precision=bf16 is for format=hf")
                .hint("few ONNX runtimes compute in bfloat16; say precision=f16"));
        }
    };
    let chosen = chosen(args.device)?;
    let training = words.calibration.map(|_| training(source, &chosen)).transpose()?;
    let device = chosen.device;
    let export = |subject: &Subject<'_>, task| {
        let samples = training.as_ref().zip(words.calibration);
        let calibration = samples.map(|(split, n)| kiln_onnx::calibration(split, subject.preprocessor, n));
        let options = Options { precision, calibration, ..Options::default() };
        let readme = |report: &Report| {
            let mut lines = vec![format!(
                "ONNX, opset 18, {}, {} nodes, {} bytes; inputs of any batch size and, of texts, any length",
                precision.word(),
                report.nodes,
                report.bytes
            )];
            lines.extend(report.checked.iter().map(|checked| format!("checked: {}", verify::line(checked))));
            lines.extend(report.differs.map(lost));
            if !subject.preprocessor.targets().is_empty() {
                lines.push("answers are in the labels' own units".into());
            }
            lines.extend(snippet::item(subject.preprocessor.input(), task, subject.folder));
            readme(source, subject, task, "onnx", lines, report.hashes.clone())
        };
        let report = kiln_onnx::export(subject, options, folder, readme)?;
        report.checked.iter().for_each(|checked| report::talk(&verify::line(checked)));
        report.differs.map(lost).iter().for_each(|line| report::talk(line));
        report::talk(&format!("{} nodes, {:.1} MB", report.nodes, report.bytes as f64 / 1e6));
        Ok(())
    };
    if args.embed {
        let embedder = Embedder::open(&source.model, device.clone(), 1)?;
        let kiln_models::Model { net, card, .. } = embedder.model();
        let preprocessor = embedder.preprocessor();
        let (net, device, folder) = (&**net, &device, source.model.as_path());
        return export(&Subject { net, card, preprocessor, device, folder }, None);
    }
    let bundle = Bundle::open(&source.model, &device)?;
    let (net, card, preprocessor) = (&*bundle.model.net, &bundle.model.card, &*bundle.preprocessor);
    let (device, folder) = (&device, source.model.as_path());
    export(&Subject { net, card, preprocessor, device, folder }, Some(bundle.task.kind()))
}

/// The training samples of the run that a model is of.
fn training(source: &Source, device: &Chosen) -> Result<Split, Failure> {
    let message = format!("{}: no training data to calibrate with", source.model.display());
    let none = || Failure::new(Exit::Usage, message).hint("give the run folder, or calibration=none");
    let config = source.run.as_ref().map(|run| run.join("config.toml")).ok_or_else(none)?;
    let config = kiln_train::load::load(&config, &[])?.config;
    let bundle = Bundle::open(&source.model, &device.device)?;
    let (preprocessor, task) = (bundle.preprocessor.clone(), bundle.task.kind());
    let dataset = Dataset::open_for(&config.data, preprocessor, &bundle.classes, task)?;
    dataset.train.ok_or_else(|| {
        Failure::new(Exit::Data, format!("{}: the run's data have no training split", source.model.display()))
    })
}

fn hugging_face(args: &Args, words: &Words, source: &Source, folder: &Path) -> Result<(), Failure> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(kiln_onnx::OnnxError::Occupied { path: folder.into() }.into());
    }
    let dtype = match words.precision {
        Number::F32 => SaveType::Float32,
        Number::F16 => SaveType::Float16,
        Number::Bf16 => SaveType::Bfloat16,
        Number::Int8 => {
            return Err(Failure::new(Exit::Usage, "precision=int8 is for format=onnx")
                .hint("a Hugging Face folder holds f32, f16 or bf16"));
        }
    };
    let device = chosen(args.device)?.device;
    let bundle = Bundle::open(&source.model, &device)?;
    let (net, card, preprocessor) = (&*bundle.model.net, &bundle.model.card, &*bundle.preprocessor);
    let options = SaveOptions { dtype, ..SaveOptions::default() };
    Bundle::save(folder, card, &net.state(), preprocessor, &options)?;
    let line =
        format!("Hugging Face folder, {}; the tensors are those of the model, in that type", dtype.name());
    let subject = Subject { net, card, preprocessor, device: &device, folder: source.model.as_path() };
    let text = readme(
        source,
        &subject,
        Some(bundle.task.kind()),
        "safetensors",
        vec![line],
        kiln_onnx::hashes(folder)?,
    );
    Ok(files::write_atomic(&folder.join(model_card::FILE), text.as_bytes())?)
}

/// The model card, with what the run says of data, scores and config.
fn readme(
    source: &Source,
    subject: &Subject<'_>,
    task: Option<kiln_core::TaskKind>,
    format: &'static str,
    export: Vec<String>,
    hashes: Vec<(String, String)>,
) -> String {
    let run = source.run.as_deref().and_then(|run| Overview::read(run).ok());
    let of = run.as_ref();
    let scored = [
        ("validation", of.and_then(|run| run.best.as_ref())),
        ("test", of.and_then(|run| run.test.as_ref())),
    ];
    let config = source.run.as_deref().and_then(|run| files::read_text(&run.join("config.toml")).ok());
    let name = source.run.as_deref().unwrap_or(&source.model).canonicalize().ok();
    let title = name.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    ModelCard {
        title: title.unwrap_or_else(|| "model".into()),
        task,
        family: subject.card.called(),
        labels: &if task.is_some() { subject.card.classes() } else { Vec::new() },
        input: subject.preprocessor.input(),
        data: of.map(|run| run.data.clone()),
        scores: scored
            .into_iter()
            .filter_map(|(split, scored)| Some((split, scored?)))
            .map(|(split, scored)| (split, scores(scored.loss, &scored.metrics)))
            .collect(),
        config,
        export,
        format,
        hashes,
    }
    .to_markdown()
}

fn scores(loss: f64, metrics: &Map<String, Value>) -> Map<String, Value> {
    std::iter::once(("loss".to_string(), json!(loss))).chain(metrics.clone()).collect()
}
