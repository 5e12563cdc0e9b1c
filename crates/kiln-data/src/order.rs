//! Which samples form which batch: a pure function of (seed, epoch) and the split's length.
//! Owns the permutation and the buckets; never touches a sample. Hands batches of indices to the loader.

use kiln_core::seed::{Purpose, mix};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::LoaderConfig;

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

/// `config.repeats` copies of each sample that is in the epoch, of which copy `k` of sample `i` is called `i + k n`; copies
/// follow each other, so that they share a batch, and the epoch is cut to `n` (Hoffer et al., 2019; timm's sampler).
fn repeated(indices: Vec<usize>, repeats: usize) -> Vec<usize> {
    let n = indices.len();
    match repeats {
        0 | 1 => indices,
        _ => indices.into_iter().flat_map(|i| (0..repeats).map(move |k| i + k * n)).take(n).collect(),
    }
}

/// The batches of one pass, of samples called as [`repeated`] says. `lengths` (one a sample) are needed for length buckets,
/// `shards` (one a sample) where whole shards are shuffled, only.
pub(crate) fn plan(
    n: usize,
    config: &LoaderConfig,
    order: Order,
    lengths: Option<&[u32]>,
    shards: Option<&[usize]>,
) -> Vec<Vec<usize>> {
    let Order::Train { seed, epoch } = order else {
        return cut((0..n).collect(), config.eval_batch_size.unwrap_or(config.batch_size), false);
    };
    let mut indices: Vec<usize> = (0..n).collect();
    let mut rng = generator(mix(seed, Purpose::Order, &[epoch]));
    match shards {
        Some(shards) => indices = through(indices, shards, config.shuffle_buffer, &mut rng),
        None if config.shuffle => shuffle(&mut indices, &mut rng),
        None => {}
    }
    let indices = repeated(indices, config.repeats);
    match lengths {
        Some(lengths) => bucket(indices, lengths, config, &mut rng),
        None => cut(indices, config.batch_size, config.drop_last),
    }
}

/// Whole shards in a random order through a buffer: each sample that enters the full buffer takes the place of one drawn
/// from it, which leaves; at the end the rest leaves in random order. So a sample leaves at most a few buffers after the
/// one that was read with it.
fn through(indices: Vec<usize>, shards: &[usize], buffer: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
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

fn cut(indices: Vec<usize>, size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let size = size.max(1);
    let keep = if drop_last { indices.len() / size * size } else { indices.len() };
    indices[..keep].chunks(size).map(<[usize]>::to_vec).collect()
}
