//! The keys of a BERT `config.json`, under `transformers`' names and with its defaults.
//! Owns the checks on them and the rule that a config key must agree with the folder's; never tensors.
//! Hands complete, checked sizes to the net.

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::card;
use crate::config::BertConfig;

/// What a BERT net is made of. Defaults are `transformers.BertConfig`'s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sizes {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) hidden_act: String,
    pub(super) hidden_dropout_prob: f64,
    pub(super) attention_probs_dropout_prob: f64,
    pub(super) classifier_dropout: Option<f64>,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) initializer_range: f64,
    pub(super) layer_norm_eps: f64,
    #[serde(deserialize_with = "pad_or_zero")]
    pub(super) pad_token_id: u32,
    pub(super) position_embedding_type: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_decoder: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) add_cross_attention: bool,
}

/// `transformers` writes `null` for a model without a padding token.
fn pad_or_zero<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    Ok(Option::<u32>::deserialize(d)?.unwrap_or(0))
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            position_embedding_type: "absolute".into(),
            is_decoder: false,
            add_cross_attention: false,
        }
    }
}

impl Sizes {
    /// A net from scratch, or from bare weights: the config must give what no default can guess.
    pub(super) fn from_config(
        config: &BertConfig,
        vocab_size: usize,
        pad_id: u32,
    ) -> Result<Self, ModelError> {
        let needed = [
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
        ];
        let absent: Vec<&str> =
            needed.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
        if !absent.is_empty() {
            let message = format!(
                "[model] kind = \"bert\" has no folder with a config.json to take {} from",
                absent.join(", ")
            );
            return Err(ModelError::config(
                message,
                "set these keys in [model], or pretrained to a Hugging Face folder",
            ));
        }
        let mut sizes = Self { vocab_size, pad_token_id: pad_id, ..Self::default() };
        sizes.each(config, |own, given, _| {
            *own = given;
            Ok(())
        })?;
        sizes.with_dropouts(config)
    }

    /// Sizes of a folder: a config key must agree with them; dropouts are the config's to choose.
    pub(super) fn with_config(mut self, config: &BertConfig, folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(card::FILE);
        self.each(config, |own, given, key| match *own == given {
            true => Ok(()),
            false => Err(ModelError::config(
                format!("[model] {key} = {given}, but {} says {own}", path.display()),
                format!("remove {key} from [model]: the size comes from the pretrained folder"),
            )),
        })?;
        self.with_dropouts(config)
    }

    /// Shows each size that the config gives, with the own one.
    fn each(
        &mut self,
        config: &BertConfig,
        mut see: impl FnMut(&mut usize, usize, &'static str) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let pairs = [
            (&mut self.hidden_size, config.hidden_size, "hidden_size"),
            (&mut self.num_hidden_layers, config.num_hidden_layers, "num_hidden_layers"),
            (&mut self.num_attention_heads, config.num_attention_heads, "num_attention_heads"),
            (&mut self.intermediate_size, config.intermediate_size, "intermediate_size"),
            (&mut self.max_position_embeddings, config.max_position_embeddings, "max_position_embeddings"),
        ];
        pairs.into_iter().try_for_each(|(own, given, key)| given.map_or(Ok(()), |given| see(own, given, key)))
    }

    fn with_dropouts(mut self, config: &BertConfig) -> Result<Self, ModelError> {
        self.hidden_dropout_prob = config.hidden_dropout_prob.unwrap_or(self.hidden_dropout_prob);
        self.attention_probs_dropout_prob =
            config.attention_probs_dropout_prob.unwrap_or(self.attention_probs_dropout_prob);
        self.classifier_dropout = config.classifier_dropout.or(self.classifier_dropout);
        Ok(self)
    }

    /// Refuses what the net cannot be built from, or what it would compute differently from the reference.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        expect("hidden_act", self.hidden_act.as_str(), "gelu")?;
        expect("position_embedding_type", self.position_embedding_type.as_str(), "absolute")?;
        expect("is_decoder", self.is_decoder, false)?;
        expect("add_cross_attention", self.add_cross_attention, false)?;
        let dropouts = [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ];
        if let Some((key, p)) = dropouts.into_iter().find(|(_, p)| !(0.0..1.0).contains(p)) {
            return Err(ModelError::config(
                format!("bert: {key} is {p}, expected from 0 to below 1"),
                "correct it",
            ));
        }
        let counts = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, n)| *n == 0) {
            return Err(ModelError::config(format!("bert: {key} is 0, expected at least 1"), "correct it"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
            let message =
                format!("bert: hidden_size {hidden} is not a multiple of num_attention_heads {heads}");
            return Err(ModelError::config(message, "choose a number of heads that divides hidden_size"));
        }
        Ok(())
    }

    /// Every id and every position of the data must have an embedding.
    pub(super) fn check_input(&self, vocab_size: usize, max_length: usize) -> Result<(), ModelError> {
        if vocab_size > self.vocab_size {
            let message = format!(
                "the tokenizer has {vocab_size} tokens, but the model has embeddings for {}",
                self.vocab_size
            );
            return Err(ModelError::config(
                message,
                "use the tokenizer.json that belongs to the pretrained weights",
            ));
        }
        if max_length > self.max_position_embeddings {
            let limit = self.max_position_embeddings;
            let message =
                format!("[data] max_length is {max_length}, but the model has positions for {limit} tokens");
            return Err(ModelError::config(message, format!("set max_length to at most {limit}")));
        }
        Ok(())
    }
}

fn expect<T: PartialEq<U> + Display, U: Display>(key: &str, got: T, expected: U) -> Result<(), ModelError> {
    if got == expected {
        return Ok(());
    }
    let message = format!("bert: {key} is {got}, kiln's BERT has {expected} only");
    Err(ModelError::config(message, "give a BERT encoder without this variation"))
}
