//! MixUp (Zhang et al., 2018) and CutMix (Yun et al., 2019): each image of a batch is mixed with the one at the same place
//! from the batch's end, and so are their classes, as timm's `Mixup`.
//! Owns the draws, a pure function of (seed, epoch, batch), and the arithmetic; the loader calls it on gathered batches.

use kiln_core::seed::{Purpose, mix};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::{HostBatch, HostFeatures};
use crate::draw::{Generator, chance, dirichlet};
use crate::label::HostTarget;
use crate::order::{below, generator};

/// MixUp and CutMix of training batches; at least one alpha is above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MixupConfig {
    /// MixUp: both images weighted, the weight from Beta(alpha, alpha); 0 for none.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub mixup_alpha: f64,
    /// CutMix: a rectangle of the other image, its area from Beta(alpha, alpha); 0 for none.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub cutmix_alpha: f64,
    /// Probability that a batch (or image) is mixed.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mixup_prob: f64,
    /// Probability of CutMix rather than MixUp, where both are on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mixup_switch_prob: f64,
    /// What shares one draw.
    pub mixup_mode: MixupMode,
}

/// What shares one draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MixupMode {
    /// The batch.
    #[default]
    Batch,
    /// Two images that are mixed with each other.
    Pair,
    /// Nothing: each image has its own.
    Elem,
}

impl Default for MixupConfig {
    fn default() -> Self {
        Self {
            mixup_alpha: 0.0,
            cutmix_alpha: 0.0,
            mixup_prob: 1.0,
            mixup_switch_prob: 0.5,
            mixup_mode: MixupMode::Batch,
        }
    }
}

/// How one image is mixed with its partner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Blend {
    /// Not.
    None,
    /// `lambda` of its own, the rest of the partner's.
    Mix(f64),
    /// The partner's rows `top..bottom` and columns `left..right`.
    Cut { top: usize, bottom: usize, left: usize, right: usize },
}

impl Blend {
    /// The share of its own class; for a cut what the clipped rectangle leaves.
    pub(crate) fn own(self, (h, w): (usize, usize)) -> f64 {
        match self {
            Blend::None => 1.0,
            Blend::Mix(lambda) => lambda,
            Blend::Cut { top, bottom, left, right } => {
                1.0 - ((bottom - top) * (right - left)) as f64 / (h * w) as f64
            }
        }
    }

    /// Part of an image of `own` from `other`, both `[C, H, W]`.
    fn apply(self, own: &mut [f32], other: &[f32], (h, w): (usize, usize)) {
        match self {
            Blend::None => {}
            Blend::Mix(lambda) => {
                let (lambda, rest) = (lambda as f32, (1.0 - lambda) as f32);
                own.iter_mut().zip(other).for_each(|(a, b)| *a = *a * lambda + *b * rest);
            }
            Blend::Cut { top, bottom, left, right } => {
                for (plane, from) in own.chunks_exact_mut(h * w).zip(other.chunks_exact(h * w)) {
                    for y in top..bottom {
                        plane[y * w + left..y * w + right]
                            .copy_from_slice(&from[y * w + left..y * w + right]);
                    }
                }
            }
        }
    }
}

impl MixupConfig {
    /// How one image, pair or batch is mixed.
    pub(crate) fn draw(&self, size: (usize, usize), rng: &mut Generator) -> Blend {
        if !chance(rng, self.mixup_prob) {
            return Blend::None;
        }
        let cut = match (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0) {
            (true, true) => chance(rng, self.mixup_switch_prob),
            (_, cutmix) => cutmix,
        };
        let alpha = if cut { self.cutmix_alpha } else { self.mixup_alpha };
        let lambda = dirichlet(rng, alpha, 2)[0];
        if cut { rectangle(lambda, size, rng) } else { Blend::Mix(lambda) }
    }

    /// How each image of a batch of `n` is mixed.
    fn blends(&self, n: usize, size: (usize, usize), rng: &mut Generator) -> Vec<Blend> {
        match self.mixup_mode {
            MixupMode::Batch => vec![self.draw(size, rng); n],
            MixupMode::Elem => (0..n).map(|_| self.draw(size, rng)).collect(),
            MixupMode::Pair => {
                let half: Vec<Blend> = (0..n.div_ceil(2)).map(|_| self.draw(size, rng)).collect();
                (0..n).map(|i| half[i.min(n - 1 - i)]).collect()
            }
        }
    }
}

/// A rectangle of `1 - lambda` of the area about a random centre, cut at the image's border.
fn rectangle(lambda: f64, (h, w): (usize, usize), rng: &mut Generator) -> Blend {
    let share = (1.0 - lambda).sqrt();
    let mut side = |n: usize| {
        let (length, center) = ((n as f64 * share) as usize, below(rng, n));
        (center.saturating_sub(length / 2), (center + length.div_ceil(2)).min(n))
    };
    let ((top, bottom), (left, right)) = (side(h), side(w));
    Blend::Cut { top, bottom, left, right }
}

/// The mixing of one run: its words, the number of classes, and the run's seed.
#[derive(Debug, Clone, Copy)]
pub struct Mixup {
    /// The words.
    pub config: MixupConfig,
    /// `K`, of the soft targets.
    pub classes: usize,
}

impl Mixup {
    /// Mixes the images of batch `batch` of a pass, and makes its classes soft. Batches of anything else stay.
    pub(crate) fn apply(&self, host: &mut HostBatch, seed: u64, epoch: u64, batch: usize) {
        let HostFeatures::Image { shape: [n, _, h, w], .. } = host.features else { return };
        let mut rng = generator(mix(seed, Purpose::Mix, &[epoch, batch as u64]));
        let blends = self.config.blends(n, (h, w), &mut rng);
        blend(host, self.classes, &blends);
    }
}

/// Mixes image `i` with image `n - 1 - i` by `blends[i]`.
pub(crate) fn blend(host: &mut HostBatch, classes: usize, blends: &[Blend]) {
    let HostFeatures::Image { values, shape: [n, c, h, w] } = &mut host.features else { return };
    let Some(HostTarget::Classes(truth)) = &host.target else { return };
    let (n, size, length) = (*n, (*h, *w), *c * *h * *w);
    for i in 0..n.div_ceil(2) {
        let partner = n - 1 - i;
        if i == partner {
            continue;
        }
        let (front, back) = values.split_at_mut(partner * length);
        let (own, other) = (&mut front[i * length..][..length], &mut back[..length]);
        let before = own.to_vec();
        blends[i].apply(own, other, size);
        blends[partner].apply(other, &before, size);
    }
    let mut soft = vec![0.0; n * classes];
    for (i, row) in soft.chunks_exact_mut(classes).enumerate() {
        let own = blends[i].own(size);
        for (class, share) in [(truth[i], own), (truth[n - 1 - i], 1.0 - own)] {
            if let Some(place) = usize::try_from(class).ok().and_then(|class| row.get_mut(class)) {
                *place += share as f32;
            }
        }
    }
    host.target = Some(HostTarget::Soft { values: soft, width: classes });
}

#[cfg(test)]
mod tests;
