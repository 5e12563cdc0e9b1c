//! What may reach the weights: finite losses and gradients only.
//! Owns a step from its gradients to its line in the log, and what becomes of a step that is not finite; never the order
//! of steps (the loop) nor the way back to a checkpoint (`rewind`).
//!
//! On the processor the numbers of a step are known before its update. Elsewhere nobody waits for them: the device masks
//! the update of a step that is not finite **and of every step after it**, and the numbers are read some steps later, all
//! at once. Where one was not finite, the loop goes back to behind it, so that both ways give the same bits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use burn::tensor::{Bool, Tensor};
use kiln_core::event::{Event, StepInfo};
use serde::Serialize;

use super::{Group, Run, Session};
use crate::config::OnNonfinite;
use crate::error::TrainError;
use crate::optim::{clip, clip_unread, norm};
use crate::pace::{PaceMeter, Pass};
use crate::pass::LossScale;
use crate::stall::StallMeter;

/// Steps whose numbers wait to be read, at most.
const MOST_WAITING: usize = 8;
/// How long the first of them waits.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Steps left out in a row before the run ends, and ways back to a checkpoint.
pub(super) const MOST_IN_A_ROW: u64 = 10;

/// Steps whose numbers were not read yet, and how fast steps are.
pub(crate) struct Ledger {
    /// Whether numbers are read behind the update.
    pub(crate) late: bool,
    waiting: Vec<Waiting>,
    /// `[1]`: one of the steps that wait was not finite.
    bad: Option<Tensor<1, Bool>>,
    /// Samples of the newest step whose numbers were read.
    newest: Vec<Vec<usize>>,
    pace: PaceMeter,
    stall: StallMeter,
}

impl Ledger {
    /// For lines of the log every so many steps; `late` where reading from the device costs time.
    pub(crate) fn new(late: bool, logging_steps: u64) -> Self {
        let (pace, stall) = (PaceMeter::new(logging_steps), StallMeter::default());
        Self { late, waiting: Vec::new(), bad: None, newest: Vec::new(), pace, stall }
    }

    fn is_due(&self) -> bool {
        !self.late
            || self.waiting.len() >= MOST_WAITING
            || self.waiting.first().is_some_and(|step| step.began.elapsed() > LONGEST_WAIT)
    }
}

/// The numbers of a step: the loss of each batch, then the gradient norm.
enum Numbers {
    Read(Vec<f32>),
    /// And 1 behind them where they, or those of a step that waits before this one, are not finite.
    OnDevice(Tensor<1>),
}

/// A step that was taken.
struct Waiting {
    // What it is.
    step: u64,
    /// Where the loop is behind it, the pass not yet ended.
    at: (u64, usize),
    epoch: f64,
    learning_rate: f64,
    began: Instant,
    took: Duration,
    group: Group,
    numbers: Numbers,
    // What it found.
    counts: Option<BTreeMap<String, u64>>,
    averaged: u64,
    loss_scale: Option<LossScale>,
}

/// What of a step is not finite.
struct Fault {
    what: &'static str,
    value: f32,
    /// The batch, where it is one's loss.
    batch: Option<usize>,
}

impl Fault {
    fn of(values: &[f32], batches: usize) -> Option<Self> {
        let at = values.iter().position(|value| !value.is_finite());
        let (losses, value) = (batches, |i: usize| values.get(i).copied().unwrap_or(f32::NAN));
        match at {
            Some(i) if i < losses => Some(Self { what: "loss", value: value(i), batch: Some(i) }),
            Some(i) => Some(Self { what: "gradient norm", value: value(i), batch: None }),
            None => None,
        }
    }
}

/// How the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// With the step that it took.
    On,
    /// As behind an earlier step, which was left out: those after it are taken again.
    Back,
    /// From a checkpoint.
    Rewound,
}

/// A line of `metrics.jsonl`: a step in float16 that changed no weight.
#[derive(Serialize)]
struct Overflowed {
    step: u64,
    skipped: &'static str,
    loss_scale: f32,
}

/// A line of `metrics.jsonl`: a step that is left out, or at which the run stops.
#[derive(Serialize)]
struct NotFinite<'a> {
    step: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'a str>,
    samples: Vec<String>,
}

/// Reads numbers from the device.
pub(super) fn read(numbers: Tensor<1>, step: u64) -> Result<Vec<f32>, TrainError> {
    let failed = |reason| TrainError::BrokeOff { reason: format!("step {step}: {reason}"), checkpoint: None };
    numbers
        .try_into_data()
        .map_err(|e| failed(e.to_string()))?
        .try_to_vec::<f32>()
        .map_err(|e| failed(format!("{e:?}")))
}

impl Group {
    /// The loss of each batch and the gradient norm, on the device; `None` where nothing was computed.
    pub(super) fn numbers(&self) -> Option<Tensor<1>> {
        let numbers: Vec<Tensor<1>> = self.losses.iter().cloned().chain(norm(&self.gradients)).collect();
        (!self.losses.is_empty()).then(|| Tensor::cat(numbers, 0))
    }

    /// The mean of the losses, by their weights. Of padding alone, and of classes that weigh nothing, it is 0.
    pub(super) fn mean(&self, losses: &[f32]) -> f32 {
        let weighted: f64 =
            self.weights.iter().zip(losses).map(|(weight, loss)| f64::from(*loss) * weight).sum();
        (weighted / super::or_one(self.weights.iter().sum())) as f32
    }
}

impl Run {
    /// Takes a step by these gradients of `batches` batches, as far as they are finite, and goes on behind it.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn take(
        mut self,
        mut group: Group,
        batches: usize,
        began: Instant,
    ) -> Result<Self, TrainError> {
        let (late, learning_rate) = (self.ledger.late, self.learning_rate());
        let (averaged, loss_scale) = (self.progress.averaged, self.progress.loss_scale);
        let counts = late.then(|| self.optimizer.counts());
        let step = self.progress.step + 1;
        let gradients = std::mem::take(&mut group.gradients);
        let norm = norm(&gradients);
        let (mut numbers, mut bad, mut usable) = (Numbers::Read(Vec::new()), None, false);
        if group.left_out.is_none() {
            let all: Vec<Tensor<1>> = group.losses.drain(..).chain(norm.clone()).collect();
            let all = Tensor::cat(all, 0);
            if late {
                let own = all.clone().is_finite().all().bool_not();
                let any = self.ledger.bad.take().map_or(own.clone(), |before| before.bool_or(own));
                let flag = any.clone().float().cast(all.dtype());
                (numbers, bad, usable) =
                    (Numbers::OnDevice(Tensor::cat(vec![all, flag], 0)), Some(any), true);
            } else {
                let values = read(all, step)?;
                usable = values.iter().all(|value| value.is_finite());
                numbers = Numbers::Read(values);
            }
        }
        if usable {
            let max_norm = self.config.train.max_grad_norm;
            let gradients = match (max_norm, &numbers, norm) {
                (Some(max_norm), Numbers::Read(values), _) => {
                    clip(gradients, values.last().copied().unwrap_or(0.0), max_norm)
                }
                (Some(max_norm), Numbers::OnDevice(_), Some(norm)) => clip_unread(gradients, norm, max_norm),
                _ => gradients,
            };
            self.net = self.optimizer.step_unless(self.net, gradients, learning_rate, bad.as_ref());
            if let Some(average) = &mut self.average {
                average.update(&*self.net, step, &self.plan, bad.as_ref());
                self.progress.averaged = average.updates();
            }
            self.progress.loss_scale = loss_scale.map(LossScale::held);
        }
        self.ledger.bad = bad;
        (self.progress.step, self.progress.batch) = (step, self.progress.batch + batches);
        let at = (self.progress.epoch, self.progress.batch);
        let epoch = at.0 as f64 + at.1 as f64 / self.plan.batches_per_epoch as f64;
        let took = began.elapsed();
        self.ledger.waiting.push(Waiting {
            step,
            at,
            epoch,
            learning_rate,
            began,
            took,
            group,
            numbers,
            counts,
            averaged,
            loss_scale,
        });
        Ok(self)
    }

    /// Reads the numbers of the steps that wait, where it is time or `now`, and writes their lines. With `weights` the
    /// weights are looked at too, before they are scored or saved.
    ///
    /// # Errors
    /// A step is not finite and the policy is to stop, or its patience is at an end; the device or the log fails.
    pub(super) fn settle(
        &mut self,
        now: bool,
        weights: bool,
        session: &mut Session<'_>,
    ) -> Result<Turn, TrainError> {
        if !(now || self.ledger.is_due()) {
            return Ok(Turn::On);
        }
        let waiting = std::mem::take(&mut self.ledger.waiting);
        let reading = Instant::now();
        let values = self.read_all(&waiting)?;
        // The device did the work of all of them while they waited: none has a time of its own.
        let share = (waiting.iter().map(|step| step.took).sum::<Duration>() + reading.elapsed())
            / waiting.len().max(1) as u32;
        for (step, values) in waiting.into_iter().zip(values) {
            let took = if self.ledger.late { share } else { step.took };
            if let Some(left_out) = &step.group.left_out {
                let (number, samples) = (step.step, self.all_names(&step.group.indices, None));
                self.log.write(&NotFinite {
                    step: number,
                    skipped: Some(left_out),
                    stopped: None,
                    samples,
                })?;
                continue;
            }
            match Fault::of(&values, step.group.weights.len()) {
                None => {
                    self.progress.skipped_in_a_row = 0;
                    self.logged(&step, &values, took, session)?;
                    self.ledger.newest = step.group.indices;
                }
                Some(fault) => return self.not_finite(step, &values, &fault, took, session),
            }
        }
        match weights.then(|| self.broken()).transpose()?.flatten() {
            None => Ok(Turn::On),
            Some(name) => {
                let newest = std::mem::take(&mut self.ledger.newest);
                self.broken_at(self.progress.step, &name, &newest, session)
            }
        }
    }

    /// The numbers of each step, by one read.
    fn read_all(&self, waiting: &[Waiting]) -> Result<Vec<Vec<f32>>, TrainError> {
        let unread = waiting.iter().filter_map(|step| match &step.numbers {
            Numbers::OnDevice(numbers) => Some(numbers.clone()),
            Numbers::Read(_) => None,
        });
        let unread: Vec<Tensor<1>> = unread.collect();
        let all =
            if unread.is_empty() { Vec::new() } else { read(Tensor::cat(unread, 0), self.progress.step)? };
        let mut rest = all.as_slice();
        let mut next = |step: &Waiting| match &step.numbers {
            Numbers::Read(values) => values.clone(),
            Numbers::OnDevice(numbers) => {
                let (own, behind) = rest.split_at(numbers.dims()[0].min(rest.len()));
                rest = behind;
                match own {
                    // The device's own word: what it masked must not count, whatever the numbers look like.
                    [values @ .., flag] if *flag != 0.0 && values.iter().all(|v| v.is_finite()) => {
                        values.iter().copied().chain([f32::NAN]).collect()
                    }
                    [values @ .., _] => values.to_vec(),
                    [] => Vec::new(),
                }
            }
        };
        Ok(waiting.iter().map(&mut next).collect())
    }

    /// Writes and tells a step.
    fn logged(
        &mut self,
        step: &Waiting,
        values: &[f32],
        took: Duration,
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        let group = &step.group;
        let (waited, (samples, tokens)) = (group.data_wait, group.read);
        self.ledger.pace.step(Pass { took, waited, samples, tokens });
        let workers = self.config.data.loader().workers;
        if let Some(news) = self.ledger.stall.step(waited, took, workers) {
            session.tell(&Event::Note(&news));
        }
        self.progress.window.add(group.mean(values), group.samples);
        if step.step.is_multiple_of(self.config.train.logging_steps) {
            let info = StepInfo {
                step: step.step,
                epoch: step.epoch,
                loss: self.progress.window.take() as f32,
                learning_rate: step.learning_rate,
                grad_norm: values.get(group.weights.len()).copied().unwrap_or(0.0),
                samples: group.samples,
                elapsed: session.process_start.elapsed().as_secs_f64(),
                data_wait: waited.as_secs_f64(),
                pace: self.ledger.pace.pace(),
            };
            self.log.write(&info)?;
            session.tell(&Event::Step(&info));
        }
        Ok(())
    }

    /// Goes back to behind a step that changed nothing, and does with it what is wished.
    fn not_finite(
        &mut self,
        step: Waiting,
        values: &[f32],
        fault: &Fault,
        took: Duration,
        session: &mut Session<'_>,
    ) -> Result<Turn, TrainError> {
        let turn = if self.progress.step == step.step { Turn::On } else { Turn::Back };
        if let Some(counts) = &step.counts {
            self.optimizer.count_again(counts);
        }
        if let Some(average) = &mut self.average {
            average.count_again(step.averaged);
        }
        self.net.set_statistics(&step.group.statistics);
        self.ledger.bad = None;
        let progress = &mut self.progress;
        (progress.step, (progress.epoch, progress.batch)) = (step.step, step.at);
        (progress.averaged, progress.loss_scale) = (step.averaged, step.loss_scale);
        if turn == Turn::Back {
            self.finetune.set(&mut *self.net, step.step);
        }
        let (number, indices) = (step.step, &step.group.indices);
        if let Some(scale) = step.loss_scale.filter(|_| fault.batch.is_none()) {
            if let Some(lower) = scale.lowered() {
                self.overflowed(number, scale, lower, session)?;
                self.logged(&step, values, took, session)?;
                return Ok(turn);
            }
            if self.config.train.on_nonfinite == OnNonfinite::Stop {
                return Err(TrainError::Overflow { step: number, samples: self.names(indices, None) });
            }
        }
        if let Some(name) = self.broken()? {
            let before = std::mem::take(&mut self.ledger.newest);
            return self.broken_at(number - 1, &name, &before, session);
        }
        let reason = format!("{} is {}", fault.what, fault.value);
        let ended = |because: &str| TrainError::NonFinite {
            step: number,
            what: fault.what,
            value: fault.value,
            because: because.into(),
            samples: self.names(indices, fault.batch),
        };
        match self.config.train.on_nonfinite {
            OnNonfinite::Stop => {
                let error = ended("");
                self.noted(number, &reason, false, self.all_names(indices, fault.batch))?;
                Err(error)
            }
            OnNonfinite::Skip if self.progress.skipped_in_a_row + 1 >= MOST_IN_A_ROW => {
                Err(ended(&format!(", the last of {MOST_IN_A_ROW} steps in a row that were left out")))
            }
            OnNonfinite::Skip => {
                self.progress.skipped_in_a_row += 1;
                self.noted(number, &reason, true, self.all_names(indices, fault.batch))?;
                let names = self.names(indices, fault.batch);
                session.tell(&Event::Note(&format!(
                    "step {number}: {reason}, the step is left out (samples: {names})"
                )));
                Ok(turn)
            }
            OnNonfinite::Rewind => {
                let error = ended(", and there is no way back");
                self.rewind(number, reason, error, session)
            }
        }
    }

    /// The weights are not finite since the update of this step, whose samples are given.
    fn broken_at(
        &mut self,
        step: u64,
        name: &str,
        indices: &[Vec<usize>],
        session: &mut Session<'_>,
    ) -> Result<Turn, TrainError> {
        let samples = self.names(indices, None);
        let error = TrainError::NonFiniteWeights { step, name: name.into(), samples };
        match self.config.train.on_nonfinite {
            OnNonfinite::Rewind => self.rewind(step, format!("`{name}` is not finite"), error, session),
            OnNonfinite::Stop | OnNonfinite::Skip => Err(error),
        }
    }

    /// A step whose gradients overflowed in float16: the loss is made smaller.
    fn overflowed(
        &mut self,
        step: u64,
        scale: LossScale,
        lower: LossScale,
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        self.progress.loss_scale = Some(lower);
        let (skipped, loss_scale) = ("gradients overflowed in f16", lower.factor);
        self.log.write(&Overflowed { step, skipped, loss_scale })?;
        let (from, to) = (scale.factor, lower.factor);
        session.tell(&Event::Note(&format!(
            "step {step}: gradients overflowed in f16, the step is left out; loss scale {from} -> {to}"
        )));
        Ok(())
    }

    fn noted(
        &mut self,
        step: u64,
        reason: &str,
        goes_on: bool,
        samples: Vec<String>,
    ) -> Result<(), TrainError> {
        let (skipped, stopped) = (goes_on.then_some(reason), (!goes_on).then_some(reason));
        Ok(self.log.write(&NotFinite { step, skipped, stopped, samples })?)
    }

    /// The first parameter or running statistic that is not finite.
    pub(super) fn broken(&self) -> Result<Option<String>, TrainError> {
        let values = self.net.values();
        let sums: Vec<Tensor<1>> = values.iter().map(|(_, value)| value.clone().sum()).collect();
        if sums.is_empty() {
            return Ok(None);
        }
        let sums = read(Tensor::cat(sums, 0), self.progress.step)?;
        // A sum may overflow where no value does.
        for ((info, value), _) in values.iter().zip(sums).filter(|(_, sum)| !sum.is_finite()) {
            if read(value.clone(), self.progress.step)?.iter().any(|value| !value.is_finite()) {
                return Ok(Some(info.name.clone()));
            }
        }
        Ok(None)
    }

    /// The samples of a step by file or row, those of `batch` first.
    fn all_names(&self, indices: &[Vec<usize>], batch: Option<usize>) -> Vec<String> {
        let first = batch.and_then(|batch| indices.get(batch)).into_iter();
        let rest = indices.iter().enumerate().filter(|(i, _)| Some(*i) != batch).map(|(_, batch)| batch);
        first.chain(rest).flatten().map(|i| self.train.name(*i)).collect()
    }

    /// The same for a message: at most 16.
    fn names(&self, indices: &[Vec<usize>], batch: Option<usize>) -> String {
        let mut names = self.all_names(indices, batch);
        let more = names.len().saturating_sub(16);
        names.truncate(16);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
