//! `kiln check`: every fault of a config and of the data it names, all at once, before any device is touched.
//! Owns how the answer is shown; kiln-train finds the faults. Exits 2 for config faults, 4 for data faults.

use std::path::PathBuf;

use kiln_core::Exit;
use kiln_core::config::{Fault, FaultRecord, Report};
use kiln_train::load::{self, Loaded, Memory};
use serde::Serialize;

use crate::hub;
use crate::report::{self, Failure, Outcome};
use crate::stdout;

/// Every fault of a config and its data paths, without touching a device
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file
    config: PathBuf,
    /// Values that replace those of the config, for example train.epochs=3
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Page {
    config: PathBuf,
    ok: bool,
    hash: Option<String>,
    faults: Vec<FaultRecord>,
    /// Bytes that a run takes, where they can be counted.
    memory: Option<Memory>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let overrides = hub::pulled(&args.config, &args.overrides)?;
    let result = load::check(&args.config, &overrides);
    if args.json {
        return print_json(args.config, &result);
    }
    let loaded = result?;
    loaded.notes.iter().for_each(|note| report::talk(note));
    report::talk(&format!("{}: ok\n{}", args.config.display(), summary(&loaded)));
    Ok(Exit::Done)
}

fn print_json(config: PathBuf, result: &Result<Loaded, Report>) -> Outcome {
    let faults = result.as_ref().err().map(|report| report.faults.iter().map(Fault::record).collect());
    let hash = result.as_ref().ok().map(|loaded| loaded.resolved.hash());
    let memory = result.as_ref().ok().and_then(|loaded| loaded.memory);
    let page = Page { config, ok: result.is_ok(), hash, faults: faults.unwrap_or_default(), memory };
    let text = serde_json::to_string(&page)
        .map_err(|e| Failure::new(Exit::Failed, format!("cannot write JSON: {e}")))?;
    stdout::line(&text)?;
    Ok(result.as_ref().map_or_else(Report::exit, |_| Exit::Done))
}

/// What would be trained, in a few lines.
fn summary(loaded: &Loaded) -> String {
    let value = |key: &str| loaded.resolved.text(key);
    let length = match (value("train.epochs"), value("train.max_steps")) {
        (Some(epochs), _) => format!("{epochs} epochs"),
        (None, steps) => format!("{} steps", steps.unwrap_or_default()),
    };
    let place = match loaded.config.data.sources() {
        [] => value("data.path").or(value("data.train")).unwrap_or_default(),
        sources => format!("{} sources", sources.len()),
    };
    let kind = |table: &str| value(&format!("{table}.kind")).unwrap_or_default();
    let start = value("model.pretrained").map_or_else(String::new, |path| format!(" from {path}"));
    let memory =
        loaded.memory.as_ref().map_or_else(String::new, |memory| format!("\n  memory {}", size(memory)));
    format!(
        "  data   {} from {place}\n  model  {}{start}\n  train  {length} with {}{memory}",
        kind("data"),
        kind("model"),
        kind("optimizer")
    )
}

/// What a run takes, in one line.
fn size(memory: &Memory) -> String {
    let mib = |bytes: u64| {
        let mib = bytes as f64 / f64::from(1 << 20);
        if mib < 10.0 { format!("{mib:.1}") } else { format!("{mib:.0}") }
    };
    let Memory { weights, gradients, optimizer, average, teacher, batch, checkpoint, .. } = *memory;
    let activations = match memory.activations {
        Some(bytes) => format!("activations of a batch of {batch} {}", mib(bytes)),
        None => "activations not counted in so large a net".into(),
    };
    let assumed = memory.assumed_classes;
    let assumed =
        assumed.map_or_else(String::new, |n| format!(" (a head of {n} classes: only samples name them)"));
    let others = [("average", average), ("teacher", teacher)];
    let others = others.iter().filter(|(_, bytes)| *bytes > 0);
    let others: String = others.map(|(name, bytes)| format!(", {name} {}", mib(*bytes))).collect();
    let peak =
        memory.peak().map_or_else(String::new, |peak| format!("about {} MiB at most, counted: ", mib(peak)));
    format!(
        "{peak}weights {}, gradients {}, optimizer {}{others}, {activations}; a checkpoint {} MiB{assumed}",
        mib(weights),
        mib(gradients),
        mib(optimizer),
        mib(checkpoint)
    )
}
