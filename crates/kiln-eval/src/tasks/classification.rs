//! One class a sample: images, texts, sentence pairs and rows alike.
//! Owns nothing but the choice of loss and scores; `metrics` has the definitions.

use burn::tensor::Tensor;
use kiln_core::{Output, Target, TaskKind};
use kiln_data::HostTarget;
use serde_json::{Map, Value, json};

use super::{Answered, Asked, Loss, Metric, Misfit, Task, kind_of, kind_of_host, rows, wrong_answer};
use crate::EvalError;
use crate::metrics::{Average, ClassRankings, Confusion, LogLoss, TopK};
use crate::scores::{BadAnswer, ClassificationReport, Scores, best, softmax};

pub(super) struct Classification;

impl Task for Classification {
    fn kind(&self) -> TaskKind {
        TaskKind::Classification
    }

    fn loss(&self, output: Output, target: Target, _: u64, by: &Loss) -> Result<Tensor<1>, BadAnswer> {
        match (output, target) {
            (Output::Logits(logits), Target::Classes(classes)) => Ok(by.of_classes(logits, classes)),
            (Output::Logits(logits), Target::Soft(shares)) => Ok(by.of_soft(logits, shares)),
            (Output::Logits(_), other) => Err(wrong_answer("one class a sample", kind_of(&other))),
            (other, _) => Err(wrong_answer("one answer a sample", other.kind())),
        }
    }

    fn tally(&self, labels: &[String]) -> Box<dyn super::Tally> {
        Box::new(Tally::new(labels))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: "accuracy", higher_is_better: true },
            Metric { name: "macro_f1", higher_is_better: true },
            Metric { name: "mcc", higher_is_better: true },
            Metric { name: "auroc", higher_is_better: true },
            Metric { name: "top5_accuracy", higher_is_better: true },
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

/// The most probable class, its probability, and every class's.
fn answer(logits: &[f32], labels: &[String]) -> Answered {
    let top = best(logits).ok_or(BadAnswer::NotFinite)?;
    let p = softmax(logits);
    let all: Map<String, Value> = labels.iter().cloned().zip(p.iter().map(|p| json!(p))).collect();
    let mut fields = Map::new();
    fields.insert("label".into(), json!(labels[top]));
    fields.insert("score".into(), json!(p[top]));
    fields.insert("probabilities".into(), Value::Object(all));
    Ok(fields)
}

/// More classes than this have no AUROC: it holds a score of every sample for each class.
const RANKED: usize = 32;

struct Tally {
    classes: Vec<String>,
    loss: LogLoss,
    confusion: Confusion,
    /// Where there are more than five classes.
    top5: Option<TopK>,
    rankings: Option<ClassRankings>,
}

impl Tally {
    fn new(classes: &[String]) -> Self {
        let k = classes.len();
        Self {
            classes: classes.to_vec(),
            loss: LogLoss::default(),
            confusion: Confusion::new(k),
            top5: (k > 5).then(|| TopK::new(5)),
            rankings: (k <= RANKED).then(|| ClassRankings::new(k)),
        }
    }

    fn one(&mut self, logits: &[f32], truth: usize) -> Result<(), BadAnswer> {
        let answer = best(logits).ok_or(BadAnswer::NotFinite)?;
        if truth >= self.classes.len() || logits.len() != self.classes.len() {
            return Err(BadAnswer::Class { truth, logits: logits.len(), classes: self.classes.len() });
        }
        self.loss.add_logits(logits, truth)?;
        self.confusion.add(truth, answer)?;
        if let Some(top5) = &mut self.top5 {
            top5.add(logits, truth)?;
        }
        if let Some(rankings) = &mut self.rankings {
            rankings.add_class(&softmax(logits), truth)?;
        }
        Ok(())
    }

    /// Of two classes, the second against the first; of more, the mean over each against the rest.
    fn auroc(&mut self) -> Option<f64> {
        let rankings = self.rankings.as_mut()?;
        match rankings.classes_mut() {
            [_, second] => second.auroc(),
            _ => rankings.auroc(Average::Macro),
        }
    }
}

impl super::Tally for Tally {
    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit> {
        let HostTarget::Classes(classes) = target else {
            let reason = wrong_answer("one class a sample", kind_of_host(target));
            return Err(Misfit::Answer { sample: 0, reason });
        };
        let (logits, width) = rows(output)?;
        for (sample, (row, truth)) in logits.chunks_exact(width.max(1)).zip(classes).enumerate() {
            self.one(row, *truth as usize).map_err(|reason| Misfit::Answer { sample, reason })?;
        }
        Ok(())
    }

    fn scores(&mut self) -> Scores {
        let report = ClassificationReport::of(&self.confusion, &self.classes);
        let mut metrics = Map::new();
        metrics.insert("accuracy".into(), json!(self.confusion.accuracy()));
        if let Some(top5) = &self.top5 {
            metrics.insert("top5_accuracy".into(), json!(top5.accuracy()));
        }
        metrics.insert("macro_f1".into(), json!(report.macro_avg.f1));
        metrics.insert("mcc".into(), json!(self.confusion.matthews()));
        if self.rankings.is_some() {
            metrics.insert("auroc".into(), json!(self.auroc()));
        }
        let loss = self.loss.mean().unwrap_or_default();
        Scores { samples: self.confusion.samples(), loss, metrics, report: Some(report) }
    }
}
