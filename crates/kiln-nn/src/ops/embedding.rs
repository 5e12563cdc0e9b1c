//! Rows of a table, and the table's gradient in an order that threads do not change.
//! Owns both forms. Reference: `torch.nn.functional.embedding`.
//!
//! Shapes: `B` batch, `T` tokens, `V` rows, `D` features.

use burn::tensor::{Int, Tensor, module};

#[cfg(feature = "cpu")]
use super::has_fast_form;

/// `weight [V, D]` at `indices [B, T]`, as `[B, T, D]`.
pub fn embedding(weight: Tensor<2>, indices: Tensor<2, Int>) -> Tensor<3> {
    #[cfg(feature = "cpu")]
    if has_fast_form(&weight)
        && let Some(rows) = cpu::embedding(&weight, &indices)
    {
        return rows;
    }
    module::embedding(weight, indices)
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn::tensor::{Int, Tensor};
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::cpu::columns::Columns;
    use crate::cpu::kernel::{Kernel, Value, places, run};
    use crate::cpu::slices::{contiguous, dims, tensor, unwritten, values};

    pub(super) fn embedding(weight: &Tensor<2>, indices: &Tensor<2, Int>) -> Option<Tensor<3>> {
        let [rows, _] = weight.dims();
        let places = places(indices.clone())?;
        let place = |at: &i64| {
            let found = usize::try_from(*at).ok().filter(|at| *at < rows);
            assert!(found.is_some(), "embedding: index {at} of {rows} rows");
            found.unwrap_or_default()
        };
        let op = Embedding { places: places.iter().map(place).collect(), shape: indices.dims(), rows };
        Some(run(op, [Value::of(weight.clone())?]))
    }

    #[derive(Debug, Clone)]
    struct Embedding {
        places: Vec<usize>,
        shape: [usize; 2],
        rows: usize,
    }

    impl Kernel<1> for Embedding {
        type Kept = ();

        fn forward(&self, [weight]: [FlexTensor; 1]) -> (FlexTensor, ()) {
            let weight = contiguous(weight);
            let (from, d) = (values(&weight), dims(&weight)[1]);
            let mut y = unwritten(self.places.len() * d);
            y.par_chunks_mut(d.max(1)).zip(&self.places).with_min_len(64).for_each(|(row, at)| {
                row.copy_from_slice(&from[at * d..(at + 1) * d]);
            });
            let [b, t] = self.shape;
            (tensor(y, &[b, t, d]), ())
        }

        fn backward(&self, (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            let gradient = contiguous(gradient);
            let d = dims(&gradient)[2];
            let mut dweight = vec![0.0; self.rows * d];
            Columns::of(&mut dweight, d).for_each(|mut columns| {
                for (row, at) in values(&gradient).chunks_exact(d.max(1)).zip(&self.places) {
                    columns.add(*at, row);
                }
            });
            [Some(tensor(dweight, &[self.rows, d]))]
        }
    }
}
