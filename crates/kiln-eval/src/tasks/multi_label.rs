//! Any number of classes a sample: images, texts and rows alike.
//! Owns the choice of loss and scores and the threshold of an answer; `metrics` has the definitions.
//! Reference: transformers' `problem_type = "multi_label_classification"` (`BCEWithLogitsLoss`).
//!
//! Shapes: `B` batch, `K` classes.

use burn::tensor::Tensor;
use kiln_core::{Output, Target, TaskKind};
use kiln_data::HostTarget;
use serde_json::{Map, Value, json};

use super::{Answered, Asked, Loss, Metric, Misfit, Task, kind_of, kind_of_host, rows, wrong_answer};
use crate::EvalError;
use crate::metrics::{Average, ClassRankings, MultiLabel, Sum};
use crate::scores::{BadAnswer, ClassScores, ClassificationReport, Scores};

/// A class is answered where its probability is at least this.
const THRESHOLD: f64 = 0.5;
/// More classes than this have no AUROC: it holds a score of every sample for each class.
const RANKED: usize = 32;

pub(super) struct MultiLabelClassification;

impl Task for MultiLabelClassification {
    fn kind(&self) -> TaskKind {
        TaskKind::MultiLabelClassification
    }

    /// Targets move `smoothing` of the way to one half.
    fn loss(&self, output: Output, target: Target, _: u64, by: &Loss) -> Result<Tensor<1>, BadAnswer> {
        match (output, target) {
            (Output::Logits(logits), Target::MultiHot(hot)) => {
                let smoothing = by.label_smoothing;
                let hot = if smoothing == 0.0 { hot } else { hot * (1.0 - smoothing) + smoothing / 2.0 };
                Ok(by.of_binary(logits, hot))
            }
            (Output::Logits(_), other) => Err(wrong_answer("several classes a sample", kind_of(&other))),
            (other, _) => Err(wrong_answer("one answer a sample", other.kind())),
        }
    }

    fn tally(&self, labels: &[String]) -> Box<dyn super::Tally> {
        Box::new(Tally::new(labels))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: "micro_f1", higher_is_better: true },
            Metric { name: "macro_f1", higher_is_better: true },
            Metric { name: "subset_accuracy", higher_is_better: true },
            Metric { name: "hamming_loss", higher_is_better: false },
            Metric { name: "macro_auroc", higher_is_better: true },
            Metric { name: "micro_auroc", higher_is_better: true },
        ]
    }

    fn answers(&self, output: Output, labels: &[String], _: &Asked<'_>) -> Result<Vec<Answered>, EvalError> {
        let (logits, width) = rows(output)?;
        if width != labels.len() || width == 0 {
            return Err(EvalError::Classes { expected: labels.len(), got: width });
        }
        Ok(logits.chunks_exact(width).map(|row| answer(row, labels)).collect())
    }
}

/// The classes above the threshold, and every class's probability.
fn answer(logits: &[f32], labels: &[String]) -> Answered {
    let p = probabilities(logits)?;
    let named: Vec<&String> =
        labels.iter().zip(&p).filter(|(_, p)| **p >= THRESHOLD).map(|(label, _)| label).collect();
    let all: Map<String, Value> = labels.iter().cloned().zip(p.iter().map(|p| json!(p))).collect();
    Ok(Map::from_iter([("labels".into(), json!(named)), ("probabilities".into(), Value::Object(all))]))
}

fn probabilities(logits: &[f32]) -> Result<Vec<f64>, BadAnswer> {
    match logits.iter().all(|x| x.is_finite()) {
        true => Ok(logits.iter().map(|x| 1.0 / (1.0 + (-f64::from(*x)).exp())).collect()),
        false => Err(BadAnswer::NotFinite),
    }
}

struct Tally {
    classes: Vec<String>,
    loss: Sum,
    counts: MultiLabel,
    rankings: Option<ClassRankings>,
}

impl Tally {
    fn new(classes: &[String]) -> Self {
        let k = classes.len();
        Self {
            classes: classes.to_vec(),
            loss: Sum::default(),
            counts: MultiLabel::new(k),
            rankings: (k <= RANKED).then(|| ClassRankings::new(k)),
        }
    }

    fn one(&mut self, logits: &[f32], truth: &[f32]) -> Result<(), BadAnswer> {
        let p = probabilities(logits)?;
        let truth: Vec<bool> = truth.iter().map(|t| *t > 0.5).collect();
        let answer: Vec<bool> = p.iter().map(|p| *p >= THRESHOLD).collect();
        self.counts.add(&truth, &answer)?;
        if let Some(rankings) = &mut self.rankings {
            rankings.add_labels(&p, &truth)?;
        }
        for (x, t) in logits.iter().map(|x| f64::from(*x)).zip(&truth) {
            self.loss.add(x.max(0.0) - if *t { x } else { 0.0 } + (-x.abs()).exp().ln_1p());
        }
        Ok(())
    }

    fn report(&self) -> ClassificationReport {
        let line = |(class, counts): (&String, &crate::metrics::Counts)| ClassScores {
            class: class.clone(),
            quality: counts.quality(),
            support: counts.support,
        };
        ClassificationReport {
            per_class: self.classes.iter().zip(self.counts.per_label()).map(line).collect(),
            macro_avg: self.counts.quality(Average::Macro).unwrap_or_default(),
            weighted_avg: self.counts.quality(Average::Weighted).unwrap_or_default(),
            confusion: Vec::new(),
        }
    }
}

impl super::Tally for Tally {
    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit> {
        let HostTarget::MultiHot { values, width } = target else {
            let reason = wrong_answer("several classes a sample", kind_of_host(target));
            return Err(Misfit::Answer { sample: 0, reason });
        };
        let (logits, answered) = rows(output)?;
        if answered != *width || answered == 0 {
            return Err(EvalError::Classes { expected: *width, got: answered }.into());
        }
        for (sample, (row, truth)) in logits.chunks_exact(*width).zip(values.chunks_exact(*width)).enumerate()
        {
            self.one(row, truth).map_err(|reason| Misfit::Answer { sample, reason })?;
        }
        Ok(())
    }

    fn scores(&mut self) -> Scores {
        let report = self.report();
        let micro = self.counts.quality(Average::Micro).map(|quality| quality.f1);
        let mut metrics = Map::new();
        metrics.insert("micro_f1".into(), json!(micro));
        metrics.insert("macro_f1".into(), json!(report.macro_avg.f1));
        metrics.insert("subset_accuracy".into(), json!(self.counts.subset_accuracy()));
        metrics.insert("hamming_loss".into(), json!(self.counts.hamming_loss()));
        if let Some(rankings) = &mut self.rankings {
            metrics.insert("macro_auroc".into(), json!(rankings.auroc(Average::Macro)));
            metrics.insert("micro_auroc".into(), json!(rankings.auroc(Average::Micro)));
        }
        let samples = self.counts.samples();
        let yes_or_no = samples.max(1) * self.classes.len().max(1) as u64;
        Scores { samples, loss: self.loss.value() / yes_or_no as f64, metrics, report: Some(report) }
    }
}
