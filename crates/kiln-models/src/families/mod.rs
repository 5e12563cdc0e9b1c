//! The families of models, one file each, and the slice that lists them.
//! Owns the way from config to card to net, which is the same for a new and for an opened model; never weights.
//! `build` and `open` look families up here; help and listings are driven by [`FAMILIES`].

mod bert;
mod cnn;
mod convnext;
mod distilbert;
mod encoder;
mod facts;
mod ft_transformer;
mod gpt2;
mod mlp;
mod mobilenet_v2;
mod resnet;
mod roberta;
mod textcnn;
mod vision;
mod vit;

use std::path::Path;

use burn::tensor::Device;
use kiln_core::{InputSpec, Net, StateDict, TaskKind};
use kiln_nn::Dropout;

use crate::card::{self, Card};
use crate::dialect::{Dialect, Fused};
use crate::{ModelConfig, ModelError, timm};
pub use facts::{Activation, Facts};

/// A family: how a config becomes a card, and a card a net.
pub trait Family: Sync {
    /// The config's word: `[model] kind`.
    fn name(&self) -> &'static str;
    /// `model_type` in `config.json`.
    fn model_type(&self) -> &'static str;
    /// One line for help and listings.
    fn description(&self) -> &'static str;
    /// Whether its nets are a row of blocks of which training can keep the inputs alone (`train.activation_checkpointing`).
    /// Blocks with batch norm are not: run twice, they would move their statistics twice.
    fn has_blocks(&self) -> bool {
        false
    }
    /// The last linear layer, which a pretrained file may have for other classes.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn head(&self, card: &Card) -> Result<&'static str, ModelError>;
    /// Every part of the head, where it has several.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn heads(&self, card: &Card) -> Result<Vec<&'static str>, ModelError> {
        Ok(vec![self.head(card)?])
    }
    /// What a file of the model without its head leaves off the front of every name; empty where it leaves nothing.
    fn base_prefix(&self) -> &'static str {
        ""
    }
    /// How files spell the tensors of the model that a card describes; the first is how its own folder does.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn dialects(&self, _card: &Card) -> Result<Vec<Dialect>, ModelError> {
        Ok(vec![Dialect::own(self.base_prefix())])
    }
    /// How the implementation that a card's folder belongs to names its modules, which adapters go by; its files may
    /// name tensors otherwise.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn module_names(&self, card: &Card) -> Result<Dialect, ModelError> {
        Ok(self.dialects(card)?.into_iter().next().unwrap_or_default())
    }
    /// Projections that some files keep whole and others in parts.
    fn fused(&self) -> &'static [Fused] {
        &[]
    }
    /// (copy, original): tensors that the net has once and files may have twice.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn tied(&self, _card: &Card) -> Result<&'static [(&'static str, &'static str)], ModelError> {
        Ok(&[])
    }
    /// The card of the same weights without their head, whose net answers sentence embeddings; `None` where the family
    /// has no such net.
    fn embedding_card(&self, _card: &Card) -> Option<Card> {
        None
    }
    /// What of the net's arithmetic the names and shapes of its tensors do not say.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn facts(&self, _card: &Card) -> Result<Facts, ModelError> {
        Ok(Facts::default())
    }
    /// Whether this family's nets are what a folder's `config.json` describes.
    fn reads(&self, card: &Card) -> bool {
        card.model_type == self.model_type()
    }
    /// Fits pretrained tensors whose shape depends on the input, such as positions; answers notes on what it changed.
    ///
    /// # Errors
    /// A tensor that cannot be fitted.
    fn fit(&self, _card: &Card, _state: &mut StateDict) -> Result<Vec<String>, ModelError> {
        Ok(Vec::new())
    }
    /// Takes out what a file holds once more or in another form: an output layer that is the embedding.
    ///
    /// # Errors
    /// Tensors that the net cannot hold as they are.
    fn take_in(&self, _card: &Card, _state: &mut StateDict) -> Result<(), ModelError> {
        Ok(())
    }
    /// Adds what the reference implementation needs in a folder and the net does not have.
    ///
    /// # Errors
    /// A card that lacks a key.
    fn give_out(&self, _card: &Card, _state: &mut StateDict) -> Result<(), ModelError> {
        Ok(())
    }
    /// Resolves every size from the config, the input, the labels' names (of classes, or of the numbers of a
    /// regression; none for language modelling) and the task.
    ///
    /// # Errors
    /// Sizes that do not fit each other or the input; a task that the family has no head for.
    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError>;
    /// Builds the net that a card describes, with its initial weights not yet drawn.
    ///
    /// # Errors
    /// A card that lacks a key or contradicts itself.
    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError>;
    /// What one input of the net that a card describes looks like.
    ///
    /// # Errors
    /// A card that does not say.
    fn input(&self, card: &Card) -> Result<InputSpec, ModelError> {
        card.input().cloned()
    }
}

/// Every family.
pub const FAMILIES: &[&dyn Family] = &[
    &mlp::Family,
    &ft_transformer::Family,
    &textcnn::Family,
    &cnn::Family,
    &resnet::Family,
    &vit::Family,
    &convnext::Family,
    &mobilenet_v2::Family,
    &bert::FAMILY,
    &roberta::FAMILY,
    &distilbert::FAMILY,
    &gpt2::Family,
];

/// The words of the families whose nets are rows of blocks; see [`Family::has_blocks`].
pub fn with_blocks() -> Vec<&'static str> {
    FAMILIES.iter().filter(|family| family.has_blocks()).map(|family| family.name()).collect()
}

pub(crate) fn of_config(config: &ModelConfig) -> Result<&'static dyn Family, ModelError> {
    let kind = config.kind();
    let found = FAMILIES.iter().find(|f| f.name() == kind).copied();
    found.ok_or_else(|| {
        ModelError::config(
            format!("no model family is called {kind:?}"),
            format!("choose one of {}", names()),
        )
    })
}

/// The family whose nets a card describes; `folder` is where the card is from, for messages.
///
/// # Errors
/// No family reads it.
pub fn of_card(card: &Card, folder: &Path) -> Result<&'static dyn Family, ModelError> {
    FAMILIES.iter().find(|f| f.reads(card)).copied().ok_or_else(|| ModelError::Card {
        path: folder.join(card::FILE),
        message: match timm::architecture(&card.sizes) {
            Some(architecture) => format!("architecture is {architecture:?}, which kiln does not have"),
            None => format!("model_type is {:?}, which kiln does not have", card.model_type),
        },
        remedy: known_types(&card.model_type),
    })
}

/// Every `model_type`, and the one that was probably meant.
fn known_types(got: &str) -> String {
    let types: Vec<&str> = FAMILIES.iter().map(|f| f.model_type()).collect();
    let closest = crate::names::closest(got, &types);
    let meant = closest.first().filter(|_| !got.is_empty()).map(|t| format!("; the closest is {t}"));
    format!("give a model of one of these types: {}{}", types.join(", "), meant.unwrap_or_default())
}

fn names() -> String {
    FAMILIES.iter().map(|f| f.name()).collect::<Vec<_>>().join(", ")
}

/// The config's branch was not the family's own: `of_config` and the family's `card` disagree.
fn wrong_branch(config: &ModelConfig) -> ModelError {
    ModelError::config(
        format!("[model] kind = {:?} was given to another family", config.kind()),
        "report this as a fault",
    )
}

/// A family without a head for a task.
fn wrong_task(family: &str, task: TaskKind, has: &[TaskKind]) -> ModelError {
    let has: Vec<&str> = has.iter().map(|task| task.name()).collect();
    ModelError::config(
        format!("[model] kind = {family:?} has no head for [task] kind = \"{task}\""),
        format!("this model learns {}; choose one of these, or another model", has.join(", ")),
    )
}

/// Refuses tasks that answer every token.
fn one_answer_a_sample(family: &str, task: TaskKind) -> Result<(), ModelError> {
    const HAS: [TaskKind; 3] =
        [TaskKind::Classification, TaskKind::MultiLabelClassification, TaskKind::Regression];
    if HAS.contains(&task) { Ok(()) } else { Err(wrong_task(family, task, &HAS)) }
}

/// A net that reads one kind of input was given data of another.
fn wrong_input(family: &str, reads: &str, input: &InputSpec) -> ModelError {
    let got = match input {
        InputSpec::Image { .. } => "images",
        InputSpec::Tokens { .. } => "text",
        InputSpec::Table { .. } => "table rows",
    };
    ModelError::config(
        format!("[model] kind = {family:?} reads {reads}, but the data gives {got}"),
        "choose a model for this data, or the data this model reads",
    )
}

/// A dropout layer with a probability of the user's.
fn dropout(probability: f64) -> Result<Dropout, ModelError> {
    if !(0.0..1.0).contains(&probability) {
        let message = format!("dropout is {probability}, expected from 0 to below 1");
        return Err(ModelError::config(message, "correct it in [model] or in the model's config.json"));
    }
    Ok(Dropout::new(probability))
}
