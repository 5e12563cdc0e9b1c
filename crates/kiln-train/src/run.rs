//! One run, from its start to the last step. Start order: resume > pretrained > scratch.
//! Owns the loop, which reads top to bottom in `Run::steps`; never prints and never chooses what to run.
//! `setup.rs` makes a `Run`, `finish.rs` turns the trained weights into the model folder.

pub(crate) mod alive;
mod budget;
mod dry_run;
mod guard;
mod insight;
mod lr_find;
pub(crate) mod memory;
mod nonfinite;
mod overfit;
mod replay;
pub(crate) mod rewind;
mod saver;
mod saving;
mod validation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use kiln_core::event::{Callback, Event};
use kiln_core::files::FileError;
use kiln_core::seed::{Purpose, mix};
use kiln_core::{Gradients, Net, RunDir};
use kiln_data::{Dataset, HostBatch, Loader, Split, collate};
use kiln_eval::tasks::{Loss, Metric, Task};
use kiln_models::Card;
use kiln_nn::meter::measure;

pub use dry_run::{DryRun, dry_run};
pub(crate) use guard::Ledger;
use guard::Turn;
pub use lr_find::{RateCurve, RatePoint, Sweep, lr_find};
pub use replay::{Replay, ReplayedBatch, Trouble, replay};

use crate::average::Average;
use crate::bad_samples::BadSamples;
use crate::config::{Config, OnNonfinite};
use crate::distillation::Teacher;
use crate::error::TrainError;
use crate::finetune::Finetune;
use crate::optim::Optimizer;
use crate::pass;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_log::RunLog;
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
    pub(crate) teacher: Option<Teacher>,
    // What it works with. The saver comes first: the folder is held until it is done.
    pub(crate) saver: Saver,
    pub(crate) begun: Option<Begun>,
    pub(crate) dir: RunDir,
    pub(crate) log: RunLog,
    pub(crate) bad: BadSamples,
    pub(crate) ledger: Ledger,
    pub(crate) device: Device,
    /// Parameters train that are no layer's, as embeddings: for the count of operations.
    pub(crate) tables_train: bool,
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
    /// Operations of the model.
    flops: u64,
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
        if self.config.train.on_nonfinite == OnNonfinite::Rewind && self.progress.step == 0 {
            self.save(false, session)?; // so that there is a way back from the first steps
        }

        while self.progress.step < total && self.progress.stopped_early.is_none() {
            // ---- one pass over the training samples, from the batch where it is ---------------------------
            let loader = pass::loader(&self.config, &self.dataset, &train, self.progress.pass())?;
            let in_pass = loader.left(); // of `batches_per_epoch`, unless the batch size changed in this pass
            let mut loader = loader.starting_at(self.progress.batch);

            while self.progress.batch < in_pass && self.progress.step < total {
                // ---- one optimizer step ----------------------------------------------------------------
                let batches = self.plan.accumulation.min(in_pass - self.progress.batch);
                let step_began = Instant::now();
                let planned = self.planned();
                self.finetune.thaw(&mut *self.net, planned);
                let group = self.gradients(&mut loader, batches)?;
                self = self.take(group, batches, in_pass, step_began)?;
                self.progress.seconds = trained_before + began.elapsed().as_secs_f64();

                // ---- what came of it, and where we are now ---------------------------------------------
                let due = |run: &Self| {
                    let step = run.progress.step;
                    let ended = run.passes(in_pass);
                    let (evaluate, save) = (run.config.evaluate.every, run.config.checkpoint.every);
                    let end = step == total || run.budget_is_up();
                    let evaluate = end || evaluate.is_due_in_loop(step, ended, evaluated_at.elapsed());
                    (evaluate, save.is_due_in_loop(step, ended, saved_at.elapsed()))
                };
                let (mut evaluate, mut save) = due(&self);
                let pass_over = self.progress.batch == in_pass;
                let turn = self.settle(evaluate || save || pass_over, evaluate || save, session)?;
                match turn {
                    Turn::On => {}
                    Turn::Back => (evaluate, save) = due(&self),
                    Turn::Rewound => break,
                }
                let step = self.progress.step;
                if self.progress.batch == in_pass {
                    self.left_out("train", &train, session)?;
                    self.progress.next_pass();
                }

                // ---- once in a while: evaluate ---------------------------------------------------------
                let mut keep = false;
                self.progress.out_of_time = step < total && evaluate && self.budget_is_up();
                if evaluate {
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
                let last = step == total || self.progress.stopped_early.is_some();
                self.saved(session)?;
                if last || keep || save {
                    if !(evaluate || save) && self.settle(true, true, session)? != Turn::On {
                        self.progress.stopped_early = None;
                        break; // who asked to stop will ask again
                    }
                    self.save(keep, session)?;
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
        self.wait_for_save(session)?;
        self.progress.seconds = trained_before + began.elapsed().as_secs_f64();
        self.say_whether_it_fell(session)?;
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
            if micro == 0 && self.progress.step == 0 {
                self.log.samples(1, &self.dataset.preprocessor, &host)?;
            }
            group.read = (group.read.0 + host.size() as u64, group.read.1 + host.tokens());
            group.samples += host.weight();
            if group.left_out.is_some() {
                continue;
            }
            let tables = self.tables_train;
            let (found, cost) = measure(tables, || self.micro_batch(host, micro, batches > 1));
            let (loss, weight, gradients) = found?;
            group.flops += cost.forward_flops + cost.backward_flops;
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
        let by = (self.task, &self.loss);
        pass::loss(&self.config, &*self.net, self.teacher.as_ref(), by, batch, target)
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

/// Burn's CPU generator is one a process: runs of two tests at once would draw from each other's.
#[cfg(test)]
static ONE_RUN: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests;
