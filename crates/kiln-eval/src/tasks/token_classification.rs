//! One class a word: tags in BIO, or any of IOB1 and BIOES, whose entities are counted.
//! Owns the choice of loss and scores, and entities as answers; which token speaks for a word is kiln-data's choice.
//! Reference: transformers' `run_ner` (first token of a word, seqeval in its default mode) and, for answers, its
//! `TokenClassificationPipeline` with `aggregation_strategy="first"`: an entity's score is the mean over its words.
//!
//! Shapes: `B` batch, `T` tokens, `K` tags.

use burn::tensor::Tensor;
use kiln_core::{IGNORE, Output, Target, TaskKind};
use kiln_data::{HostTarget, Reading};
use serde_json::{Map, Value, json};

use super::{Answered, Asked, Loss, Metric, Misfit, Task, kind_of, kind_of_host, wrong_answer};
use crate::EvalError;
use crate::metrics::{Average, Entities, EntityScheme, LogLoss, MetricError};
use crate::scores::{BadAnswer, ClassScores, ClassificationReport, Scores, best, softmax};

pub(super) struct TokenClassification;

impl Task for TokenClassification {
    fn kind(&self) -> TaskKind {
        TaskKind::TokenClassification
    }

    fn loss(&self, output: Output, target: Target, scored: u64, by: &Loss) -> Result<Tensor<1>, BadAnswer> {
        match (output, target) {
            (Output::TokenLogits(logits), Target::Tokens(tags)) => Ok(by.of_tokens(logits, tags, scored)),
            (Output::TokenLogits(_), other) => Err(wrong_answer("one class a token", kind_of(&other))),
            (other, _) => Err(wrong_answer("one answer a token", other.kind())),
        }
    }

    fn tally(&self, labels: &[String]) -> Box<dyn super::Tally> {
        Box::new(Tally {
            entities: Entities::new(labels, EntityScheme::Lenient),
            loss: LogLoss::default(),
            samples: 0,
            words: 0,
            right: 0,
        })
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: "f1", higher_is_better: true },
            Metric { name: "precision", higher_is_better: true },
            Metric { name: "recall", higher_is_better: true },
            Metric { name: "accuracy", higher_is_better: true },
        ]
    }

    fn answers(
        &self,
        output: Output,
        labels: &[String],
        asked: &Asked<'_>,
    ) -> Result<Vec<Answered>, EvalError> {
        let (logits, [_, tokens, width]) = token_rows(output)?;
        if width != labels.len() || width == 0 {
            return Err(EvalError::Classes { expected: labels.len(), got: width });
        }
        let samples = logits.chunks_exact((tokens * width).max(1)).zip(asked.raws);
        samples
            .map(|(logits, raw)| {
                match raw.as_ref().map(|raw| asked.preprocessor.reading(raw)).transpose()? {
                    Some(Some(reading)) => Ok(answer(logits, labels, &reading)),
                    _ => Ok(Err(wrong_answer("a text or a sentence in words", "another kind of sample"))),
                }
            })
            .collect()
    }
}

/// Scores of every token on the host, with their shape `[B, T, K]`.
pub(super) fn token_rows(output: Output) -> Result<(Vec<f32>, [usize; 3]), EvalError> {
    match output {
        Output::TokenLogits(logits) => {
            let shape = logits.dims();
            Ok((logits.into_data().convert::<f32>().try_to_vec::<f32>()?, shape))
        }
        other => Err(wrong_answer("one answer a token", other.kind()).into()),
    }
}

/// The entities of one text, with their characters.
fn answer(logits: &[f32], tags: &[String], reading: &Reading) -> Answered {
    let mut words = Vec::with_capacity(reading.words.len());
    for word in &reading.words {
        let own = logits.chunks_exact(tags.len()).nth(word.token).ok_or(BadAnswer::NotFinite)?;
        let tag = best(own).ok_or(BadAnswer::NotFinite)?;
        words.push((tag, softmax(own)[tag]));
    }
    let entities = Entities::new(tags, EntityScheme::Lenient)?;
    let answered: Vec<usize> = words.iter().map(|(tag, _)| *tag).collect();
    let found = entities.find(&answered)?.into_iter().map(|(kind, first, last)| {
        let (start, end) = (reading.words[first].start, reading.words[last].end);
        let text: String = reading.text.chars().skip(start).take(end.saturating_sub(start)).collect();
        let sum: f64 = words[first..=last].iter().map(|(_, p)| p).sum();
        let score = sum / (last - first + 1) as f64;
        json!({"type": kind, "text": text, "start": start, "end": end, "score": score})
    });
    let mut fields = Map::from_iter([("entities".to_string(), Value::Array(found.collect()))]);
    if reading.cut > 0 {
        fields.insert("words_cut".into(), json!(reading.cut));
    }
    Ok(fields)
}

struct Tally {
    entities: Result<Entities, MetricError>,
    loss: LogLoss,
    samples: u64,
    words: u64,
    right: u64,
}

impl Tally {
    fn sentence(&mut self, logits: &[f32], targets: &[i64], width: usize) -> Result<(), BadAnswer> {
        let (mut truth, mut answers) = (Vec::new(), Vec::new());
        for (own, target) in logits.chunks_exact(width).zip(targets).filter(|(_, t)| **t != IGNORE) {
            let target = usize::try_from(*target).unwrap_or(usize::MAX);
            if target >= width {
                return Err(BadAnswer::Class { truth: target, logits: width, classes: width });
            }
            self.loss.add_logits(own, target)?;
            let answer = best(own).ok_or(BadAnswer::NotFinite)?;
            self.right += u64::from(answer == target);
            truth.push(target);
            answers.push(answer);
        }
        self.words += truth.len() as u64;
        self.samples += 1;
        self.entities.as_mut().map_err(|error| error.clone())?.add(&truth, &answers)?;
        Ok(())
    }

    fn report(&self) -> Option<ClassificationReport> {
        let entities = self.entities.as_ref().ok()?;
        let line = |(kind, counts): (&str, crate::metrics::Counts)| ClassScores {
            class: kind.to_string(),
            quality: counts.quality(),
            support: counts.support,
        };
        Some(ClassificationReport {
            per_class: entities.per_type().into_iter().map(line).collect(),
            macro_avg: entities.quality(Average::Macro).unwrap_or_default(),
            weighted_avg: entities.quality(Average::Weighted).unwrap_or_default(),
            confusion: Vec::new(),
        })
    }
}

impl super::Tally for Tally {
    fn add(&mut self, output: Output, target: &HostTarget) -> Result<(), Misfit> {
        let HostTarget::Tokens { ids, width } = target else {
            let reason = wrong_answer("one class a token", kind_of_host(target));
            return Err(Misfit::Answer { sample: 0, reason });
        };
        let (logits, [_, tokens, k]) = token_rows(output)?;
        if tokens != *width || tokens == 0 || k == 0 {
            return Err(EvalError::Classes { expected: *width, got: tokens }.into());
        }
        for (sample, (own, targets)) in logits.chunks_exact(tokens * k).zip(ids.chunks(tokens)).enumerate() {
            self.sentence(own, targets, k).map_err(|reason| Misfit::Answer { sample, reason })?;
        }
        Ok(())
    }

    fn scores(&mut self) -> Scores {
        let quality = self.entities.as_ref().ok().and_then(|entities| entities.quality(Average::Micro));
        let mut metrics = Map::new();
        metrics.insert("f1".into(), json!(quality.map(|quality| quality.f1)));
        metrics.insert("precision".into(), json!(quality.map(|quality| quality.precision)));
        metrics.insert("recall".into(), json!(quality.map(|quality| quality.recall)));
        let accuracy = (self.words > 0).then(|| self.right as f64 / self.words as f64);
        metrics.insert("accuracy".into(), json!(accuracy));
        metrics.insert("words".into(), json!(self.words));
        let loss = self.loss.mean().unwrap_or_default();
        Scores { samples: self.samples, loss, metrics, report: self.report() }
    }
}
