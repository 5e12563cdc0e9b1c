//! Scaled dot-product attention (Vaswani et al., 2017) with padding and causal masks, as
//! `torch.nn.functional.scaled_dot_product_attention`.
//! Owns the choice of form: the processor's own; on GPUs the backend's fused one, whose gradient computes the weights
//! again, so that no `T x S` matrix outlives a pass; elsewhere explicit where a graph is recorded. Never projects.
//! The transformer families of kiln-models call it.
//!
//! Shapes: `B` batch, `N` heads, `T` tokens, `S` keys, `W` head width.

use std::cell::OnceCell;

use burn::tensor::{Bool, FloatDType, Int, Tensor, activation, module, ops::AttentionModuleOptions};

#[cfg(feature = "cpu")]
use crate::cpu;
use crate::hand::{self, ByHand, Floats};
use crate::{Dropout, meter, ops, precision};

/// Which keys a query may not see, in the forms that the device's attention takes.
#[derive(Debug, Clone)]
pub struct Mask {
    /// True where a key is hidden: `[B or 1, 1, T or 1, S]`.
    hidden: Tensor<4, Bool>,
    /// The same as numbers to add to the scores: zero where seen, the lowest float where hidden, so that a row of
    /// nothing but padding gives equal weights and not a division by zero. Made when the explicit form first asks.
    bias: OnceCell<Tensor<4>>,
}

impl Mask {
    /// Hides keys where `tokens [B, S]` is false.
    pub fn padding(tokens: &Tensor<2, Bool>) -> Self {
        Self::new(tokens.clone().bool_not().unsqueeze_dims(&[1, 2]))
    }

    /// Hides padding, and keys behind the query.
    pub fn causal(tokens: &Tensor<2, Bool>) -> Self {
        let [b, t] = tokens.dims();
        let padding: Tensor<4, Bool> = tokens.clone().bool_not().unsqueeze_dims(&[1, 2]);
        let place = Tensor::<1, Int>::arange(0..t as i64, &tokens.device());
        let behind: Tensor<4, Bool> = place
            .clone()
            .reshape([1, 1, 1, t])
            .expand([1, 1, t, t])
            .greater(place.reshape([1, 1, t, 1]).expand([1, 1, t, t]));
        Self::new(padding.expand([b, 1, t, t]).bool_or(behind.expand([b, 1, t, t])))
    }

    /// From `[B or 1, 1, T or 1, S]`, true where hidden.
    pub fn new(hidden: Tensor<4, Bool>) -> Self {
        Self { hidden, bias: OnceCell::new() }
    }

    fn bias(&self) -> Tensor<4> {
        self.bias.get_or_init(|| self.hidden.clone().float().mul_scalar(f32::MIN)).clone()
    }
}

/// `query [B, N, T, W]`, `key` and `value` `[B, N, S, W]` to `[B, N, T, W]`; `dropout` acts on the weights. A query that
/// sees no key answers the mean of all values, or zero where the backend's fused form serves.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Option<&Mask>,
    dropout: &Dropout,
) -> Tensor<4> {
    let width = query.dims()[3];
    check(query.dims(), [key.dims(), value.dims()], mask.map(|mask| mask.hidden.dims()));
    meter::attention(&query, &key);
    #[cfg(feature = "cpu")]
    if ops::has_fast_form(&query)
        && let hidden = mask.map(|mask| &mask.hidden)
        && let drop = dropout.active(&query.device())
        && let Some(mixed) = cpu::attention::attention(&query, &key, &value, hidden, drop)
    {
        return mixed;
    }
    let half = precision::half(precision::now());
    if dropout.active(&query.device()).is_none() {
        let hidden = mask.map(|mask| mask.hidden.clone());
        let hidden = hidden.map(|hidden| if hidden.is_autodiff() { hidden.inner() } else { hidden });
        let inputs = || [&query, &key, &value].map(|x| x.clone().into_dispatch());
        if let Some(mixed) = hand::run(&Fused { hidden, half }, inputs) {
            return mixed;
        }
    }
    if query.device().is_autodiff() {
        let query = query.mul_scalar((width as f64).sqrt().recip());
        let mut scores = product(query, key.swap_dims(2, 3), half);
        if let Some(mask) = mask {
            scores = scores + mask.bias();
        }
        return product(dropout.forward(activation::softmax(scores, 3)), value, half);
    }
    let dtype = query.dtype();
    let hidden = mask.map(|mask| mask.hidden.clone());
    whole([query, key, value].map(|x| rounded(x, half)), hidden).cast(dtype)
}

fn rounded(x: Tensor<4>, half: Option<FloatDType>) -> Tensor<4> {
    match half {
        None => x,
        Some(half) => x.cast(half),
    }
}

/// The backend's own attention, without a graph.
fn whole([query, key, value]: [Tensor<4>; 3], hidden: Option<Tensor<4, Bool>>) -> Tensor<4> {
    let ([b, heads, t, _], keys) = (query.dims(), key.dims()[2]);
    let hidden = hidden.map(|hidden| hidden.expand([b, heads, t, keys]));
    module::attention(query, key, value, hidden, None, AttentionModuleOptions::default())
}

/// Weights that the backward pass holds at once: 512 MiB in float32.
const AT_ONCE: usize = 1 << 27;

#[derive(Debug, Clone)]
struct Fused {
    hidden: Option<Tensor<4, Bool>>,
    half: Option<FloatDType>,
}

impl ByHand<3> for Fused {
    /// Query, key, value and answer as the products take them.
    type Kept = [Tensor<4>; 4];

    fn forward(&self, inputs: [Floats; 3]) -> (Floats, Self::Kept) {
        let inputs = inputs.map(Tensor::<4>::from_dispatch);
        let dtype = inputs[0].dtype();
        let [query, key, value] = inputs.map(|x| rounded(x, self.half));
        let mixed = whole([query.clone(), key.clone(), value.clone()], self.hidden.clone());
        (mixed.clone().cast(dtype).into_dispatch(), [query, key, value, mixed])
    }

    /// As FlashAttention's (Dao et al., 2022), with whole rows of weights for as many samples as `AT_ONCE` holds.
    fn backward(&self, kept: Self::Kept, gradient: Floats, _: [bool; 3]) -> [Option<Floats>; 3] {
        let gradient = Tensor::<4>::from_dispatch(gradient);
        let ([b, heads, t, _], keys) = (kept[0].dims(), kept[1].dims()[2]);
        let samples = (AT_ONCE / (heads * t * keys).max(1)).clamp(1, b.max(1));
        if samples >= b {
            return self.gradients(kept, gradient, self.hidden.clone()).map(|x| Some(x.into_dispatch()));
        }
        let mut parts: [Vec<Tensor<4>>; 3] = Default::default();
        for first in (0..b).step_by(samples) {
            let n = samples.min(b - first);
            let hidden = self.hidden.clone().map(|hidden| match hidden.dims()[0] {
                1 => hidden,
                _ => hidden.narrow(0, first, n),
            });
            let kept = kept.each_ref().map(|x| x.clone().narrow(0, first, n));
            let found = self.gradients(kept, gradient.clone().narrow(0, first, n), hidden);
            parts.iter_mut().zip(found).for_each(|(parts, found)| parts.push(found));
        }
        parts.map(|parts| Some(Tensor::cat(parts, 0).into_dispatch()))
    }
}

impl Fused {
    /// Of query, key and value.
    fn gradients(
        &self,
        [query, key, value, mixed]: [Tensor<4>; 4],
        gradient: Tensor<4>,
        hidden: Option<Tensor<4, Bool>>,
    ) -> [Tensor<4>; 3] {
        let dtype = gradient.dtype();
        let scale = (query.dims()[3] as f64).sqrt().recip();
        // Of the softmax's gradient: the sum over keys of weight times its gradient.
        let along = (gradient.clone() * mixed.cast(dtype)).sum_dim(3);
        let gradient = rounded(gradient, self.half);
        let mut scores = query.clone().matmul(key.clone().swap_dims(2, 3)).cast(dtype).mul_scalar(scale);
        if let Some(hidden) = &hidden {
            scores = scores.mask_fill(hidden.clone(), f32::MIN);
        }
        let mut weights = activation::softmax(scores, 3);
        if let Some(hidden) = hidden {
            // For queries that see nothing, which the backend answers with zero.
            weights = weights.mask_fill(hidden, 0.0);
        }
        let dvalue = rounded(weights.clone(), self.half).swap_dims(2, 3).matmul(gradient.clone());
        let dweights = gradient.matmul(value.swap_dims(2, 3)).cast(dtype);
        let dscores = rounded(weights * (dweights - along), self.half);
        let dquery = dscores.clone().matmul(key).cast(dtype).mul_scalar(scale);
        let dkey = dscores.swap_dims(2, 3).matmul(query).cast(dtype).mul_scalar(scale);
        [dquery, dkey, dvalue.cast(dtype)]
    }
}

/// A matrix product with inputs and answer in `half`; the softmax between two of them is float32.
fn product(left: Tensor<4>, right: Tensor<4>, half: Option<FloatDType>) -> Tensor<4> {
    match half {
        None => left.matmul(right),
        Some(half) => {
            let dtype = left.dtype();
            left.cast(half).matmul(right.cast(half)).cast(dtype)
        }
    }
}

fn check(query: [usize; 4], keys: [[usize; 4]; 2], hidden: Option<[usize; 4]>) {
    let ([b, n, t, w], s) = (query, keys[0][2]);
    assert!(
        keys.iter().all(|key| *key == [b, n, s, w]),
        "attention: a query [B, N, T, W] of {query:?}, keys [B, N, S, W] of {:?} and values of {:?}",
        keys[0],
        keys[1]
    );
    assert!(
        hidden.is_none_or(|[rows, heads, queries, hidden]| {
            [1, b].contains(&rows) && heads == 1 && [1, t].contains(&queries) && hidden == s
        }),
        "attention: a mask [B or 1, 1, T or 1, S] of {hidden:?} for a query of {query:?} and {s} keys"
    );
}
