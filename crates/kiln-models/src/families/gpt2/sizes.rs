//! The keys of a GPT-2 `config.json`, under `transformers`' names and with its defaults, and the presets.
//! Owns the checks on them and the rule that a config key must agree with the folder's; never tensors.
//! Hands complete, checked sizes to the net.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{Gpt2Activation, Gpt2Config, Gpt2Preset};
use crate::{ModelError, card};

/// What a GPT-2 net is made of. Defaults are `transformers.GPT2Config`'s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sizes {
    pub(super) vocab_size: usize,
    pub(super) n_positions: usize,
    pub(super) n_embd: usize,
    pub(super) n_layer: usize,
    pub(super) n_head: usize,
    pub(super) n_inner: Option<usize>,
    pub(super) activation_function: String,
    pub(super) resid_pdrop: f64,
    pub(super) embd_pdrop: f64,
    pub(super) attn_pdrop: f64,
    pub(super) classifier_dropout: Option<f64>,
    pub(super) layer_norm_epsilon: f64,
    pub(super) initializer_range: f64,
    pub(super) pad_token_id: Option<u32>,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<u32>,
    pub(super) tie_word_embeddings: bool,
    pub(super) scale_attn_weights: bool,
    pub(super) scale_attn_by_inverse_layer_idx: bool,
    pub(super) add_cross_attention: bool,
    /// kiln's own: false where linear layers and norms have none (nanoGPT). `transformers` reads zeros instead.
    pub(super) bias: bool,
}

/// `<|endoftext|>` of the published vocabulary.
const END_OF_TEXT: u32 = 50_256;

impl Default for Sizes {
    fn default() -> Self {
        Self {
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".into(),
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            classifier_dropout: None,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            pad_token_id: None,
            bos_token_id: Some(END_OF_TEXT),
            eos_token_id: Some(END_OF_TEXT),
            tie_word_embeddings: true,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            bias: true,
        }
    }
}

impl Sizes {
    /// A net from scratch, or from bare weights: sizes of the preset, or all of them in the config.
    pub(super) fn from_config(
        config: &Gpt2Config,
        vocab_size: usize,
        length: usize,
    ) -> Result<Self, ModelError> {
        let (n_layer, n_head, n_embd) = match (config.preset, config.n_layer, config.n_head, config.n_embd) {
            (Some(preset), ..) => of_preset(preset),
            (None, Some(layers), Some(heads), Some(width)) => (layers, heads, width),
            _ => {
                return Err(ModelError::config(
                    "[model] kind = \"gpt2\" has neither a folder with a config.json, nor a preset, nor all sizes",
                    "set n_layer, n_head and n_embd in [model], or preset, or pretrained to a Hugging Face folder",
                ));
            }
        };
        let n_positions = match config.preset {
            Some(_) => 1024,
            None => config.n_positions.unwrap_or(length),
        };
        let mut sizes = Self { vocab_size, n_positions, n_layer, n_head, n_embd, ..Self::default() };
        sizes.activation_function = config.activation_function.unwrap_or_default().name().into();
        sizes.bias = config.bias.unwrap_or(true);
        if vocab_size <= END_OF_TEXT as usize {
            (sizes.bos_token_id, sizes.eos_token_id) = (None, None);
        }
        sizes.agree(config, "the preset")?;
        Ok(sizes.with_dropout(config))
    }

    /// Sizes of a folder: a config key must agree with them; dropout is the config's to choose.
    pub(super) fn with_config(self, config: &Gpt2Config, folder: &Path) -> Result<Self, ModelError> {
        self.agree(config, &folder.join(card::FILE).display().to_string())?;
        Ok(self.with_dropout(config))
    }

    fn agree(&self, config: &Gpt2Config, says: &str) -> Result<(), ModelError> {
        let preset = config.preset.map(of_preset);
        let numbers = [
            ("n_layer", self.n_layer, config.n_layer.or(preset.map(|p| p.0))),
            ("n_head", self.n_head, config.n_head.or(preset.map(|p| p.1))),
            ("n_embd", self.n_embd, config.n_embd.or(preset.map(|p| p.2))),
            ("n_positions", self.n_positions, config.n_positions),
        ]
        .map(|(key, own, given)| (key, own.to_string(), given.map(|n| n.to_string())));
        let bias = ("bias", self.bias.to_string(), config.bias.map(|b| b.to_string()));
        let given = config.activation_function.map(|a| a.name().to_string());
        let activation = ("activation_function", self.activation_function.clone(), given);
        for (key, own, given) in numbers.into_iter().chain([bias, activation]) {
            if let Some(given) = given.filter(|given| *given != own) {
                return Err(ModelError::config(
                    format!("[model] {key} is {given}, but {says} says {own}"),
                    format!("remove {key} from [model]"),
                ));
            }
        }
        Ok(())
    }

    fn with_dropout(mut self, config: &Gpt2Config) -> Self {
        if let Some(p) = config.dropout {
            (self.resid_pdrop, self.embd_pdrop, self.attn_pdrop) = (p, p, p);
            self.classifier_dropout = Some(p);
        }
        self
    }

    /// Width of the feed-forward layer.
    pub(super) fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// Of the initial weights of projections that add to the residual stream (Radford et al., 2019).
    pub(super) fn residual_std(&self) -> f64 {
        self.initializer_range / (2.0 * self.n_layer.max(1) as f64).sqrt()
    }

    /// Refuses what the net cannot be built from, or what it would compute differently from the reference.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        if Gpt2Activation::named(&self.activation_function).is_none() {
            let got = &self.activation_function;
            return Err(ModelError::config(
                format!("gpt2: activation_function is {got:?}, kiln's GPT-2 has gelu_new and gelu"),
                "give a GPT-2 with one of these",
            ));
        }
        for (key, got, expected) in [
            ("tie_word_embeddings", self.tie_word_embeddings, true),
            ("scale_attn_weights", self.scale_attn_weights, true),
            ("scale_attn_by_inverse_layer_idx", self.scale_attn_by_inverse_layer_idx, false),
            ("add_cross_attention", self.add_cross_attention, false),
        ] {
            if got != expected {
                return Err(ModelError::config(
                    format!("gpt2: {key} is {got}, kiln's GPT-2 has {expected} only"),
                    "give a GPT-2 without this variation",
                ));
            }
        }
        for (key, p) in [
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(ModelError::config(
                    format!("gpt2: {key} is {p}, expected from 0 to below 1"),
                    "correct it",
                ));
            }
        }
        for (key, n) in [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_head", self.n_head),
            ("n_inner", self.inner()),
        ] {
            if n == 0 {
                return Err(ModelError::config(
                    format!("gpt2: {key} is 0, expected at least 1"),
                    "correct it",
                ));
            }
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            let message = format!("gpt2: n_embd {} is not a multiple of n_head {}", self.n_embd, self.n_head);
            return Err(ModelError::config(message, "choose a number of heads that divides n_embd"));
        }
        Ok(())
    }

    /// Every id and every position of the data must have an embedding.
    pub(super) fn check_input(&self, vocab_size: usize, max_length: usize) -> Result<(), ModelError> {
        if vocab_size > self.vocab_size {
            let own = self.vocab_size;
            let message =
                format!("the tokenizer has {vocab_size} tokens, but the model has embeddings for {own}");
            return Err(ModelError::config(message, "use the tokenizer.json that belongs to the weights"));
        }
        if max_length > self.n_positions {
            let limit = self.n_positions;
            let message =
                format!("the data gives {max_length} tokens a sample, but the model has {limit} positions");
            return Err(ModelError::config(
                message,
                format!("set data.block_size (data.tokenizer.max_length) to at most {limit}"),
            ));
        }
        Ok(())
    }
}

/// `n_layer`, `n_head` and `n_embd`.
fn of_preset(preset: Gpt2Preset) -> (usize, usize, usize) {
    match preset {
        Gpt2Preset::Gpt2 => (12, 12, 768),
        Gpt2Preset::Medium => (24, 16, 1024),
        Gpt2Preset::Large => (36, 20, 1280),
        Gpt2Preset::Xl => (48, 25, 1600),
    }
}
