//! Losses as `torch.nn.functional` defines them, mean over what is scored.
//! Owns the formulas; never reads a value back from the device.
//! The tasks of kiln-eval call them.
//!
//! Shapes: `B` batch, `T` tokens, `K` classes or numbers.

use burn::tensor::activation::{log_softmax, sigmoid};
use burn::tensor::{Int, Tensor};

use crate::ops;

/// Mean cross entropy of `logits [B, K]` against `classes [B]` as `[1]`; see [`ops::cross_entropy`].
pub fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>, label_smoothing: f64) -> Tensor<1> {
    let rows = logits.dims()[0] as u64;
    ops::cross_entropy(logits, classes, rows, label_smoothing)
}

/// Mean cross entropy of `logits [B, K]` against `shares [B, K]` of the classes, which add up to 1 in each row, as `[1]`:
/// `-sum(shares ln softmax(logits))`, as PyTorch's with class probabilities. `label_smoothing` moves that part of each
/// row to all classes alike.
pub fn soft_cross_entropy(logits: Tensor<2>, shares: Tensor<2>, label_smoothing: f64) -> Tensor<1> {
    let [b, k] = logits.dims();
    let shares = smoothed(shares, label_smoothing, k as f64);
    (log_softmax(logits, 1) * shares).sum().div_scalar(-(b as f64))
}

/// Moves a part of each row to all `k` classes alike.
fn smoothed(shares: Tensor<2>, smoothing: f64, k: f64) -> Tensor<2> {
    match smoothing {
        0.0 => shares,
        smoothing => shares.mul_scalar(1.0 - smoothing).add_scalar(smoothing / k),
    }
}

/// What is left to learn of a teacher's answers at a temperature (Hinton et al., 2015, arXiv 1503.02531): the divergence of
/// the student's softened shares from the teacher's, `T^2 KL(softmax(teacher / T) || softmax(student / T))`, as `[1]`.
/// Both `[B, K]`; the mean over the rows that `counted [B, 1]` has as 1 and not as 0, over all without it. The teacher's
/// are taken as they are, without a gradient.
pub fn distillation(
    student: Tensor<2>,
    teacher: Tensor<2>,
    temperature: f64,
    counted: Option<Tensor<2>>,
) -> Tensor<1> {
    let rows = student.dims()[0] as f64;
    let student = log_softmax(student.div_scalar(temperature), 1);
    let teacher = log_softmax(teacher.div_scalar(temperature), 1);
    let of_row =
        (teacher.clone().exp() * (teacher - student)).sum_dim(1).mul_scalar(temperature * temperature);
    match counted {
        None => of_row.sum().div_scalar(rows),
        Some(counted) => (of_row * counted.clone()).sum() / counted.sum().clamp_min(1.0),
    }
}

/// As [`cross_entropy`] over the tokens of `logits [B, T, K]` whose `targets [B, T]` are not negative (PyTorch's
/// `ignore_index` is -100); `scored` is their number, which the host knows. Zero where it is 0.
pub fn token_cross_entropy(
    logits: Tensor<3>,
    targets: Tensor<2, Int>,
    scored: u64,
    label_smoothing: f64,
) -> Tensor<1> {
    let [b, t, k] = logits.dims();
    ops::cross_entropy(logits.reshape([b * t, k]), targets.reshape([b * t]), scored, label_smoothing)
}

/// Mean binary cross entropy of `logits [B, K]` against `targets [B, K]` in 0..=1 over all `B K` as `[1]`; stable for
/// logits of any size: `max(x, 0) - x t + ln(1 + exp(-|x|))`.
pub fn binary_cross_entropy_with_logits(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let rest = logits.clone().abs().neg().exp().log1p();
    (ops::relu(logits.clone()) - logits * targets + rest).mean()
}

/// What some classes count more than others, and hard samples more than easy ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Emphasis<'a> {
    /// One a class, `K`; empty: 1 each.
    pub class_weights: &'a [f32],
    /// The focal factor `(1 - p)^gamma` of the true class's probability (Lin et al., 2017, arXiv 1708.02002); 0: none.
    pub gamma: f64,
}

impl Emphasis<'_> {
    /// `[1, K]`
    fn row(&self, like: &Tensor<2>) -> Option<Tensor<2>> {
        let some = !self.class_weights.is_empty();
        some.then(|| Tensor::<1>::from_floats(self.class_weights, &like.device()).unsqueeze())
    }

    /// `w ln p (1 - p)^gamma` of every class, `[R, K]`.
    fn terms(&self, logits: Tensor<2>) -> Tensor<2> {
        let weights = self.row(&logits);
        let log_p = log_softmax(logits, 1);
        let terms = match self.gamma {
            0.0 => log_p,
            // The bound keeps the slope of the power finite where p is 1.
            gamma => {
                let missed = log_p.clone().exp().neg().add_scalar(1.0).clamp_min(1e-12);
                missed.powf_scalar(gamma) * log_p
            }
        };
        match weights {
            Some(weights) => terms * weights,
            None => terms,
        }
    }
}

/// Cross entropy of `logits [R, K]` against `classes [R]` with an [`Emphasis`], as `[1]`: the sum over the rows whose class is
/// not negative, divided by the sum of their classes' weights, as `torch.nn.functional.cross_entropy` with `weight`. Zero
/// where no row is scored.
pub fn emphasised_cross_entropy(
    logits: Tensor<2>,
    classes: Tensor<1, Int>,
    emphasis: Emphasis<'_>,
    label_smoothing: f64,
) -> Tensor<1> {
    let [rows, k] = logits.dims();
    let device = logits.device();
    let numbers = Tensor::<1, Int>::arange(0..k as i64, &device).unsqueeze::<2>();
    // A negative class equals none: its row is zero.
    let truth = classes.reshape([rows, 1]).expand([rows, k]).equal(numbers.expand([rows, k])).float();
    let counted = match emphasis.row(&logits) {
        Some(weights) => (truth.clone() * weights).sum(),
        None => truth.clone().sum(),
    };
    let shares = match label_smoothing {
        0.0 => truth,
        smoothing => {
            let scored = truth.clone().sum_dim(1).mul_scalar(smoothing / k as f64);
            truth.mul_scalar(1.0 - smoothing) + scored
        }
    };
    (emphasis.terms(logits) * shares).sum().neg() / counted.clamp_min(1e-30)
}

/// As [`soft_cross_entropy`] with an [`Emphasis`], divided by `B`, as PyTorch's with class probabilities and `weight`.
pub fn emphasised_soft_cross_entropy(
    logits: Tensor<2>,
    shares: Tensor<2>,
    emphasis: Emphasis<'_>,
    label_smoothing: f64,
) -> Tensor<1> {
    let [b, k] = logits.dims();
    let shares = smoothed(shares, label_smoothing, k as f64);
    (emphasis.terms(logits) * shares).sum().div_scalar(-(b as f64))
}

/// As [`binary_cross_entropy_with_logits`] with an [`Emphasis`], whose weights multiply what a class's positives cost
/// (`pos_weight` of `torch.nn.BCEWithLogitsLoss`); the focal factor is that of `torchvision.ops.sigmoid_focal_loss`.
pub fn emphasised_binary_cross_entropy(
    logits: Tensor<2>,
    targets: Tensor<2>,
    emphasis: Emphasis<'_>,
) -> Tensor<1> {
    let weights = emphasis.row(&logits);
    // ln(1 + exp(-x)), stable.
    let soft = logits.clone().abs().neg().exp().log1p() + ops::relu(logits.clone().neg());
    let soft = match weights {
        Some(weights) => soft * (targets.clone() * (weights - 1.0) + 1.0),
        None => soft,
    };
    let cost = (targets.clone().neg() + 1.0) * logits.clone() + soft;
    match emphasis.gamma {
        0.0 => cost.mean(),
        gamma => {
            let p = sigmoid(logits);
            let missed = p.clone() + targets.clone() - p * targets.mul_scalar(2.0);
            (cost * missed.clamp_min(1e-12).powf_scalar(gamma)).mean()
        }
    }
}

/// Mean squared error over all `B K` as `[1]`.
pub fn mse(answers: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (answers - targets).square().mean()
}
