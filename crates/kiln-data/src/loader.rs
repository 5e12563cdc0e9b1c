//! Batches of one pass over a split, prepared by threads and handed out in order.
//! Owns the plan of a pass and the hand-out; which sample is in which batch is order.rs's, and depends on (seed, epoch,
//! index) alone. `work` prepares a batch, `crew` is the threads. Hands host batches to the loop.

mod crew;
mod gate;
mod rank;
mod work;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::batch::HostBatch;
use crate::config::{LoaderConfig, OnBadSample, ShuffleBy};
use crate::error::DataError;
use crate::mixup::Mixup;
use crate::order::{Order, Samples, count, cut, plan};
use crate::preprocessor::Preprocessor;
use crate::split::Split;
use crew::Crew;
pub(crate) use gate::{Gate, Pass};
use rank::Rank;
use work::{Made, Work};

/// Batches of a pass over a split: the same number in each epoch.
///
/// # Errors
/// As [`Loader::new`].
pub fn batches(
    split: &Split,
    preprocessor: &Preprocessor,
    config: &LoaderConfig,
    training: bool,
) -> Result<usize, DataError> {
    let lengths = lengths(split, preprocessor, config, training)?;
    count(Samples { n: split.len(), lengths, shards: None, sources: split.sources() }, config, training)
}

/// An iterator over the batches of one pass. Ends after the first error. Dropping it stops its threads.
#[derive(Debug)]
pub struct Loader {
    work: Arc<Work>,
    next: usize,
    workers: usize,
    prefetch: usize,
    crew: Option<Crew>,
}

impl Loader {
    /// Plans one pass. Threads start with the first batch asked for.
    ///
    /// # Errors
    /// Length buckets or a budget of tokens without text or without shuffling; a text longer than the budget; weights that
    /// make no epoch; a training pass without a batch; a text that cannot be tokenized while lengths are measured.
    pub fn new(
        split: &Split,
        preprocessor: &Arc<Preprocessor>,
        config: &LoaderConfig,
        order: Order,
    ) -> Result<Self, DataError> {
        let training = matches!(order, Order::Train { .. });
        let lengths = lengths(split, preprocessor, config, training)?;
        let by_shard = training && config.shuffle && config.shuffle_by == ShuffleBy::Shards;
        let shards = by_shard.then(|| split.shards());
        let sources = split.sources();
        let samples = Samples { n: split.len(), lengths, shards: shards.as_deref(), sources };
        let batches = plan(samples, config, order)?;
        if training && batches.is_empty() {
            let problem = format!("{} samples do not fill one batch of {}", split.len(), config.batch_size);
            return Err(DataError::config(
                "loader.drop_last",
                problem,
                "lower data.loader.batch_size or set drop_last = false",
            ));
        }
        let half = config.max_in_flight_mb.saturating_mul(1 << 19);
        let work = Work {
            split: split.clone(),
            preprocessor: Arc::clone(preprocessor),
            batches,
            order,
            mixup: None,
            rank: Rank::default(),
            allowed: allowed(split.len(), config),
            longest: lengths.and_then(|lengths| lengths.iter().max().copied()),
            ready: Gate::new(half),
            decoding: Gate::new(half),
            stop: AtomicBool::new(false),
        };
        let prefetch = config.prefetch.max(1);
        Ok(Self { work: Arc::new(work), next: 0, workers: config.workers, prefetch, crew: None })
    }

    /// The same, mixing the images of training batches.
    #[must_use]
    pub fn mixed(self, mixup: Option<Mixup>) -> Self {
        self.changed(|work| work.mixup = mixup)
    }

    /// The first `batches` batches of the pass alone, augmented and mixed as they are in pass `epoch`: to see the same samples
    /// again and again, each time augmented anew.
    #[must_use]
    pub fn only(self, batches: usize, epoch: u64) -> Self {
        self.changed(|work| {
            work.batches.truncate(batches);
            if let Order::Train { seed, .. } = work.order {
                work.order = Order::Train { seed, epoch };
            }
        })
    }

    /// One process's part of each batch, where `world` processes (ranks) share them: rank `r` of `w` takes samples
    /// `r n / w` to `(r + 1) n / w` (rounded up) of a batch of `n`. So parts differ by one sample at most, those of all
    /// ranks joined are the batch that one process alone gets, and there are as many batches for each rank. A rank without
    /// a sample of its own in a batch (of fewer samples than ranks, or of bad ones) gets a copy of another's, with
    /// [`HostBatch::padding`] set and weight 0. Texts are padded to the longest of the rank's own.
    ///
    /// Where batches are mixed, each rank prepares the whole batch, for partners may be another rank's. Bad samples are
    /// counted by the rank whose they are, each rank against the whole allowance.
    ///
    /// # Errors
    /// `rank` is not below `world`.
    pub fn of_rank(self, rank: usize, world: usize) -> Result<Self, DataError> {
        let rank = Rank::new(rank, world)?;
        Ok(self.changed(|work| work.rank = rank))
    }

    /// Continues at batch `batch` (from 0) of the pass; nothing is prepared for those before it.
    #[must_use]
    pub fn starting_at(mut self, batch: usize) -> Self {
        self.crew = None;
        self.next = batch;
        self
    }

    /// Continues at the batch that has most tokens when it is padded; at the first where samples are no texts.
    ///
    /// # Errors
    /// As [`Split::lengths`].
    pub fn starting_at_longest(self) -> Result<Self, DataError> {
        let Some(lengths) = self.work.split.lengths(&self.work.preprocessor)? else { return Ok(self) };
        let padded = |batch: &Vec<usize>| {
            let longest = batch.iter().map(|i| lengths[i % lengths.len().max(1)]).max().unwrap_or(0);
            batch.len() * longest as usize
        };
        let longest = (0..self.work.batches.len()).rev().max_by_key(|k| padded(&self.work.batches[*k]));
        let at = longest.unwrap_or(0);
        Ok(self.starting_at(at))
    }

    /// Leaves out the first `samples` of the pass and cuts the others into batches anew: for a pass that was begun with another
    /// batch size. Only where samples are shuffled one by one or in shards: buckets and budgets depend on the size.
    #[must_use]
    pub fn starting_after(self, samples: usize, config: &LoaderConfig) -> Self {
        self.changed(|work| {
            let all = std::mem::take(&mut work.batches).concat();
            let rest = all.get(samples..).unwrap_or_default().to_vec();
            work.batches = cut(rest, config.batch_size, config.drop_last);
        })
    }

    /// Batches that are still to come, but for those without a good sample.
    pub fn left(&self) -> usize {
        self.work.batches.len().saturating_sub(self.next)
    }

    /// Most bytes of batches and of images being decoded that were under way at once, as the loader reckons them.
    pub fn peak_bytes(&self) -> u64 {
        self.work.ready.peak() + self.work.decoding.peak()
    }

    fn changed(mut self, change: impl FnOnce(&mut Work)) -> Self {
        self.crew = None;
        if let Some(work) = Arc::get_mut(&mut self.work) {
            change(work);
        }
        self
    }

    /// The next batch, and the threads, which start here.
    fn take(&mut self) -> Result<Made, DataError> {
        if self.workers == 0 {
            return self.work.prepare(self.next);
        }
        let crew = match &mut self.crew {
            Some(crew) => crew,
            none => none.insert(Crew::hire(&self.work, self.workers, self.next, self.prefetch)?),
        };
        crew.deliver(self.next)
    }
}

impl Iterator for Loader {
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.work.batches.len() {
            let batch = self.take().and_then(|made| self.work.deliver(made));
            self.next = if batch.is_ok() { self.next + 1 } else { self.work.batches.len() };
            if self.next == self.work.batches.len() {
                self.crew = None;
            }
            match batch {
                Ok(batch) if batch.size() == 0 => {} // in evaluation, where every sample of it is bad
                batch => return Some(batch),
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.left();
        // An error ends it early.
        (rest.min(1), Some(rest))
    }
}

/// Tokens of each sample, where the order depends on them.
fn lengths<'a>(
    split: &'a Split,
    preprocessor: &Preprocessor,
    config: &LoaderConfig,
    training: bool,
) -> Result<Option<&'a [u32]>, DataError> {
    let key = match config.max_tokens {
        Some(_) => "loader.max_tokens",
        None if training && config.length_bucketing => "loader.length_bucketing",
        None => return Ok(None),
    };
    if training && !config.shuffle {
        return Err(DataError::config(
            key,
            "it reorders samples, but shuffle = false keeps their order",
            "drop one of the two",
        ));
    }
    let lengths = split
        .lengths(preprocessor)?
        .ok_or_else(|| DataError::config(key, "the samples are not text", "remove it"))?;
    let Some(budget) = config.max_tokens else { return Ok(Some(lengths)) };
    if training && split.sources().is_some() {
        let problem =
            "weighted sources give other texts in each epoch, so that its number of batches would change";
        return Err(DataError::config(key, problem, "leave out the weights, or use length_bucketing"));
    }
    match lengths.iter().position(|length| *length as usize > budget) {
        None => Ok(Some(lengths)),
        Some(i) => {
            let long = lengths.iter().filter(|length| **length as usize > budget).count();
            let problem = format!(
                "{} has {} tokens, and a batch has {budget} at most ({long} of {} texts are longer)",
                split.name(i),
                lengths[i],
                lengths.len()
            );
            let remedy = format!("raise it, or cut texts: data.tokenizer.max_length = {budget}");
            Err(DataError::config(key, problem, remedy))
        }
    }
}

/// How many samples may be left out; `None` where none may.
fn allowed(samples: usize, config: &LoaderConfig) -> Option<usize> {
    let share = (samples as f64 * config.max_bad_fraction).ceil() as usize;
    (config.on_bad_sample != OnBadSample::Fail).then_some(share)
}
