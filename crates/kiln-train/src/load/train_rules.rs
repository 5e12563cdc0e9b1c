//! Rules among the keys that training owns: top level, optimizer, schedule, loop, checkpoints.
//! Owns no key's range (the schema does); part of `load`.

use kiln_core::device::DeviceSpec;
use kiln_core::{Every, LossKind, TaskKind};

use kiln_eval::tasks::{self, LOSS, Loss};

use super::Rules;
use crate::config::{AverageConfig, ClassWeights, EvaluateConfig, OptimizerConfig, SchedulerType};

impl Rules<'_> {
    /// `device`, `output_dir`, `run_name`.
    pub(super) fn top(&mut self) {
        if let Err(error) = self.config.device.parse::<DeviceSpec>() {
            self.fault("device", error.to_string(), error.hint());
        }
        let nowhere = self.config.output_dir.as_os_str().is_empty();
        self.fault_if(nowhere, "output_dir", "`output_dir` is empty", "name a folder, for example \"runs\"");
        if let Some(name) = &self.config.run_name {
            let bad = name.trim().is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']);
            let message = format!("`run_name` \"{name}\" is not a folder's name");
            self.fault_if(
                bad,
                "run_name",
                message,
                "use a name without path separators; output_dir says where",
            );
        }
    }

    pub(super) fn optimizer(&mut self) {
        match &self.config.optimizer {
            OptimizerConfig::Adamw(adamw) => {
                let bad = adamw.betas.iter().any(|beta| !(0.0..1.0).contains(beta));
                let message =
                    format!("`optimizer.betas` must be at least 0 and below 1, got {:?}", adamw.betas);
                self.fault_if(bad, "optimizer.betas", message, "the usual choice is [0.9, 0.999]");
            }
            OptimizerConfig::Sgd(sgd) => {
                let bad = sgd.nesterov && (sgd.momentum <= 0.0 || sgd.dampening != 0.0);
                let message = "`nesterov` needs `momentum` above 0 and no `dampening`";
                self.fault_if(bad, "optimizer.nesterov", message, "set momentum = 0.9 and dampening = 0");
                let idle = sgd.dampening > 0.0 && sgd.momentum <= 0.0;
                let message = "`dampening` does nothing without `momentum`";
                self.fault_if(idle, "optimizer.dampening", message, "leave it out, or set momentum = 0.9");
            }
        }
    }

    /// `[train]`, `[schedule]`, `[checkpoint]`.
    pub(super) fn train(&mut self) {
        let train = &self.config.train;
        match (train.epochs, train.max_steps) {
            (None, None) => {
                let message = "how long to train is not said: set `epochs` or `max_steps`";
                self.fault("train", message, "for example: epochs = 3");
            }
            (Some(_), Some(_)) => {
                self.fault("train.max_steps", "both `epochs` and `max_steps` are set", "keep one of them");
            }
            _ => {}
        }
        self.warmup();
        self.average();
        self.loss();
        let unused = train.label_smoothing_factor > 0.0 && self.config.task.kind() == TaskKind::Regression;
        let message = "`label_smoothing_factor` does nothing for a regression";
        self.fault_if(unused, "train.label_smoothing_factor", message, "leave it out");
        let no_validation = !self.has_validation();
        let patience = train.early_stopping_patience.is_some() && no_validation;
        self.fault_if(
            patience,
            "train.early_stopping_patience",
            "early stopping needs validation data",
            VALIDATION,
        );
        let scored = self.config.evaluate != EvaluateConfig::default() && no_validation;
        let message = "[evaluate] does nothing without validation data";
        self.fault_if(scored, "evaluate", message, VALIDATION);
        let best =
            self.config.checkpoint.keep_best && no_validation && self.resolved.is_set("checkpoint.keep_best");
        self.fault_if(best, "checkpoint.keep_best", "`keep_best` needs validation data", VALIDATION);
    }

    /// The best checkpoint is chosen by a number that the task has.
    pub(super) fn metric(&mut self) {
        let Some(name) = &self.config.evaluate.metric_for_best_model else { return };
        let Ok(task) = tasks::of(self.config.task.kind()) else { return };
        if task.metric(name).is_none() {
            let all: Vec<&str> = task.metrics().iter().chain([&LOSS]).map(|metric| metric.name).collect();
            let message =
                format!("`{name}` is not a metric of [task] kind = \"{}\"", self.config.task.kind());
            let remedy = format!("choose one of {}", all.join(", "));
            self.fault("evaluate.metric_for_best_model", message, remedy);
        }
    }

    fn warmup(&mut self) {
        let key = "schedule.warmup_steps";
        let warmup = self.config.schedule.warmup_steps;
        let part = warmup >= 1.0 && warmup.fract() != 0.0;
        let message = format!("`warmup_steps` is {warmup}: neither whole steps nor a fraction below 1");
        self.fault_if(part, key, message, "for example: warmup_steps = 100, or 0.1 for a tenth of all steps");
        let floor = self.config.schedule.min_lr_rate;
        let falls = self.config.schedule.lr_scheduler_type == SchedulerType::CosineWithMinLr;
        let message = "lr_scheduler_type = \"cosine_with_min_lr\" needs `min_lr_rate`";
        let remedy = "for example: min_lr_rate = 0.1, a tenth of the learning rate";
        self.fault_if(falls && floor.is_none(), "schedule", message, remedy);
        let message = "`min_lr_rate` is of lr_scheduler_type = \"cosine_with_min_lr\" alone";
        let remedy = "leave it out, or choose that curve";
        self.fault_if(!falls && floor.is_some(), "schedule.min_lr_rate", message, remedy);
        if let Some(max) = self.config.train.max_steps.filter(|&max| warmup > max as f64) {
            let message =
                format!("`warmup_steps` is {warmup}, more than the {max} steps of `train.max_steps`");
            self.fault(key, message, "the learning rate would never arrive; warm up for fewer steps");
        }
    }

    fn loss(&mut self) {
        let Some(loss) = &self.config.loss else { return };
        let task = self.config.task.kind();
        let no_class = !Loss::fits(LossKind::Focal, task);
        let message = format!("[loss] is for classes, and [task] kind = \"{task}\" has its own");
        self.fault_if(no_class, "loss", message, "leave it out");
        if no_class {
            return;
        }
        if let Some(kind) = loss.kind.filter(|kind| !Loss::fits(*kind, task)) {
            let message = format!("{kind:?} does not fit [task] kind = \"{task}\"");
            self.fault("loss.kind", message, "leave it out for the task's own formula, or choose \"focal\"");
        }
        let idle = loss.gamma.is_some() && loss.kind != Some(LossKind::Focal);
        let message = "`loss.gamma` is of kind = \"focal\" alone";
        self.fault_if(idle, "loss.gamma", message, "leave it out, or set loss.kind = \"focal\"");
        match &loss.class_weights {
            Some(ClassWeights::Numbers(numbers)) => {
                let bad =
                    numbers.iter().any(|w| !w.is_finite() || *w < 0.0) || numbers.iter().all(|w| *w == 0.0);
                let message =
                    format!("`loss.class_weights` must be numbers from 0 on, one above it, got {numbers:?}");
                self.fault_if(bad, "loss.class_weights", message, "for example: class_weights = [1.0, 3.0]");
            }
            Some(ClassWeights::Rule(_)) if task == TaskKind::TokenClassification => {
                let message =
                    "`class_weights` = \"balanced\" counts samples, and here every word has a class";
                self.fault("loss.class_weights", message, "write one number a class");
            }
            _ => {}
        }
        let smoothed = self.config.train.label_smoothing_factor > 0.0;
        let twice = smoothed && loss.kind == Some(LossKind::Focal);
        let message = "`label_smoothing_factor` and the focal loss pull in opposite directions";
        self.fault_if(twice, "train.label_smoothing_factor", message, "keep one of them");
    }

    fn average(&mut self) {
        match &self.config.average {
            Some(AverageConfig::Ema(ema)) => {
                let message = "`average.decay` = 1 never takes a step into the average";
                self.fault_if(
                    ema.decay >= 1.0,
                    "average.decay",
                    message,
                    "the usual choice is 0.999 to 0.9999",
                );
                for (key, idle) in [
                    ("average.warmup_gamma", ema.warmup_gamma.is_some()),
                    ("average.warmup_power", ema.warmup_power.is_some()),
                ] {
                    let message = format!("`{key}` does nothing without `warmup`");
                    self.fault_if(
                        idle && !ema.warmup,
                        key,
                        message,
                        "set average.warmup = true, or leave it out",
                    );
                }
            }
            Some(AverageConfig::Swa(swa)) => {
                let timed = matches!(swa.every, Every::Minutes(_));
                let message = "`average.every` in minutes would make the model depend on the machine's speed";
                self.fault_if(timed, "average.every", message, "count steps or epochs: \"1 epoch\"");
                let message = "`average.start` = 1 leaves no step to average";
                self.fault_if(swa.start >= 1.0, "average.start", message, "for example 0.75");
            }
            None => {}
        }
    }

    /// The best of nothing cannot be kept: without validation data the default is off.
    pub(super) fn keep_best(&self) -> bool {
        self.config.checkpoint.keep_best && self.has_validation()
    }
}

const VALIDATION: &str = "set data.validation or data.validation_fraction, or leave this out";
