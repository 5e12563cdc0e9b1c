//! What BERT, RoBERTa and DistilBERT share: from config to card to net, by the few facts in which they differ.
//! Owns the choice of head by task, `transformers`' class names and the keys of `config.json`; never a forward pass.
//! Each family's file gives a [`Kind`]; the registry lists them.

mod net;
mod places;
mod sizes;
mod unpadded;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, TaskKind};
use serde_json::{Map, Value};

use super::{Facts, Family, wrong_branch, wrong_input, wrong_task};
use crate::config::{EncoderConfig, EncoderPreset};
use crate::{Card, ModelConfig, ModelError, card};

pub(super) use net::{Encoder, linear, norm};
pub use sizes::Activation;
pub(super) use sizes::Sizes;

/// What stands on the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// One row of answers a text.
    Sequence,
    /// One row of answers a token.
    Tokens,
    /// The vocabulary at every token.
    MaskedLm,
    /// None: the text's embedding.
    Embedding,
}

/// One family of encoders.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// `model_type` and the start of the class names that go with it; the first is written from scratch.
    pub(super) types: &'static [(&'static str, &'static str)],
    /// The field that holds the encoder, with its dot.
    pub(super) base: &'static str,
    /// Sizes that `config.json` and the config leave out.
    pub(super) defaults: fn() -> Sizes,
    /// `config.json`'s keys where they are not BERT's: (BERT's, own).
    pub(super) keys: &'static [(&'static str, &'static str)],
    /// BERT's keys that this family's `config.json` lacks.
    pub(super) without: &'static [&'static str],
    /// Whether the first token's position is the one after the padding's.
    pub(super) positions_after_padding: bool,
    /// What a file may lack, by head; of nested parts the inner one first, so that the outer keeps its other layers.
    pub(super) heads: fn(Head) -> &'static [&'static str],
    /// (copy, original): tensors that a masked language model's file may hold twice.
    pub(super) tied: &'static [(&'static str, &'static str)],
    pub(super) config: fn(&ModelConfig) -> Option<EncoderConfig<EncoderPreset>>,
    pub(super) net: fn(&Sizes, Head, usize, &Device) -> Box<dyn Net>,
}

impl Kind {
    fn class(&self, model_type: &str) -> Option<&'static str> {
        self.types.iter().find(|(known, _)| *known == model_type).map(|(_, class)| *class)
    }

    /// The card's sizes, complete and checked.
    fn sizes(&self, card: &Card) -> Result<Sizes, ModelError> {
        let (defaults, mut given) = (as_map(&(self.defaults)())?, card.sizes.clone());
        for (bert, own) in self.keys {
            given.remove(*bert);
            if let Some(value) = given.remove(*own) {
                given.insert((*bert).to_string(), value);
            }
        }
        self.without.iter().for_each(|key| drop(given.remove(*key)));
        let all: Map<String, Value> = defaults.into_iter().chain(given).collect();
        let sizes = Card { sizes: all, ..card.clone() }.sizes()?;
        let sizes = self.placed(sizes);
        sizes.check(self.name)?;
        Ok(sizes)
    }

    fn placed(&self, sizes: Sizes) -> Sizes {
        let first_position = if self.positions_after_padding { sizes.pad_token_id as usize + 1 } else { 0 };
        Sizes { first_position, ..sizes }
    }

    /// The keys as the family's `config.json` has them.
    fn keys_of(&self, sizes: &Sizes) -> Result<Map<String, Value>, ModelError> {
        let mut map = as_map(sizes)?;
        self.without.iter().for_each(|key| drop(map.remove(*key)));
        for (bert, own) in self.keys {
            if let Some(value) = map.remove(*bert) {
                map.insert((*own).to_string(), value);
            }
        }
        Ok(map)
    }

    /// The card of the folder that the config starts from.
    fn brought(&self, folder: &Path) -> Result<Card, ModelError> {
        let card = Card::read(folder)?;
        match self.class(&card.model_type) {
            Some(_) => Ok(card),
            None => Err(ModelError::Card {
                path: folder.join(card::FILE),
                message: format!(
                    "model_type is {:?}, expected {:?} for [model] kind = \"{}\"",
                    card.model_type, self.types[0].0, self.name
                ),
                remedy: match super::FAMILIES.iter().find(|family| family.reads(&card)) {
                    Some(family) => format!("set [model] kind = \"{}\"", family.name()),
                    None => {
                        "give the folder of an encoder that kiln has, or choose the [model] kind that these \
                             weights are of"
                            .into()
                    }
                },
            }),
        }
    }
}

impl Family for Kind {
    fn name(&self) -> &'static str {
        self.name
    }

    fn model_type(&self) -> &'static str {
        self.types[0].0
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn head(&self, card: &Card) -> Result<&'static str, ModelError> {
        let head = head_of(card)?;
        let classifies = matches!(head, Head::Sequence | Head::Tokens);
        Ok(if classifies { "classifier" } else { (self.heads)(head).first().copied().unwrap_or_default() })
    }

    fn heads(&self, card: &Card) -> Result<Vec<&'static str>, ModelError> {
        Ok((self.heads)(head_of(card)?).to_vec())
    }

    fn base_prefix(&self) -> &'static str {
        self.base
    }

    fn tied(&self, card: &Card) -> Result<&'static [(&'static str, &'static str)], ModelError> {
        Ok(if head_of(card)? == Head::MaskedLm { self.tied } else { &[] })
    }

    fn reads(&self, card: &Card) -> bool {
        self.class(&card.model_type).is_some()
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        let Some(config) = (self.config)(config) else { return Err(wrong_branch(config)) };
        let InputSpec::Tokens { vocab_size, max_length, pad_id } = input else {
            return Err(wrong_input(self.name, "text", input));
        };
        let ((model_type, class), sizes) = match pretrained_folder(&config) {
            Some(folder) => {
                let card = self.brought(&folder)?;
                let known = self.types.iter().find(|(known, _)| *known == card.model_type);
                let sizes = self.sizes(&card).map_err(|e| e.at(&folder.join(card::FILE)))?;
                (known.copied().unwrap_or(self.types[0]), sizes.with_config(&config, &folder)?)
            }
            None => {
                let defaults = Sizes { vocab_size: *vocab_size, pad_token_id: *pad_id, ..(self.defaults)() };
                (self.types[0], self.placed(defaults.completed_by(self.name, &config)?))
            }
        };
        sizes.check(self.name)?;
        sizes.check_input(*vocab_size, *max_length)?;
        let architecture = format!("{class}{}", suffix(self.name, task)?);
        let card = Card::new(&architecture, model_type, input, labels, task, &self.keys_of(&sizes)?)?;
        tied_as_kiln_ties(self.name, &sizes, head_of(&card)?)?;
        Ok(card)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let (sizes, head) = (self.sizes(card)?, head_of(card)?);
        tied_as_kiln_ties(self.name, &sizes, head)?;
        if let Some(InputSpec::Tokens { vocab_size, max_length, .. }) = card.kiln_input {
            sizes.check_input(vocab_size, max_length)?;
        }
        Ok((self.net)(&sizes, head, card.num_labels(), device))
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        if let Some(input) = &card.kiln_input {
            return Ok(input.clone());
        }
        let sizes = self.sizes(card)?;
        let (vocab_size, max_length) = (sizes.vocab_size, sizes.longest());
        Ok(InputSpec::Tokens { vocab_size, max_length, pad_id: sizes.pad_token_id })
    }

    fn facts(&self, card: &Card) -> Result<Facts, ModelError> {
        let sizes = self.sizes(card)?;
        Ok(Facts {
            heads: sizes.num_attention_heads,
            eps: sizes.layer_norm_eps,
            activation: sizes.activation(),
            padding_position: sizes.first_position.checked_sub(1),
            ..Facts::default()
        })
    }

    fn embedding_card(&self, card: &Card) -> Option<Card> {
        let class = self.class(&card.model_type)?;
        Some(Card { architectures: vec![format!("{class}Model")], ..card.clone() })
    }
}

/// The head that a card's class names.
fn head_of(card: &Card) -> Result<Head, ModelError> {
    if card.is_headless() {
        return Ok(Head::Embedding);
    }
    Ok(match card.task()? {
        TaskKind::TokenClassification => Head::Tokens,
        TaskKind::MaskedLanguageModeling => Head::MaskedLm,
        _ => Head::Sequence,
    })
}

/// How `transformers` ends the name of the class that learns a task.
fn suffix(family: &str, task: TaskKind) -> Result<&'static str, ModelError> {
    const HAS: [TaskKind; 5] = [
        TaskKind::Classification,
        TaskKind::MultiLabelClassification,
        TaskKind::Regression,
        TaskKind::TokenClassification,
        TaskKind::MaskedLanguageModeling,
    ];
    match task {
        TaskKind::TokenClassification => Ok("ForTokenClassification"),
        TaskKind::MaskedLanguageModeling => Ok("ForMaskedLM"),
        TaskKind::CausalLanguageModeling => Err(wrong_task(family, task, &HAS)),
        _ => Ok("ForSequenceClassification"),
    }
}

/// A masked language model answers with its word embeddings.
fn tied_as_kiln_ties(family: &str, sizes: &Sizes, head: Head) -> Result<(), ModelError> {
    if head != Head::MaskedLm || sizes.tie_word_embeddings {
        return Ok(());
    }
    Err(ModelError::config(
        format!(
            "{family}: tie_word_embeddings is false, kiln's masked language models answer with their word embeddings"
        ),
        "give a model with tied embeddings",
    ))
}

fn as_map(sizes: &Sizes) -> Result<Map<String, Value>, ModelError> {
    match serde_json::to_value(sizes) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(ModelError::config("the model's sizes cannot be written as JSON", "report this as a fault")),
    }
}

/// The folder whose `config.json` says the sizes; a run's is in its `model/`.
fn pretrained_folder(config: &EncoderConfig<EncoderPreset>) -> Option<PathBuf> {
    let path = config.pretrained.as_ref().filter(|path| path.is_dir())?;
    let model = path.join("model");
    let inside = !path.join(card::FILE).is_file() && model.join(card::FILE).is_file();
    Some(if inside { model } else { path.clone() })
}
