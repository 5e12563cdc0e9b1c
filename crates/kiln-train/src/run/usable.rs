//! What may reach the weights: finite losses and gradients only.
//! Owns the end of a run at any other number, and the steps that are left out in float16; never changes a weight.

use kiln_core::event::Event;
use serde::Serialize;

use super::{Run, Session};
use crate::error::TrainError;

/// A line of `metrics.jsonl`: a step in float16 that changed no weight.
#[derive(Serialize)]
struct Skipped {
    step: u64,
    skipped: &'static str,
    loss_scale: f32,
}

impl Run {
    /// Whether gradients of this norm may change the weights. In float16 those that overflowed may not, and the loss is
    /// made smaller; elsewhere they end the run.
    pub(super) fn is_usable(
        &mut self,
        norm: f32,
        indices: &[usize],
        session: &mut Session<'_>,
    ) -> Result<bool, TrainError> {
        let Some(scale) = self.progress.loss_scale else {
            return self.finite("gradient norm", norm, indices).map(|_| true);
        };
        if norm.is_finite() {
            self.progress.loss_scale = Some(scale.held());
            return Ok(true);
        }
        let step = self.progress.step + 1;
        let Some(lower) = scale.lowered() else {
            return Err(TrainError::Overflow { step, samples: self.names(indices) });
        };
        self.progress.loss_scale = Some(lower);
        self.log.write(&Skipped {
            step,
            skipped: "gradients overflowed in f16",
            loss_scale: lower.factor,
        })?;
        let (from, to) = (scale.factor, lower.factor);
        session.tell(&Event::Note(&format!(
            "step {step}: gradients overflowed in f16, the step is left out; loss scale {from} -> {to}"
        )));
        Ok(false)
    }

    /// Passes a finite number on; anything else ends the run before it reaches the weights.
    pub(super) fn finite(
        &self,
        what: &'static str,
        value: f32,
        indices: &[usize],
    ) -> Result<f32, TrainError> {
        if value.is_finite() {
            return Ok(value);
        }
        let samples = self.names(indices);
        Err(TrainError::NonFinite { step: self.progress.step + 1, what, value, samples })
    }

    /// The first samples by name.
    fn names(&self, indices: &[usize]) -> String {
        let names: Vec<String> = indices.iter().take(3).map(|i| self.train.name(*i)).collect();
        let more = if indices.len() > 3 { ", ..." } else { "" };
        format!("{}{more}", names.join(", "))
    }
}
