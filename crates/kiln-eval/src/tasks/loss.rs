//! How answers are compared with labels in training: which formula, and what counts more.
//! Owns the choice and its words; the formulas are kiln-nn's, and scores do not depend on it.

use burn::tensor::{Int, Tensor};
use kiln_core::{LossKind, TaskKind};
use kiln_data::{HostBatch, HostTarget};
use kiln_nn::loss::{
    Emphasis, binary_cross_entropy_with_logits, cross_entropy, emphasised_binary_cross_entropy,
    emphasised_cross_entropy, emphasised_soft_cross_entropy, soft_cross_entropy, token_cross_entropy,
};

/// What training minimises.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loss {
    /// The formula; `None`: the task's own.
    pub kind: Option<LossKind>,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
    /// Of [`LossKind::Focal`].
    pub gamma: f64,
    /// One a class; empty: 1 each.
    pub class_weights: Vec<f32>,
}

impl Loss {
    /// Whether a task can be trained by a formula.
    pub fn fits(kind: LossKind, task: TaskKind) -> bool {
        match task {
            TaskKind::Classification => true,
            TaskKind::MultiLabelClassification => kind != LossKind::CrossEntropy,
            TaskKind::TokenClassification => kind != LossKind::BinaryCrossEntropy,
            TaskKind::Regression | TaskKind::MaskedLanguageModeling | TaskKind::CausalLanguageModeling => {
                false
            }
        }
    }

    fn emphasis(&self) -> Option<Emphasis<'_>> {
        let gamma = if self.kind == Some(LossKind::Focal) { self.gamma } else { 0.0 };
        let emphasis = Emphasis { class_weights: &self.class_weights, gamma };
        (gamma != 0.0 || !self.class_weights.is_empty()).then_some(emphasis)
    }

    fn is_binary(&self) -> bool {
        self.kind == Some(LossKind::BinaryCrossEntropy)
    }

    /// What the mean loss of a batch is a mean over, so that batches can be put together: samples, scored tokens, or the sum
    /// of their classes' weights.
    pub fn weight(&self, batch: &HostBatch) -> f64 {
        let plain = batch.weight() as f64;
        if self.class_weights.is_empty() || self.is_binary() || plain == 0.0 {
            return plain;
        }
        let of = |class: &i64| {
            usize::try_from(*class)
                .ok()
                .and_then(|k| self.class_weights.get(k))
                .copied()
                .map_or(0.0, f64::from)
        };
        match &batch.target {
            Some(HostTarget::Classes(classes)) => classes.iter().map(of).sum(),
            Some(HostTarget::Tokens { ids, .. }) => ids.iter().map(of).sum(),
            _ => plain,
        }
    }

    /// Of `logits [B, K]` against `classes [B]`, `[1]`.
    pub(super) fn of_classes(&self, logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
        let smoothing = self.label_smoothing;
        if self.is_binary() {
            let k = logits.dims()[1];
            return self.of_soft(logits, classes.one_hot::<2>(k).float());
        }
        match self.emphasis() {
            None => cross_entropy(logits, classes, smoothing),
            Some(emphasis) => emphasised_cross_entropy(logits, classes, emphasis, smoothing),
        }
    }

    /// Of `logits [B, K]` against `shares [B, K]` of the classes, `[1]`.
    pub(super) fn of_soft(&self, logits: Tensor<2>, shares: Tensor<2>) -> Tensor<1> {
        let (smoothing, k) = (self.label_smoothing, logits.dims()[1] as f64);
        match self.emphasis() {
            _ if self.is_binary() => {
                let shares = match smoothing {
                    0.0 => shares,
                    s => shares.mul_scalar(1.0 - s).add_scalar(s / k),
                };
                self.of_binary(logits, shares)
            }
            None => soft_cross_entropy(logits, shares, smoothing),
            Some(emphasis) => emphasised_soft_cross_entropy(logits, shares, emphasis, smoothing),
        }
    }

    /// Of `logits [B, K]` against `hot [B, K]` in 0..=1, each class by itself, `[1]`.
    pub(super) fn of_binary(&self, logits: Tensor<2>, hot: Tensor<2>) -> Tensor<1> {
        match self.emphasis() {
            None => binary_cross_entropy_with_logits(logits, hot),
            Some(emphasis) => emphasised_binary_cross_entropy(logits, hot, emphasis),
        }
    }

    /// Of `logits [B, T, K]` against `tags [B, T]`, of which `scored` are not negative, `[1]`.
    pub(super) fn of_tokens(&self, logits: Tensor<3>, tags: Tensor<2, Int>, scored: u64) -> Tensor<1> {
        let [b, t, k] = logits.dims();
        match self.emphasis() {
            None => token_cross_entropy(logits, tags, scored, self.label_smoothing),
            Some(emphasis) => {
                let (logits, tags) = (logits.reshape([b * t, k]), tags.reshape([b * t]));
                emphasised_cross_entropy(logits, tags, emphasis, self.label_smoothing)
            }
        }
    }
}
