//! One run, from its start to the last step. Start order: resume > pretrained > scratch.
//! Owns the loop, which reads top to bottom in `Run::steps`; never prints and never chooses what to run.
//! `setup.rs` makes a `Run`, `finish.rs` turns the trained weights into the model folder.

pub(crate) mod alive;
mod guard;
mod lr_find;
mod nonfinite;
mod replay;
pub(crate) mod rewind;
mod validation;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use kiln_core::event::{Callback, Event};
use kiln_core::files::FileError;
use kiln_core::seed::{Purpose, mix};
use kiln_core::{Gradients, Net, RunDir};
use kiln_data::{Dataset, HostBatch, Loader, Order, Split, collate};
use kiln_eval::tasks::{Loss, Metric, Task};
use kiln_models::Card;

pub(crate) use guard::Ledger;
use guard::Turn;
pub use lr_find::{RateCurve, RatePoint, Sweep, lr_find};
pub use replay::{Replay, ReplayedBatch, Trouble, replay};

use crate::average::Average;
use crate::bad_samples::BadSamples;
use crate::checkpoint::{self, Checkpoint};
use crate::config::{Config, OnNonfinite};
use crate::error::TrainError;
use crate::finetune::Finetune;
use crate::optim::Optimizer;
use crate::pass;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_log::RunLog;

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
    pub(crate) dataset: Dataset,
    pub(crate) train: Split,
    pub(crate) card: Card,
    pub(crate) task: &'static dyn Task,
    pub(crate) loss: Loss,
    pub(crate) metric: Metric,
    pub(crate) finetune: Finetune,
    // What it works with.
    pub(crate) dir: RunDir,
    pub(crate) log: RunLog,
    pub(crate) bad: BadSamples,
    pub(crate) ledger: Ledger,
    pub(crate) device: Device,
    // What a checkpoint holds.
    pub(crate) net: Box<dyn Net>,
    pub(crate) optimizer: Optimizer,
    pub(crate) average: Option<Average>,
    pub(crate) progress: Progress,
}

/// What the batches of one optimizer step gave.
#[derive(Default)]
struct Group {
    gradients: Gradients,
    /// Mean loss `[1]` of each batch, on the device, and what it weighs.
    losses: Vec<Tensor<1>>,
    weights: Vec<f64>,
    /// Samples, or scored tokens: what the loss is a mean of.
    samples: u64,
    /// Samples and tokens that were read.
    read: (u64, u64),
    data_wait: Duration,
    /// Of each batch, to name them when something is not finite.
    indices: Vec<Vec<usize>>,
    /// The net's running statistics before.
    statistics: Vec<Tensor<1>>,
    /// Why nothing was computed: see [`Progress::left_out`].
    left_out: Option<String>,
}

/// What to divide by.
fn or_one(weights: f64) -> f64 {
    if weights > 0.0 { weights } else { 1.0 }
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
        let (step, total) = (self.progress.step, self.plan.total_steps);
        session.tell(&Event::Started { step, total, steps_per_epoch: self.plan.steps_per_epoch });

        if self.progress.out_of_time && !self.time_is_up() {
            (self.progress.out_of_time, self.progress.stopped_early) = (false, None);
        }

        // ---- an evaluation that a signal cut short -------------------------------------------------------
        if self.progress.pending_evaluation {
            if self.validate(session)?.is_none() {
                let end = self.interrupted(session)?;
                return Ok((self, end));
            }
            self.progress.stopped_early = self.patience_is_out();
            self.save(session)?;
        }
        if self.config.train.on_nonfinite == OnNonfinite::Rewind && self.progress.step == 0 {
            self.save(session)?; // so that there is a way back from the first steps
        }

        while self.progress.step < total && self.progress.stopped_early.is_none() {
            // ---- one pass over the training samples, from the batch where it is ---------------------------
            let order = Order::Train { seed: self.config.seed, epoch: self.progress.epoch };
            let loader = Loader::new(&train, &self.dataset.preprocessor, self.config.data.loader(), order)?;
            let mixup = pass::mixup(&self.config, &self.dataset);
            let mut loader = loader.mixed(mixup).starting_at(self.progress.batch);

            while self.progress.batch < self.plan.batches_per_epoch && self.progress.step < total {
                // ---- one optimizer step ----------------------------------------------------------------
                let batches = self.plan.accumulation.min(self.plan.batches_per_epoch - self.progress.batch);
                let step_began = Instant::now();
                self.finetune.thaw(&mut *self.net, self.progress.step);
                let group = self.gradients(&mut loader, batches)?;
                self = self.take(group, batches, step_began)?;
                self.progress.seconds = trained_before + began.elapsed().as_secs_f64();

                // ---- what came of it, and where we are now ---------------------------------------------
                let due = |run: &Self| {
                    let (step, epoch) = (run.progress.step, run.plan.steps_per_epoch);
                    let end = step == total || run.time_is_up();
                    let evaluate =
                        end || run.config.evaluate.every.is_due(step, epoch, evaluated_at.elapsed());
                    (evaluate, run.config.checkpoint.every.is_due(step, epoch, saved_at.elapsed()))
                };
                let (mut evaluate, mut save) = due(&self);
                let pass_over = self.progress.batch == self.plan.batches_per_epoch;
                let turn = self.settle(evaluate || save || pass_over, evaluate || save, session)?;
                match turn {
                    Turn::On => {}
                    Turn::Back => (evaluate, save) = due(&self),
                    Turn::Rewound => break,
                }
                let step = self.progress.step;
                if self.progress.batch == self.plan.batches_per_epoch {
                    self.left_out("train", &train, session)?;
                    (self.progress.epoch, self.progress.batch) = (self.progress.epoch + 1, 0);
                }

                // ---- once in a while: evaluate ---------------------------------------------------------
                let mut is_best = false;
                self.progress.out_of_time = step < total && evaluate && self.time_is_up();
                if evaluate {
                    match self.validate(session)? {
                        Some(best) => is_best = best,
                        None => {
                            let end = self.interrupted(session)?;
                            return Ok((self, end));
                        }
                    }
                    evaluated_at = Instant::now();
                }
                self.progress.stopped_early =
                    self.patience_is_out().or_else(|| session.stop_reason()).or_else(|| self.out_of_time());

                // ---- once in a while: save -------------------------------------------------------------
                let last = step == total || self.progress.stopped_early.is_some();
                let best = is_best && self.config.checkpoint.keep_best;
                if last || best || save {
                    if !(evaluate || save) && self.settle(true, true, session)? != Turn::On {
                        self.progress.stopped_early = None;
                        break; // who asked to stop will ask again
                    }
                    self.save(session)?;
                    saved_at = Instant::now();
                }
                if last {
                    break;
                }
                if session.interrupted() || self.dir.stop().exists() {
                    if self.settle(true, true, session)? != Turn::On {
                        break; // not here: where it goes back to
                    }
                    let end = self.interrupted(session)?;
                    return Ok((self, end));
                }
                if self.progress.batch == 0 || turn == Turn::Back {
                    break; // the next pass has its own order; and the loader is ahead of where we are
                }
            }
        }
        match self.progress.stopped_early.clone() {
            Some(reason) => session.tell(&Event::Stopped { step: self.progress.step, reason: &reason }),
            None => session.tell(&Event::Finished { step: self.progress.step }),
        }
        Ok((self, End::Complete))
    }

    /// The rate of the next step.
    fn learning_rate(&self) -> f64 {
        match self.progress.plateau {
            Some(plateau) => self.plan.schedule.at_peak(self.progress.step, plateau.learning_rate),
            None => self.plan.schedule.at(self.progress.step),
        }
    }

    /// The gradients of `batches` batches, equal to those of one batch of all their samples: each batch's mean
    /// loss is weighted by its samples, so that a short last batch counts for what it is.
    fn gradients(&mut self, loader: &mut Loader, batches: usize) -> Result<Group, TrainError> {
        let mut group = Group { statistics: self.net.statistics(), ..Group::default() };
        let next = self.progress.step + 1;
        let left_out = self.progress.left_out.iter().find(|left_out| left_out.step == next);
        group.left_out = left_out.map(|left_out| left_out.reason.clone());
        for micro in 0..batches {
            let waiting = Instant::now();
            let next = loader.next();
            self.bad.write("train", &self.train)?;
            let host: HostBatch = match next {
                Some(batch) => batch?,
                None => break,
            };
            group.data_wait += waiting.elapsed();
            group.indices.push(host.indices.clone());
            group.read = (group.read.0 + host.size() as u64, group.read.1 + host.tokens());
            group.samples += host.weight();
            if group.left_out.is_some() {
                continue;
            }
            let (loss, weight, gradients) = self.micro_batch(host, micro, batches > 1)?;
            group.losses.push(loss);
            group.weights.push(weight);
            group.gradients.add(gradients);
        }
        // Of padding alone, and of classes that weigh nothing, there is nothing to learn.
        let summed = if batches > 1 { or_one(group.weights.iter().sum()) as f32 } else { 1.0 };
        let factor = summed * self.progress.loss_scale.map_or(1.0, |scale| scale.factor);
        if factor != 1.0 {
            group.gradients = group.gradients.scale(1.0 / factor);
        }
        Ok(group)
    }

    /// Mean loss `[1]`, its weight (see [`Loss::weight`]) and gradients of one batch; the gradients are of the summed loss
    /// where `summed`, and of the scaled one in float16.
    fn micro_batch(
        &self,
        host: HostBatch,
        micro: usize,
        summed: bool,
    ) -> Result<(Tensor<1>, f64, Gradients), TrainError> {
        let weight = self.loss.weight(&host);
        let loss = self.forward(host, micro)?;
        let value = loss.clone().inner();
        let loss = if summed { loss.mul_scalar(weight) } else { loss };
        let loss = match self.progress.loss_scale {
            Some(scale) => loss.mul_scalar(scale.factor),
            None => loss,
        };
        Ok((value, weight, self.net.gradients(loss)))
    }

    /// Mean loss `[1]` of batch `micro` of the next step, with its random numbers and a graph behind it.
    fn forward(&self, host: HostBatch, micro: usize) -> Result<Tensor<1>, TrainError> {
        let first = host.indices.first().copied();
        let at = [self.progress.step, micro as u64];
        kiln_nn::random::seed(mix(self.config.seed, Purpose::Device, &at), &self.device);
        let batch = collate(host, &self.device);
        let Some(target) = batch.target.clone() else {
            return Err(TrainError::Unlabelled(first.map_or_else(String::new, |i| self.train.name(i))));
        };
        pass::loss(self.config.precision, &*self.net, (self.task, &self.loss), batch, target)
    }

    /// Saves here and answers that the run was interrupted.
    fn interrupted(&mut self, session: &mut Session<'_>) -> Result<End, TrainError> {
        self.save(session)?;
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

    fn time_is_up(&self) -> bool {
        self.config.train.max_minutes.is_some_and(|minutes| self.progress.seconds >= 60.0 * minutes)
    }

    fn out_of_time(&self) -> Option<String> {
        let minutes = self.config.train.max_minutes.filter(|_| self.progress.out_of_time)?;
        Some(format!("the {minutes} minutes of train.max_minutes are used up"))
    }

    fn save(&mut self, session: &mut Session<'_>) -> Result<PathBuf, TrainError> {
        self.log.sync(&mut self.progress)?;
        let checkpoint = Checkpoint {
            model: self.net.state(),
            optimizer: self.optimizer.state(),
            average: self.average.as_ref().and_then(Average::state),
            progress: self.progress.clone(),
        };
        let folder = checkpoint::save(&self.dir.checkpoints(), &checkpoint, &self.config_text)?;
        let best = self.progress.best.as_ref().filter(|_| self.config.checkpoint.keep_best).map(|b| b.step);
        checkpoint::prune(&self.dir.checkpoints(), self.config.checkpoint.keep_last, best)?;
        session.tell(&Event::Saved { path: &folder, step: self.progress.step });
        Ok(folder)
    }
}

/// Burn's CPU generator is one a process: runs of two tests at once would draw from each other's.
#[cfg(test)]
static ONE_RUN: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests;
