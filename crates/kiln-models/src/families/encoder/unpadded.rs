//! The real tokens of a padded batch as one row, text behind text, so that nothing is computed of padding (as
//! `transformers`' ModernBERT and Flash Attention's variable lengths do); and hidden states back in their places.
//! Owns that order; never parameters. The encoder's pass asks for it where the device's attention can take texts so.
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden, `R` real tokens of the whole batch.

use std::mem::replace;

use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_nn::attention::Mask;

/// Where real tokens stood.
pub(super) struct Unpadded {
    shape: [usize; 2],
    /// `[R]`: a real token's place in `B * T`.
    places: Tensor<1, Int>,
    /// `[B * T]`: a place's row of `R`; padding has that of the batch's first real token.
    rows: Tensor<1, Int>,
    /// Tokens of each text.
    lengths: Vec<usize>,
}

impl Unpadded {
    /// `None` where there is no padding, a text has no token, or the device's attention computes padding in any case.
    pub(super) fn of(mask: &Tensor<2, Bool>) -> Option<Self> {
        let ([b, t], device) = (mask.dims(), mask.device());
        if !Mask::takes_texts(&device) {
            return None;
        }
        let real: Vec<bool> = mask.to_data().iter().collect();
        let places: Vec<i64> = (0..).zip(&real).filter_map(|(place, real)| real.then_some(place)).collect();
        let lengths: Vec<usize> =
            real.chunks(t.max(1)).map(|text| text.iter().filter(|real| **real).count()).collect();
        if places.len() == real.len() || lengths.contains(&0) {
            return None;
        }
        let mut next = 0i64;
        let row = |real: &bool| {
            next += i64::from(*real);
            if *real { next - 1 } else { 0 }
        };
        let rows: Vec<i64> = real.iter().map(row).collect();
        let index = |of: Vec<i64>| {
            let n = of.len();
            Tensor::from_data(TensorData::new(of, [n]), &device)
        };
        Some(Self { shape: [b, t], places: index(places), rows: index(rows), lengths })
    }

    /// `[B, T]` to `[1, R]`.
    pub(super) fn taken(&self, x: Tensor<2, Int>) -> Tensor<2, Int> {
        x.flatten::<1>(0, 1).select(0, self.places.clone()).unsqueeze()
    }

    /// What hides the texts from each other.
    pub(super) fn mask(&self) -> Mask {
        Mask::texts(&self.lengths, &self.places.device())
    }

    /// The same for one token of each.
    pub(super) fn mask_of_firsts(&self) -> Mask {
        Mask::one_of_each_text(&self.lengths, &self.places.device())
    }

    /// The first token of each text: `[1, R, D]` to `[1, B, D]`.
    pub(super) fn firsts(&self, x: Tensor<3>) -> Tensor<3> {
        let starts: Vec<i64> =
            self.lengths.iter().scan(0, |end, n| Some(replace(end, *end + *n as i64))).collect();
        let n = starts.len();
        x.select(1, Tensor::from_data(TensorData::new(starts, [n]), &self.places.device()))
    }

    /// `[1, R, D]` to `[B, T, D]`; padding holds what another token's does, which is nobody's to read.
    pub(super) fn put_back(&self, x: Tensor<3>) -> Tensor<3> {
        let ([b, t], d) = (self.shape, x.dims()[2]);
        x.squeeze_dim::<2>(0).select(0, self.rows.clone()).reshape([b, t, d])
    }
}
