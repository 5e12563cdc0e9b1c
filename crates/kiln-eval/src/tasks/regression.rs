//! One or more numbers a sample: squared error, RMSE, MAE, R2, and of one number its correlations.
//! Owns the choice of loss and scores, and the way back from standardised numbers to the label's own units; the
//! definitions are `metrics`'s. The loss is of what is learned, standardised or not; everything else is in own units.
//!
//! Shapes: `B` batch, `K` numbers.

use burn::tensor::{Device, Tensor, TensorData};
use kiln_core::{Output, Target, TaskKind};
use kiln_data::{HostTarget, Scale};
use kiln_nn::mse;
use serde_json::{Map, Value, json};

use super::{Answered, Asked, Loss, Metric, Misfit, Task, kind_of, kind_of_host, rows, wrong_answer};
use crate::EvalError;
use crate::metrics::{MetricError, Pearson, Regression as Errors, Spearman, Sum};
use crate::scores::{BadAnswer, Scores};

const NUMBERS: &str = "numbers";

pub(super) struct Regression;

impl Task for Regression {
    fn kind(&self) -> TaskKind {
        TaskKind::Regression
    }

    fn loss(&self, output: Output, target: Target, _: u64, _: &Loss) -> Result<Tensor<1>, BadAnswer> {
        match (output, target) {
            (Output::Logits(answers), Target::Values(values)) if answers.dims() == values.dims() => {
                Ok(mse(answers, values))
            }
            (Output::Logits(_), Target::Values(_)) => Err(wrong_answer("as many numbers", "another number")),
            (Output::Logits(_), other) => Err(wrong_answer(NUMBERS, kind_of(&other))),
            (other, _) => Err(wrong_answer("one answer a sample", other.kind())),
        }
    }

    fn tally(&self, labels: &[String]) -> Box<dyn super::Tally> {
        Box::new(Tally::new(labels.len()))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: "rmse", higher_is_better: false },
            Metric { name: "mae", higher_is_better: false },
            Metric { name: "r2", higher_is_better: true },
            Metric { name: "pearson", higher_is_better: true },
            Metric { name: "spearman", higher_is_better: true },
        ]
    }

    fn answers(&self, output: Output, labels: &[String], _: &Asked<'_>) -> Result<Vec<Answered>, EvalError> {
        let (values, width) = rows(output)?;
        if width != labels.len() || width == 0 {
            return Err(EvalError::Classes { expected: labels.len(), got: width });
        }
        Ok(values.chunks_exact(width).map(|row| answer(row, labels)).collect())
    }
}

/// Each number by its name.
fn answer(values: &[f32], labels: &[String]) -> Answered {
    if values.iter().any(|value| !value.is_finite()) {
        return Err(BadAnswer::NotFinite);
    }
    let values = values.iter().copied().map(Value::from);
    let named: Map<String, Value> = labels.iter().cloned().zip(values).collect();
    Ok(Map::from_iter([("values".to_string(), Value::Object(named))]))
}

/// Answers `[B, K]` from what was learned to the labels' own units.
pub(crate) fn undo(output: Output, units: &[Scale], device: &Device) -> Result<Output, EvalError> {
    if units.is_empty() {
        return Ok(output);
    }
    let (values, width) = rows(output)?;
    let own: Vec<f32> = values.chunks(width.max(1)).flat_map(|row| in_own_units(row, units)).collect();
    let shape = [own.len() / width.max(1), width];
    Ok(Output::Logits(Tensor::from_data(TensorData::new(own, shape), device)))
}

fn in_own_units(values: &[f32], units: &[Scale]) -> Vec<f32> {
    let own = |(k, value): (usize, &f32)| units.get(k).map_or(*value, |scale| scale.undo(*value));
    values.iter().enumerate().map(own).collect()
}

struct Tally {
    width: usize,
    units: Vec<Scale>,
    squares: Sum,
    errors: Errors,
    pearson: Pearson,
    spearman: Spearman,
}

impl Tally {
    fn new(width: usize) -> Self {
        Self {
            width,
            units: Vec::new(),
            squares: Sum::default(),
            errors: Errors::new(width),
            pearson: Pearson::default(),
            spearman: Spearman::default(),
        }
    }

    fn sample(&mut self, answer: &[f32], truth: &[f32]) -> Result<(), MetricError> {
        let (own, right) = (in_own_units(answer, &self.units), in_own_units(truth, &self.units));
        self.errors.add(&right, &own)?;
        if let ([own], [right]) = (own.as_slice(), right.as_slice()) {
            self.pearson.add(f64::from(*own), f64::from(*right))?;
            self.spearman.add(*own, *right)?;
        }
        answer.iter().zip(truth).for_each(|(a, t)| self.squares.add((f64::from(*a) - f64::from(*t)).powi(2)));
        Ok(())
    }
}

impl super::Tally for Tally {
    fn units(&mut self, units: &[Scale]) {
        self.units = units.to_vec();
    }

    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit> {
        let misfit = |sample, reason| Misfit::Answer { sample, reason };
        let HostTarget::Values { values, width } = target else {
            return Err(misfit(0, wrong_answer(NUMBERS, kind_of_host(target))));
        };
        let (answers, k) = rows(output)?;
        if k != self.width || *width != k {
            return Err(EvalError::Classes { expected: self.width, got: k }.into());
        }
        let pairs = answers.chunks_exact(k).zip(values.chunks_exact(k));
        for (sample, (answer, truth)) in pairs.enumerate() {
            self.sample(answer, truth).map_err(|_| misfit(sample, BadAnswer::NotFinite))?;
        }
        Ok(())
    }

    fn scores(&mut self) -> Scores {
        let samples = self.errors.samples();
        let loss = self.squares.value() / (samples.max(1) * self.width.max(1) as u64) as f64;
        let mut metrics = Map::new();
        for (name, value) in
            [("rmse", self.errors.rmse()), ("mae", self.errors.mae()), ("r2", self.errors.r2())]
        {
            metrics.insert(name.into(), json!(value));
        }
        if self.width == 1 {
            metrics.insert("pearson".into(), json!(self.pearson.correlation()));
            metrics.insert("spearman".into(), json!(std::mem::take(&mut self.spearman).correlation()));
        }
        Scores { samples, loss, metrics, report: None }
    }
}
