//! Rules of `[schedule]`: keys of other curves, counts that are none, and curves that could not be gone through.
//! Owns no key's range (the schema does) and no arithmetic (`schedule`); part of `load`.

use kiln_core::Every;
use serde_json::Value;

use super::Rules;
use crate::config::{ScheduleConfig, SchedulerType};
use crate::schedule::{LR_END, steps};

impl Rules<'_> {
    pub(super) fn schedule(&mut self) {
        let schedule = &self.config.schedule;
        self.own_keys(schedule);
        self.counts(schedule);
        self.moments(schedule);
        let kind = schedule.lr_scheduler_type;
        let twice = kind == SchedulerType::OneCycle && schedule.warmup_steps > 0.0;
        let message = "`warmup_steps` is not for lr_scheduler_type = \"one_cycle\", which rises by itself";
        let remedy = "leave it out; `pct_start` says how long it rises";
        self.fault_if(twice, "schedule.warmup_steps", message, remedy);
        let endless =
            schedule.three_phase == Some(true) && schedule.pct_start.is_some_and(|share| share > 0.5);
        let message = "`three_phase` rises and falls for `pct_start` each, and more than half leaves no end";
        self.fault_if(endless, "schedule.pct_start", message, "set it to at most 0.5");
        self.plateau(schedule);
        let (end, peak) = (schedule.lr_end.unwrap_or(LR_END), self.config.optimizer.learning_rate());
        let rises = kind == SchedulerType::Polynomial && end >= peak;
        let message =
            format!("`polynomial` falls to `lr_end` = {end}, which is not below the learning rate of {peak}");
        let key = if schedule.lr_end.is_some() { "schedule.lr_end" } else { "schedule" };
        self.fault_if(rises, key, message, "lower `lr_end`, or raise optimizer.learning_rate");
    }

    fn plateau(&mut self, schedule: &ScheduleConfig) {
        if schedule.lr_scheduler_type != SchedulerType::ReduceLrOnPlateau {
            return;
        }
        let blind = !self.has_validation();
        let message = "`reduce_lr_on_plateau` needs validation data";
        let remedy = "set data.validation or data.validation_fraction, or choose another curve";
        self.fault_if(blind, "schedule.lr_scheduler_type", message, remedy);
        let (least, peak) = (schedule.min_lr.unwrap_or(0.0), self.config.optimizer.learning_rate());
        let message = format!("`min_lr` is {least}, which is not below the learning rate of {peak}");
        let remedy = "lower it, or raise optimizer.learning_rate";
        self.fault_if(schedule.min_lr.is_some() && least >= peak, "schedule.min_lr", message, remedy);
    }

    /// Keys of other curves are refused, and those that the curve needs asked for.
    fn own_keys(&mut self, schedule: &ScheduleConfig) {
        let kind = schedule.lr_scheduler_type;
        let set = serde_json::to_value(schedule).unwrap_or_default();
        for (key, example) in kind.keys() {
            let missing = set.get(key).is_none();
            if let Some(example) = example.filter(|_| missing) {
                let message = format!("lr_scheduler_type = \"{}\" needs `{key}`", word(kind));
                self.fault("schedule", message, format!("for example: {example}"));
            }
        }
        let has = |kind: SchedulerType, key: &str| kind.keys().iter().any(|(name, _)| *name == key);
        for key in set.as_object().into_iter().flat_map(|set| set.keys()) {
            let owners: Vec<String> = (SchedulerType::ALL.into_iter().filter(|kind| has(*kind, key)))
                .map(|kind| format!("\"{}\"", word(kind)))
                .collect();
            let foreign = !owners.is_empty() && !has(kind, key);
            let message = format!("`{key}` is of lr_scheduler_type = {} alone", owners.join(" or "));
            let curve = if owners.len() == 1 { "that curve" } else { "one of those curves" };
            let remedy = format!("leave it out, or choose {curve}");
            self.fault_if(foreign, &format!("schedule.{key}"), message, remedy);
        }
    }

    /// Numbers of steps that are also fractions.
    fn counts(&mut self, schedule: &ScheduleConfig) {
        let all = [
            ("warmup_steps", Some(schedule.warmup_steps)),
            ("num_stable_steps", schedule.num_stable_steps),
            ("num_decay_steps", schedule.num_decay_steps),
        ];
        for (key, count) in all {
            let count = count.unwrap_or(0.0);
            let part = count >= 1.0 && count.fract() != 0.0;
            let message = format!("`{key}` is {count}: neither whole steps nor a fraction below 1");
            let remedy = format!("for example: {key} = 100, or 0.1 for a tenth of all steps");
            self.fault_if(part, &format!("schedule.{key}"), message, remedy);
        }
        let counts = all.map(|(_, count)| count.unwrap_or(0.0));
        let max = self.config.train.max_steps;
        if let Some(max) = max.filter(|&max| counts[0] > max as f64) {
            let message = format!(
                "`warmup_steps` is {}, more than the {max} steps of `train.max_steps`",
                schedule.warmup_steps
            );
            let remedy = "the learning rate would never arrive; warm up for fewer steps";
            return self.fault("schedule.warmup_steps", message, remedy);
        }
        if schedule.lr_scheduler_type != SchedulerType::WarmupStableDecay {
            return;
        }
        // Each fraction is rounded up.
        let fractions: Vec<f64> = counts.into_iter().filter(|&count| count > 0.0 && count < 1.0).collect();
        let short = match max {
            Some(max) => {
                counts.iter().map(|&count| steps(count, max)).sum::<u64>() > max + fractions.len() as u64
            }
            None => fractions.iter().sum::<f64>() > 1.0 + 1e-9,
        };
        let message = "warm-up, `num_stable_steps` and `num_decay_steps` are more than all steps of the run";
        let remedy = "the decay would not come to its end; take fewer steps, or leave num_stable_steps out";
        self.fault_if(short, "schedule.num_decay_steps", message, remedy);
    }

    /// `step_size` and `milestones`.
    fn moments(&mut self, schedule: &ScheduleConfig) {
        let key = "schedule.milestones";
        let milestones = schedule.milestones.as_deref();
        let none = milestones.is_some_and(<[Every]>::is_empty);
        self.fault_if(
            none,
            key,
            "`milestones` is empty",
            "for example: milestones = [\"30 epochs\", \"60 epochs\"]",
        );
        let is_time = |every: &Every| matches!(every, Every::Minutes(_));
        for (key, timed) in [
            ("schedule.step_size", schedule.step_size.as_ref().is_some_and(is_time)),
            (key, milestones.is_some_and(|all| all.iter().any(is_time))),
        ] {
            let name = key.trim_start_matches("schedule.");
            let message = format!("`{name}` is a time: a resumed run would have another learning rate");
            self.fault_if(timed, key, message, "say it in steps or epochs, for example \"30 epochs\"");
        }
    }
}

/// A curve as a config writes it.
fn word(kind: SchedulerType) -> String {
    serde_json::to_value(kind).ok().as_ref().and_then(Value::as_str).unwrap_or_default().into()
}
