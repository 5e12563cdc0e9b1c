//! The keys of an encoder's `config.json`, under `transformers`' names for BERT and with its defaults.
//! Owns the checks on them and the rule that a config key must agree with the folder's; never tensors.
//! Hands complete, checked sizes to the nets of BERT, RoBERTa and DistilBERT.

use std::fmt::Display;
use std::path::Path;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::card;
use crate::config::{EncoderConfig, EncoderPreset};

type Config = EncoderConfig<EncoderPreset>;

/// What an encoder is made of. Defaults are `transformers.BertConfig`'s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::families) struct Sizes {
    pub(in crate::families) vocab_size: usize,
    pub(in crate::families) hidden_size: usize,
    pub(in crate::families) num_hidden_layers: usize,
    pub(in crate::families) num_attention_heads: usize,
    pub(in crate::families) intermediate_size: usize,
    pub(in crate::families) hidden_act: String,
    pub(in crate::families) hidden_dropout_prob: f64,
    pub(in crate::families) attention_probs_dropout_prob: f64,
    pub(in crate::families) classifier_dropout: Option<f64>,
    pub(in crate::families) max_position_embeddings: usize,
    pub(in crate::families) type_vocab_size: usize,
    pub(in crate::families) initializer_range: f64,
    pub(in crate::families) layer_norm_eps: f64,
    #[serde(deserialize_with = "pad_or_zero")]
    pub(in crate::families) pad_token_id: u32,
    pub(in crate::families) position_embedding_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::families) bos_token_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::families) eos_token_id: Option<u32>,
    pub(in crate::families) tie_word_embeddings: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::families) is_decoder: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::families) add_cross_attention: bool,
    /// The first token's position: 0, or the one after the padding's (RoBERTa).
    #[serde(skip)]
    pub(in crate::families) first_position: usize,
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
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
            is_decoder: false,
            add_cross_attention: false,
            first_position: 0,
        }
    }
}

impl Sizes {
    /// A net from scratch, or from bare weights, with a family's defaults: a preset or the config's keys must give
    /// what no default can guess.
    pub(in crate::families) fn completed_by(
        mut self,
        family: &str,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let needed = [
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
        ];
        let absent: Vec<&str> =
            needed.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
        match config.preset {
            Some(preset) => self.take(preset),
            None if absent.is_empty() => {}
            None => {
                let message = format!(
                    "[model] kind = \"{family}\" has no folder with a config.json to take {} from",
                    absent.join(", ")
                );
                let remedy = "set preset, or these keys in [model], or pretrained to a Hugging Face folder";
                return Err(ModelError::config(message, remedy));
            }
        }
        self.each(config, |own, given, _| {
            *own = given;
            Ok(())
        })?;
        Ok(self.with_dropouts(config))
    }

    fn take(&mut self, preset: EncoderPreset) {
        self.num_hidden_layers = preset.num_hidden_layers;
        self.hidden_size = preset.hidden_size;
        self.num_attention_heads = preset.num_attention_heads;
        self.intermediate_size = 4 * preset.hidden_size;
    }

    /// Sizes of a folder: a config key must agree with them; dropouts are the config's to choose.
    pub(in crate::families) fn with_config(
        mut self,
        config: &Config,
        folder: &Path,
    ) -> Result<Self, ModelError> {
        let path = folder.join(card::FILE);
        if config.preset.is_some() {
            return Err(ModelError::config(
                format!("[model] gives a preset and a pretrained folder, {}", folder.display()),
                "remove preset: the sizes come from the folder",
            ));
        }
        self.each(config, |own, given, key| match *own == given {
            true => Ok(()),
            false => Err(ModelError::config(
                format!("[model] {key} = {given}, but {} says {own}", path.display()),
                format!("remove {key} from [model]: the size comes from the pretrained folder"),
            )),
        })?;
        Ok(self.with_dropouts(config))
    }

    /// Shows each size that the config gives, with the own one.
    fn each(
        &mut self,
        config: &Config,
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

    fn with_dropouts(mut self, config: &Config) -> Self {
        self.hidden_dropout_prob = config.hidden_dropout_prob.unwrap_or(self.hidden_dropout_prob);
        self.attention_probs_dropout_prob =
            config.attention_probs_dropout_prob.unwrap_or(self.attention_probs_dropout_prob);
        self.classifier_dropout = config.classifier_dropout.or(self.classifier_dropout);
        self
    }

    /// Refuses what the net cannot be built from, or what it would compute differently from the reference.
    pub(in crate::families) fn check(&self, family: &str) -> Result<(), ModelError> {
        if Activation::of(&self.hidden_act).is_none() {
            let known: Vec<&str> = Activation::ALL.iter().map(|(name, _)| *name).collect();
            let message =
                format!("{family}: hidden_act is {:?}, kiln has {}", self.hidden_act, known.join(", "));
            return Err(ModelError::config(message, "give an encoder with one of these activations"));
        }
        expect(family, "position_embedding_type", self.position_embedding_type.as_str(), "absolute")?;
        expect(family, "is_decoder", self.is_decoder, false)?;
        expect(family, "add_cross_attention", self.add_cross_attention, false)?;
        let dropouts = [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ];
        if let Some((key, p)) = dropouts.into_iter().find(|(_, p)| !(0.0..1.0).contains(p)) {
            return Err(ModelError::config(
                format!("{family}: {key} is {p}, expected from 0 to below 1"),
                "correct it",
            ));
        }
        let counts = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, n)| *n == 0) {
            return Err(ModelError::config(
                format!("{family}: {key} is 0, expected at least 1"),
                "correct it",
            ));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
            let message =
                format!("{family}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}");
            return Err(ModelError::config(message, "choose a number of heads that divides hidden_size"));
        }
        Ok(())
    }

    /// The most tokens that have positions.
    pub(in crate::families) fn longest(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position)
    }

    /// `hidden_act`, which `check` has seen.
    pub(in crate::families) fn activation(&self) -> Activation {
        Activation::of(&self.hidden_act).unwrap_or(Activation::Gelu)
    }

    /// Every id and every position of the data must have an embedding.
    pub(in crate::families) fn check_input(
        &self,
        vocab_size: usize,
        max_length: usize,
    ) -> Result<(), ModelError> {
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
        if max_length > self.longest() {
            let limit = self.longest();
            let message =
                format!("[data] max_length is {max_length}, but the model has positions for {limit} tokens");
            return Err(ModelError::config(message, format!("set max_length to at most {limit}")));
        }
        Ok(())
    }
}

/// The feed-forward layer's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x)
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// max(x, 0)
    Relu,
}

impl Activation {
    const ALL: [(&str, Self); 4] = [
        ("gelu", Self::Gelu),
        ("gelu_new", Self::GeluTanh),
        ("gelu_pytorch_tanh", Self::GeluTanh),
        ("relu", Self::Relu),
    ];

    pub(in crate::families) fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }

    pub(in crate::families) fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => kiln_nn::gelu(x),
            Self::GeluTanh => kiln_nn::gelu_new(x),
            Self::Relu => kiln_nn::relu(x),
        }
    }
}

fn expect<T: PartialEq<U> + Display, U: Display>(
    family: &str,
    key: &str,
    got: T,
    expected: U,
) -> Result<(), ModelError> {
    if got == expected {
        return Ok(());
    }
    let message = format!("{family}: {key} is {got}, kiln has {expected} only");
    Err(ModelError::config(message, "give an encoder without this variation"))
}
