//! `kiln models`: the families with their presets, what a model costs before it is trained, and an adapter merged.
//! Owns which model its words mean and how the answer is shown; kiln-models builds and counts.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use kiln_core::device::Chosen;
use kiln_core::net::ParamInfo;
use kiln_core::{Exit, InputSpec, TaskKind};
use kiln_data::{Dataset, OpenOptions};
use kiln_models::cost::{Cost, cost};
use kiln_models::{FAMILIES, Model, presets};
use kiln_train::config::Config;
use kiln_train::finetune::{Finetune, table};
use kiln_train::{Plan, TrainError};
use serde::Serialize;

use crate::report::{self, Failure, Outcome};
use crate::stdout;
use crate::target::{self, Target};

/// List model families and presets, show what a model costs, or merge an adapter
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Families, the model types they open, and presets
    Ls {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Parameters, operations and activation memory of a model
    Show(Show),
    /// Merge an adapter into its base model's weights
    Merge(Merge),
}

#[derive(Debug, clap::Args)]
struct Merge {
    /// Model folder, or run folder, that the adapter was trained on
    base: PathBuf,
    /// Adapter folder, of kiln or peft
    adapter: PathBuf,
    /// Folder to make
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Config file, run folder, model folder or preset
    target: String,
    /// Values that replace those of the config, for example lora.rank=4
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Inputs in one pass
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Tokens of a text; by default the longest that the model is set to read
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    length: Option<u32>,
    /// List every parameter by the name that patterns are matched with
    #[arg(long)]
    parameters: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Outcome {
    let text = match args.what {
        What::Ls { json } => list(json)?,
        What::Show(args) => show(&args)?,
        What::Merge(args) => merge(&args)?,
    };
    stdout::line(text.trim_end())?;
    Ok(Exit::Done)
}

/// The folder that was made.
fn merge(args: &Merge) -> Result<String, Failure> {
    let base = Target::of(&args.base)?.model(&args.base)?;
    let notes = kiln_models::merge(&base, &args.adapter, &args.output, &processor()?.device)?;
    notes.iter().for_each(|note| report::talk(note));
    Ok(args.output.display().to_string())
}

#[derive(Serialize)]
struct Line {
    kind: &'static str,
    model_type: &'static str,
    description: &'static str,
    presets: Vec<String>,
}

fn list(json: bool) -> Result<String, Failure> {
    let lines: Vec<Line> = FAMILIES
        .iter()
        .map(|f| Line {
            kind: f.name(),
            model_type: f.model_type(),
            description: f.description(),
            presets: presets::of(f.name()),
        })
        .collect();
    if json {
        return to_json(&lines);
    }
    let mut text = String::new();
    for line in lines {
        text += &format!("{:<14} {}\n", line.kind, line.description);
        if !line.presets.is_empty() {
            text += &format!("{:<14} presets: {}\n", "", line.presets.join(" "));
        }
    }
    Ok(text)
}

/// A model that can be measured.
struct Subject {
    model: Model,
    input: InputSpec,
    /// The groups of parameters that the config makes.
    groups: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    model_type: &'a str,
    input: &'a InputSpec,
    batch: usize,
    tokens: Option<usize>,
    #[serde(flatten)]
    cost: Cost,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Vec<Parameter>>,
}

#[derive(Serialize)]
struct Parameter {
    name: String,
    shape: Vec<usize>,
    trainable: bool,
}

impl From<ParamInfo> for Parameter {
    fn from(ParamInfo { name, shape, trainable }: ParamInfo) -> Self {
        Self { name, shape, trainable }
    }
}

fn show(args: &Show) -> Result<String, Failure> {
    let Subject { model, input, groups } = subject(args)?;
    let tokens = match &input {
        InputSpec::Tokens { max_length, .. } => Some(length(args.length, *max_length)?),
        InputSpec::Image { .. } | InputSpec::Table { .. } => None,
    };
    let batch = args.batch as usize;
    let device = processor()?.device.autodiff();
    let cost = cost(&*model.net, &input, batch, tokens.unwrap_or(1), &device).map_err(TrainError::from)?;
    let parameters =
        args.parameters.then(|| model.net.parameters().into_iter().map(Parameter::from).collect());
    let page = Page { model_type: model.card.called(), input: &input, batch, tokens, cost, parameters };
    if args.json { to_json(&page) } else { Ok(written(&page, groups)) }
}

fn length(asked: Option<u32>, longest: usize) -> Result<usize, Failure> {
    match asked.map(|n| n as usize) {
        Some(n) if n > longest => Err(Failure::new(
            Exit::Usage,
            format!("--length is {n}, the model reads at most {longest} tokens"),
        )
        .hint("give a shorter text, or a model of more positions")),
        asked => Ok(asked.unwrap_or(longest)),
    }
}

/// The processor, where weights need no other place and every build has it.
fn processor() -> Result<Chosen, Failure> {
    target::device(Some("cpu".parse()?), None)
}

fn subject(args: &Show) -> Result<Subject, Failure> {
    let path = PathBuf::from(&args.target);
    if !path.exists() && presets::config(&args.target).is_ok() {
        return of_preset(&args.target);
    }
    if !path.exists() && !args.target.contains(['/', '\\', '.']) {
        presets::config(&args.target)?;
    }
    match Target::of(&path)? {
        target @ Target::Config(_) => of_config(&target::config(&target, &args.overrides)?),
        Target::Run { model, .. } | Target::Model { model, .. } => {
            let model = kiln_models::open(&model, &processor()?.device.autodiff())?;
            let input = model.card.kiln_input.clone().ok_or_else(|| {
                Failure::new(
                    Exit::Data,
                    format!("{}: config.json does not say what it reads", path.display()),
                )
            })?;
            Ok(Subject { model, input, groups: None })
        }
    }
}

fn of_preset(name: &str) -> Result<Subject, Failure> {
    let config = presets::config(name)?;
    let classes: Vec<String> = (0..1000).map(|i| format!("class {i}")).collect();
    let device = processor()?.device.autodiff();
    let mut refused = None;
    for input in presets::inputs(name) {
        match kiln_models::build(&config, &input, &classes, TaskKind::Classification, &device, 0) {
            Ok(model) => return Ok(Subject { model, input, groups: None }),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.map_or_else(|| Failure::new(Exit::Failed, name), Failure::from))
}

fn of_config(config: &Config) -> Result<Subject, Failure> {
    let tokenizer_folder = config.model.pretrained().map(PathBuf::as_path);
    let known = config.model.pretrained().and_then(|path| kiln_models::brought_classes(path));
    let options = OpenOptions { tokenizer_folder, task: config.task, known_classes: known.as_deref() };
    let dataset = Dataset::open(&config.data, &options)?;
    let (device, task) = (processor()?.device.autodiff(), config.task.kind());
    let (input, classes) = (dataset.input.clone(), &dataset.classes);
    let mut model = kiln_models::build(&config.model, &input, classes, task, &device, config.seed)?;
    let plan = match &dataset.train {
        Some(train) => Plan::of(config, train, &dataset.preprocessor)?,
        None => Plan::new(config, 0),
    };
    let finetune = Finetune::new(config, &mut model, &plan)?;
    let groups = table(&finetune, &*config.optimizer.rule());
    Ok(Subject { model, input, groups: Some(groups) })
}

fn to_json(page: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(page).map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))
}

fn written(page: &Page<'_>, groups: Option<String>) -> String {
    let input = match page.input {
        InputSpec::Image { channels, height, width } => format!("images of {channels}x{height}x{width}"),
        InputSpec::Tokens { .. } => format!("texts of {} tokens", page.tokens.unwrap_or(0)),
        InputSpec::Table { features, cardinalities } => {
            format!("rows of {features} numbers and {} categories", cardinalities.len())
        }
    };
    let Cost { values, trainable, .. } = page.cost;
    let share = 100.0 * trainable as f64 / values.max(1) as f64;
    let bytes = |n: u64| format!("{:.1} MiB", n as f64 / f64::from(1 << 20));
    let flops = |n: u64| format!("{:.3} GFLOPs", n as f64 / 1e9);
    let mut text = format!("model      {}\ninput      {} {input}\n", page.model_type, page.batch);
    text += &format!("weights    {values} values, {}; {trainable} train ({share:.2} %)\n", bytes(4 * values));
    let (forward, kept) = (page.cost.forward_activation_bytes, page.cost.training_activation_bytes);
    text += &format!("forward    {}, activations {}\n", flops(page.cost.forward_flops), bytes(forward));
    text += &format!("training   {}, activations {}\n", flops(page.cost.training_flops), bytes(kept));
    if let Some(groups) = groups {
        text += &format!("{groups}\n");
    }
    if let Some(parameters) = &page.parameters {
        text += &list_of(parameters);
    }
    text
}

fn list_of(parameters: &[Parameter]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["parameter", "shape", "trains"]);
    for p in parameters {
        let trains = if p.trainable { "yes" } else { "no" };
        table.add_row([p.name.clone(), format!("{:?}", p.shape), trains.into()]);
    }
    table.trim_fmt() + "\n"
}
