//! One class a sample: images, texts, sentence pairs and rows alike.
//! Owns nothing but the choice of loss and scores; `scores` has the definitions.

use burn::tensor::Tensor;
use kiln_core::{Output, Target, TaskKind};
use kiln_data::HostTarget;
use kiln_nn::cross_entropy;
use serde_json::{Map, Value, json};

use super::{Answered, Metric, Misfit, Task, kind_of, kind_of_host, rows, wrong_answer};
use crate::EvalError;
use crate::scores::{self, BadAnswer, Scores, best, softmax};

pub(super) struct Classification;

impl Task for Classification {
    fn kind(&self) -> TaskKind {
        TaskKind::Classification
    }

    fn loss(&self, output: Output, target: Target, _: u64, smoothing: f64) -> Result<Tensor<1>, BadAnswer> {
        match (output, target) {
            (Output::Logits(logits), Target::Classes(classes)) => {
                Ok(cross_entropy(logits, classes, smoothing))
            }
            (Output::Logits(_), other) => Err(wrong_answer("one class a sample", kind_of(&other))),
            (other, _) => Err(wrong_answer("one answer a sample", other.kind())),
        }
    }

    fn tally(&self, labels: &[String]) -> Box<dyn super::Tally> {
        Box::new(Tally(scores::Tally::new(labels)))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: "accuracy", higher_is_better: true },
            Metric { name: "macro_f1", higher_is_better: true },
        ]
    }

    fn answers(&self, output: Output, labels: &[String]) -> Result<Vec<Answered>, EvalError> {
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

struct Tally(scores::Tally);

impl super::Tally for Tally {
    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit> {
        let HostTarget::Classes(classes) = target else {
            let reason = wrong_answer("one class a sample", kind_of_host(target));
            return Err(Misfit::Answer { sample: 0, reason });
        };
        let (logits, width) = rows(output)?;
        for (sample, (row, truth)) in logits.chunks_exact(width.max(1)).zip(classes).enumerate() {
            self.0.add(row, *truth as usize).map_err(|reason| Misfit::Answer { sample, reason })?;
        }
        Ok(())
    }

    fn scores(&self) -> Scores {
        let report = self.0.report();
        let mut metrics = Map::new();
        metrics.insert("accuracy".into(), json!(self.0.accuracy()));
        metrics.insert("macro_f1".into(), json!(report.macro_avg.f1));
        Scores { samples: self.0.samples(), loss: self.0.loss(), metrics, report: Some(report) }
    }
}
