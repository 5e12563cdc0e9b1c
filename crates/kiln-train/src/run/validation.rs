//! Splits scored during a run: validation on the way, the best kept, and what of a split could not be used.
//! Owns what an evaluation changes of the run's progress and log; when one is due, the loop says.

use burn::tensor::Device;
use kiln_core::Net;
use kiln_core::event::{EvalInfo, Event};
use kiln_data::Split;
use kiln_eval::{Evaluation, Tta};
use serde::Serialize;

use super::{Run, Session};
use crate::average::{Average, Weights};
use crate::error::TrainError;
use crate::plateau::{Plateau, PlateauState};
use crate::progress::Scored;

/// A line of `metrics.jsonl`: how many samples of a split have been left out, where any were.
#[derive(Serialize)]
struct LeftOut {
    step: u64,
    split: &'static str,
    bad_samples: usize,
}

impl Run {
    /// Scores the validation split and keeps the best; whether it is the best, or `None` when a signal came.
    pub(super) fn validate(&mut self, session: &mut Session<'_>) -> Result<Option<bool>, TrainError> {
        self.progress.pending_evaluation = true;
        let Some(validation) = self.dataset.validation.clone() else {
            self.progress.pending_evaluation = false;
            return Ok(Some(false));
        };
        let Some(scores) = self.score(&validation, "validation", session)? else { return Ok(None) };
        let scored = Scored { step: self.progress.step, loss: scores.loss, metrics: scores.metrics };
        let is_best = scored.beats(self.progress.best.as_ref(), self.metric);
        self.progress.pending_evaluation = false;
        self.progress.newest = Some(scored.clone());
        if is_best {
            (self.progress.best, self.progress.stale_evaluations) = (Some(scored.clone()), 0);
        } else {
            self.progress.stale_evaluations += 1;
        }
        self.evaluated(&scored, "validation", is_best, session)?;
        self.plateau(&scored, session);
        self.log.weights(scored.step, &*self.net)?;
        Ok(Some(is_best))
    }

    /// Lowers the learning rate where evaluations have stopped improving.
    fn plateau(&mut self, scored: &Scored, session: &mut Session<'_>) {
        let Some(rule) = Plateau::of(&self.config.schedule) else { return };
        let start = || PlateauState::new(self.config.optimizer.learning_rate());
        let state = self.progress.plateau.unwrap_or_else(start);
        let next = rule.after(state, scored.number(self.metric), self.metric.higher_is_better);
        self.progress.plateau = Some(next);
        if next.learning_rate < state.learning_rate {
            let (step, name) = (scored.step, self.metric.name);
            let (from, to) = (state.learning_rate, next.learning_rate);
            session.tell(&Event::Note(&format!(
                "step {step}: {name} has stopped improving, the learning rate falls from {from} to {to}"
            )));
        }
    }

    /// Writes and tells one evaluation.
    pub(crate) fn evaluated(
        &mut self,
        scored: &Scored,
        split: &'static str,
        is_best: bool,
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        let Scored { step, loss, metrics } = scored.clone();
        let info = EvalInfo { step, split, loss, metrics, is_best };
        self.log.write(&info)?;
        session.tell(&Event::Evaluated(&info));
        Ok(())
    }

    /// Scores a split with the current weights; `None` when a signal came.
    pub(crate) fn score(
        &mut self,
        split: &Split,
        name: &'static str,
        session: &mut Session<'_>,
    ) -> Result<Option<kiln_eval::Scores>, TrainError> {
        let net = self.weights(self.evaluate());
        let device = self.device.clone().inner();
        let evaluation = self.evaluation(&*net, split, &device);
        let stop = self.dir.stop();
        let mut watch = |done, total| {
            session.tell(&Event::Evaluating { split: name, done, total });
            !session.interrupted() && !stop.exists()
        };
        let scores = kiln_nn::precision::within(self.config.precision, || evaluation.run(&mut watch));
        self.bad.write(name, split)?;
        let scores = scores?;
        if scores.is_some() {
            self.left_out(name, split, session)?;
        }
        Ok(scores)
    }

    /// How a net is scored on a split.
    pub(super) fn evaluation<'a>(
        &'a self,
        net: &'a dyn Net,
        split: &'a Split,
        device: &'a Device,
    ) -> Evaluation<'a> {
        Evaluation {
            net,
            task: self.task,
            labels: &self.dataset.classes,
            split,
            preprocessor: &self.dataset.preprocessor,
            loader: self.config.data.loader(),
            device,
            tta: Tta::None,
        }
    }

    /// Which weights are scored and become the model.
    pub(crate) fn evaluate(&self) -> Weights {
        self.average.as_ref().map_or(Weights::Raw, Average::evaluate)
    }

    /// A copy of the net with these weights, without autodiff; before there is an average, as trained.
    pub(crate) fn weights(&self, which: Weights) -> Box<dyn Net> {
        let mut net = self.net.valid();
        let average = self.average.as_ref().filter(|_| which == Weights::Average).and_then(Average::state);
        if let Some(state) = average {
            net.load_state(&state);
        }
        net
    }

    /// Logs and tells, after a whole pass over a split, how many of its samples cannot be used.
    pub(super) fn left_out(
        &mut self,
        name: &'static str,
        split: &Split,
        session: &mut Session<'_>,
    ) -> Result<(), TrainError> {
        let bad_samples = split.bad_count();
        if bad_samples > 0 {
            self.log.write(&LeftOut { step: self.progress.step, split: name, bad_samples })?;
        }
        let cache = self.dataset.cache_news().filter(|_| name == "train");
        for news in self.bad.news(name, split).into_iter().chain(cache) {
            session.tell(&Event::Note(&news));
        }
        Ok(())
    }

    pub(super) fn patience_is_out(&self) -> Option<String> {
        let patience = self.config.train.early_stopping_patience?;
        let stale = self.progress.stale_evaluations;
        (stale >= patience).then(|| format!("no improvement in {stale} evaluations"))
    }
}
