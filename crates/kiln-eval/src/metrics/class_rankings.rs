//! Area under the ROC curve and average precision of `K` classes (each against the rest) or labels, averaged.
//! Owns a `Ranking` for each, and no definition but the averages.
//! Reference: scikit-learn's `roc_auc_score` (`multi_class="ovr"`, multi-label) and `average_precision_score`.
//! AUROC is `None` where scikit-learn answers NaN, and also where it answers 0 (weighted over labels that no sample
//! has). For several classes give probabilities; for two, ask a `Ranking` with the second class's score.

use super::ranking::{auroc, average_precision};
use super::{Average, MetricError, Ranking, check_class, check_finite, check_length, ratio};

/// A `Ranking` for each of `K` classes (one against the rest) or labels.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRankings {
    classes: Vec<Ranking>,
}

impl ClassRankings {
    /// Nothing yet, over `K` classes or labels.
    pub fn new(classes: usize) -> Self {
        Self { classes: vec![Ranking::default(); classes] }
    }

    /// Adds one sample's scores `[K]` and its right class.
    ///
    /// # Errors
    /// The scores are not `K` finite numbers, or the class is not below `K`.
    pub fn add_class(&mut self, scores: &[f64], truth: usize) -> Result<(), MetricError> {
        check_class(truth, self.classes.len())?;
        self.add(scores, |class| class == truth)
    }

    /// Adds one sample's scores `[K]` and its labels `[K]`.
    ///
    /// # Errors
    /// The scores are not `K` finite numbers, or there are not `K` labels.
    pub fn add_labels(&mut self, scores: &[f64], truth: &[bool]) -> Result<(), MetricError> {
        check_length("labels", self.classes.len(), truth.len())?;
        self.add(scores, |label| truth[label])
    }

    fn add(&mut self, scores: &[f64], truth: impl Fn(usize) -> bool) -> Result<(), MetricError> {
        check_length("scores", self.classes.len(), scores.len())?;
        check_finite("a score", scores)?;
        let mut classes = self.classes.iter_mut().zip(scores).enumerate();
        classes.try_for_each(|(class, (ranking, score))| ranking.add(*score, truth(class)))
    }

    /// Adds the samples of another.
    ///
    /// # Errors
    /// It has another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        check_length("classes", self.classes.len(), other.classes.len())?;
        self.classes.iter_mut().zip(&other.classes).for_each(|(a, b)| a.merge(b));
        Ok(())
    }

    /// Bytes held for the scores, spare room included.
    pub fn bytes(&self) -> usize {
        self.classes.iter().map(Ranking::bytes).sum()
    }

    /// Each class's own ranking.
    pub fn classes_mut(&mut self) -> &mut [Ranking] {
        &mut self.classes
    }

    /// AUROC over classes. `None` where a class that counts has no positive or no negative; in the weighted mean,
    /// classes without positives do not count.
    pub fn auroc(&mut self, how: Average) -> Option<f64> {
        self.average(how, auroc)
    }

    /// Average precision over classes. `None` without samples; 0 for classes without positives.
    pub fn average_precision(&mut self, how: Average) -> Option<f64> {
        let weighted_by_nothing =
            how == Average::Weighted && self.classes.iter().all(|class| class.positives.is_empty());
        let any = self.classes.iter().any(|class| !class.negatives.is_empty());
        if weighted_by_nothing && any { Some(0.0) } else { self.average(how, average_precision) }
    }

    fn average(&mut self, how: Average, of: fn(&mut [Ranking]) -> Option<f64>) -> Option<f64> {
        if how == Average::Micro {
            return of(&mut self.classes);
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for class in &mut self.classes {
            let weight = if how == Average::Macro { 1.0 } else { class.positives.len() as f64 };
            if weight > 0.0 {
                sum += weight * of(std::slice::from_mut(class))?;
                weights += weight;
            }
        }
        ratio(sum, weights)
    }
}
