//! Which samples form which batch: a pure function of (seed, epoch) and the split's length.
//! Owns the permutation, the buckets and the budgets; never touches a sample. Hands batches of indices to the loader.

use kiln_core::seed::{Purpose, mix};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::LoaderConfig;
use crate::error::DataError;
use crate::interleave::Weighted;

/// How a loader walks a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Training: shuffled, augmented, `batch_size` at a time.
    Train {
        /// The run's seed.
        seed: u64,
        /// Pass over the split, from 0.
        epoch: u64,
    },
    /// Evaluation: in order, every sample once, `eval_batch_size` at a time.
    Sequential,
}

/// Batches that are sorted by length together.
const BUCKET: usize = 50;

/// The generator of one place in a run.
pub(crate) fn generator(seed: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Uniform in `0..n` (Lemire's multiply and shift; the bias is below `n / 2^64`).
pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Uniform in `[0, 1)` with 53 bits.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Fisher and Yates.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

/// What an order needs to know of a split.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Samples<'a> {
    /// How many there are.
    pub(crate) n: usize,
    /// Tokens of each, for length buckets and budgets only.
    pub(crate) lengths: Option<&'a [u32]>,
    /// Shard of each, where whole shards are shuffled only.
    pub(crate) shards: Option<&'a [usize]>,
    /// The sources that they are of, where these have weights.
    pub(crate) sources: Option<&'a Weighted>,
}

/// `config.repeats` copies of each sample that is in the epoch; copies follow each other, so that they share a batch, and the
/// epoch stays as long (Hoffer et al., 2019; timm's sampler). Copy `k` of sample `i` of `n` is called `i + k n`.
fn repeated(indices: Vec<usize>, n: usize, repeats: usize) -> Vec<usize> {
    let length = indices.len();
    match repeats {
        0 | 1 => indices,
        _ => {
            let copies = |i: usize| (0..repeats).map(move |k| i % n + (i / n * repeats + k) * n);
            indices.into_iter().flat_map(copies).take(length).collect()
        }
    }
}

/// The batches of one pass, of samples called as [`repeated`] says.
///
/// # Errors
/// Weights that make no epoch; a sample that is longer than the budget.
pub(crate) fn plan(
    samples: Samples<'_>,
    config: &LoaderConfig,
    order: Order,
) -> Result<Vec<Vec<usize>>, DataError> {
    let n = samples.n;
    let Order::Train { seed, epoch } = order else {
        let size = config.eval_batch_size.unwrap_or(config.batch_size);
        return Ok(match (config.max_tokens, samples.lengths) {
            (Some(budget), Some(lengths)) => filled((0..n).collect(), lengths, budget, size),
            _ => cut((0..n).collect(), size, false),
        });
    };
    let mut indices: Vec<usize> = (0..n).collect();
    let mut rng = generator(mix(seed, Purpose::Order, &[epoch]));
    match (samples.sources, samples.shards) {
        (Some(sources), shards) => indices = sources.epoch((seed, epoch), config, shards)?,
        (None, Some(shards)) => indices = through(indices, shards, config.shuffle_buffer, &mut rng),
        (None, None) if config.shuffle => shuffle(&mut indices, &mut rng),
        (None, None) => {}
    }
    let indices = repeated(indices, n, config.repeats);
    Ok(match (samples.lengths, config.max_tokens) {
        (Some(lengths), Some(budget)) => budgeted(indices, lengths, budget, config, &mut rng),
        (Some(lengths), None) => bucket(indices, lengths, config, &mut rng),
        (None, _) => cut(indices, config.batch_size, config.drop_last),
    })
}

/// How many batches [`plan`] makes; the same in each epoch.
///
/// # Errors
/// As [`plan`].
pub(crate) fn count(samples: Samples<'_>, config: &LoaderConfig, training: bool) -> Result<usize, DataError> {
    match (config.max_tokens, samples.lengths, training) {
        (Some(_), Some(_), true) => Ok(plan(samples, config, Order::Train { seed: 0, epoch: 0 })?.len()),
        (Some(_), Some(_), false) => Ok(plan(samples, config, Order::Sequential)?.len()),
        (_, _, false) => Ok(samples.n.div_ceil(config.eval_batch_size.unwrap_or(config.batch_size).max(1))),
        (_, _, true) => {
            let n = match samples.sources {
                Some(sources) => sources.quotas(config)?.iter().sum(),
                None => samples.n,
            };
            Ok(config.batches_of(n))
        }
    }
}

/// All samples from the longest to the shortest, cut so that each batch, padded to its longest, has at most `budget` tokens
/// and at most `batch_size` samples; then the batches are shuffled (fairseq's `max_tokens`). Samples of one length are in
/// random order, so the batches differ from epoch to epoch, and the number of them does not: it follows from the lengths.
fn budgeted(
    mut indices: Vec<usize>,
    lengths: &[u32],
    budget: usize,
    config: &LoaderConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<Vec<usize>> {
    let length = |i: usize| lengths.get(i % lengths.len().max(1)).map_or(1, |length| *length as usize).max(1);
    indices.sort_by_key(|&i| std::cmp::Reverse(length(i)));
    let (mut batches, mut rest) = (Vec::new(), &indices[..]);
    while let Some(&longest) = rest.first() {
        let size = (budget / length(longest)).min(config.batch_size).clamp(1, rest.len());
        let (batch, after) = rest.split_at(size);
        batches.push(batch.to_vec());
        rest = after;
    }
    shuffle(&mut batches, rng);
    batches
}

/// The samples in their order, as many a batch as `budget` tokens and `size` samples allow.
fn filled(indices: Vec<usize>, lengths: &[u32], budget: usize, size: usize) -> Vec<Vec<usize>> {
    let (mut batches, mut batch, mut longest) = (Vec::new(), Vec::new(), 0);
    for i in indices {
        let length = lengths.get(i).map_or(1, |length| *length as usize).max(1);
        let padded = longest.max(length) * (batch.len() + 1);
        if !batch.is_empty() && (padded > budget || batch.len() == size.max(1)) {
            batches.push(std::mem::take(&mut batch));
            longest = 0;
        }
        longest = longest.max(length);
        batch.push(i);
    }
    batches.extend((!batch.is_empty()).then_some(batch));
    batches
}

/// Whole shards in a random order through a buffer: each sample that enters the full buffer takes the place of one drawn
/// from it, which leaves; at the end the rest leaves in random order. So a sample leaves at most a few buffers after the
/// one that was read with it.
pub(crate) fn through(
    indices: Vec<usize>,
    shards: &[usize],
    buffer: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<usize> {
    let mut parts: Vec<&[usize]> = indices.chunk_by(|a, b| shards[*a] == shards[*b]).collect();
    shuffle(&mut parts, rng);
    let (mut held, mut out) =
        (Vec::with_capacity(buffer.min(indices.len())), Vec::with_capacity(indices.len()));
    for &index in parts.into_iter().flatten() {
        if held.len() < buffer.max(1) {
            held.push(index);
        } else {
            let place = below(rng, held.len());
            out.push(std::mem::replace(&mut held[place], index));
        }
    }
    shuffle(&mut held, rng);
    out.extend(held);
    out
}

/// Sorts every [`BUCKET`] batches by length, longest first, then shuffles the full batches; a short one stays last.
fn bucket(
    mut indices: Vec<usize>,
    lengths: &[u32],
    config: &LoaderConfig,
    rng: &mut ChaCha8Rng,
) -> Vec<Vec<usize>> {
    for part in indices.chunks_mut(BUCKET * config.batch_size) {
        part.sort_by_key(|&i| std::cmp::Reverse(lengths[i % lengths.len()]));
    }
    let mut batches = cut(indices, config.batch_size, config.drop_last);
    let full = batches.iter().filter(|b| b.len() == config.batch_size).count();
    shuffle(&mut batches[..full], rng);
    batches
}

pub(crate) fn cut(indices: Vec<usize>, size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let size = size.max(1);
    let keep = if drop_last { indices.len() / size * size } else { indices.len() };
    indices[..keep].chunks(size).map(<[usize]>::to_vec).collect()
}
