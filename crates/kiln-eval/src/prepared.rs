//! Inputs that are prepared in one place and answered in another: by the server, whose clients' inputs are prepared as
//! they come and answered many at a time.
//! Owns nothing of the answer; the predictor gives it.

use kiln_data::{DataError, Features, Preprocessor, Raw};
use serde_json::{Map, Value};

use crate::{EvalError, Predictor};

/// The fields that `kiln predict` prints of one input, or why there are none.
pub type Fields = Result<Map<String, Value>, String>;

/// An input as the net reads it.
#[derive(Debug)]
pub struct Prepared {
    /// For answers in the words of the question; `None` for images.
    raw: Option<Raw>,
    features: Features,
}

impl Prepared {
    /// Prepares an input as in evaluation; errors call it `name`.
    ///
    /// # Errors
    /// An input of another kind or shape than the model reads.
    pub fn new(preprocessor: &Preprocessor, raw: Raw, name: &str) -> Result<Self, DataError> {
        let kept = (!matches!(raw, Raw::Image(_))).then(|| raw.clone());
        Ok(Self { raw: kept, features: preprocessor.prepare_named(raw, name, None)? })
    }

    /// An input that its client has prepared; see [`Takes`](crate::Takes) for what the net reads of it.
    pub fn given(features: Features) -> Self {
        Self { raw: None, features }
    }

    /// Tokens of a text; 1 for anything else. What an input costs, relative to others of its model.
    pub fn len(&self) -> usize {
        match &self.features {
            Features::Tokens { ids, .. } => ids.len().max(1),
            Features::Image(_) | Features::Row { .. } => 1,
        }
    }

    /// Never: an empty text is one padding token.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Predictor {
    /// Answers prepared inputs in their order, all in one batch.
    ///
    /// # Errors
    /// The inputs were prepared for another model, or the device's answer cannot be read.
    pub fn batch(&self, inputs: Vec<Prepared>) -> Result<Vec<Fields>, EvalError> {
        self.told(inputs, None)
    }

    /// The same, with what the net answered before it became words: `K` numbers an input, one input behind the other.
    /// Of a regression they are in the units of training.
    ///
    /// # Errors
    /// As [`batch`](Self::batch), and a net that answers every token.
    pub fn batch_with_logits(&self, inputs: Vec<Prepared>) -> Result<(Vec<Fields>, Vec<f32>), EvalError> {
        let mut logits = Vec::new();
        let answers = self.told(inputs, Some(&mut logits))?;
        Ok((answers, logits))
    }

    fn told(&self, inputs: Vec<Prepared>, logits: Option<&mut Vec<f32>>) -> Result<Vec<Fields>, EvalError> {
        let (raws, features): (Vec<_>, Vec<_>) = inputs.into_iter().map(|p| (p.raw, p.features)).unzip();
        let answers = self.answers(&raws, features, logits)?;
        Ok(answers.into_iter().map(|answer| answer.map_err(|reason| reason.to_string())).collect())
    }
}
