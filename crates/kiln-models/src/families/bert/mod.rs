//! BERT (Devlin et al., 2018) with pooler and classification head, of any size: config, `config.json`, checks.
//! Owns the sizes and what kiln refuses; never a forward pass (`net` has it).
//! Reference: `transformers`' `BertForSequenceClassification`; a saved folder opens there, and one from there here.

mod net;
mod sizes;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, TaskKind};

use super::{one_answer_a_sample, wrong_branch, wrong_input};
use crate::config::BertConfig;
use crate::{Card, ModelConfig, ModelError, card};
use sizes::Sizes;

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "bert"
    }

    fn model_type(&self) -> &'static str {
        "bert"
    }

    fn description(&self) -> &'static str {
        "BERT and MiniLM encoders with a classification head, for text"
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("classifier")
    }

    fn base_prefix(&self) -> &'static str {
        "bert."
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        one_answer_a_sample("bert", task)?;
        let ModelConfig::Bert(config) = config else { return Err(wrong_branch(config)) };
        let InputSpec::Tokens { vocab_size, max_length, pad_id } = input else {
            return Err(wrong_input("bert", "text", input));
        };
        let sizes = match pretrained_folder(config) {
            Some(folder) => sizes_of(&folder)?.with_config(config, &folder)?,
            None => Sizes::from_config(config, *vocab_size, *pad_id)?,
        };
        sizes.check()?;
        sizes.check_input(*vocab_size, *max_length)?;
        Card::new("BertForSequenceClassification", self.model_type(), input, labels, task, &sizes)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        sizes.check()?;
        if let Some(InputSpec::Tokens { vocab_size, max_length, .. }) = card.kiln_input {
            sizes.check_input(vocab_size, max_length)?;
        }
        Ok(Box::new(net::BertForSequenceClassification::new(&sizes, card.num_labels(), device)))
    }

    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        if let Some(input) = &card.kiln_input {
            return Ok(input.clone());
        }
        let sizes: Sizes = card.sizes()?;
        let (vocab_size, max_length) = (sizes.vocab_size, sizes.max_position_embeddings);
        Ok(InputSpec::Tokens { vocab_size, max_length, pad_id: sizes.pad_token_id })
    }
}

/// The folder whose `config.json` says the sizes; a run's is in its `model/`.
fn pretrained_folder(config: &BertConfig) -> Option<PathBuf> {
    let path = config.pretrained.as_ref().filter(|path| path.is_dir())?;
    let model = path.join("model");
    let inside = !path.join(card::FILE).is_file() && model.join(card::FILE).is_file();
    Some(if inside { model } else { path.clone() })
}

fn sizes_of(folder: &Path) -> Result<Sizes, ModelError> {
    let card = Card::read(folder)?;
    match card.model_type.as_str() {
        "bert" => card.sizes(),
        other => Err(ModelError::Card {
            path: folder.join(card::FILE),
            message: format!("model_type is {other:?}, expected \"bert\" for [model] kind = \"bert\""),
            remedy: "give the folder of a BERT encoder, or choose the [model] kind that these weights are of"
                .into(),
        }),
    }
}
