//! Rules of `[data.loader]` and of `[[data.sources]]`: what does nothing, and what excludes what.
//! Owns no range (the schema does) and no look at a file; part of `load`.

use kiln_core::TaskKind;
use kiln_data::config::{CacheKind, DataConfig, LoaderConfig, Sampling, ShuffleBy, StoppingStrategy};

use super::Rules;
use crate::config::{ClassWeights, Config};

impl Rules<'_> {
    /// Keys of `[data.loader]`.
    pub(super) fn loader(&mut self) {
        let loader = self.config.data.loader();
        self.token_lengths(loader);
        self.cache(loader);
        self.weights(loader);
        self.sampling(loader);
    }

    /// Classes that are balanced by how often their samples come.
    fn sampling(&mut self, loader: &LoaderConfig) {
        if loader.sampling != Sampling::Balanced {
            return;
        }
        let key = "data.loader.sampling";
        let task = self.config.task.kind();
        let message = format!(
            "`sampling` = \"balanced\" needs one class a sample, which [task] kind = \"{task}\" has not"
        );
        self.fault_if(task != TaskKind::Classification, key, message, "leave it out");
        let weights = self.config.loss.as_ref().and_then(|loss| loss.class_weights.as_ref());
        let twice = matches!(weights, Some(ClassWeights::Rule(_)));
        let message = "`loss.class_weights` = \"balanced\" and `sampling` = \"balanced\" would balance twice";
        self.fault_if(twice, key, message, "keep one of them");
        let others = [
            ("weights of `sources`", self.config.data.sources().iter().any(|source| source.weight.is_some())),
            ("shuffle_by = \"shards\"", loader.shuffle_by == ShuffleBy::Shards),
            ("max_tokens", loader.max_tokens.is_some()),
        ];
        for (other, _) in others.into_iter().filter(|(_, set)| *set) {
            let message =
                format!("`sampling` = \"balanced\" chooses the samples, which goes with no {other}");
            self.fault(key, message, "leave one of the two out");
        }
    }

    /// What batches of texts are made by.
    fn token_lengths(&mut self, loader: &LoaderConfig) {
        let parts = self.config.data.parts();
        let text = parts.iter().all(|data| match data {
            DataConfig::Conll(_) => true,
            data => data.table().is_some_and(|table| table.text.is_some() || table.tokens.is_some()),
        });
        let what = match &self.config.data {
            DataConfig::Text(_) => "blocks of plain text all have one length",
            data if data.images().is_some() => "there is no text to sort by length in images",
            _ => "there is no text to sort by length in rows without a column of it",
        };
        for (key, set) in
            [("length_bucketing", loader.length_bucketing), ("max_tokens", loader.max_tokens.is_some())]
        {
            let place = format!("data.loader.{key}");
            self.fault_if(set && !text, &place, what, format!("leave `{key}` out"));
            let message = format!("`{key}` sorts texts by length, and shuffle = false keeps their order");
            self.fault_if(set && text && !loader.shuffle, &place, message, "drop one of the two");
        }
        let counted = text || matches!(self.config.data, DataConfig::Text(_));
        let uncounted = self.config.train.token_budget.is_some() && !counted;
        let message = "`token_budget` counts tokens of texts, and the samples are none";
        self.fault_if(
            uncounted,
            "train.token_budget",
            message,
            "set max_steps, epochs or max_minutes instead",
        );
        if loader.max_tokens.is_none() || !text {
            return;
        }
        let key = "data.loader.max_tokens";
        let both = loader.length_bucketing;
        let message = "`max_tokens` sorts texts by length already";
        self.fault_if(both, "data.loader.length_bucketing", message, "leave `length_bucketing` out");
        let message = "a last batch is never short of samples where `max_tokens` fills batches";
        self.fault_if(loader.drop_last, "data.loader.drop_last", message, "leave `drop_last` out");
        let other = [
            ("repeats", loader.repeats > 1),
            ("shuffle_by", loader.shuffle_by == ShuffleBy::Shards),
            ("sources", self.config.data.sources().iter().any(|source| source.weight.is_some())),
        ];
        for (name, _) in other.into_iter().filter(|(_, set)| *set) {
            let what = if name == "sources" { "weights of `sources`" } else { name };
            let message = format!("`max_tokens` sorts all texts, which goes with no {what}");
            self.fault(key, message, format!("leave one of the two out; with {what} use length_bucketing"));
        }
    }

    fn cache(&mut self, loader: &LoaderConfig) {
        let on = loader.cache != CacheKind::None;
        for (key, set) in
            [("cache_max_mb", loader.cache_max_mb.is_some()), ("cache_dir", loader.cache_dir.is_some())]
        {
            let message = format!("`{key}` does nothing without a cache");
            let remedy = "set cache = \"memory\" or \"disk\", or leave it out";
            self.fault_if(!on && set, &format!("data.loader.{key}"), message, remedy);
        }
        let unused = loader.cache == CacheKind::Memory && loader.cache_dir.is_some();
        let message = "`cache_dir` does nothing for a cache in memory";
        self.fault_if(unused, "data.loader.cache_dir", message, "set cache = \"disk\", or leave it out");
        let decoded = |data: &DataConfig| match data {
            DataConfig::ImageFolder(_) | DataConfig::Webdataset(_) => false,
            data => data.table().is_none_or(|table| table.image.is_none()),
        };
        let nothing = on && self.config.data.parts().iter().all(decoded);
        let message = "a cache keeps decoded image files, and there are none here to be decoded";
        self.fault_if(nothing, "data.loader.cache", message, "leave `cache` out");
    }

    /// When an epoch of weighted sources ends.
    fn weights(&mut self, loader: &LoaderConfig) {
        let sources = self.config.data.sources();
        let weighted = sources.iter().any(|source| source.weight.is_some());
        let strategy = loader.stopping_strategy != StoppingStrategy::default();
        for (key, set) in
            [("samples_per_epoch", loader.samples_per_epoch.is_some()), ("stopping_strategy", strategy)]
        {
            let message =
                format!("`{key}` is for sources with weights; without, an epoch is every sample once");
            let remedy = "leave it out, or give the sources weights";
            let balanced = key == "samples_per_epoch" && loader.sampling == Sampling::Balanced;
            self.fault_if(set && !weighted && !balanced, &format!("data.loader.{key}"), message, remedy);
        }
        let both = strategy && loader.samples_per_epoch.is_some() && weighted;
        let message = "`samples_per_epoch` and `stopping_strategy` both say when an epoch ends";
        self.fault_if(both, "data.loader.stopping_strategy", message, "keep one of them");
        for (k, source) in sources.iter().enumerate() {
            let key = format!("data.sources.{k}");
            let message = "other sources have a `weight`, and this one has none";
            let none = weighted && source.weight.is_none();
            self.fault_if(none, &key, message, "give every source a weight, or none");
            let zero = source.weight.is_some_and(|weight| weight <= 0.0);
            let message = "`weight` is 0: nothing would be drawn from this source";
            self.fault_if(zero, &format!("{key}.weight"), message, "leave the source out");
        }
    }

    /// Each source by the rules of a `[data]` of its own.
    pub(super) fn each_source(&mut self) {
        for (key, set) in
            [("path", self.resolved.is_set("data.path")), ("train", self.resolved.is_set("data.train"))]
        {
            let message = format!("both `{key}` and `sources` are set");
            let remedy = "make it one of the sources: [[data.sources]] path = \"...\"";
            self.fault_if(set, &format!("data.{key}"), message, remedy);
        }
        for (k, data) in self.config.data.parts().into_iter().enumerate() {
            let config = Config { data, ..self.config.clone() };
            let mut own =
                Rules { config: &config, resolved: self.resolved, faults: Vec::new(), source: Some(k) };
            own.places();
            own.samples();
            let new: Vec<_> = own.faults.into_iter().filter(|fault| !self.faults.contains(fault)).collect();
            self.faults.extend(new);
        }
    }
}
