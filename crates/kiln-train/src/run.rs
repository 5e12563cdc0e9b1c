//! One run, from its start to the last step. Start order: resume > pretrained > scratch.
//! Owns the loop, which reads top to bottom in `Run::steps`; never prints and never chooses what to run.
//! `setup.rs` makes a `Run`, `finish.rs` turns the trained weights into the model folder.

mod budget;
mod lr_find;
mod saver;
mod saving;
mod usable;
mod validation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use kiln_core::event::{Callback, Event, StepInfo};
use kiln_core::files::FileError;
use kiln_core::seed::{Purpose, mix};
use kiln_core::{Gradients, Net, RunDir};
use kiln_data::{Dataset, HostBatch, Loader, Order, Split, collate};
use kiln_eval::tasks::{Loss, Metric, Task};
use kiln_models::Card;

pub use lr_find::{RateCurve, RatePoint, Sweep, lr_find};

use crate::average::Average;
use crate::bad_samples::BadSamples;
use crate::config::Config;
use crate::error::TrainError;
use crate::finetune::Finetune;
use crate::optim::{Optimizer, clip, global_norm};
use crate::pace::{PaceMeter, Pass};
use crate::pass;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_log::RunLog;
use crate::stall::StallMeter;
pub(crate) use saver::Saver;
pub(crate) use saving::Begun;

/// Who watches a run and who may stop it.
pub struct Session<'a> {
    /// Told of every event, in order.
    pub callbacks: Vec<Box<dyn Callback + 'a>>,
    /// Set by a signal handler: save and stop after the current step.
    pub interrupt: &'a AtomicBool,
    /// When the process started.
    pub process_start: Instant,
}

impl Session<'_> {
    /// Tells everybody.
    pub fn tell(&mut self, event: &Event<'_>) {
        for callback in &mut self.callbacks {
            callback.on(event);
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::SeqCst)
    }

    /// The first reason a callback has to end the run.
    fn stop_reason(&self) -> Option<String> {
        self.callbacks.iter().find_map(|c| c.stop())
    }
}

/// How the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All steps are done, or a callback or early stopping ended it.
    Complete,
    /// A signal asked to stop; everything is saved.
    Interrupted {
        /// Optimizer steps done.
        step: u64,
    },
}

/// A run under way.
pub struct Run {
    // What it was told.
    pub(crate) config: Config,
    pub(crate) config_text: String,
    pub(crate) plan: Plan,
    pub(crate) shift: i64,
    pub(crate) dataset: Dataset,
    pub(crate) train: Split,
    pub(crate) card: Card,
    pub(crate) task: &'static dyn Task,
    pub(crate) loss: Loss,
    pub(crate) metric: Metric,
    pub(crate) finetune: Finetune,
    // What it works with. The saver comes first: the folder is held until it is done.
    pub(crate) saver: Saver,
    pub(crate) begun: Option<Begun>,
    pub(crate) dir: RunDir,
    pub(crate) log: RunLog,
    pub(crate) bad: BadSamples,
    pub(crate) device: Device,
    // What a checkpoint holds.
    pub(crate) net: Box<dyn Net>,
    pub(crate) optimizer: Optimizer,
    pub(crate) average: Option<Average>,
    pub(crate) progress: Progress,
}

/// What the batches of one optimizer step gave.
struct Group {
    gradients: Gradients,
    loss: f32,
    /// Samples, or scored tokens: what the loss is a mean of.
    samples: u64,
    /// Samples and tokens that were read.
    read: (u64, u64),
    data_wait: Duration,
    /// Of the first batch, to name them when something is not finite.
    indices: Vec<usize>,
}

impl Run {
    /// Trains from where the run is to its last step.
    ///
    /// # Errors
    /// Data, files or numbers fail; the newest checkpoint is then the way back.
    pub fn steps(mut self, session: &mut Session<'_>) -> Result<(Self, End), TrainError> {
        let train = self.train.clone();
        let (mut evaluated_at, mut saved_at) = (Instant::now(), Instant::now());
        let trained_before = self.progress.seconds;
        let began = Instant::now();
        let mut stall = StallMeter::default();
        let mut pace = PaceMeter::new(self.config.train.logging_steps);
        let (step, total) = (self.progress.step, self.total_steps());
        session.tell(&Event::Started { step, total, steps_per_epoch: self.plan.steps_per_epoch });

        if self.progress.out_of_time && !self.budget_is_up() {
            (self.progress.out_of_time, self.progress.stopped_early) = (false, None);
        }

        self.room(session)?;

        // ---- an evaluation that a signal cut short -------------------------------------------------------
        if self.progress.pending_evaluation {
            if self.validate(session)?.is_none() {
                let end = self.interrupted(session)?;
                return Ok((self, end));
            }
            self.progress.stopped_early = self.patience_is_out();
            let keep = self.is_to_keep(session)?;
            self.save(keep, session)?;
        }

        while self.progress.step < total && self.progress.stopped_early.is_none() {
            // ---- one pass over the training samples, from the batch where it is ---------------------------
            let order = Order::Train { seed: self.config.seed, epoch: self.progress.epoch };
            let loader = Loader::new(&train, &self.dataset.preprocessor, self.config.data.loader(), order)?;
            let mixup = pass::mixup(&self.config, &self.dataset);
            let loader = loader.mixed(mixup);
            let loader = match self.progress.skipped {
                0 => loader,
                samples => loader.starting_after(samples, self.config.data.loader()),
            };
            let in_pass = loader.left(); // of `batches_per_epoch`, unless the batch size changed in this pass
            let mut loader = loader.starting_at(self.progress.batch);

            while self.progress.batch < in_pass && self.progress.step < total {
                // ---- one optimizer step ----------------------------------------------------------------
                let batches = self.plan.accumulation.min(in_pass - self.progress.batch);
                let step_began = Instant::now();
                let planned = self.planned();
                self.finetune.thaw(&mut *self.net, planned);
                let group = self.gradients(&mut loader, batches)?;
                let norm = global_norm(&group.gradients);
                let learning_rate = self.learning_rate();
                if self.is_usable(norm, &group.indices, session)? {
                    let gradients = match self.config.train.max_grad_norm {
                        Some(max_norm) => clip(group.gradients, norm, max_norm),
                        None => group.gradients,
                    };
                    self.net = self.optimizer.step(self.net, gradients, learning_rate);
                }

                // ---- where we are now ------------------------------------------------------------------
                self.progress.step += 1;
                self.progress.batch += batches;
                self.progress.tokens += group.read.1;
                let planned = self.planned();
                if let Some(average) = &mut self.average {
                    average.update(&*self.net, self.progress.step, planned, &self.plan);
                    self.progress.averaged = average.updates();
                }
                let workers = self.config.data.loader().workers;
                let (took, waited, (samples, tokens)) = (step_began.elapsed(), group.data_wait, group.read);
                pace.step(Pass { took, waited, samples, tokens });
                if let Some(news) = stall.step(waited, took, workers) {
                    session.tell(&Event::Note(&news));
                }
                self.progress.seconds = trained_before + began.elapsed().as_secs_f64();
                self.progress.window.add(group.loss, group.samples);
                let step = self.progress.step;
                let behind = self.plan.batches_per_epoch.saturating_sub(in_pass) + self.progress.batch;
                let epoch = self.progress.epoch as f64 + behind as f64 / self.plan.batches_per_epoch as f64;
                if step.is_multiple_of(self.config.train.logging_steps) {
                    let info = StepInfo {
                        step,
                        epoch,
                        loss: self.progress.window.take() as f32,
                        learning_rate,
                        grad_norm: norm,
                        samples: group.samples,
                        elapsed: session.process_start.elapsed().as_secs_f64(),
                        data_wait: group.data_wait.as_secs_f64(),
                        pace: pace.pace(),
                    };
                    self.logged(&info, session)?;
                }
                if self.progress.batch == in_pass {
                    self.left_out("train", &train, session)?;
                    self.progress.next_pass();
                }
                let ended = (self.progress.batch == 0).then_some(self.progress.epoch);

                // ---- once in a while: evaluate ---------------------------------------------------------
                let mut keep = false;
                let every = self.config.evaluate.every;
                self.progress.out_of_time = step < total && self.budget_is_up();
                let end = step == total || self.progress.out_of_time;
                if end || every.is_due_in_loop(step, ended, evaluated_at.elapsed()) {
                    match self.validate(session)? {
                        Some(_) => keep = self.is_to_keep(session)?,
                        None => {
                            let end = self.interrupted(session)?;
                            return Ok((self, end));
                        }
                    }
                    evaluated_at = Instant::now();
                }
                self.progress.stopped_early =
                    self.patience_is_out().or_else(|| session.stop_reason()).or_else(|| self.out_of_budget());

                // ---- once in a while: save -------------------------------------------------------------
                let every = self.config.checkpoint.every;
                let last = step == total || self.progress.stopped_early.is_some();
                self.saved(session)?;
                if last || keep || every.is_due_in_loop(step, ended, saved_at.elapsed()) {
                    self.save(keep, session)?;
                    saved_at = Instant::now();
                }
                if last {
                    break;
                }
                if session.interrupted() || self.dir.stop().exists() {
                    let end = self.interrupted(session)?;
                    return Ok((self, end));
                }
                if self.progress.batch == 0 {
                    break; // the next pass has its own order
                }
            }
        }
        self.settle(session)?;
        self.progress.seconds = trained_before + began.elapsed().as_secs_f64();
        match self.progress.stopped_early.clone() {
            Some(reason) => session.tell(&Event::Stopped { step: self.progress.step, reason: &reason }),
            None => session.tell(&Event::Finished { step: self.progress.step }),
        }
        Ok((self, End::Complete))
    }

    /// Steps done, as the plan counts them; see [`Plan::shift`].
    fn planned(&self) -> u64 {
        self.progress.step.saturating_add_signed(self.shift)
    }

    /// Optimizer steps of the run, as they are counted.
    fn total_steps(&self) -> u64 {
        self.plan.total_steps.saturating_add_signed(-self.shift)
    }

    /// Whether there is nothing left to train.
    pub(crate) fn is_over(&self) -> bool {
        self.progress.step >= self.total_steps() || self.progress.stopped_early.is_some()
    }

    /// The rate of the next step.
    fn learning_rate(&self) -> f64 {
        match self.progress.plateau {
            Some(plateau) => self.plan.schedule.at_peak(self.planned(), plateau.learning_rate),
            None => self.plan.schedule.at(self.planned()),
        }
    }

    /// The gradients of `batches` batches, equal to those of one batch of all their samples: each batch's mean
    /// loss is weighted by its samples, so that a short last batch counts for what it is.
    fn gradients(&mut self, loader: &mut Loader, batches: usize) -> Result<Group, TrainError> {
        let mut group = Group {
            gradients: Gradients::default(),
            loss: 0.0,
            samples: 0,
            read: (0, 0),
            data_wait: Duration::ZERO,
            indices: Vec::new(),
        };
        let (mut weighted_loss, mut weights) = (0.0, 0.0);
        for micro in 0..batches {
            let waiting = Instant::now();
            let next = loader.next();
            self.bad.write("train", &self.train)?;
            let host: HostBatch = match next {
                Some(batch) => batch?,
                None => break,
            };
            group.data_wait += waiting.elapsed();
            if micro == 0 {
                group.indices = host.indices.clone();
            }
            group.read = (group.read.0 + host.size() as u64, group.read.1 + host.tokens());
            group.samples += host.weight();
            let (value, weight, gradients) = self.micro_batch(host, micro, batches > 1)?;
            weighted_loss += f64::from(value) * weight;
            weights += weight;
            group.gradients.add(gradients);
        }
        // Of padding alone, and of classes that weigh nothing, there is nothing to learn.
        let weights = if weights > 0.0 { weights } else { 1.0 };
        group.loss = (weighted_loss / weights) as f32;
        let summed = if batches > 1 { weights as f32 } else { 1.0 };
        let factor = summed * self.progress.loss_scale.map_or(1.0, |scale| scale.factor);
        if factor != 1.0 {
            group.gradients = group.gradients.scale(1.0 / factor);
        }
        Ok(group)
    }

    /// Mean loss, its weight (see [`Loss::weight`]) and gradients of one batch; the gradients are of the summed loss
    /// where `summed`, and of the scaled one in float16.
    fn micro_batch(
        &self,
        host: HostBatch,
        micro: usize,
        summed: bool,
    ) -> Result<(f32, f64, Gradients), TrainError> {
        let (indices, weight) = (host.indices.clone(), self.loss.weight(&host));
        let at = [self.progress.step, micro as u64];
        kiln_nn::random::seed(mix(self.config.seed, Purpose::Device, &at), &self.device);
        let batch = collate(host, &self.device);
        let Some(target) = batch.target.clone() else {
            return Err(TrainError::Unlabelled(
                indices.first().map_or_else(String::new, |i| self.train.name(*i)),
            ));
        };
        let by = (self.task, &self.loss);
        let loss = pass::loss(self.config.precision, &*self.net, by, batch, target)?;
        let value = loss.clone().into_scalar::<f32>();
        self.finite("loss", value, &indices)?;
        let loss = if summed { loss.mul_scalar(weight) } else { loss };
        let loss = match self.progress.loss_scale {
            Some(scale) => loss.mul_scalar(scale.factor),
            None => loss,
        };
        Ok((value, weight, self.net.gradients(loss)))
    }

    /// Saves here and answers that the run was interrupted.
    fn interrupted(&mut self, session: &mut Session<'_>) -> Result<End, TrainError> {
        self.save_at_last(session)?;
        self.heed_stop_file()?;
        let step = self.progress.step;
        session.tell(&Event::Stopped { step, reason: "interrupted" });
        Ok(End::Interrupted { step })
    }

    /// Takes the file away that asked to stop, so that a resumed run goes on.
    pub(crate) fn heed_stop_file(&self) -> Result<(), FileError> {
        let path = self.dir.stop();
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(FileError::at(&path, "remove")(e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
