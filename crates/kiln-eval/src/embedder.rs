//! Asks a text encoder for sentence embeddings: texts in, vectors out, in order, a batch at a time.
//! Owns batching and what becomes of texts that cannot be read; reads no input file and prints nothing.
//! `kiln predict --embed` hands it inputs.
//!
//! Shapes: `B` batch, `D` width of the encoder.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use kiln_core::Output;
use kiln_data::{DataError, Features, HostBatch, Label, Preprocessor, Raw, collate};
use kiln_models::Model;
use serde_json::{Map, json};

use crate::bundle::preprocessor_of;
use crate::predictor::{answered, prepared};
use crate::prepared::Fields;
use crate::tasks::rows;
use crate::{Answer, EvalError};

/// An encoder on a device, with a batch size.
pub struct Embedder {
    model: Model,
    preprocessor: Arc<Preprocessor>,
    device: Device,
    batch_size: usize,
}

type Input = (String, Result<Raw, DataError>);

impl Embedder {
    /// Opens a folder with a text encoder, with or without a head, of kiln or of Hugging Face. Embeddings are as
    /// sentence-transformers' mean pooling and normalisation make them.
    ///
    /// # Errors
    /// The folder holds no text encoder, or its files are damaged or do not fit together.
    pub fn open(folder: &Path, device: Device, batch_size: usize) -> Result<Self, EvalError> {
        let model = kiln_models::open_embedder(folder, &device)?;
        let preprocessor = Arc::new(preprocessor_of(folder, &model.card)?);
        Ok(Self { model, preprocessor, device, batch_size: batch_size.max(1) })
    }

    /// The encoder.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How inputs are read and prepared.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// Embeds inputs in their order; each answer has `embedding`. At most one batch of them is in memory.
    pub fn embed<'a>(
        &'a self,
        inputs: impl Iterator<Item = Input> + 'a,
    ) -> impl Iterator<Item = Result<Answer, EvalError>> + 'a {
        let (mut inputs, mut ready) = (inputs, VecDeque::new());
        std::iter::from_fn(move || {
            if ready.is_empty() {
                let batch: Vec<Input> = inputs.by_ref().take(self.batch_size).collect();
                match self.answer(batch.into_iter().map(|(name, raw)| (name, || raw)).collect()) {
                    Ok(answers) => ready = answers.into(),
                    Err(error) => return Some(Err(error)),
                }
            }
            ready.pop_front().map(Ok)
        })
    }

    /// Embeds any number of inputs in their order; see [`Predictor::answer`](crate::Predictor::answer).
    ///
    /// # Errors
    /// The model does not fit its preprocessing; the device fails.
    pub fn answer<F>(&self, inputs: Vec<(String, F)>) -> Result<Vec<Answer>, EvalError>
    where
        F: FnOnce() -> Result<Raw, DataError> + Send,
    {
        let preprocessor = &self.preprocessor;
        let prepared = prepared(inputs, |name, raw| preprocessor.prepare_named(raw, name, None));
        answered(prepared, Features::tokens, self.batch_size, |batch| {
            let samples = batch.into_iter().enumerate().map(|(i, features)| (i, features, Label::None));
            let host = HostBatch::gather(samples.collect(), self.preprocessor.input());
            vectors(self.model.net.apply(collate(host, &self.device).input)?)
        })
    }
}

/// `[B, D]` as fields of answers.
fn vectors(output: Output) -> Result<Vec<Fields>, EvalError> {
    let (values, width) = rows(output)?;
    // The shortest digits that give the same float32 back.
    let number = |v: &f32| v.to_string().parse::<f64>().ok().filter(|v| v.is_finite());
    let field = |row: &[f32]| match row.iter().map(number).collect::<Option<Vec<f64>>>() {
        Some(row) => Ok(Map::from_iter([("embedding".to_string(), json!(row))])),
        None => Err("the embedding holds values that are no numbers".to_string()),
    };
    Ok(values.chunks(width.max(1)).map(field).collect())
}
