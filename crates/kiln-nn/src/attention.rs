//! Scaled dot-product attention (Vaswani et al., 2017) with padding and causal masks, as
//! `torch.nn.functional.scaled_dot_product_attention`.
//! Owns the choice of form: the processor's own; else explicit where a graph is recorded and the backend's fused one
//! where none is. Never projects.
//! The transformer families of kiln-models call it.
//!
//! Shapes: `B` batch, `N` heads, `T` tokens, `S` keys, `W` head width.

use burn::tensor::{Bool, DType, FloatDType, Int, Tensor, activation, module, ops::AttentionModuleOptions};

#[cfg(feature = "cpu")]
use crate::cpu;
use crate::{Dropout, meter, ops, precision};

/// Which keys a query may not see, in the forms that the device's attention takes.
#[derive(Debug, Clone)]
pub struct Mask {
    /// True where a key is hidden: `[B or 1, 1, T or 1, S]`.
    hidden: Tensor<4, Bool>,
    /// The same as numbers to add to the scores: zero where seen, the lowest float where hidden, so that a row of
    /// nothing but padding gives equal weights and not a division by zero. Where a graph is recorded in plain form.
    bias: Option<Tensor<4>>,
}

impl Mask {
    /// Hides keys where `tokens [B, S]` is false. `train`: on an autodiff device.
    pub fn padding(tokens: &Tensor<2, Bool>, train: bool) -> Self {
        Self::new(tokens.clone().bool_not().unsqueeze_dims(&[1, 2]), train)
    }

    /// Hides padding, and keys behind the query.
    pub fn causal(tokens: &Tensor<2, Bool>, train: bool) -> Self {
        let [b, t] = tokens.dims();
        let padding: Tensor<4, Bool> = tokens.clone().bool_not().unsqueeze_dims(&[1, 2]);
        let place = Tensor::<1, Int>::arange(0..t as i64, &tokens.device());
        let behind: Tensor<4, Bool> = place
            .clone()
            .reshape([1, 1, 1, t])
            .expand([1, 1, t, t])
            .greater(place.reshape([1, 1, t, 1]).expand([1, 1, t, t]));
        Self::new(padding.expand([b, 1, t, t]).bool_or(behind.expand([b, 1, t, t])), train)
    }

    /// From `[B or 1, 1, T or 1, S]`, true where hidden.
    pub fn new(hidden: Tensor<4, Bool>, train: bool) -> Self {
        let bias = (train && !ops::are_fast(&hidden.device(), DType::F32))
            .then(|| hidden.clone().float().mul_scalar(f32::MIN));
        Self { hidden, bias }
    }
}

/// `query [B, N, T, W]`, `key` and `value` `[B, N, S, W]` to `[B, N, T, W]`; `dropout` acts on the weights.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Option<&Mask>,
    dropout: &Dropout,
) -> Tensor<4> {
    let [b, heads, t, width] = query.dims();
    let keys = key.dims()[2];
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
    if query.device().is_autodiff() {
        let query = query.mul_scalar((width as f64).sqrt().recip());
        let mut scores = product(query, key.swap_dims(2, 3), half);
        if let Some(mask) = mask {
            scores = match &mask.bias {
                Some(bias) => scores + bias.clone(),
                None => scores.mask_fill(mask.hidden.clone(), f32::MIN),
            };
        }
        return product(dropout.forward(activation::softmax(scores, 3)), value, half);
    }
    let hidden = mask.map(|mask| mask.hidden.clone().expand([b, heads, t, keys]));
    let whole = |query, key, value| {
        module::attention(query, key, value, hidden, None, AttentionModuleOptions::default())
    };
    match half {
        None => whole(query, key, value),
        Some(half) => {
            let dtype = query.dtype();
            whole(query.cast(half), key.cast(half), value.cast(half)).cast(dtype)
        }
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
