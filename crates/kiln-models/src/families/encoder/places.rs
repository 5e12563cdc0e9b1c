//! Where the real tokens of a padded batch are: positions, the first token, the mean, read off the mask alone, so that
//! padding on the left, on the right and none give the same answers. Owns that reading; never parameters.
//! The encoders call it.
//!
//! Shapes: `B` batch, `T` tokens, `D` hidden.

use burn::tensor::{Bool, Int, Tensor};

/// A batch's mask, counted.
pub(super) struct Places {
    /// `[B, T]`, 1 where a token is real.
    real: Tensor<2, Int>,
    /// `[B, T]` real tokens up to and with this one.
    count: Tensor<2, Int>,
}

impl Places {
    pub(super) fn of(mask: &Tensor<2, Bool>) -> Self {
        let real = mask.clone().int();
        Self { count: real.clone().cumsum(1), real }
    }

    /// BERT's positions: real tokens from 0; padding shares the position of a token beside it.
    pub(super) fn counted_from_zero(&self) -> Tensor<2, Int> {
        self.count.clone().sub_scalar(1).clamp_min(0)
    }

    /// RoBERTa's positions: real tokens from `pad_id + 1`, padding at `pad_id`.
    pub(super) fn after_padding(&self, pad_id: usize) -> Tensor<2, Int> {
        (self.count.clone() * self.real.clone()).add_scalar(pad_id as i64)
    }

    /// `[B, T, D]` to the first real token's `[B, D]`.
    pub(super) fn first(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [b, t, d] = hidden.dims();
        let before = self.count.clone().equal_elem(0).int().sum_dim(1).clamp_max(t as i64 - 1);
        let rows = Tensor::<1, Int>::arange(0..b as i64, &before.device()).mul_scalar(t as i64);
        hidden.reshape([b * t, d]).select(0, before.squeeze_dim::<1>(1) + rows)
    }

    /// `[B, T, D]` to the mean of the real tokens `[B, D]`, of length 1, as sentence-transformers' mean pooling and
    /// normalisation.
    pub(super) fn mean(&self, hidden: Tensor<3>) -> Tensor<2> {
        let real = self.real.clone().float().unsqueeze_dim::<3>(2);
        let sum = (hidden * real.clone()).sum_dim(1).squeeze_dim::<2>(1);
        let mean = sum / real.sum_dim(1).squeeze_dim::<2>(1).clamp_min(1e-9);
        let length = mean.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        mean / length
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn either_side_may_be_padded() {
        let device = Device::flex();
        let mask = [[true, true, false], [false, true, true], [false, false, false]];
        let places = Places::of(&Tensor::from_data(mask, &device));
        let ints = |t: Tensor<2, Int>| t.into_data().convert::<i64>().try_to_vec::<i64>().unwrap();
        assert_eq!(ints(places.counted_from_zero()), [0, 1, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(ints(places.after_padding(1)), [2, 3, 1, 1, 2, 3, 1, 1, 1]);
        let hidden =
            Tensor::<3>::from_data([[[3.0], [5.0], [9.0]], [[9.0], [3.0], [5.0]], [[1.0]; 3]], &device);
        let first = places.first(hidden.clone()).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(first, [3.0, 3.0, 1.0]);
        let mean = places.mean(hidden.repeat_dim(2, 4)).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(mean[..8], [0.5; 8]);
        assert_eq!(mean[8..], [0.0; 4]); // nothing to take a mean of
    }
}
