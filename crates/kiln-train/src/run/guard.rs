//! What may reach the weights: finite losses and gradients only.
//! Owns a step from its gradients to its line in the log; never the order of steps (the loop) nor what becomes of a step
//! that is not finite (`nonfinite`).
//!
//! On the processor the numbers of a step are known before its update. Elsewhere nobody waits for them: the device masks
//! the update of a step that is not finite **and of every step after it**, and the numbers are read some steps later, all
//! at once. Where one was not finite, the loop goes back to behind it, so that both ways give the same bits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use burn::tensor::{Bool, Tensor};
use kiln_core::event::{Event, StepInfo};

use super::alive::device_panic;
use super::insight::MemoryMeter;
use super::nonfinite::{Fault, NotFinite};
use super::{Group, Run, Session};
use crate::error::TrainError;
use crate::optim::{Moved, clip, clip_unread, norm};
use crate::pace::{PaceMeter, Pass};
use crate::pass::LossScale;
use crate::stall::StallMeter;

/// Steps whose numbers wait to be read, at most.
const MOST_WAITING: usize = 8;
/// How long the first of them waits.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Steps whose numbers were not read yet, and how fast steps are.
pub(crate) struct Ledger {
    /// Whether numbers are read behind the update.
    pub(crate) late: bool,
    waiting: Vec<Waiting>,
    /// `[1]`: one of the steps that wait was not finite.
    pub(super) bad: Option<Tensor<1, Bool>>,
    /// Samples of the newest step whose numbers were read.
    pub(super) newest: Vec<Vec<usize>>,
    pace: PaceMeter,
    stall: StallMeter,
    memory: MemoryMeter,
}

impl Ledger {
    /// For lines of the log every so many steps; `late` where reading from the device costs time.
    pub(crate) fn new(late: bool, logging_steps: u64, peak_tflops: Option<f64>) -> Self {
        let (pace, stall) = (PaceMeter::new(logging_steps, peak_tflops), StallMeter::default());
        Self {
            late,
            waiting: Vec::new(),
            bad: None,
            newest: Vec::new(),
            pace,
            stall,
            memory: MemoryMeter::default(),
        }
    }

    fn is_due(&self) -> bool {
        !self.late
            || self.waiting.len() >= MOST_WAITING
            || self.waiting.first().is_some_and(|step| step.began.elapsed() > LONGEST_WAIT)
    }
}

/// The numbers of a step: the loss of each batch, then the gradient norm.
#[expect(clippy::large_enum_variant, reason = "a few steps wait at once")]
enum Numbers {
    Read(Vec<f32>),
    /// And 1 behind them where they, or those of a step that waits before this one, are not finite.
    OnDevice(Tensor<1>),
}

/// A step that was taken.
pub(super) struct Waiting {
    // What it is.
    pub(super) step: u64,
    /// Where the loop is behind it, the pass not yet ended.
    pub(super) at: (u64, usize),
    pub(super) tokens: u64,
    epoch: f64,
    learning_rate: f64,
    began: Instant,
    took: Duration,
    pub(super) group: Group,
    numbers: Numbers,
    moved: Option<Moved>,
    // What it found.
    pub(super) counts: Option<BTreeMap<String, u64>>,
    pub(super) averaged: u64,
    pub(super) loss_scale: Option<LossScale>,
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
    /// Takes a step by these gradients of `batches` batches of `in_pass`, as far as they are finite, and goes on behind it.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn take(
        mut self,
        mut group: Group,
        batches: usize,
        in_pass: usize,
        began: Instant,
    ) -> Result<Self, TrainError> {
        let (late, learning_rate) = (self.ledger.late, self.learning_rate());
        let (averaged, loss_scale) = (self.progress.averaged, self.progress.loss_scale);
        let counts = late.then(|| self.optimizer.counts());
        let step = self.progress.step + 1;
        let gradients = std::mem::take(&mut group.gradients);
        let norm = norm(&gradients);
        let (mut numbers, mut bad, mut usable) = (Numbers::Read(Vec::new()), None, false);
        let mut moved = None;
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
            if self.measures(step) {
                let (net, how_far) =
                    self.optimizer.measured_step(self.net, gradients, learning_rate, bad.as_ref());
                (self.net, moved) = (net, Some(how_far));
            } else {
                self.net = self.optimizer.step_unless(self.net, gradients, learning_rate, bad.as_ref());
            }
            if let Some(average) = &mut self.average {
                let planned = step.saturating_add_signed(self.shift);
                average.update(&*self.net, step, planned, &self.plan, bad.as_ref());
                self.progress.averaged = average.updates();
            }
            self.progress.loss_scale = loss_scale.map(LossScale::held);
        }
        self.ledger.bad = bad;
        (self.progress.step, self.progress.batch) = (step, self.progress.batch + batches);
        self.progress.tokens += group.read.1;
        let at = (self.progress.epoch, self.progress.batch);
        let per_epoch = self.plan.batches_per_epoch;
        let behind = per_epoch.saturating_sub(in_pass) + at.1;
        let epoch = at.0 as f64 + behind as f64 / per_epoch as f64;
        let took = began.elapsed();
        self.ledger.waiting.push(Waiting {
            step,
            at,
            tokens: self.progress.tokens,
            epoch,
            learning_rate,
            began,
            took,
            group,
            numbers,
            moved,
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
        device_panic()?;
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
    pub(super) fn logged(
        &mut self,
        step: &Waiting,
        values: &[f32],
        took: Duration,
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        let group = &step.group;
        let (waited, (samples, tokens)) = (group.data_wait, group.read);
        self.ledger.pace.step(Pass { took, waited, samples, tokens, flops: group.flops });
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
                update_ratio: step.moved.as_ref().and_then(Moved::ratio),
                memory_mib: self.ledger.memory.mib(&self.device),
                samples: group.samples,
                elapsed: session.process_start.elapsed().as_secs_f64(),
                data_wait: waited.as_secs_f64(),
                pace: self.ledger.pace.pace(),
            };
            self.line(&info, session)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
