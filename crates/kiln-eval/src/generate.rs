//! Continues prompts token by token with a decoder, with or without a cache of keys and values.
//! Owns the loop, stop strings and what becomes of texts longer than the positions; never a filter (sample.rs) or a
//! file. `kiln predict` hands it prompts.
//!
//! A text longer than the positions is read through a window of its last tokens, as nanoGPT does; each further token
//! then reads the window anew, because every position in it has changed. Prompts of one batch are padded on the left.
//!
//! Shapes: `B` prompts, `T` tokens, `V` vocabulary.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln_core::seed::{Purpose, mix};
use kiln_core::{Input, KvCache, Net, Output, Tokens};
use kiln_data::Preprocessor;
use serde_json::{Map, json};

use crate::sample::Sampling;
use crate::{Bundle, EvalError};

/// How a text is continued.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Tokens at most.
    pub max_new_tokens: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// The same seed draws the same text on the same device.
    pub seed: u64,
    /// A text ends before the first of these.
    pub stop: Vec<String>,
    /// Keep keys and values; off, every token reads the whole text again.
    pub cache: bool,
}

impl Default for Generation {
    fn default() -> Self {
        let sampling = Sampling { temperature: 1.0, top_k: None, top_p: None };
        Self { max_new_tokens: 100, sampling, seed: 0, stop: Vec::new(), cache: true }
    }
}

/// A decoder that continues prompts.
pub struct Generator<'a> {
    net: &'a dyn Net,
    preprocessor: &'a Preprocessor,
    device: &'a Device,
    positions: usize,
}

/// What follows a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Continued {
    /// Without the stop string.
    pub text: String,
    /// Tokens drawn, those of the stop string too.
    pub tokens: usize,
    /// "stop", "length", or "cancelled" by whoever was told of it.
    pub finish_reason: &'static str,
}

impl Continued {
    /// As fields of a line of `kiln predict`.
    pub fn fields(&self) -> Map<String, serde_json::Value> {
        let mut fields = Map::new();
        fields.insert("text".into(), json!(self.text));
        fields.insert("tokens".into(), json!(self.tokens));
        fields.insert("finish_reason".into(), json!(self.finish_reason));
        fields
    }
}

/// Given a prompt's number and its new tokens: whether that prompt is done.
pub type Stop<'a> = dyn FnMut(usize, &[u32]) -> Result<bool, EvalError> + 'a;

impl<'a> Generator<'a> {
    /// For a bundle on `device`. Positions are the model's, not the block it was trained on.
    pub fn new(bundle: &'a Bundle, device: &'a Device) -> Self {
        let positions = bundle.model.card.positions();
        Self::of(bundle.model.net.as_ref(), &bundle.preprocessor, device, positions)
    }

    /// For a net with this many positions.
    pub fn of(
        net: &'a dyn Net,
        preprocessor: &'a Preprocessor,
        device: &'a Device,
        positions: usize,
    ) -> Self {
        Self { net, preprocessor, device, positions: positions.max(1) }
    }

    /// Continues a text.
    ///
    /// # Errors
    /// An empty prompt, one that the tokenizer refuses, scores that are no numbers.
    pub fn text(&self, prompt: &str, how: &Generation) -> Result<Continued, EvalError> {
        self.text_told(prompt, how, &mut |_| true)
    }

    /// The same. `told` is given the text so far after each token, and says whether to go on.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn text_told(
        &self,
        prompt: &str,
        how: &Generation,
        told: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Continued, EvalError> {
        let encoded = self.preprocessor.encode(prompt).ok_or(EvalError::NoText)??;
        let mut text = String::new();
        let mut end = None;
        let mut cancelled = false;
        let mut stopped = |_: usize, new: &[u32]| -> Result<bool, EvalError> {
            text = self.preprocessor.decode(new).ok_or(EvalError::NoText)??;
            end = how.stop.iter().filter(|s| !s.is_empty()).filter_map(|stop| text.find(stop)).min();
            cancelled = !told(&text[..end.unwrap_or(text.len())]);
            Ok(end.is_some() || cancelled)
        };
        let tokens = self.tokens(&[encoded], how, &mut stopped)?.into_iter().next().map_or(0, |t| t.len());
        if let Some(end) = end {
            text.truncate(end);
        }
        let finish_reason = match (end, cancelled) {
            (Some(_), _) => "stop",
            (None, true) => "cancelled",
            (None, false) => "length",
        };
        Ok(Continued { text, tokens, finish_reason })
    }

    /// The tokens that follow each prompt. `stopped` sees a prompt's number and its new tokens after each of them, and
    /// says whether that prompt is done.
    ///
    /// # Errors
    /// An empty prompt, scores that are no numbers, what `stopped` answers.
    pub fn tokens(
        &self,
        prompts: &[Vec<u32>],
        how: &Generation,
        stopped: &mut Stop<'_>,
    ) -> Result<Vec<Vec<u32>>, EvalError> {
        if prompts.iter().any(Vec::is_empty) {
            return Err(EvalError::EmptyPrompt);
        }
        let mut rows = prompts.to_vec();
        let mut done = vec![false; rows.len()];
        let mut cache = KvCache::default();
        for step in 0..how.max_new_tokens {
            if done.iter().all(|done| *done) {
                break;
            }
            let scores = if how.cache { self.follow(&rows, &mut cache)? } else { self.read(&rows)? };
            let width = scores.len() / rows.len();
            for (i, row) in rows.iter_mut().enumerate() {
                let u = unit(mix(how.seed, Purpose::Generate, &[i as u64, step as u64]));
                let chosen = how.sampling.choose(&scores[i * width..(i + 1) * width], u);
                row.push(chosen.ok_or(crate::scores::BadAnswer::NotFinite)? as u32);
                let new = &row[prompts[i].len()..];
                done[i] = done[i] || stopped(i, new)?;
            }
        }
        Ok(rows.into_iter().zip(prompts).map(|(row, prompt)| row[prompt.len()..].to_vec()).collect())
    }

    /// Scores `[B, V]` of the token after each row, by what the cache lacks.
    fn follow(&self, rows: &[Vec<u32>], cache: &mut KvCache) -> Result<Vec<f32>, EvalError> {
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let (ids, width) = if cache.is_empty() || longest > self.positions {
            *cache = KvCache { padding: self.padding(rows), ..KvCache::default() };
            let (ids, _, width) = self.window(rows);
            (ids, width)
        } else {
            (rows.iter().filter_map(|row| row.last()).map(|id| i64::from(*id)).collect(), 1)
        };
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows.len(), width]), self.device);
        let scores = self.net.next(ids, cache).ok_or(EvalError::NoDecoder)?;
        Ok(scores.into_data().convert::<f32>().try_to_vec::<f32>()?)
    }

    /// The same scores by one pass over the whole text.
    fn read(&self, rows: &[Vec<u32>]) -> Result<Vec<f32>, EvalError> {
        let (ids, mask, width) = self.window(rows);
        let shape = [rows.len(), width];
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), self.device);
        let mask = Tensor::from_data(TensorData::new(mask, shape), self.device);
        let types = Tensor::zeros(shape, self.device);
        let output = self.net.apply(Input::Tokens(Tokens { ids, mask, types }))?;
        let Output::TokenLogits(scores) = output else { return Err(EvalError::NoDecoder) };
        let [b, t, v] = scores.dims();
        let last = scores.narrow(1, t - 1, 1).reshape([b, v]);
        Ok(last.into_data().convert::<f32>().try_to_vec::<f32>()?)
    }

    /// The last tokens of each row that have a position, padded on the left to one width `T`: ids, what is real, `T`.
    fn window(&self, rows: &[Vec<u32>]) -> (Vec<i64>, Vec<bool>, usize) {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0).min(self.positions);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for row in rows {
            let row = &row[row.len().saturating_sub(self.positions)..];
            ids.extend(std::iter::repeat_n(0, width - row.len()));
            mask.extend(std::iter::repeat_n(false, width - row.len()));
            ids.extend(row.iter().map(|id| i64::from(*id)));
            mask.extend(row.iter().map(|_| true));
        }
        (ids, mask, width)
    }

    fn padding(&self, rows: &[Vec<u32>]) -> Vec<usize> {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0).min(self.positions);
        rows.iter().map(|row| width - row.len().min(width)).collect()
    }
}

/// 53 bits as a number in `[0, 1)`.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
