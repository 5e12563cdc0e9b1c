//! Attention for GPUs, with its gradient: products of matrices with whole rows of weights between them, for as many
//! samples at once as `AT_ONCE` allows. Forward leaves a number per query, from which the gradient computes the weights
//! again in one pass (Dao et al., 2022, algorithm 4, without its tiles).
//! Owns that arithmetic; never the choice of form.
//!
//! Tokens are padded to whole vectors of a GPU's loads (`LANES`): in half precision rows of 197 weights took seven times
//! as long as rows of 200.
//!
//! Shapes as in `attention`; `T` and `S` padded within.

use burn::tensor::{Bool, FloatDType, Int, Tensor, kind::Basic};

use super::rounded;
use crate::hand::{ByHand, Floats};

/// Weights that a pass holds at once: 512 MiB in float32.
const AT_ONCE: usize = 1 << 27;

/// Tokens that a GPU reads at once in half precision.
const LANES: usize = 8;

/// Fewer tokens than this are not worth a copy: the queries of one step of generation.
const FEW: usize = 16;

/// Of query, key and value, `[B, N, T or S, W]` each.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    /// `[B or 1, 1, T or 1, S]`, true where hidden.
    pub(super) hidden: Option<Tensor<4, Bool>>,
    pub(super) half: Option<FloatDType>,
}

/// The same of the three in one tensor `[3, B, N, T, W]`.
#[derive(Debug, Clone)]
pub(super) struct Packed(pub(super) Attention);

/// What the gradient needs.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Query, key and value as the products take them: padded, and in half precision where asked.
    inputs: [Tensor<4>; 3],
    /// The answer `[B, N, T, W]` as the products gave it, not padded.
    mixed: Tensor<4>,
    /// Logarithm of the sum of a query's exponentials, `[B, N, T, 1]`, padded.
    log_sum: Tensor<4>,
    /// `T` and `S` without padding.
    lengths: [usize; 2],
}

impl ByHand<3> for Attention {
    type Kept = Kept;

    fn forward(&self, inputs: [Floats; 3]) -> (Floats, Kept) {
        let inputs = inputs.map(Tensor::<4>::from_dispatch);
        let (dtype, lengths) = (inputs[0].dtype(), [inputs[0].dims()[2], inputs[1].dims()[2]]);
        let kept = self.mix(inputs.map(|x| padded(rounded(x, self.half))), lengths);
        (kept.mixed.clone().cast(dtype).into_dispatch(), kept)
    }

    fn backward(&self, kept: Kept, gradient: Floats, _: [bool; 3]) -> [Option<Floats>; 3] {
        self.gradients(kept, Tensor::from_dispatch(gradient)).map(|x| Some(x.into_dispatch()))
    }
}

impl ByHand<1> for Packed {
    type Kept = Kept;

    fn forward(&self, [inputs]: [Floats; 1]) -> (Floats, Kept) {
        let inputs = Tensor::<5>::from_dispatch(inputs);
        let (dtype, t) = (inputs.dtype(), inputs.dims()[3]);
        let inputs = padded(rounded(inputs, self.0.half));
        let [_, b, heads, tokens, width] = inputs.dims();
        let part = |i| inputs.clone().narrow(0, i, 1).reshape([b, heads, tokens, width]);
        let kept = self.0.mix([part(0), part(1), part(2)], [t, t]);
        (kept.mixed.clone().cast(dtype).into_dispatch(), kept)
    }

    fn backward(&self, kept: Kept, gradient: Floats, _: [bool; 1]) -> [Option<Floats>; 1] {
        let found = self.0.gradients(kept, Tensor::from_dispatch(gradient));
        [Some(Tensor::stack::<5>(found.to_vec(), 0).into_dispatch())]
    }
}

impl Attention {
    /// The answer for padded inputs.
    fn mix(&self, inputs: [Tensor<4>; 3], lengths: [usize; 2]) -> Kept {
        let hidden = self.hidden(&inputs, lengths);
        let [mixed, log_sum] = in_parts(&inputs, |first, n| {
            let hidden = hidden.as_ref().map(|hidden| samples(hidden, first, n));
            mix(inputs.each_ref().map(|x| samples(x, first, n)), hidden)
        });
        Kept { inputs, mixed: cut(mixed, lengths[0]), log_sum, lengths }
    }

    /// Of query, key and value, `[B, N, T or S, W]` each, in the gradient's type.
    fn gradients(&self, kept: Kept, gradient: Tensor<4>) -> [Tensor<4>; 3] {
        let Kept { inputs, mixed, log_sum, lengths: [t, s] } = kept;
        let dtype = gradient.dtype();
        // Of the softmax's gradient: the sum over keys of weight times its gradient.
        let along = padded((gradient.clone() * mixed.cast(dtype)).sum_dim(3));
        let gradient = padded(rounded(gradient, self.half));
        let hidden = self.hidden(&inputs, [t, s]);
        let [query, key, value] = in_parts(&inputs, |first, n| {
            let hidden = hidden.as_ref().map(|hidden| samples(hidden, first, n));
            let rows = [&gradient, &along, &log_sum].map(|x| samples(x, first, n));
            gradients(inputs.each_ref().map(|x| samples(x, first, n)), rows, hidden)
        });
        [cut(query, t), cut(key, s), cut(value, s)].map(|x| x.cast(dtype))
    }

    /// The mask for padded queries and keys; keys that only fill up are hidden too.
    fn hidden(&self, [query, key, _]: &[Tensor<4>; 3], [t, s]: [usize; 2]) -> Option<Tensor<4, Bool>> {
        let (device, queries, keys) = (query.device(), query.dims()[2], key.dims()[2]);
        let same = |dims: [usize; 4], hidden: bool| {
            Tensor::<4, Int>::zeros(dims, &device).equal_elem(i64::from(!hidden))
        };
        let mut mask = match &self.hidden {
            Some(mask) => mask.clone(),
            None if keys == s => return None,
            None => same([1, 1, 1, s], false),
        };
        if keys > s {
            let [b, _, rows, _] = mask.dims();
            mask = Tensor::cat(vec![mask, same([b, 1, rows, keys - s], true)], 3);
        }
        if queries > t && mask.dims()[2] > 1 {
            mask = Tensor::cat(vec![mask.clone(), same([mask.dims()[0], 1, queries - t, keys], false)], 2);
        }
        Some(mask)
    }
}

/// The answer and the logarithms of the sums.
fn mix([query, key, value]: [Tensor<4>; 3], hidden: Option<Tensor<4, Bool>>) -> [Tensor<4>; 2] {
    let half = value.dtype();
    let scores = scores(query, key, hidden.as_ref());
    let largest = scores.clone().max_dim(3);
    let mut weights = (scores - largest.clone()).exp();
    let sum = weights.clone().sum_dim(3);
    if let Some(hidden) = hidden {
        // For queries that see nothing: their answer is zero.
        weights = weights.mask_fill(hidden, 0.0);
    }
    let mixed = (weights / sum.clone()).cast(half).matmul(value);
    [mixed, largest + sum.log()]
}

/// Gradients of query, key and value, in the products' type, from the answer's, the sum along keys and the logarithms.
fn gradients(
    [query, key, value]: [Tensor<4>; 3],
    [gradient, along, log_sum]: [Tensor<4>; 3],
    hidden: Option<Tensor<4, Bool>>,
) -> [Tensor<4>; 3] {
    let half = value.dtype();
    let mut weights = (scores(query.clone(), key.clone(), hidden.as_ref()) - log_sum).exp();
    if let Some(hidden) = hidden {
        weights = weights.mask_fill(hidden, 0.0);
    }
    let dvalue = weights.clone().cast(half).swap_dims(2, 3).matmul(gradient.clone());
    let dweights = gradient.matmul(value.swap_dims(2, 3)).cast(along.dtype());
    let dscores = (weights * (dweights - along)).mul_scalar(scale(&query)).cast(half);
    [dscores.clone().matmul(key), dscores.swap_dims(2, 3).matmul(query), dvalue]
}

/// In float32; the lowest number where hidden.
fn scores(query: Tensor<4>, key: Tensor<4>, hidden: Option<&Tensor<4, Bool>>) -> Tensor<4> {
    let scale = scale(&query);
    let scores = query.matmul(key.swap_dims(2, 3)).cast(FloatDType::F32).mul_scalar(scale);
    match hidden {
        Some(hidden) => scores.mask_fill(hidden.clone(), f32::MIN),
        None => scores,
    }
}

fn scale(query: &Tensor<4>) -> f64 {
    (query.dims()[3] as f64).sqrt().recip()
}

/// With zeros behind the tokens (the last dimension but one) up to whole `LANES`.
fn padded<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dims = x.dims();
    let (tokens, mut whole) = (dims[D - 2], dims);
    whole[D - 2] = tokens.next_multiple_of(LANES);
    if tokens < FEW || whole == dims {
        return x;
    }
    Tensor::zeros(whole, (&x.device(), x.dtype())).slice_assign(dims.map(|n| 0..n), x)
}

/// Without what `padded` added.
fn cut(x: Tensor<4>, tokens: usize) -> Tensor<4> {
    if x.dims()[2] == tokens { x } else { x.narrow(2, 0, tokens) }
}

fn samples<K: Basic>(x: &Tensor<4, K>, first: usize, n: usize) -> Tensor<4, K> {
    let b = x.dims()[0];
    if b == 1 || n == b { x.clone() } else { x.clone().narrow(0, first, n) }
}

/// The answers of `f`, which is given a first sample and how many, one behind the other.
fn in_parts<const M: usize>(
    [query, key, _]: &[Tensor<4>; 3],
    f: impl Fn(usize, usize) -> [Tensor<4>; M],
) -> [Tensor<4>; M] {
    let ([b, heads, t, _], keys) = (query.dims(), key.dims()[2]);
    let most = (AT_ONCE / (heads * t * keys).max(1)).clamp(1, b.max(1));
    if most >= b {
        return f(0, b);
    }
    let mut parts = [const { Vec::new() }; M];
    for first in (0..b).step_by(most) {
        let found = f(first, most.min(b - first));
        parts.iter_mut().zip(found).for_each(|(parts, found)| parts.push(found));
    }
    parts.map(|parts| Tensor::cat(parts, 0))
}
