//! A config resolved against its data: how many batches, steps and passes. Arithmetic, no device; samples are looked at
//! only where the number of batches depends on their lengths.

use kiln_data::{DataError, Preprocessor, Split};
use kiln_eval::EvalError;
use kiln_eval::tasks::{self, Metric};

use crate::config::{Config, OptimizerConfig};
use crate::progress::Progress;
use crate::schedule::Schedule;

/// The numbers of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Training samples.
    pub train_samples: usize,
    /// Batches of one pass, or of those that are learned by heart.
    pub batches_per_epoch: usize,
    /// Batches whose gradients make one optimizer step.
    pub accumulation: usize,
    /// Optimizer steps of one pass; the last may have fewer batches.
    pub steps_per_epoch: u64,
    /// Optimizer steps of the run; of one whose batch size or accumulation changed, as if it had always been so.
    pub total_steps: u64,
    /// The learning rate over them.
    pub schedule: Schedule,
}

impl Plan {
    /// Of a config's own training samples.
    ///
    /// # Errors
    /// The samples make no batches as the config wants them; see [`kiln_data::batches`].
    pub fn of(config: &Config, train: &Split, preprocessor: &Preprocessor) -> Result<Self, DataError> {
        let batches = kiln_data::batches(train, preprocessor, config.data.loader(), true)?;
        Ok(Self::with(config, train.len(), batches))
    }

    /// Of some number of training samples, each once an epoch and `batch_size` a batch.
    pub fn new(config: &Config, train_samples: usize) -> Self {
        Self::with(config, train_samples, config.data.loader().batches_of(train_samples))
    }

    fn with(config: &Config, train_samples: usize, batches_per_epoch: usize) -> Self {
        let accumulation = config.train.gradient_accumulation_steps as usize;
        let steps_per_epoch = batches_per_epoch.div_ceil(accumulation) as u64;
        let total_steps = match config.train.max_steps {
            Some(steps) => steps,
            None => config.train.epochs.unwrap_or(1) * steps_per_epoch,
        };
        let peak = config.optimizer.learning_rate();
        let schedule = Schedule::new(&config.schedule, peak, total_steps, steps_per_epoch);
        let only = config.train.overfit_batches.map_or(usize::MAX, |batches| batches as usize);
        let batches_per_epoch = batches_per_epoch.min(only);
        Self { train_samples, batches_per_epoch, accumulation, steps_per_epoch, total_steps, schedule }
    }
}

impl Plan {
    /// Says so, where the batches of an epoch are no whole number of groups.
    pub(crate) fn uneven(&self) -> Option<String> {
        let Self { batches_per_epoch, accumulation, steps_per_epoch, .. } = self;
        let last = batches_per_epoch % accumulation;
        (last > 0).then(|| {
            format!(
                "an epoch: {batches_per_epoch} batches in {steps_per_epoch} steps of {accumulation}; the last has {last}, and \
                 is the mean over what they hold"
            )
        })
    }

    /// Batches that a pass has left after `used` samples, where batches are cut from samples in their order; `samples` are
    /// those of a whole pass.
    pub(crate) fn rest(config: &Config, samples: usize, used: usize) -> usize {
        let loader = config.data.loader();
        let size = loader.batch_size.max(1);
        let all = if loader.drop_last { samples / size * size } else { samples };
        loader.batches_of(all.saturating_sub(used))
    }

    /// Where a run is on its plan, in steps as they are now, minus the steps it has done: 0, unless its batches or groups
    /// changed on the way. So the schedule goes by passes, and the last step is the end of the last pass. `left` are the
    /// batches that are left of the pass under way. A run of `max_steps` counts steps as they come.
    pub(crate) fn shift(&self, config: &Config, progress: &Progress, left: usize) -> i64 {
        if config.train.max_steps.is_some() {
            return 0;
        }
        let under_way = progress.batch > 0 || progress.skipped > 0;
        let whole = (progress.epoch + u64::from(under_way)) * self.steps_per_epoch;
        let left = if under_way { left.div_ceil(self.accumulation) as u64 } else { 0 };
        whole as i64 - left as i64 - progress.step as i64
    }
}

impl Config {
    /// The number that chooses the best checkpoint: the config's, else the task's first.
    ///
    /// # Errors
    /// A task that cannot be scored.
    pub fn metric(&self) -> Result<Metric, EvalError> {
        let task = tasks::of(self.task.kind())?;
        let named = self.evaluate.metric_for_best_model.as_deref().and_then(|name| task.metric(name));
        Ok(named.or_else(|| task.metrics().first().copied()).unwrap_or(tasks::LOSS))
    }
}

impl OptimizerConfig {
    /// The rule's name in a config.
    pub fn word(&self) -> String {
        let table = serde_json::to_value(self).unwrap_or_default();
        table.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default().into()
    }

    /// The peak learning rate.
    pub fn learning_rate(&self) -> f64 {
        self.rule().base().learning_rate
    }
}
