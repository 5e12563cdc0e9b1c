//! One batch of a pass: its samples read, prepared and gathered.
//! Owns what a bad sample does to its batch, and which samples are this rank's; starts no thread. The crew calls it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_core::InputSpec;
use kiln_core::seed::{Purpose, mix};

use super::gate::Gate;
use super::rank::Rank;
use crate::bad::BadSample;
use crate::batch::{Features, Gathering, HostBatch};
use crate::error::DataError;
use crate::label::Label;
use crate::mixup::Mixup;
use crate::order::Order;
use crate::preprocessor::Preprocessor;
use crate::split::Split;

/// A batch and the samples that are left out of it.
#[derive(Debug)]
pub(super) struct Made {
    batch: HostBatch,
    bad: Vec<BadSample>,
}

type Prepared = (usize, Features, Label);

/// What every thread knows.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) split: Split,
    pub(super) preprocessor: Arc<Preprocessor>,
    pub(super) batches: Vec<Vec<usize>>,
    pub(super) order: Order,
    pub(super) mixup: Option<Mixup>,
    pub(super) rank: Rank,
    /// Samples that may be left out; `None`: the first bad one is an error.
    pub(super) allowed: Option<usize>,
    /// Tokens of the longest sample, where they were measured.
    pub(super) longest: Option<u32>,
    /// Bytes of batches that are ready or being made.
    pub(super) ready: Gate,
    /// Bytes of images that are being decoded and transformed.
    pub(super) decoding: Gate,
    pub(super) stop: AtomicBool,
}

impl Work {
    pub(super) fn prepare(&self, batch: usize) -> Result<Made, DataError> {
        let all = &self.batches[batch];
        let mixing = match (self.order, self.mixup) {
            (Order::Train { seed, epoch }, Some(mixup)) => Some((mixup, seed, epoch)),
            _ => None,
        };
        let own = self.rank.share(all.len());
        let wanted = if mixing.is_some() { 0..all.len() } else { own.clone() };
        let mut gathering = Gathering::new(wanted.len());
        let mut bad = Vec::new();
        for place in wanted {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            match self.usable(all[place])? {
                Ok((i, features, label)) => gathering.add(i, features, label),
                Err(fault) if own.contains(&place) => bad.push(fault),
                Err(_) => {} // another rank counts it
            }
        }
        let mut padding = false;
        if gathering.is_empty()
            && let Some(((i, features, label), is_copy)) = self.stand_in(batch, mixing.is_some())?
        {
            gathering.add(i, features, label);
            padding = is_copy;
        }
        let mut made = gathering.finish(self.preprocessor.input());
        if let Some((mixup, seed, epoch)) = mixing {
            mixup.apply(&mut made, seed, epoch, batch);
            let own = self.rank.share(made.size());
            padding = own.is_empty() && made.size() > 0;
            made = made.part(if padding { 0..1 } else { own });
        }
        made.padding = padding;
        Ok(Made { batch: made, bad })
    }

    /// A sample for a batch in which none of this rank's can be used, and whether it is a copy of another rank's. `None`
    /// in evaluation, where the whole batch is bad.
    fn stand_in(&self, batch: usize, whole: bool) -> Result<Option<(Prepared, bool)>, DataError> {
        let all = &self.batches[batch];
        if self.stop.load(Ordering::Relaxed) || all.is_empty() {
            return Ok(None);
        }
        let own = self.rank.share(all.len());
        for place in (0..all.len()).filter(|place| !whole && !own.contains(place)) {
            if let Ok(sample) = self.usable(all[place])? {
                return Ok(Some((sample, true)));
            }
        }
        match self.order {
            Order::Sequential => Ok(None),
            Order::Train { .. } => Ok(Some((self.next_good(batch)?, self.rank.rank > 0))),
        }
    }

    /// Bytes that a batch takes at most.
    pub(super) fn bytes(&self, batch: usize) -> u64 {
        let n = self.batches[batch].len();
        let samples = if self.mixup.is_some() { n } else { self.rank.share(n).len().max(1) };
        // Numbers and indices of 4 bytes, a mask of 1, token labels of 8; texts are kept beside their padded form.
        let of_one = match self.preprocessor.input() {
            InputSpec::Image { channels, height, width } => 4 * channels * height * width,
            InputSpec::Table { features, cardinalities } => 4 * (features + cardinalities.len()),
            InputSpec::Tokens { max_length, .. } => {
                25 * self.longest.map_or(*max_length, |tokens| tokens as usize)
            }
        };
        (samples as u64).saturating_mul(of_one as u64)
    }

    /// The sample; the inner fault is that of a sample which may be left out.
    fn usable(&self, i: usize) -> Result<Result<Prepared, BadSample>, DataError> {
        let prepared = self.sample(i);
        let i = i % self.split.len();
        match prepared {
            Ok((features, label)) => Ok(Ok((i, features, label))),
            Err(fault) if self.allowed.is_some() && fault.is_of_one_sample() => {
                Ok(Err(BadSample { index: i, name: self.split.name(i), reason: fault.to_string() }))
            }
            Err(fault) => Err(fault),
        }
    }

    /// The first good sample after `batch` in the pass, from its start again at its end: each of its places is a
    /// function of the samples alone. A bad one on the way is counted where it stands itself.
    fn next_good(&self, batch: usize) -> Result<Prepared, DataError> {
        let (before, after) = self.batches.split_at(batch + 1);
        let mut passed = Vec::new();
        for &i in after.iter().chain(before).flatten() {
            match self.usable(i)? {
                Ok(sample) => return Ok(sample),
                Err(fault) => passed.push(fault),
            }
            if passed.len() > self.allowed.unwrap_or(0) {
                break;
            }
        }
        Err(self.too_many(passed.len(), passed.last()))
    }

    /// Counts what is left out of a batch when it is handed out, so that no thread's haste shows.
    pub(super) fn deliver(&self, made: Made) -> Result<HostBatch, DataError> {
        for sample in made.bad {
            let bad = self.split.leave_out(sample.clone());
            if bad > self.allowed.unwrap_or(0) {
                return Err(self.too_many(bad, Some(&sample)));
            }
        }
        Ok(made.batch)
    }

    fn too_many(&self, bad: usize, last: Option<&BadSample>) -> DataError {
        let (total, allowed) = (self.split.len(), self.allowed.unwrap_or(0));
        let last = last.map_or_else(String::new, |sample| sample.reason.clone());
        DataError::TooManyBad { bad, total, allowed, last }
    }

    /// One sample, or a copy of it; a panic of a decoder becomes an error, so that no batch is waited for in vain.
    fn sample(&self, i: usize) -> Result<(Features, Label), DataError> {
        let augment = match self.order {
            Order::Train { seed, epoch } => Some(mix(seed, Purpose::Augment, &[epoch, i as u64])),
            Order::Sequential => None,
        };
        let i = i % self.split.len();
        let prepare = || self.split.example(i, &self.preprocessor, augment, &self.decoding);
        catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(DataError::Crashed { name: self.split.name(i), message })
        })
    }
}
