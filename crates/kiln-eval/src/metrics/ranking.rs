//! Area under the ROC curve and average precision, exact, of one yes/no question.
//! Owns the scores, 8 bytes each, and sorts them in place; decides no threshold. `class_rankings` holds one a class.
//! Reference: scikit-learn's `roc_auc_score` and `average_precision_score`; AUROC is `None` where it answers NaN.

use std::collections::BinaryHeap;

use super::{MetricError, check_finite, ratio};

/// Scores of one yes/no question, kept apart by the right answer, as bits that sort like the scores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    pub(crate) positives: Vec<u64>,
    pub(crate) negatives: Vec<u64>,
}

impl Ranking {
    /// Adds a sample: its score (higher means yes) and whether yes is right.
    ///
    /// # Errors
    /// The score is not finite.
    pub fn add(&mut self, score: f64, truth: bool) -> Result<(), MetricError> {
        check_finite("a score", &[score])?;
        if truth { &mut self.positives } else { &mut self.negatives }.push(sortable(score));
        Ok(())
    }

    /// Adds the samples of another.
    pub fn merge(&mut self, other: &Self) {
        self.positives.extend_from_slice(&other.positives);
        self.negatives.extend_from_slice(&other.negatives);
    }

    /// Bytes held for the scores, spare room included.
    pub fn bytes(&self) -> usize {
        (self.positives.capacity() + self.negatives.capacity()) * size_of::<u64>()
    }

    /// Area under the ROC curve: how often a positive outranks a negative, ties half; `None` unless there are both.
    pub fn auroc(&mut self) -> Option<f64> {
        auroc(std::slice::from_mut(self))
    }

    /// Average precision: precision at each distinct score, weighted by the recall it adds, without interpolation.
    /// `None` without samples; without positives 0, as scikit-learn defines it.
    pub fn average_precision(&mut self) -> Option<f64> {
        average_precision(std::slice::from_mut(self))
    }
}

pub(crate) fn auroc(rankings: &mut [Ranking]) -> Option<f64> {
    let [positives, negatives] = sizes(rankings);
    let mut twice_area = 0u128;
    descend(rankings, |found, added| {
        let twice_height = 2 * found[0] - added[0];
        twice_area += u128::from(twice_height) * u128::from(added[1]);
    });
    ratio(twice_area as f64 / 2.0, positives as f64 * negatives as f64)
}

pub(crate) fn average_precision(rankings: &mut [Ranking]) -> Option<f64> {
    let [positives, negatives] = sizes(rankings);
    let mut sum = super::Sum::default();
    descend(rankings, |found, added| {
        sum.add(added[0] as f64 * (found[0] as f64 / (found[0] + found[1]) as f64));
    });
    (positives + negatives > 0).then(|| super::quotient(sum.value(), positives as f64))
}

fn sizes(rankings: &[Ranking]) -> [u64; 2] {
    let positives = rankings.iter().map(|ranking| ranking.positives.len() as u64).sum();
    [positives, rankings.iter().map(|ranking| ranking.negatives.len() as u64).sum()]
}

/// Goes through the distinct scores of all rankings from the highest, and tells at each how many positives and
/// negatives have been found so far, and how many of them have this score. Merges the sorted lists, without a copy.
fn descend(rankings: &mut [Ranking], mut at: impl FnMut([u64; 2], [u64; 2])) {
    let lists =
        rankings.iter_mut().flat_map(|ranking| [(0, &mut ranking.positives), (1, &mut ranking.negatives)]);
    let mut rest: Vec<(usize, &[u64])> = lists
        .map(|(side, list)| {
            list.sort_unstable();
            (side, list.as_slice())
        })
        .collect();
    let mut heads: BinaryHeap<(u64, usize)> =
        rest.iter().enumerate().filter_map(|(i, (_, list))| Some((*list.last()?, i))).collect();
    let mut found = [0; 2];
    while let Some((score, _)) = heads.peek().copied() {
        let mut added = [0; 2];
        while let Some((_, i)) = heads.peek().copied().filter(|head| head.0 == score) {
            heads.pop();
            let (side, list) = rest[i];
            let below = list.iter().rposition(|x| *x != score).map_or(0, |last| last + 1);
            added[side] += (list.len() - below) as u64;
            rest[i].1 = &list[..below];
            heads.extend(rest[i].1.last().map(|next| (*next, i)));
        }
        found = [found[0] + added[0], found[1] + added[1]];
        at(found, added);
    }
}

/// Bits that sort as the number does; both zeros are the same.
fn sortable(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}
