//! `config.json`: what a saved net is, in Hugging Face's words.
//! Owns its reading and writing; never sizes (each family reads its own out of `sizes`) or weights.
//! Families fill it, `open` rebuilds a net from it.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_core::files;
use kiln_core::{InputSpec, TaskKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{BroughtPreprocessing, ModelError, SaveType, timm};

/// The file's name in a model folder.
pub const FILE: &str = "config.json";

/// The content of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The reference implementation's class, such as `BertForSequenceClassification`.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Which family reads this: `bert`, or `kiln_...` for kiln's own.
    #[serde(default)]
    pub model_type: String,
    /// `single_label_classification`, `multi_label_classification` or `regression`, as `transformers` has it; absent
    /// where `architectures` says enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<String>,
    /// Class names by index.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub id2label: BTreeMap<usize, String>,
    /// Class indices by name.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub label2id: BTreeMap<String, usize>,
    /// What one input looks like. Absent in folders that kiln did not write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kiln_input: Option<InputSpec>,
    /// The family's own keys.
    #[serde(flatten)]
    pub sizes: Map<String, Value>,
}

/// `transformers` writes `null` for what was not given.
fn null_is_absent<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

impl Card {
    /// A card for a net with these labels; `sizes` is the family's own part.
    pub(crate) fn new(
        architecture: &str,
        model_type: &str,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
        sizes: &impl Serialize,
    ) -> Result<Self, ModelError> {
        let sizes = match serde_json::to_value(sizes) {
            Ok(Value::Object(map)) => map,
            _ => {
                return Err(ModelError::config(
                    "the model's sizes cannot be written as JSON",
                    "report this as a fault",
                ));
            }
        };
        Ok(Self {
            architectures: vec![architecture.to_string()],
            model_type: model_type.to_string(),
            problem_type: problem_type(task).map(str::to_string),
            id2label: labels.iter().cloned().enumerate().collect(),
            label2id: labels.iter().cloned().enumerate().map(|(i, c)| (c, i)).collect(),
            kiln_input: Some(input.clone()),
            sizes,
        })
    }

    /// What the net learned, by its head's class and `problem_type`; `transformers`' rule where both are silent: one
    /// label is a regression.
    ///
    /// # Errors
    /// A `problem_type` that is none of the three.
    pub fn task(&self) -> Result<TaskKind, ModelError> {
        let ends = |suffix: &str| self.architectures.first().is_some_and(|name| name.ends_with(suffix));
        if ends("ForTokenClassification") {
            return Ok(TaskKind::TokenClassification);
        }
        if ends("ForMaskedLM") || ends("ForPreTraining") {
            return Ok(TaskKind::MaskedLanguageModeling);
        }
        if ends("LMHeadModel") || ends("ForCausalLM") {
            return Ok(TaskKind::CausalLanguageModeling);
        }
        match self.problem_type.as_deref() {
            Some("multi_label_classification") => Ok(TaskKind::MultiLabelClassification),
            Some("regression") => Ok(TaskKind::Regression),
            Some("single_label_classification") => Ok(TaskKind::Classification),
            None if self.num_labels() == 1 => Ok(TaskKind::Regression),
            None => Ok(TaskKind::Classification),
            Some(other) => Err(ModelError::config(
                format!("{FILE}: problem_type is {other:?}"),
                "write single_label_classification, multi_label_classification or regression",
            )),
        }
    }

    /// Whether the card is of a bare encoder: its class is `...Model`, and no language model.
    pub fn is_headless(&self) -> bool {
        self.architectures
            .first()
            .is_some_and(|name| name.ends_with("Model") && !name.ends_with("LMHeadModel"))
    }

    /// What the net is called where it comes from: timm's architecture, else `model_type`.
    pub fn called(&self) -> &str {
        timm::architecture(&self.sizes).unwrap_or(&self.model_type)
    }

    /// The longest sequence that a text model has positions for, else the data's own; 0 for other inputs.
    pub fn positions(&self) -> usize {
        let own =
            ["n_positions", "max_position_embeddings"].iter().find_map(|key| self.sizes.get(*key)?.as_u64());
        match (own, &self.kiln_input) {
            (Some(own), _) => own as usize,
            (None, Some(InputSpec::Tokens { max_length, .. })) => *max_length,
            _ => 0,
        }
    }

    /// Class names in index order.
    pub fn classes(&self) -> Vec<String> {
        self.id2label.values().cloned().collect()
    }

    /// The number of classes, `K`.
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }

    /// The family's own keys as its type.
    ///
    /// # Errors
    /// A key is missing or of another type.
    pub(crate) fn sizes<T: DeserializeOwned>(&self) -> Result<T, ModelError> {
        T::deserialize(Value::Object(self.sizes.clone())).map_err(|e| {
            ModelError::config(
                format!("{FILE} of model type {:?}: {e}", self.model_type),
                "restore the file as it was saved, or give the folder of another model",
            )
        })
    }

    /// What one input looks like.
    pub(crate) fn input(&self) -> Result<&InputSpec, ModelError> {
        self.kiln_input.as_ref().ok_or_else(|| {
            ModelError::config(
                format!("{FILE} of model type {:?} has no \"kiln_input\"", self.model_type),
                "restore the file as it was saved",
            )
        })
    }

    /// Reads `folder/config.json`.
    ///
    /// # Errors
    /// The file is missing, is not JSON (line and column are named), or its class names contradict each other.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(FILE);
        let text = files::read_text(&path)?;
        let fault = |message: String| ModelError::Card {
            path: path.clone(),
            message,
            remedy: "give a folder with the config.json that belongs to its weights".into(),
        };
        let mut card: Card = serde_json::from_str(&text).map_err(|e| fault(e.to_string()))?;
        card.complete_labels();
        card.check_labels().map_err(fault)?;
        Ok(card)
    }

    /// `transformers` leaves `id2label` out where it has its default, two labels.
    fn complete_labels(&mut self) {
        if let Some(names) = timm::labels(&self.sizes).filter(|_| self.id2label.is_empty()) {
            self.id2label = names.into_iter().enumerate().collect();
            self.label2id = self.id2label.iter().map(|(i, c)| (c.clone(), *i)).collect();
        }
        if self.task().is_ok_and(TaskKind::is_language_modeling) {
            (self.id2label, self.label2id) = Default::default();
        } else if self.id2label.is_empty() {
            let count = self.sizes.get("num_labels").and_then(Value::as_u64).unwrap_or(2).min(1 << 20);
            self.id2label = (0..count as usize).map(|i| (i, format!("LABEL_{i}"))).collect();
            self.label2id = self.id2label.iter().map(|(i, c)| (c.clone(), *i)).collect();
        }
        self.sizes.remove("num_labels");
    }

    fn check_labels(&self) -> Result<(), String> {
        match self.id2label.keys().enumerate().find(|(i, key)| i != *key) {
            Some((i, key)) => {
                Err(format!("id2label: expected index {i}, got {key}; indices run from 0 without a gap"))
            }
            None => Ok(()),
        }
    }

    /// The card of weights that are written in another type than float32.
    pub(crate) fn stored_as(&self, dtype: SaveType) -> Self {
        let mut card = self.clone();
        // Older versions of transformers say torch_dtype; both read either.
        card.sizes.remove("torch_dtype");
        card.sizes.remove("dtype");
        if dtype != SaveType::Float32 {
            card.sizes.insert("dtype".into(), dtype.name().into());
        }
        card
    }

    /// The card with what it says of images, where it says anything, as a preprocessing has it.
    #[must_use]
    pub fn prepared_as(&self, images: Option<&BroughtPreprocessing>) -> Self {
        let mut card = self.clone();
        if let (Some(images), Some(_)) = (images, timm::architecture(&card.sizes)) {
            timm::prepare(&mut card.sizes, images);
        }
        card
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn problem_type(task: TaskKind) -> Option<&'static str> {
    match task {
        TaskKind::MultiLabelClassification => Some("multi_label_classification"),
        TaskKind::Regression => Some("regression"),
        _ => None,
    }
}

/// Labels have names of their own; a classifier has at least two classes, several labels or a regression one.
pub(crate) fn check_labels(classes: &[String], task: TaskKind) -> Result<(), ModelError> {
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = classes.iter().find(|c| !seen.insert(c.as_str())) {
        return Err(ModelError::config(
            format!("the class {twice:?} is listed twice"),
            "give each class its own name",
        ));
    }
    let needed = match task {
        TaskKind::Classification | TaskKind::TokenClassification => 2,
        TaskKind::MultiLabelClassification | TaskKind::Regression => 1,
        TaskKind::MaskedLanguageModeling | TaskKind::CausalLanguageModeling => 0,
    };
    if needed == 1 && classes.is_empty() {
        return Err(ModelError::config(
            format!("{task} needs at least one label, the data has none"),
            "name the label columns",
        ));
    }
    if classes.len() < needed {
        return Err(ModelError::config(
            format!("a classifier needs at least two classes, the data has {}", classes.len()),
            "check the label column or the class folders of the data",
        ));
    }
    Ok(())
}
