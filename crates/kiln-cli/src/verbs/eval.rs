//! `kiln eval`: scores a run, a model folder or a config's start weights on a split.
//! Owns which model and which data its words mean; kiln-eval scores.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use kiln_core::device::{Chosen, DeviceSpec};
use kiln_core::{Exit, Precision};
use kiln_data::config::LoaderConfig;
use kiln_data::{Dataset, OpenOptions, Split};
use kiln_eval::{Bundle, Evaluation, Scores, Tta, tasks};
use kiln_train::config::Config;
use serde::Serialize;

use crate::report::{self, Failure, Outcome};
use crate::stdout;
use crate::target::{self, Target};
use crate::verbs::tta::{self, Shown};

/// Score a model, a run or a config's start weights on a split
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder, model folder or config file
    target: PathBuf,
    /// Values that replace those of the config the model was trained with, for example data.test=other.csv
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Split to score; by default test if there is one, else validation
    #[arg(long)]
    split: Option<Name>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Device instead of the config's
    #[arg(long)]
    device: Option<DeviceSpec>,
    /// Show each image more than once and average the answers
    #[arg(long)]
    tta: Option<Shown>,
    /// Samples a batch
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: Option<u32>,
}

/// A split's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Name {
    Train,
    Validation,
    Test,
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Name::Train => "train",
            Name::Validation => "validation",
            Name::Test => "test",
        }
    }

    fn of(self, dataset: &Dataset) -> Option<&Split> {
        match self {
            Name::Train => dataset.train.as_ref(),
            Name::Validation => dataset.validation.as_ref(),
            Name::Test => dataset.test.as_ref(),
        }
    }
}

/// A model with the data to score it on.
struct Subject {
    bundle: Bundle,
    dataset: Dataset,
    chosen: Chosen,
    loader: LoaderConfig,
    precision: Precision,
}

#[derive(Serialize)]
struct Page<'a> {
    split: Name,
    #[serde(flatten)]
    scores: &'a Scores,
}

pub(crate) fn run(args: Args) -> Outcome {
    let subject = subject(&args)?;
    let (split, name) = choose(&subject.dataset, args.split)?;
    let (device, model) = (&subject.chosen.name, args.target.display());
    report::talk(&format!(
        "scoring {model} on the {} split: {} samples, device {device}",
        name.word(),
        split.len()
    ));
    let scores = score(&subject, split, tta::chosen(args.tta))?;
    let text = match args.json {
        true => serde_json::to_string(&Page { split: name, scores: &scores })
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?,
        false => format!("split     {}\n{}", name.word(), kiln_eval::report::page(&scores)),
    };
    stdout::line(&text)?;
    Ok(Exit::Done)
}

fn subject(args: &Args) -> Result<Subject, Failure> {
    let target = Target::of(&args.target)?;
    let config = target::config(&target, &args.overrides)?;
    let chosen = target::device(args.device, Some(&config.device))?;
    let (bundle, dataset) = match &target {
        Target::Config(_) => start_weights(&config, &chosen)?,
        Target::Run { model, .. } | Target::Model { model, .. } => trained(model, &config, &chosen)?,
    };
    let mut loader = config.data.loader().clone();
    loader.eval_batch_size = args.batch_size.map(|n| n as usize).or(loader.eval_batch_size);
    Ok(Subject { bundle, dataset, chosen, loader, precision: config.precision })
}

/// The model a config starts from: pretrained where it says so, else from the seed.
fn start_weights(config: &Config, chosen: &Chosen) -> Result<(Bundle, Dataset), Failure> {
    let tokenizer_folder = config.model.pretrained().map(PathBuf::as_path);
    let known = config.model.pretrained().and_then(|path| kiln_models::brought_classes(path));
    let options = OpenOptions { tokenizer_folder, task: config.task, known_classes: known.as_deref() };
    let dataset = Dataset::open(&config.data, &options)?;
    let mut model = kiln_models::build(
        &config.model,
        &dataset.input,
        &dataset.classes,
        config.task.kind(),
        &chosen.device,
        config.seed,
    )?;
    if let Some(lora) = &config.lora {
        kiln_models::lora::attach(&mut model, lora, config.seed)?;
    }
    if let Some(report) = &model.report {
        report::talk(&format!("pretrained weights: {report}"));
    }
    model.notes.iter().for_each(|note| report::talk(note));
    let (preprocessor, classes) = (dataset.preprocessor.clone(), dataset.classes.clone());
    let task = tasks::of(config.task.kind())?;
    Ok((Bundle { model, preprocessor, classes, task }, dataset))
}

fn trained(model: &Path, config: &Config, chosen: &Chosen) -> Result<(Bundle, Dataset), Failure> {
    let bundle = Bundle::open(model, &chosen.device)?;
    let dataset =
        Dataset::open_for(&config.data, bundle.preprocessor.clone(), &bundle.classes, bundle.task.kind())?;
    Ok((bundle, dataset))
}

/// The split asked for, else test, else validation. Never silently the training samples.
fn choose(dataset: &Dataset, asked: Option<Name>) -> Result<(&Split, Name), Failure> {
    let wanted = asked.map_or(vec![Name::Test, Name::Validation], |name| vec![name]);
    let found = wanted.iter().find_map(|name| Some((name.of(dataset)?, *name)));
    found.ok_or_else(|| {
        let there =
            [Name::Train, Name::Validation, Name::Test].into_iter().filter(|n| n.of(dataset).is_some());
        let there: Vec<_> = there.map(Name::word).collect();
        let wanted: Vec<_> = wanted.into_iter().map(Name::word).collect();
        Failure::new(
            Exit::Data,
            format!("the data has no {} split; it has: {}", wanted.join(" or "), there.join(", ")),
        )
        .hint("give one with data.test=PATH, or choose with --split")
    })
}

/// Names the samples that could not be used: as many as fit on a screen.
fn left_out(split: &Split) {
    let bad = split.bad();
    for sample in bad.iter().take(10) {
        report::talk(&format!("left out: {}", sample.reason));
    }
    if !bad.is_empty() {
        report::talk(&format!("{} of {} samples cannot be used and are left out", bad.len(), split.len()));
    }
}

fn score(subject: &Subject, split: &Split, tta: Tta) -> Result<Scores, Failure> {
    let bar = ProgressBar::new(split.len() as u64); // hides itself where stderr is not a terminal
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} ETA {eta}") {
        bar.set_style(style);
    }
    let Bundle { model, preprocessor, classes, task } = &subject.bundle;
    let evaluation = Evaluation {
        net: &*model.net.valid(),
        task: *task,
        labels: classes,
        split,
        preprocessor,
        loader: &subject.loader,
        device: &subject.chosen.device,
        tta,
    };
    let mut watch = |done, _| {
        bar.set_position(done as u64);
        true
    };
    let scores = kiln_nn::precision::within(subject.precision, || evaluation.run(&mut watch));
    bar.finish_and_clear();
    left_out(split);
    scores?.ok_or_else(|| Failure::new(Exit::Failed, "interrupted"))
}
