//! The page of `kiln runs show`: config, results, curves and files of one run.
//! Owns its layout.

use std::path::Path;

use kiln_core::files::write_atomic;
use kiln_core::{Exit, event::Metrics};
use kiln_train::changes::Changed;
use kiln_train::progress::Scored;
use kiln_train::runs::{self, History, Overview, State};
use serde_json::{Value, json};

use super::plot::plot;
use super::{to_json, told};
use crate::progress;
use crate::report::Failure;
use crate::verbs::train;

/// Widest plot, and the width where nobody looks.
const WIDTHS: (usize, usize) = (160, 80);

/// Config keys that are shown, with what they are called.
const KEYS: [(&str, &[&str]); 5] = [
    ("optimizer", &["optimizer.kind", "optimizer.learning_rate", "optimizer.weight_decay"]),
    ("schedule", &["schedule.lr_scheduler_type", "schedule.warmup_steps"]),
    ("batch", &["data.loader.batch_size", "train.gradient_accumulation_steps"]),
    ("length", &["train.epochs", "train.max_steps"]),
    ("seed", &["seed", "precision", "device"]),
];

/// What a run folder may hold.
const FILES: [(&str, &str); 7] = [
    ("config", "config.toml"),
    ("log", "metrics.jsonl"),
    ("left out", "bad_samples.jsonl"),
    ("chart", runs::FILE),
    ("checkpoints", "checkpoints"),
    ("adapter", "adapter"),
    ("model", "model"),
];

pub(super) fn page(path: &Path, svg: Option<&Path>, json: bool) -> Result<String, Failure> {
    let history = History::read(&path.join("metrics.jsonl"))?; // first: it names the line of a fault
    let run = Overview::read(path)?;
    told(&run.faults);
    if let Some(file) = svg {
        let drawn = runs::draw(&run.name, &history, run.metric).ok_or_else(|| {
            let message = format!("{}: nothing to draw: no step was logged yet", path.display());
            Failure::new(Exit::Data, message)
        })?;
        write_atomic(file, drawn.as_bytes())?;
    }
    if json {
        return machine(&run, &history);
    }
    let curves = curves(&run, &history, width());
    Ok([head(&run, &history), curves, files(path)].join("\n"))
}

fn machine(run: &Overview, history: &History) -> Result<String, Failure> {
    let evaluations = history.evaluations.iter().map(|e| {
        let mut line = json!(e.scored);
        line["split"] = e.split.clone().into();
        line["is_best"] = e.is_best.into();
        line
    });
    let evaluations: Vec<Value> = evaluations.collect();
    to_json(&json!({
        "run": run, "config": run.settings.leaves(), "evaluations": evaluations, "newest_step": history.newest,
    }))
}

fn head(run: &Overview, history: &History) -> String {
    let state = match &run.state {
        State::Running(holder) => format!("running ({holder})"),
        State::StoppedEarly(reason) => format!("stopped early: {reason}"),
        State::Interrupted => format!("interrupted; kiln train --resume {}", run.path.display()),
        State::Finished => "finished".into(),
    };
    let mut lines = vec![
        ("run", run.name.clone()),
        ("state", state),
        ("started", run.started.replace('T', " ")),
        ("task", run.task.clone()),
        ("data", run.data.clone()),
        ("model", run.model.clone()),
    ];
    for (name, keys) in KEYS {
        let short = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
        let values =
            keys.iter().filter_map(|key| Some(format!("{} {}", short(key), plain(run.settings.get(key)?))));
        let values: Vec<String> = values.collect();
        lines.extend((!values.is_empty()).then(|| (name, values.join(", "))));
    }
    for Changed { step, changes } in &run.changes {
        let words: Vec<String> = changes.iter().map(|c| format!("{} {} -> {}", c.key, c.was, c.is)).collect();
        lines.push(("changed", format!("after step {step}: {}", words.join(", "))));
    }
    let done = [
        Some(format!("step {}", run.step)),
        run.epoch.map(|epoch| format!("epoch {epoch:.2}")),
        run.seconds.map(|seconds| format!("{seconds:.1} s")),
    ];
    lines.push(("done", done.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    lines.extend(history.newest.as_ref().and_then(speed).map(|speed| ("speed", speed)));
    for (name, scored) in [("best", &run.best), ("newest", &run.newest), ("test", &run.test)] {
        lines.extend(scored.as_ref().map(|scored| (name, result(scored))));
    }
    lines.iter().map(|(name, value)| format!("{name:<11} {value}\n")).collect()
}

/// A config value as a person reads it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

fn speed(line: &Metrics) -> Option<String> {
    let number = |key: &str| line.get(key).and_then(Value::as_f64);
    let tokens = number("tokens_per_second").map(|t| format!(", {t:.0} tokens/s")).unwrap_or_default();
    Some(format!(
        "{:.0} samples/s{tokens}, step {:.1} ms (p95 {:.1} ms), data wait {:.0} %",
        number("samples_per_second")?,
        number("step_p50_ms")?,
        number("step_p95_ms")?,
        100.0 * number("data_wait_share")?
    ))
}

fn result(scored: &Scored) -> String {
    let metrics = scored.metrics.iter().map(|(name, value)| progress::metric(name, value));
    let all: Vec<String> =
        std::iter::once(format!("loss {}", train::loss(scored.loss))).chain(metrics).collect();
    format!("step {}: {}", scored.step, all.join(", "))
}

fn curves(run: &Overview, history: &History, width: usize) -> String {
    let mut text = String::new();
    if let Some(plot) = plot(&history.losses, &history.curve("loss"), width) {
        text += &format!("loss: training as a line, validation o\n{plot}\n");
    }
    if let Some(metric) = history.beside_loss(run.metric) {
        let curve = history.curve(&metric);
        if let Some(plot) = plot(&curve, &curve, width) {
            text += &format!("\n{} on validation\n{plot}\n", metric.replace('_', " "));
        }
    }
    text
}

fn files(run: &Path) -> String {
    let there = FILES.iter().filter(|(_, name)| run.join(name).exists());
    let mut text: String =
        there.map(|(what, name)| format!("{what:<11} {}\n", run.join(name).display())).collect();
    let events = std::fs::read_dir(run).into_iter().flatten().flatten();
    if events.into_iter().any(|e| e.file_name().to_string_lossy().starts_with("events.out.tfevents.")) {
        text += &format!("{:<11} tensorboard --logdir {}\n", "events", run.display());
    }
    text
}

/// Of the terminal that is written to.
fn width() -> usize {
    let (most, usual) = WIDTHS;
    terminal_size::terminal_size_of(std::io::stdout())
        .map_or(usual, |(terminal_size::Width(width), _)| usize::from(width).clamp(40, most))
}
