//! `kiln replay`: one step of a run again, from the checkpoint before it, with everything looked at on the way.
//! Owns the way to the step and what is looked at in which order; changes nothing of the run and does not hold it.
//!
//! The batches, their augmentation and the random numbers follow from the config and the position alone. Where the newest
//! checkpoint lies further back, the steps between are trained again, in a folder that is removed afterwards.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn::tensor::TensorData;
use kiln_core::event::{Callback, Event};
use kiln_core::files::FileError;
use kiln_core::run_dir::RunDirError;
use kiln_core::{Gradients, RunDir};
use kiln_data::{HostBatch, Loader};
use kiln_nn::meter::{self, Answer};
use serde::Serialize;
use serde_json::json;

use super::guard::{Turn, read};
use super::{Run, Session, or_one};
use crate::changes;
use crate::checkpoint::{self, Latest};
use crate::config::OnNonfinite;
use crate::error::TrainError;
use crate::optim::global_norm;
use crate::pass;
use crate::plateau::Plateau;
use crate::setup::Start;

/// A step, seen again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// The optimizer step, from 1.
    pub step: u64,
    /// The checkpoint that it was reached from; 0 is the start.
    pub from_step: u64,
    /// Steps that were trained again to reach it.
    pub trained: u64,
    /// What the step learned from.
    pub batches: Vec<ReplayedBatch>,
    /// Mean loss; NaN and infinity are null in JSON.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub grad_norm: f32,
    /// The learning rate.
    pub learning_rate: f64,
    /// What `metrics.jsonl` says of the loss, where it has a line of this step alone.
    pub logged_loss: Option<f64>,
    /// Why the run left this step out, where it did.
    pub left_out: Option<String>,
    /// What is not finite, the first in the order in which a step computes.
    pub trouble: Option<Trouble>,
}

/// One batch of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayedBatch {
    /// By file or row.
    pub samples: Vec<String>,
    /// Mean loss.
    pub loss: f32,
}

/// The first tensor with a value that is not finite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trouble {
    /// `parameter`, `input`, `output of layer`, `loss` or `gradient of`.
    pub part: &'static str,
    /// By PyTorch name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The first such value, `NaN`, `inf` or `-inf`.
    pub value: String,
    /// How many there are.
    pub values: usize,
    /// The batch of the step, from 1.
    pub batch: Option<usize>,
    /// The samples that it stands in the rows of, where the tensor has one row a sample.
    pub samples: Vec<String>,
}

impl Trouble {
    fn of(part: &'static str, name: impl Into<String>, data: &TensorData) -> Option<Self> {
        let mut bad = data.iter::<f32>().filter(|value| !value.is_finite());
        let value = bad.next()?.to_string();
        let (values, shape) = (1 + bad.count(), data.shape().to_vec());
        Some(Self { part, name: name.into(), shape, value, values, batch: None, samples: Vec::new() })
    }

    /// The same of a batch, whose samples are named where a row is one's.
    fn in_batch(mut self, batch: usize, data: &TensorData, names: &[String]) -> Self {
        self.batch = Some(batch + 1);
        if self.shape.first() == Some(&names.len()) {
            let (values, width): (Vec<f32>, _) = (data.iter().collect(), data.num_elements() / names.len());
            let rows = values.chunks(width.max(1)).zip(names);
            let bad = rows.filter(|(row, _)| row.iter().any(|value| !value.is_finite()));
            self.samples = bad.map(|(_, name)| name.clone()).collect();
        }
        self
    }
}

/// Passes notes on.
struct Notes<'a>(&'a mut dyn FnMut(&str));

impl Callback for Notes<'_> {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::Note(note) = event {
            (self.0)(note);
        }
    }
}

/// Replays optimizer step `step` (from 1) of a run; `overrides` may name another device. `tell` is told what a person should
/// know meanwhile.
///
/// # Errors
/// There is no such run or step, its config or data have changed, or a checkpoint does not load.
pub fn replay(
    run: &Path,
    step: u64,
    overrides: &[String],
    tell: &mut dyn FnMut(&str),
) -> Result<Replay, TrainError> {
    if !RunDir::is_run(run) {
        return Err(RunDirError::NotARun { path: run.to_path_buf() }.into());
    }
    let aside = tempfile::tempdir().map_err(FileError::at(&std::env::temp_dir(), "make a folder in"))?;
    let mut overrides = overrides.to_vec();
    overrides.push(format!("output_dir={}", json!(aside.path())));
    let never = AtomicBool::new(false);
    let (callbacks, process_start): (Vec<Box<dyn Callback>>, _) =
        (vec![Box::new(Notes(tell))], Instant::now());
    let mut session = Session { callbacks, interrupt: &never, process_start };
    let again = Run::start(&Start::New { config: run.join("config.toml"), overrides }, &mut session)?;
    let total = again.plan.total_steps;
    if !(1..=total).contains(&step) {
        return Err(TrainError::NoSuchStep { run: run.to_path_buf(), step, total });
    }
    let (mut again, trained) = again.reach(run, step, &mut session)?;
    let mut replay = again.look(step)?;
    (replay.trained, replay.from_step) = (trained, step - 1 - trained);
    replay.logged_loss = logged(run, step)?.filter(|_| again.config.train.logging_steps == 1);
    replay.left_out = left_out(run, step)?;
    Ok(replay)
}

/// The loss that the log has of a step.
fn logged(run: &Path, step: u64) -> Result<Option<f64>, TrainError> {
    let path = run.join("metrics.jsonl");
    let text = if path.exists() { kiln_core::files::read_text(&path)? } else { String::new() };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut own = lines.filter(|line| line["step"] == step && line.get("grad_norm").is_some());
    Ok(own.find_map(|line| line["loss"].as_f64()))
}

/// Why the log says that a step was left out.
fn left_out(run: &Path, step: u64) -> Result<Option<String>, TrainError> {
    let path = run.join("metrics.jsonl");
    let text = if path.exists() { kiln_core::files::read_text(&path)? } else { String::new() };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut own = lines.filter(|line| line["step"] == step);
    Ok(own.find_map(|line| line["skipped"].as_str().map(ToString::to_string)))
}

impl Run {
    /// Brings weights, optimizer and position to where optimizer step `step` begins; answers how many steps it trained.
    fn reach(mut self, run: &Path, step: u64, session: &mut Session<'_>) -> Result<(Self, u64), TrainError> {
        let checkpoints = run.join("checkpoints");
        // Steps that the run has gone back for are left out on the way, but looked at where they are asked for.
        let newest = checkpoint::latest(&checkpoints)?;
        let left_out = newest.map(|latest| latest.checkpoint.progress.left_out).unwrap_or_default();
        if let Some(Latest { folder, checkpoint, .. }) = before(&checkpoints, step)? {
            let samples = checkpoint.progress.train_samples;
            if samples != self.plan.train_samples {
                let differences =
                    format!("  training samples: the run has {samples}, now {}", self.plan.train_samples);
                return Err(TrainError::Changed { run: run.to_path_buf(), what: "data", differences });
            }
            self.put(&folder, &checkpoint)?;
            (self.progress.metrics_bytes, self.progress.events) = (0, None);
            (self.progress.pending_evaluation, self.progress.stopped_early) = (false, None);
        }
        let from = self.progress.step;
        // The config is the run's newest; steps under an older one cannot be taken again.
        if let Some(change) = changes::read(run)?.into_iter().find(|change| change.step > from) {
            let keys: Vec<String> = change.changes.into_iter().map(|change| change.key).collect();
            let (run, keys, changed) = (run.to_path_buf(), keys.join(", "), change.step);
            return Err(TrainError::OlderConfig { run, step, keys, changed });
        }
        let way = step - 1 - from;
        let place =
            if from == 0 { "the start".to_string() } else { format!("the checkpoint of step {from}") };
        session.tell(&Event::Note(&match way {
            0 => format!("step {step}: from {place}"),
            1 => format!("step {step}: from {place}, the step before is trained again"),
            _ => format!("step {step}: from {place}, {way} steps are trained again on the way"),
        }));
        self.progress.left_out = left_out.into_iter().filter(|left_out| left_out.step != step).collect();
        self.config.train.on_nonfinite = OnNonfinite::Skip;
        self.ledger.late = false;
        let mut there = self.train_to(step - 1, session)?;
        there.progress.left_out.clear();
        Ok((there, way))
    }

    /// The loop without its checkpoints; it evaluates only where that changes the rate.
    fn train_to(mut self, last: u64, session: &mut Session<'_>) -> Result<Self, TrainError> {
        let evaluates = Plateau::of(&self.config.schedule).is_some();
        let mut evaluated_at = Instant::now();
        while self.progress.step < last {
            let (mut loader, in_pass) = self.loader()?;
            while self.progress.batch < in_pass && self.progress.step < last {
                let batches = self.plan.accumulation.min(in_pass - self.progress.batch);
                let began = Instant::now();
                let planned = self.planned();
                self.finetune.thaw(&mut *self.net, planned);
                let group = self.gradients(&mut loader, batches)?;
                self = self.take(group, batches, in_pass, began)?;
                if self.settle(true, false, session)? != Turn::On {
                    break;
                }
                let every = self.config.evaluate.every;
                let end = self.progress.batch == in_pass;
                if end {
                    self.progress.next_pass();
                }
                let ended = end.then_some(self.progress.epoch);
                if evaluates && every.is_due_in_loop(self.progress.step, ended, evaluated_at.elapsed()) {
                    self.validate(session)?;
                    evaluated_at = Instant::now();
                }
                if end {
                    break;
                }
            }
        }
        Ok(self)
    }

    /// What is left of the pass, and how many batches it has in all.
    fn loader(&self) -> Result<(Loader, usize), TrainError> {
        let loader = pass::loader(&self.config, &self.dataset, &self.train, self.progress.pass())?;
        let in_pass = loader.left();
        Ok((loader.starting_at(self.progress.batch), in_pass))
    }

    /// The next step, with everything looked at.
    fn look(&mut self, step: u64) -> Result<Replay, TrainError> {
        let planned = self.planned();
        self.finetune.thaw(&mut *self.net, planned);
        let state = self.net.state();
        let order = self.net.parameters();
        let mut trouble = order.iter().find_map(|p| Trouble::of("parameter", &p.name, state.get(&p.name)?));
        let ((mut loader, in_pass), mut sum) = (self.loader()?, Gradients::default());
        let batches = self.plan.accumulation.min(in_pass - self.progress.batch);
        let (mut seen, mut weights) = (Vec::new(), Vec::new());
        for micro in 0..batches {
            let Some(host) = loader.next() else { break };
            let host: HostBatch = host?;
            let names: Vec<String> = host.indices.iter().map(|i| self.train.name(*i)).collect();
            let weight = self.loss.weight(&host);
            let input = input(&kiln_data::collate(host.clone(), &self.device.clone().inner()).input);
            let (loss, answers) = meter::answers(|| self.forward(host.clone(), micro));
            let loss = loss?;
            let value = read(loss.clone().inner(), step)?.first().copied().unwrap_or(f32::NAN);
            if trouble.is_none() {
                let of_input = input.iter().find_map(|(name, data)| {
                    Trouble::of("input", *name, data).map(|found| found.in_batch(micro, data, &names))
                });
                trouble = of_input.or_else(|| self.of_layers(&answers, micro, &names));
            }
            if trouble.is_none() && !value.is_finite() {
                trouble = self.of_loss(&host, value, micro, &names, step)?;
            }
            let loss = if batches > 1 { loss.mul_scalar(weight) } else { loss };
            let scale = self.progress.loss_scale.map_or(1.0, |scale| scale.factor);
            sum.add(self.net.gradients(if scale == 1.0 { loss } else { loss.mul_scalar(scale) }));
            weights.push(weight);
            seen.push(ReplayedBatch { samples: names, loss: value });
        }
        let summed = if batches > 1 { or_one(weights.iter().sum()) as f32 } else { 1.0 };
        let factor = summed * self.progress.loss_scale.map_or(1.0, |scale| scale.factor);
        let gradients = if factor == 1.0 { sum } else { sum.scale(1.0 / factor) };
        trouble = trouble.or_else(|| {
            order.iter().rev().find_map(|p| {
                let data = gradients.0.get(&p.name)?.to_data();
                let found = Trouble::of("gradient of", &p.name, &data)?;
                Some(Trouble { shape: p.shape.clone(), ..found })
            })
        });
        let weighted: f64 = weights.iter().zip(&seen).map(|(weight, b)| f64::from(b.loss) * weight).sum();
        Ok(Replay {
            step,
            from_step: 0,
            trained: 0,
            loss: (weighted / or_one(weights.iter().sum())) as f32,
            batches: seen,
            grad_norm: global_norm(&gradients),
            learning_rate: self.learning_rate(),
            logged_loss: None,
            left_out: None,
            trouble,
        })
    }

    /// The loss, with the samples that have such a loss alone.
    fn of_loss(
        &self,
        host: &HostBatch,
        value: f32,
        micro: usize,
        names: &[String],
        step: u64,
    ) -> Result<Option<Trouble>, TrainError> {
        let mut samples = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let Some(one) = host.one(i) else { continue };
            let alone = read(self.forward(one, micro)?.inner(), step)?;
            if alone.iter().any(|loss| !loss.is_finite()) {
                samples.push(name.clone());
            }
        }
        let found = Trouble::of("loss", "", &TensorData::from([value]));
        Ok(found.map(|found| Trouble { batch: Some(micro + 1), samples, ..found }))
    }

    /// The first layer whose answer is not finite, by name.
    fn of_layers(&self, answers: &[Answer], micro: usize, names: &[String]) -> Option<Trouble> {
        let identities = self.net.identities();
        answers.iter().find_map(|Answer { weight, data }| {
            let name = identities.get(weight).map_or("a layer without a name", String::as_str);
            let name = name.strip_suffix(".weight").unwrap_or(name);
            Trouble::of("output of layer", name, data).map(|found| found.in_batch(micro, data, names))
        })
    }
}

/// The newest checkpoint before a step that loads.
fn before(checkpoints: &Path, step: u64) -> Result<Option<Latest>, TrainError> {
    for at in checkpoint::steps(checkpoints)?.into_iter().rev().filter(|at| *at < step) {
        let folder = checkpoint::folder(checkpoints, at);
        if let Ok(checkpoint) = checkpoint::load(&folder) {
            return Ok(Some(Latest { folder, checkpoint, damaged: Vec::new() }));
        }
    }
    Ok(None)
}

/// The floats that the net is given.
fn input(input: &kiln_core::Input) -> Vec<(&'static str, TensorData)> {
    match input {
        kiln_core::Input::Image(image) => vec![("image", image.to_data())],
        kiln_core::Input::Table(table) => {
            table.numbers.iter().map(|numbers| ("numbers", numbers.to_data())).collect()
        }
        kiln_core::Input::Tokens(_) => Vec::new(),
    }
}
