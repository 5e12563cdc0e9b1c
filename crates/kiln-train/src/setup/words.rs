//! What a run says of its data before the first step.
//! Owns the words; looks at no sample.

use kiln_data::config::Sampling;
use kiln_data::{Dataset, Split};

use crate::config::Config;
use crate::plan::Plan;

/// How long an epoch is, where that is not plain.
pub(super) fn describe_order(config: &Config, plan: &Plan, train: &Split) -> Option<String> {
    let loader = config.data.loader();
    let (batches, steps) = (plan.batches_per_epoch, plan.steps_per_epoch);
    if let Some(tokens) = loader.max_tokens {
        return Some(format!("an epoch: {batches} batches of at most {tokens} tokens, {steps} steps"));
    }
    let quotas = train.quotas(loader)?;
    let parts: Vec<String> = quotas.iter().map(|(taken, of)| format!("{taken} (of {of})")).collect();
    let samples: usize = quotas.iter().map(|(taken, _)| taken).sum();
    let by = if loader.sampling == Sampling::Balanced { "class" } else { "source" };
    Some(format!("an epoch: {samples} samples, by {by} {}; {steps} steps", parts.join(", ")))
}

/// What the data holds.
pub(super) fn describe(dataset: &Dataset) -> String {
    let count = |name: &str, split: &Option<Split>| split.as_ref().map(|s| format!("{} {name}", s.len()));
    let counts: Vec<String> = [
        count("train", &dataset.train),
        count("validation", &dataset.validation),
        count("test", &dataset.test),
    ]
    .into_iter()
    .flatten()
    .collect();
    let classes = match dataset.classes.len() {
        0 => String::new(),
        n => format!(", {n} classes"),
    };
    format!("data: {} samples{classes}", counts.join(", "))
}
