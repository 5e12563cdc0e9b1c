//! Rules among the keys of `[loss]` and `[average]`.
//! Owns no key's range (the schema does); part of `load`.

use kiln_core::{Every, LossKind, TaskKind};
use kiln_eval::tasks::Loss;

use super::Rules;
use crate::config::{AverageConfig, ClassWeights};

impl Rules<'_> {
    /// `[loss]`.
    pub(super) fn loss(&mut self) {
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

    /// `[distillation]`.
    pub(super) fn distillation(&mut self) {
        let Some(own) = &self.config.distillation else { return };
        let task = self.config.task.kind();
        let has = [TaskKind::Classification, TaskKind::TokenClassification].contains(&task);
        let message = format!(
            "[distillation] is for one class a sample or a token, and [task] kind = \"{task}\" has none"
        );
        self.fault_if(!has, "distillation", message, "leave it out");
        let message = "`distillation.weight` = 0 never asks the teacher";
        self.fault_if(
            own.weight <= 0.0,
            "distillation.weight",
            message,
            "leave [distillation] out, or raise it",
        );
        let weighed = self.config.loss.as_ref().is_some_and(|loss| loss.class_weights.is_some());
        let several = self.config.train.gradient_accumulation_steps > 1;
        let message = "`loss.class_weights` weigh batches by their labels, which with accumulation would weigh the \
                       teacher's answers too";
        self.fault_if(weighed && several, "distillation", message, "leave one of the three out");
    }

    /// `[average]`.
    pub(super) fn average(&mut self) {
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
}
