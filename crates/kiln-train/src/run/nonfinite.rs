//! What becomes of a step that is not finite: its numbers say so, it has changed nothing, and the loop is put behind it.
//! Owns the policy (`train.on_nonfinite`), the float16 overflow, and the names of the samples; never reads a step's numbers
//! (`guard`) nor a checkpoint (`rewind`).

use std::time::Duration;

use burn::tensor::Tensor;
use kiln_core::event::Event;
use serde::Serialize;

use super::guard::{Turn, Waiting, read};
use super::{Run, Session};
use crate::config::OnNonfinite;
use crate::error::TrainError;
use crate::pass::LossScale;

/// Steps left out in a row before the run ends, and ways back to a checkpoint.
pub(super) const MOST_IN_A_ROW: u64 = 10;

/// What of a step is not finite.
pub(super) struct Fault {
    what: &'static str,
    value: f32,
    /// The batch, where it is one's loss.
    batch: Option<usize>,
}

impl Fault {
    pub(super) fn of(values: &[f32], batches: usize) -> Option<Self> {
        let at = values.iter().position(|value| !value.is_finite());
        let (losses, value) = (batches, |i: usize| values.get(i).copied().unwrap_or(f32::NAN));
        match at {
            Some(i) if i < losses => Some(Self { what: "loss", value: value(i), batch: Some(i) }),
            Some(i) => Some(Self { what: "gradient norm", value: value(i), batch: None }),
            None => None,
        }
    }
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
pub(super) struct NotFinite<'a> {
    pub(super) step: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<&'a str>,
    pub(super) samples: Vec<String>,
}

impl Run {
    /// Goes back to behind a step that changed nothing, and does with it what is wished.
    pub(super) fn not_finite(
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
        progress.tokens = step.tokens;
        if turn == Turn::Back {
            let planned = self.planned();
            self.finetune.set(&mut *self.net, planned);
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
    pub(super) fn broken_at(
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
    pub(super) fn all_names(&self, indices: &[Vec<usize>], batch: Option<usize>) -> Vec<String> {
        let first = batch.and_then(|batch| indices.get(batch)).into_iter();
        let rest = indices.iter().enumerate().filter(|(i, _)| Some(*i) != batch).map(|(_, batch)| batch);
        first.chain(rest).flatten().map(|i| self.train.name(*i)).collect()
    }

    /// The same for a message: at most eight.
    fn names(&self, indices: &[Vec<usize>], batch: Option<usize>) -> String {
        let mut names = self.all_names(indices, batch);
        let more = names.len().saturating_sub(8);
        names.truncate(8);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        names.join(", ")
    }
}
