//! Softmax cross entropy with its gradient: the logits are kept, their probabilities never.
//! Owns its forms. Reference: `torch.nn.functional.cross_entropy`.
//!
//! Shapes: `R` rows, `K` classes.

use burn::tensor::{Int, Tensor, activation};

#[cfg(feature = "cpu")]
use super::has_fast_form;
use crate::hand::{self, ByHand, Floats};

/// The cross entropy of `logits [R, K]` against `classes [R]`, summed over the rows whose class is not negative and
/// divided by `scored`, as `[1]`. Zero where no row is scored.
///
/// The target distribution is `1 - label_smoothing` on the true class plus `label_smoothing / K` on every class
/// (Szegedy et al., 2015), as PyTorch defines it. Stable for logits of any size.
pub fn cross_entropy(
    logits: Tensor<2>,
    classes: Tensor<1, Int>,
    scored: u64,
    label_smoothing: f64,
) -> Tensor<1> {
    let ([rows, _], [given]) = (logits.dims(), classes.dims());
    assert!(rows == given, "cross entropy: logits [R, K] of {:?} and {given} classes", logits.dims());
    let scored = scored.max(1) as f64;
    #[cfg(feature = "cpu")]
    if has_fast_form(&logits)
        && let Some(loss) = cpu::cross_entropy(&logits, &classes, scored, label_smoothing)
    {
        return loss;
    }
    if let Some(loss) =
        hand::run(&CrossEntropy { classes: without_graph(&classes), scored, smooth: label_smoothing }, || {
            [logits.clone().into_dispatch()]
        })
    {
        return loss;
    }
    let log_p = activation::log_softmax(logits, 1);
    let classes = classes.reshape([rows, 1]);
    let counts = classes.clone().greater_equal_elem(0).float();
    let of_class = log_p.clone().gather(1, classes.clamp_min(0));
    let hard = (of_class * counts.clone()).sum().neg().div_scalar(scored);
    if label_smoothing == 0.0 {
        return hard;
    }
    // The mean over K of -log p is the cross entropy against the uniform distribution.
    let uniform = (log_p.mean_dim(1) * counts).sum().neg().div_scalar(scored);
    hard.mul_scalar(1.0 - label_smoothing) + uniform.mul_scalar(label_smoothing)
}

fn without_graph(classes: &Tensor<1, Int>) -> Tensor<1, Int> {
    let classes = classes.clone();
    if classes.is_autodiff() { classes.inner() } else { classes }
}

#[derive(Debug, Clone)]
struct CrossEntropy {
    classes: Tensor<1, Int>,
    scored: f64,
    smooth: f64,
}

impl CrossEntropy {
    /// `[R, 1]`: 1 where a row is scored, else 0.
    fn counts(&self) -> Tensor<2> {
        self.classes.clone().greater_equal_elem(0).float().unsqueeze_dim(1)
    }
}

impl ByHand<1> for CrossEntropy {
    /// The logits, and the logarithm of the sum of their exponentials `[R, 1]`.
    type Kept = [Tensor<2>; 2];

    fn forward(&self, [logits]: [Floats; 1]) -> (Floats, Self::Kept) {
        let logits = Tensor::<2>::from_dispatch(logits);
        // Logits are taken from their largest, so that large ones keep their digits.
        let largest = logits.clone().max_dim(1);
        let total = (logits.clone() - largest.clone()).exp().sum_dim(1).log();
        let classes: Tensor<2, Int> = self.classes.clone().clamp_min(0).unsqueeze_dim(1);
        let mut of_target =
            (logits.clone().gather(1, classes) - largest.clone()).mul_scalar(1.0 - self.smooth);
        if self.smooth != 0.0 {
            of_target = of_target + (logits.clone() - largest.clone()).mean_dim(1).mul_scalar(self.smooth);
        }
        let loss = ((total.clone() - of_target) * self.counts()).sum().div_scalar(self.scored);
        (loss.into_dispatch(), [logits, total + largest])
    }

    fn backward(&self, [logits, total]: Self::Kept, gradient: Floats, _: [bool; 1]) -> [Option<Floats>; 1] {
        let classes = logits.dims()[1];
        let place = Tensor::<1, Int>::arange(0..classes as i64, &logits.device()).unsqueeze::<2>();
        let target = place.equal(self.classes.clone().unsqueeze_dim(1)).float();
        let target = target.mul_scalar(1.0 - self.smooth).add_scalar(self.smooth / classes as f64);
        let scale = Tensor::<1>::from_dispatch(gradient).div_scalar(self.scored).unsqueeze::<2>();
        [Some((((logits - total).exp() - target) * (self.counts() * scale)).into_dispatch())]
    }
}

#[cfg(feature = "cpu")]
mod cpu {
    use burn::tensor::{Int, Tensor};
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::cpu::kernel::{Kernel, Value, places, run};
    use crate::cpu::math::exp;
    use crate::cpu::simd::{max16, simd};
    use crate::cpu::slices::{contiguous, dims, tensor, unwritten, values};
    use crate::cpu::sums::{Sums, sum};

    pub(super) fn cross_entropy(
        logits: &Tensor<2>,
        classes: &Tensor<1, Int>,
        scored: f64,
        label_smoothing: f64,
    ) -> Option<Tensor<1>> {
        let op = CrossEntropy {
            classes: places(classes.clone())?,
            scored: scored as f32,
            smoothing: label_smoothing as f32,
        };
        Some(run(op, [Value::of(logits.clone())?]))
    }

    #[derive(Debug, Clone)]
    struct CrossEntropy {
        classes: Vec<i64>,
        scored: f32,
        smoothing: f32,
    }

    simd! {
        /// Largest logit and logarithm of the sum of exponentials above it.
        fn log_sum(row: &[f32]) -> (f32, f32) {
            let largest = max16(row);
            // A loop of exponentials alone, and one of additions, are each as wide as the processor's vectors.
            let (mut sums, mut room) = (Sums::new(), [0.0; 256]);
            for x in row.chunks(room.len()) {
                let powers = &mut room[..x.len()];
                powers.iter_mut().zip(x).for_each(|(power, x)| *power = exp(x - largest));
                sums.add([powers], |[power]| [power]);
            }
            (largest, sums.totals()[0].ln() as f32)
        }
    }

    simd! {
        /// `scale` times probabilities less the smoothing's share.
        fn slopes(row: &[f32], out: &mut [f32], largest: f32, log: f32, scale: f32, share: f32) {
            for (y, x) in out.iter_mut().zip(row) {
                *y = scale * (exp(x - largest - log) - share);
            }
        }
    }

    simd! {
        fn mean(row: &[f32]) -> f32 {
            sum([row], |[x]| x) / row.len() as f32
        }
    }

    impl Kernel<1> for CrossEntropy {
        /// Logits, and `[R, 2]` as [`log_sum`] answers.
        type Kept = (FlexTensor, Vec<f32>);

        fn forward(&self, [logits]: [FlexTensor; 1]) -> (FlexTensor, Self::Kept) {
            let logits = contiguous(logits);
            let [rows, k] = [dims(&logits)[0], dims(&logits)[1]];
            let x = values(&logits);
            let (mut stats, mut losses) = (unwritten(2 * rows), unwritten(rows));
            let parts = x.par_chunks(k.max(1)).zip(stats.par_chunks_mut(2)).zip(losses.par_iter_mut());
            parts.zip(&self.classes).with_min_len(8).for_each(|(((row, stats), loss), class)| {
                let Ok(class) = usize::try_from(*class) else {
                    (stats[0], stats[1], *loss) = (0.0, 0.0, 0.0);
                    return;
                };
                assert!(class < k, "cross entropy: class {class} of {k}");
                (stats[0], stats[1]) = log_sum(row);
                // The largest logit first: it takes most of the other's digits away.
                let below = |x: f32| stats[1] + (stats[0] - x);
                *loss = (1.0 - self.smoothing) * below(row[class]);
                if self.smoothing != 0.0 {
                    *loss += self.smoothing * below(mean(row));
                }
            });
            let sum: f64 = losses.iter().map(|loss| f64::from(*loss)).sum();
            (tensor(vec![(sum / f64::from(self.scored)) as f32], &[1]), (logits, stats))
        }

        fn backward(
            &self,
            (logits, stats): Self::Kept,
            gradient: FlexTensor,
            _: [bool; 1],
        ) -> [Option<FlexTensor>; 1] {
            let x = values(&logits);
            let k = dims(&logits)[1];
            let scale = contiguous(gradient).storage::<f32>().first().copied().unwrap_or(0.0) / self.scored;
            let mut dx = unwritten(x.len());
            let parts = dx.par_chunks_mut(k.max(1)).zip(x.par_chunks(k.max(1))).zip(stats.par_chunks(2));
            parts.zip(&self.classes).with_min_len(8).for_each(|(((dx, x), stats), class)| {
                match usize::try_from(*class) {
                    Ok(class) => {
                        slopes(x, dx, stats[0], stats[1], scale, self.smoothing / k as f32);
                        dx[class] -= scale * (1.0 - self.smoothing);
                    }
                    Err(_) => dx.fill(0.0),
                }
            });
            [Some(tensor(dx, &dims(&logits)))]
        }
    }
}
