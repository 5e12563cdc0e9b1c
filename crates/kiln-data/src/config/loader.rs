//! `[data.loader]`: how samples become batches.
//! Owns the words and their defaults; makes no batch. The order and the loader read them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How samples become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoaderConfig {
    /// Samples a batch.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// Samples a batch in evaluation; by default `batch_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub eval_batch_size: Option<usize>,
    /// Threads that prepare samples; 0 prepares them between steps. The batches are the same for any number.
    #[schemars(range(min = 0, max = 1024))]
    pub workers: usize,
    /// Batches kept ready.
    #[schemars(range(min = 1, max = 1024))]
    pub prefetch: usize,
    /// Shuffle the training samples each epoch.
    pub shuffle: bool,
    /// What is shuffled. `shards` reads each file of Parquet or tar once, from its start to its end, in a random order of
    /// files: for data that is larger than memory on a disk whose seeks are dear.
    pub shuffle_by: ShuffleBy,
    /// Samples that `shuffle_by = "shards"` mixes at a time.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub shuffle_buffer: usize,
    /// How training samples are chosen: each once an epoch, or `balanced`: each class as often as any other, where a sample
    /// has one class; an epoch stays as long. Samples of a rare class come several times, each time augmented anew, and never
    /// again before all others of their class.
    pub sampling: Sampling,
    /// Leave out the last training batch when it is not full.
    pub drop_last: bool,
    /// How often a chosen training sample is in an epoch, each time augmented anew; an epoch stays as long, with as many
    /// fewer samples (repeated augmentation, timm's `aug_repeats`).
    #[schemars(range(min = 1, max = 100))]
    pub repeats: usize,
    /// Put texts of similar length into one training batch, so that less is padding.
    pub length_bucketing: bool,
    /// Tokens a batch of texts at most, padding included (fairseq's `max_tokens`), instead of a fixed number of samples:
    /// training batches hold texts of nearly one length, all sorted. `batch_size` is then the most samples of a batch; by
    /// default as many as fit. A text that is longer than this is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_tokens: Option<usize>,
    /// When an epoch of weighted `data.sources` ends, as Hugging Face's `interleave_datasets` says it.
    pub stopping_strategy: StoppingStrategy,
    /// Samples of an epoch of weighted `data.sources`, instead of `stopping_strategy`; or of `sampling = "balanced"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub samples_per_epoch: Option<usize>,
    /// Where decoded images are kept, after the transforms that come first and are fixed (`resize`, `center_crop`, `pad`) and
    /// before the first random one. The batches are the same. An image whose file is changed is decoded again.
    pub cache: CacheKind,
    /// Most of the cache, in MiB; by default half of the memory, or of the disk, that is free at the start. What does not
    /// fit is decoded in each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub cache_max_mb: Option<u64>,
    /// Folder of `cache = "disk"`; by default `images` in `$KILN_CACHE_DIR`, else in `~/.cache/kiln`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub cache_dir: Option<PathBuf>,
    /// Most memory of samples under way, in MiB: half of it for batches that are ready or being made, half for images while
    /// they are decoded. A batch, or an image, that is larger than its half is prepared alone.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_in_flight_mb: u64,
    /// What a sample that cannot be read does: a damaged image, a missing file.
    pub on_bad_sample: OnBadSample,
    /// Share of a split's samples that may be left out, rounded up; one more ends the run.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub max_bad_fraction: f64,
}

impl LoaderConfig {
    /// Training batches of `samples` samples, `batch_size` a batch.
    pub fn batches_of(&self, samples: usize) -> usize {
        let size = self.batch_size.max(1);
        if self.drop_last { samples / size } else { samples.div_ceil(size) }
    }
}

/// What is shuffled each epoch; the order is a function of seed and epoch in both cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShuffleBy {
    /// All samples.
    #[default]
    Samples,
    /// Shards (tar files, row groups of Parquet), and samples within `shuffle_buffer`.
    Shards,
}

/// Which training samples are in an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each once.
    #[default]
    Each,
    /// As many of each class.
    Balanced,
}

/// When an epoch of weighted sources ends. Each source gives its exact share of the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoppingStrategy {
    /// When the first source has given every sample once; the others go on in the next epoch where they stopped.
    #[default]
    FirstExhausted,
    /// When every source has given every sample once; the others start again, each copy augmented anew.
    AllExhausted,
}

/// Where decoded images are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// Nowhere.
    #[default]
    None,
    /// In this process.
    Memory,
    /// In files, for later runs too.
    Disk,
}

/// What a sample that cannot be read does. The other samples keep their places in every case: a batch is made of the
/// good ones of its samples, and a training batch without any takes the next good sample of the pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadSample {
    /// Ends the run.
    #[default]
    Fail,
    /// Is left out, counted, and named with the reason in the run's `bad_samples.jsonl`. Rows of CSV, TSV, JSON Lines and
    /// Parquet too: damaged ones and those without a usable label. A class that is not known always ends the run, and so does a
    /// faulty line of CoNLL.
    Skip,
    /// As `skip`, and a copy of its file is left in the run's `quarantine` folder (not of rows, which no file holds alone).
    Quarantine,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 32,
            eval_batch_size: None,
            workers: 2,
            prefetch: 4,
            shuffle: true,
            shuffle_by: ShuffleBy::Samples,
            shuffle_buffer: 10_000,
            sampling: Sampling::Each,
            drop_last: false,
            repeats: 1,
            length_bucketing: false,
            max_tokens: None,
            stopping_strategy: StoppingStrategy::FirstExhausted,
            samples_per_epoch: None,
            cache: CacheKind::None,
            cache_max_mb: None,
            cache_dir: None,
            max_in_flight_mb: 2048,
            on_bad_sample: OnBadSample::Fail,
            max_bad_fraction: 0.01,
        }
    }
}
