//! One token out of a vocabulary of scores: temperature, top-k, top-p, then a draw; or the best.
//! Owns the filters, as `transformers`' logits processors define them; never asks a net. The generator calls it.

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the scores; 0 takes the best token and draws nothing.
    pub temperature: f64,
    /// Keeps the tokens that score as the k-th best or better.
    pub top_k: Option<usize>,
    /// Keeps the fewest best tokens whose probabilities reach this sum.
    pub top_p: Option<f64>,
}

impl Sampling {
    /// Scores with those that cannot be drawn at minus infinity: temperature, then top-k, then top-p.
    pub fn filter(&self, logits: &[f32]) -> Vec<f64> {
        let mut scores: Vec<f64> = logits.iter().map(|x| f64::from(*x) / self.temperature).collect();
        if let Some(k) = self.top_k {
            top_k(&mut scores, k);
        }
        if let Some(p) = self.top_p {
            top_p(&mut scores, p);
        }
        scores
    }

    /// The token for a number `u` in `[0, 1)`; `None` where a score is no number.
    pub fn choose(&self, logits: &[f32], u: f64) -> Option<usize> {
        if logits.iter().any(|x| x.is_nan() || *x == f32::INFINITY) {
            return None;
        }
        let best = (0..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a })?;
        if self.temperature == 0.0 {
            return Some(best);
        }
        let p = probabilities(&self.filter(logits));
        let mut sum = 0.0;
        let reached = |(_, p): &(usize, &f64)| {
            sum += **p;
            **p > 0.0 && sum > u
        };
        // A sum of rounded numbers may stop just below u.
        Some(p.iter().enumerate().find(reached).map_or(best, |(i, _)| i))
    }
}

fn top_k(scores: &mut [f64], k: usize) {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(least) = sorted.get(k.max(1) - 1).copied() else { return };
    scores.iter_mut().filter(|s| **s < least).for_each(|s| *s = f64::NEG_INFINITY);
}

/// The least probable tokens go while their sum stays at most `1 - p`; the best stays always.
fn top_p(scores: &mut [f64], p: f64) {
    let probability = probabilities(scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    order.pop();
    let mut sum = 0.0;
    for i in order {
        sum += probability[i];
        if sum > 1.0 - p {
            break;
        }
        scores[i] = f64::NEG_INFINITY;
    }
}

fn probabilities(scores: &[f64]) -> Vec<f64> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities_and_zero_temperature_the_best() {
        let logits = [0.0, (3.0f32).ln(), f32::NEG_INFINITY];
        let plain = Sampling { temperature: 1.0, top_k: None, top_p: None };
        let drawn = |u| plain.choose(&logits, u).unwrap();
        assert_eq!([drawn(0.0), drawn(0.24), drawn(0.26), drawn(0.999_999)], [0, 0, 1, 1]);
        let greedy = Sampling { temperature: 0.0, ..plain };
        assert_eq!(greedy.choose(&logits, 0.0), Some(1));
        assert_eq!(Sampling { top_k: Some(1), ..plain }.choose(&logits, 0.0), Some(1));
        assert_eq!(plain.choose(&[f32::NAN, 0.0], 0.0), None);
    }
}
