//! Scaled dot-product attention (Vaswani et al., 2017) with padding and causal masks, as
//! `torch.nn.functional.scaled_dot_product_attention`.
//! Owns the choice of form: the processor's own; on GPUs one whose gradient computes the weights again (`by_hand`), so
//! that no `T x S` matrix outlives a pass; elsewhere explicit where a graph is recorded. Never projects.
//! The transformer families of kiln-models call it.
//!
//! Shapes: `B` batch, `N` heads, `T` tokens, `S` keys, `W` head width.

use std::cell::OnceCell;
use std::iter::repeat_n;
use std::sync::Arc;

use burn::tensor::{
    Bool, DType, Device, FloatDType, Int, Tensor, TensorData, activation, module, ops::AttentionModuleOptions,
};

#[cfg(feature = "cpu")]
use crate::cpu;
use crate::hand;
use crate::{Dropout, meter, ops, precision};

mod by_hand;

/// Texts one behind the other, each of which sees itself alone.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    /// Tokens of each.
    pub(crate) lengths: Arc<[usize]>,
    /// Whether one token of each asks; else all do.
    pub(crate) one_asks: bool,
}

impl Texts {
    fn queries(&self) -> usize {
        if self.one_asks { self.lengths.len() } else { self.keys() }
    }

    fn keys(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// `[1, 1, queries, keys]`, true where the two are of different texts.
    fn hidden(&self, device: &Device) -> Tensor<4, Bool> {
        let texts = 0..self.lengths.len() as i64;
        let of_keys: Vec<i64> =
            texts.clone().zip(self.lengths.iter()).flat_map(|(text, n)| repeat_n(text, *n)).collect();
        let of_queries = if self.one_asks { texts.collect() } else { of_keys.clone() };
        let (queries, keys) = (of_queries.len(), of_keys.len());
        let spread = |of: Vec<i64>, shape: [usize; 4]| {
            let texts = Tensor::<4, Int>::from_data(TensorData::new(of, shape), device);
            texts.expand([1, 1, queries, keys])
        };
        spread(of_queries, [1, 1, queries, 1]).not_equal(spread(of_keys, [1, 1, 1, keys]))
    }
}

/// Which keys a query may not see, in the forms that the device's attention takes.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Where texts lie one behind the other in a batch's only row, and the mask is that.
    texts: Option<Texts>,
    /// True where a key is hidden: `[B or 1, 1, T or 1, S]`; of texts made when another than the processor's form asks.
    hidden: OnceCell<Tensor<4, Bool>>,
    device: Device,
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
        let device = hidden.device();
        Self { texts: None, hidden: OnceCell::from(hidden), device, bias: OnceCell::new() }
    }

    /// For a batch of one row in which texts of so many tokens lie one behind the other: each sees itself alone.
    pub fn texts(lengths: &[usize], device: &Device) -> Self {
        Self::of(Texts { lengths: lengths.into(), one_asks: false }, device)
    }

    /// The same where the queries are of one token of each text.
    pub fn one_of_each_text(lengths: &[usize], device: &Device) -> Self {
        Self::of(Texts { lengths: lengths.into(), one_asks: true }, device)
    }

    fn of(texts: Texts, device: &Device) -> Self {
        let (texts, device) = (Some(texts), device.clone());
        Self { texts, hidden: OnceCell::new(), device, bias: OnceCell::new() }
    }

    /// Whether attention on the device computes what [`Mask::texts`] lets be seen and no more. Not while each layer's
    /// answers are kept, to be compared with those of a device that has to pad.
    pub fn takes_texts(device: &Device) -> bool {
        ops::are_fast(device, DType::F32) && !meter::keeps_answers()
    }

    fn hidden(&self) -> &Tensor<4, Bool> {
        self.hidden.get_or_init(|| match &self.texts {
            Some(texts) => texts.hidden(&self.device),
            None => unreachable!("a mask has texts or says what is hidden"),
        })
    }

    fn dims(&self) -> [usize; 4] {
        match &self.texts {
            None => self.hidden().dims(),
            Some(texts) => [1, 1, texts.queries(), texts.keys()],
        }
    }

    fn bias(&self) -> Tensor<4> {
        self.bias.get_or_init(|| self.hidden().clone().float().mul_scalar(f32::MIN)).clone()
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
    check(query.dims(), [key.dims(), value.dims()], mask.map(Mask::dims));
    meter::attention(&query, &key);
    #[cfg(feature = "cpu")]
    if ops::has_fast_form(&query)
        && let texts = mask.and_then(|mask| mask.texts.clone())
        && let hidden = mask.filter(|mask| mask.texts.is_none()).map(Mask::hidden)
        && let drop = dropout.active(&query.device())
        && let Some(mixed) = cpu::attention::attention([&query, &key, &value], hidden, texts, drop)
    {
        return mixed;
    }
    let half = precision::half(precision::now());
    if dropout.active(&query.device()).is_none() {
        let inputs = || [&query, &key, &value].map(|x| x.clone().into_dispatch());
        if let Some(mixed) = hand::run(&by_hand::Attention { hidden: hidden(mask), half }, inputs) {
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
    let ([b, heads, t, _], keys) = (query.dims(), key.dims()[2]);
    let hidden = mask.map(|mask| mask.hidden().clone().expand([b, heads, t, keys]));
    let [query, key, value] = [query, key, value].map(|x| rounded(x, half));
    module::attention(query, key, value, hidden, None, AttentionModuleOptions::default()).cast(dtype)
}

/// [`attention`] of query, key and value as one projection gives them, side by side in `[B, T, 3 N W]`, to `[B, N, T, W]`.
/// On GPUs their gradients come back as one tensor; elsewhere the three are read where they are.
pub fn attention_packed(all: Tensor<3>, heads: usize, mask: Option<&Mask>, dropout: &Dropout) -> Tensor<4> {
    let [b, t, wide] = all.dims();
    let d = wide / 3;
    assert!(
        heads > 0 && 3 * d == wide && d.is_multiple_of(heads),
        "attention: {heads} heads in [.., {wide}]"
    );
    let width = d / heads;
    if dropout.active(&all.device()).is_none() && !ops::has_fast_form(&all) {
        let half = precision::half(precision::now());
        let stacked = || all.clone().reshape([b, t, 3, heads, width]).permute([2, 0, 3, 1, 4]);
        let inputs = || [stacked().into_dispatch()];
        let attention = by_hand::Attention { hidden: hidden(mask), half };
        if let Some(mixed) = hand::run(&by_hand::Packed(attention), inputs) {
            check([b, heads, t, width], [[b, heads, t, width]; 2], mask.map(Mask::dims));
            meter::attention(&mixed, &mixed);
            return mixed;
        }
    }
    let [query, key, value] =
        [0, 1, 2].map(|i| all.clone().narrow(2, i * d, d).reshape([b, t, heads, width]).swap_dims(1, 2));
    attention(query, key, value, mask, dropout)
}

/// What a mask hides, outside of any graph.
fn hidden(mask: Option<&Mask>) -> Option<Tensor<4, Bool>> {
    let hidden = mask?.hidden().clone();
    Some(if hidden.is_autodiff() { hidden.inner() } else { hidden })
}

fn rounded<const D: usize>(x: Tensor<D>, half: Option<FloatDType>) -> Tensor<D> {
    match half {
        None => x,
        Some(half) => x.cast(half),
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
