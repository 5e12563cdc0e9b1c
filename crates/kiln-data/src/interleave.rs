//! Which samples of several weighted sources, or of classes that are to be as frequent as each other, make an epoch, and in
//! which order.
//! Owns the length of such an epoch and each source's part of it; never touches a sample. The order asks it.
//!
//! Each source is an endless stream of its samples, every pass over them in a new order; an epoch takes the next `quota`
//! of each stream. So the parts of an epoch are exact to one sample, no sample of a source comes again before all others of
//! it have come, and any epoch is a pure function of (seed, epoch): nothing has to be drawn to find it.

use kiln_core::seed::{Purpose, mix};

use crate::config::{LoaderConfig, StoppingStrategy};
use crate::error::DataError;
use crate::order::{generator, shuffle, through};

/// Longest epoch, in samples: its order is kept in memory.
const MOST: f64 = 1e9;

/// Parts of a split and their weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weighted {
    /// Samples of each part.
    pub(crate) sizes: Vec<usize>,
    /// Above 0, one a part; only their ratios count.
    pub(crate) weights: Vec<f64>,
    /// What the parts are.
    pub(crate) parts: Parts,
}

/// What the parts of a split are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parts {
    /// `data.sources`, which follow each other.
    Sources,
    /// The samples of each class, class by class.
    Classes(Vec<usize>),
}

impl Weighted {
    /// The classes of samples, each as frequent in an epoch as any other, and the epoch as long as the split. In the mean
    /// what PyTorch's `WeightedRandomSampler` draws with the inverse of a class's samples; without its chance in how often
    /// a class comes, and no sample comes again before all others of its class have come. `None` where a sample has no class.
    pub(crate) fn by_class(classes: &[Option<usize>]) -> Option<Self> {
        let classes: Vec<usize> = classes.iter().copied().collect::<Option<_>>()?;
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by_key(|i| classes[*i]);
        let sizes: Vec<usize> =
            order.chunk_by(|a, b| classes[*a] == classes[*b]).map(<[usize]>::len).collect();
        Some(Self { weights: vec![1.0; sizes.len()], sizes, parts: Parts::Classes(order) })
    }

    /// Samples of each source in an epoch.
    ///
    /// # Errors
    /// A source would have none, or the epoch would be too long.
    pub(crate) fn quotas(&self, config: &LoaderConfig) -> Result<Vec<usize>, DataError> {
        let sum: f64 = self.weights.iter().sum();
        let shares: Vec<f64> = self.weights.iter().map(|weight| weight / sum).collect();
        // A source of `n` samples and share `p` is through after `n / p` samples of the epoch.
        let through = self.sizes.iter().zip(&shares).map(|(n, share)| *n as f64 / share);
        let total = match (config.samples_per_epoch, &self.parts, config.stopping_strategy) {
            (Some(samples), _, _) => samples as f64,
            (None, Parts::Classes(order), _) => order.len() as f64,
            (None, _, StoppingStrategy::FirstExhausted) => (through.fold(f64::MAX, f64::min) + 1e-6).floor(),
            (None, _, StoppingStrategy::AllExhausted) => (through.fold(0.0, f64::max) - 1e-6).ceil(),
        };
        if total > MOST {
            let problem = format!("an epoch would have {total:e} samples until the last source is through");
            let remedy = "raise the smallest weight, or say data.loader.samples_per_epoch";
            return Err(DataError::config("sources", problem, remedy));
        }
        let quotas = apportion(&shares, total as usize);
        match quotas.iter().position(|quota| *quota == 0) {
            None => Ok(quotas),
            Some(_) if matches!(self.parts, Parts::Classes(_)) => {
                let problem =
                    format!("an epoch of {total} samples has none of some of the {} classes", quotas.len());
                let remedy = "raise it, or leave it out for an epoch as long as the split";
                Err(DataError::config("loader.samples_per_epoch", problem, remedy))
            }
            Some(k) => {
                let problem = format!("an epoch has {total} samples, of which this source gives none");
                let remedy = "raise its weight, say data.loader.samples_per_epoch, or leave the source out";
                Err(DataError::config(&format!("sources.{k}.weight"), problem, remedy))
            }
        }
    }

    /// The samples of an epoch. Copy `k` of sample `i` in an epoch is called `i + k n`, `n` the samples of all sources.
    pub(crate) fn epoch(
        &self,
        (seed, epoch): (u64, u64),
        config: &LoaderConfig,
        shards: Option<&[usize]>,
    ) -> Result<Vec<usize>, DataError> {
        let quotas = self.quotas(config)?;
        let turns = match config.shuffle {
            true => {
                let mut turns: Vec<usize> =
                    quotas.iter().enumerate().flat_map(|(k, quota)| std::iter::repeat_n(k, *quota)).collect();
                shuffle(&mut turns, &mut generator(mix(seed, Purpose::Order, &[epoch])));
                turns
            }
            false => in_turn(&quotas),
        };
        let mut start = 0;
        let mut streams = Vec::with_capacity(quotas.len());
        for (k, (&size, &quota)) in self.sizes.iter().zip(&quotas).enumerate() {
            streams
                .push(self.stream(k, start..start + size, quota, (seed, epoch), config, shards).into_iter());
            start += size;
        }
        let samples = turns.into_iter().filter_map(|k| streams[k].next());
        Ok(match &self.parts {
            Parts::Sources => samples.collect(),
            Parts::Classes(order) => {
                let n = order.len();
                samples.map(|place| order[place % n] + place / n * n).collect()
            }
        })
    }

    /// What an epoch takes of source `k`, whose samples are `range`.
    fn stream(
        &self,
        k: usize,
        range: std::ops::Range<usize>,
        quota: usize,
        (seed, epoch): (u64, u64),
        config: &LoaderConfig,
        shards: Option<&[usize]>,
    ) -> Vec<usize> {
        let (n, all) = (range.len() as u64, self.sizes.iter().sum::<usize>());
        let (from, to) = (epoch * quota as u64, (epoch + 1) * quota as u64);
        let (first, last) = (from / n, (to - 1) / n);
        let mut taken = Vec::with_capacity(quota);
        for pass in first..=last {
            let mut rng = generator(mix(seed, Purpose::Order, &[pass, k as u64, SOURCE]));
            let mut order: Vec<usize> = range.clone().collect();
            match shards {
                Some(shards) => order = through(order, shards, config.shuffle_buffer, &mut rng),
                None if config.shuffle => shuffle(&mut order, &mut rng),
                None => {}
            }
            let begin = from.saturating_sub(pass * n).min(n) as usize;
            let end = (to - pass * n).min(n) as usize;
            let copy = (pass - first) as usize * all;
            taken.extend(order[begin..end].iter().map(|i| i + copy));
        }
        taken
    }
}

/// Tells a source's order from an epoch's.
const SOURCE: u64 = 0x5352_4345;

/// Whole numbers in the ratio of `shares` that add up to `total` (largest remainder).
fn apportion(shares: &[f64], total: usize) -> Vec<usize> {
    let exact: Vec<f64> = shares.iter().map(|share| share * total as f64).collect();
    let mut parts: Vec<usize> = exact.iter().map(|x| (x + 1e-6).floor() as usize).collect();
    let mut by_rest: Vec<usize> = (0..parts.len()).collect();
    by_rest.sort_by(|a, b| (exact[*b] - parts[*b] as f64).total_cmp(&(exact[*a] - parts[*a] as f64)));
    let missing = total.saturating_sub(parts.iter().sum());
    by_rest.into_iter().cycle().take(missing).for_each(|k| parts[k] += 1);
    parts
}

/// Whose turn it is, so that after any number of samples each source has given its share to within one sample.
fn in_turn(quotas: &[usize]) -> Vec<usize> {
    let total = quotas.iter().sum::<usize>();
    let mut given = vec![0; quotas.len()];
    let mut turns = Vec::with_capacity(total);
    for t in 1..=total {
        // The source that is furthest behind its share of the first `t` samples.
        let behind = |k: usize| (quotas[k] * t) as i128 - (given[k] * total) as i128;
        let next = (0..quotas.len()).rev().max_by_key(|k| behind(*k)).unwrap_or_default();
        given[next] += 1;
        turns.push(next);
    }
    turns
}

#[cfg(test)]
mod tests;
