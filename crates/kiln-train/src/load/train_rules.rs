//! Rules among the keys that training owns: top level, optimizer, loop, checkpoints.
//! Owns no key's range (the schema does); part of `load`.

use kiln_core::TaskKind;
use kiln_core::device::DeviceSpec;

use kiln_eval::tasks::{self, LOSS};

use super::Rules;
use crate::config::{
    AdafactorConfig, AdamConfig, AdamwConfig, EvaluateConfig, KeepBest, LambConfig, LionConfig,
    OptimizerConfig,
};

impl Rules<'_> {
    /// `device`, `output_dir`, `run_name`.
    pub(super) fn top(&mut self) {
        match self.config.device.parse::<DeviceSpec>() {
            Err(error) => self.fault("device", error.to_string(), error.hint()),
            Ok(DeviceSpec::On { backend, .. }) if self.config.deterministic => {
                if let Some(why) = backend.differs() {
                    let message = format!("`deterministic` cannot be kept on {}: {why}", backend.word());
                    let remedy = "set device = \"cpu\" or \"wgpu:0\", or leave it out";
                    self.fault("deterministic", message, remedy);
                }
            }
            Ok(_) => {} // what `auto` is, the start of a run finds
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
            OptimizerConfig::Adamw(AdamwConfig { betas, .. })
            | OptimizerConfig::Adam(AdamConfig { betas, .. })
            | OptimizerConfig::Lamb(LambConfig { betas, .. })
            | OptimizerConfig::Lion(LionConfig { betas, .. }) => self.betas("optimizer.betas", *betas),
            OptimizerConfig::Sgd(sgd) => {
                let bad = sgd.nesterov && (sgd.momentum <= 0.0 || sgd.dampening != 0.0);
                let message = "`nesterov` needs `momentum` above 0 and no `dampening`";
                self.fault_if(bad, "optimizer.nesterov", message, "set momentum = 0.9 and dampening = 0");
                let idle = sgd.dampening > 0.0 && sgd.momentum <= 0.0;
                let message = "`dampening` does nothing without `momentum`";
                self.fault_if(idle, "optimizer.dampening", message, "leave it out, or set momentum = 0.9");
            }
            OptimizerConfig::Adafactor(AdafactorConfig { eps, .. }) => {
                let bad = eps.iter().any(|eps| !(0.0..=1.0).contains(eps));
                let message = format!("`optimizer.eps` must be from 0 to 1, got {eps:?}");
                self.fault_if(bad, "optimizer.eps", message, "the usual choice is [1e-7, 1e-3]");
            }
            OptimizerConfig::Muon(muon) => {
                self.betas("optimizer.adamw.betas", muon.adamw.betas);
                self.patterns("optimizer.adamw_parameters", &muon.adamw_parameters);
                let rates = [
                    ("optimizer.learning_rate", muon.learning_rate),
                    ("optimizer.adamw.learning_rate", muon.adamw.learning_rate),
                ];
                for (key, rate) in rates {
                    let message = format!("`{key}` is 0, and the schedule is a multiple of it");
                    let remedy = "set it above 0, and freeze what must not move with finetune.freeze";
                    self.fault_if(rate <= 0.0, key, message, remedy);
                }
            }
            OptimizerConfig::Rmsprop(_) | OptimizerConfig::Adagrad(_) => {}
        }
    }

    fn betas(&mut self, key: &str, betas: [f64; 2]) {
        let bad = betas.iter().any(|beta| !(0.0..1.0).contains(beta));
        let message = format!("`{key}` must be at least 0 and below 1, got {betas:?}");
        self.fault_if(bad, key, message, "the usual choice is [0.9, 0.999]");
    }

    /// `[train]`, `[checkpoint]`.
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
        self.average();
        self.loss();
        self.distillation();
        let idle = self.config.log.histograms && !self.config.log.tensorboard;
        let message = "`log.histograms` does nothing without `log.tensorboard`";
        self.fault_if(idle, "log.histograms", message, "set log.tensorboard = true, or leave it out");
        let kind = self.config.model.kind();
        let whole = train.activation_checkpointing && !kiln_models::with_blocks().contains(&kind);
        let message = format!(
            "`activation_checkpointing` is for nets of blocks, which [model] kind = \"{kind}\" is not"
        );
        let remedy = format!("leave it out, or choose one of {}", kiln_models::with_blocks().join(", "));
        self.fault_if(whole, "train.activation_checkpointing", message, remedy);
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
        let most = self.config.checkpoint.keep_best.most();
        let best = most > 0 && no_validation && self.resolved.is_set("checkpoint.keep_best");
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

    /// The best of nothing cannot be kept: without validation data the default is off.
    pub(super) fn keep_best(&self) -> KeepBest {
        if self.has_validation() { self.config.checkpoint.keep_best } else { KeepBest::One(false) }
    }
}

const VALIDATION: &str = "set data.validation or data.validation_fraction, or leave this out";
