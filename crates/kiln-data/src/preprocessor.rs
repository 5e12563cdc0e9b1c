//! The one program by which raw samples become numbers: in training, evaluation and prediction alike.
//! Owns its form on disk; never reads samples. Hands features to the loader, and itself to the model folder.

use std::path::Path;

use kiln_core::files;
use kiln_core::seed::{Purpose, mix};
use kiln_core::{InputSpec, MaskingConfig, TaskKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::batch::Features;
pub(crate) use crate::columns::{Columns, Wanted};
use crate::config::{DataConfig, TokenizerKind};
use crate::error::DataError;
use crate::image_program::{ImageProgram, validate};
use crate::label::{Label, align};
use crate::masking::mask;
use crate::split::Raw;
use crate::table_program::{Scale, TableProgram};
use crate::text_program::{TextProgram, features};
use crate::text_transforms::{TextTransform, Texts};

/// How raw samples become a model's input.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    pub(crate) program: Program,
    input: InputSpec,
    /// Of the numbers to learn; empty where they are learned as they are.
    targets: Vec<Scale>,
    /// How tokens are hidden; `None` where none are.
    masking: Option<MaskingConfig>,
}

#[derive(Debug, Clone)]
pub(crate) enum Program {
    Image(ImageProgram),
    Text {
        text: TextProgram,
        columns: Columns,
    },
    /// Blocks of plain text.
    Corpus(TextProgram),
    Table(TableProgram),
}

/// The `kiln` object in the model folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Stored {
    Image(ImageProgram),
    Text {
        max_length: usize,
        columns: Columns,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        text_transforms: Vec<TextTransform>,
    },
    Corpus {
        block_size: usize,
    },
    Table(TableProgram),
}

pub(crate) const IMAGE_FILE: &str = "preprocessor_config.json";
pub(crate) const TEXT_FILE: &str = "tokenizer_config.json";
/// Beside the `kiln` object: mean and standard deviation of each number to learn.
const TARGETS: &str = "kiln_targets";
/// Beside the `kiln` object: how tokens are hidden.
const MASKING: &str = "kiln_masking";
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

impl Preprocessor {
    pub(crate) fn new(program: Program) -> Self {
        let input = match &program {
            Program::Image(p) => InputSpec::Image { channels: p.channels, height: p.height, width: p.width },
            Program::Text { text, .. } | Program::Corpus(text) => InputSpec::Tokens {
                vocab_size: text.vocab_size,
                max_length: text.max_length,
                pad_id: text.pad_id,
            },
            Program::Table(table) => {
                InputSpec::Table { features: table.columns.features(), cardinalities: table.cardinalities() }
            }
        };
        Self { program, input, targets: Vec::new(), masking: None }
    }

    /// The same, with the numbers to learn scaled.
    pub(crate) fn with_targets(self, targets: Vec<Scale>) -> Self {
        Self { targets, ..self }
    }

    /// The same, hiding tokens of what is learned from and scored.
    pub(crate) fn with_masking(self, masking: Option<MaskingConfig>) -> Self {
        Self { masking, ..self }
    }

    /// The same, with the names of the classes that a text transform may speak of.
    pub(crate) fn naming(mut self, classes: &[String], task: TaskKind) -> Result<Self, DataError> {
        if let Program::Text { text, columns } = &mut self.program {
            let words = matches!(columns.wanted, Wanted::Words { .. });
            let of = Texts { task: Some(task), words, pair: columns.pair.is_some(), classes: Some(classes) };
            text.transforms = text.transforms.for_classes(&of)?;
        }
        Ok(self)
    }

    /// The scales of the numbers that a regression learns, by which its answers are undone; empty where it learns
    /// them as they are.
    pub fn targets(&self) -> &[Scale] {
        &self.targets
    }

    /// Whether the shape of a sample depends on what the training samples hold.
    pub(crate) fn learns_input(&self, config: &DataConfig) -> bool {
        match &self.program {
            Program::Table(table) => !table.columns.categories.is_empty(),
            Program::Text { .. } => config.tokenizer().is_some_and(|c| c.kind == TokenizerKind::Words),
            Program::Image(_) | Program::Corpus(_) => false,
        }
    }

    /// The shape of one prepared sample: what the model must read.
    pub fn input(&self) -> &InputSpec {
        &self.input
    }

    /// Prepares one sample. With `augment` (the sample's seed) random transforms act as in training; without it their
    /// fixed counterparts do, as in evaluation.
    ///
    /// # Errors
    /// An image of the wrong size, a text that the tokenizer refuses, a row of the wrong length, or another kind of
    /// sample than this program reads.
    pub fn prepare(&self, raw: Raw, augment: Option<u64>) -> Result<Features, DataError> {
        self.prepare_named(raw, "the sample", augment)
    }

    /// As [`prepare`](Self::prepare); errors call the sample `name`.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_named(&self, raw: Raw, name: &str, augment: Option<u64>) -> Result<Features, DataError> {
        let (raw, _) = self.reworded(raw, &Label::None, augment);
        self.numbers(raw, name, augment)
    }

    /// A text as the tokenizer is to read it; other samples as they are.
    fn reworded(&self, raw: Raw, label: &Label, augment: Option<u64>) -> (Raw, Label) {
        match (&self.program, augment) {
            (Program::Text { text, .. }, Some(seed)) => text.transforms.augmented(raw, label, seed),
            (Program::Text { text, .. }, None) => (text.transforms.normalized(raw), label.clone()),
            _ => (raw, label.clone()),
        }
    }

    /// Of a sample whose texts are as the tokenizer is to read them.
    fn numbers(&self, raw: Raw, name: &str, augment: Option<u64>) -> Result<Features, DataError> {
        match (&self.program, raw) {
            (Program::Image(program), Raw::Image(image)) => {
                program.run(image, name, augment).map(Features::Image)
            }
            (Program::Text { text, columns }, raw) => {
                let fits = columns.pair.is_some() == matches!(raw, Raw::Pair(..));
                let made = match augment.filter(|_| text.transforms.acts_on_tokens()) {
                    Some(seed) => {
                        text.encode(&raw).map(|made| Ok(text.transforms.augmented_tokens(&made?, text, seed)))
                    }
                    None => text.run(&raw),
                };
                made.filter(|_| fits).unwrap_or_else(|| Err(self.other(&raw, name)))
            }
            (Program::Table(table), Raw::Row { numbers, categories }) => table
                .run(&numbers, &categories, name)
                .unwrap_or_else(|| Err(self.other(&Raw::Row { numbers, categories }, name))),
            (_, raw) => Err(self.other(&raw, name)),
        }
    }

    fn other(&self, raw: &Raw, name: &str) -> DataError {
        let expected = match &self.program {
            Program::Text { columns, .. } if columns.pair.is_some() => "a pair of texts",
            _ => self.kind(),
        };
        DataError::Kind { place: name.into(), expected, got: raw.describe() }
    }

    /// Prepares one sample with its label, which some tasks fit to the tokens: a tag a word to the words' first
    /// tokens, hidden tokens to those that are hidden. `index` is the sample's place in its split, which alone decides
    /// what is hidden where nothing is augmented.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn example(
        &self,
        raw: Raw,
        label: &Label,
        name: &str,
        augment: Option<u64>,
        index: usize,
    ) -> Result<(Features, Label), DataError> {
        let raw = match raw {
            Raw::Tokens(ids) => return Ok(next_tokens(ids)),
            raw => raw,
        };
        let (raw, label) = self.reworded(raw, label, augment);
        if let Some(fitted) = self.fitted(&raw, &label, augment, index).transpose()? {
            return Ok(fitted);
        }
        let features = self.numbers(raw, name, augment)?;
        Ok((features, self.scaled(&label)))
    }

    /// The label as it is learned.
    pub(crate) fn scaled(&self, label: &Label) -> Label {
        match label {
            Label::Values(values) if !self.targets.is_empty() => {
                Label::Values(values.iter().zip(&self.targets).map(|(x, scale)| scale.apply(*x)).collect())
            }
            label => label.clone(),
        }
    }

    /// A sample whose label depends on its tokens.
    fn fitted(
        &self,
        raw: &Raw,
        label: &Label,
        augment: Option<u64>,
        index: usize,
    ) -> Option<Result<(Features, Label), DataError>> {
        let Program::Text { text, .. } = &self.program else { return None };
        match (label, self.masking, &text.mask) {
            (Label::Tags(tags), _, _) => Some(
                text.encode(raw)?.map(|encoding| (features(&encoding), align(tags, encoding.get_word_ids()))),
            ),
            (_, Some(config), Some((id, _))) => {
                let seed = augment.unwrap_or_else(|| mix(0, Purpose::Mask, &[index as u64]));
                Some(text.encode(raw)?.map(|encoding| mask(&encoding, text, *id, config, seed)))
            }
            _ => None,
        }
    }

    /// Every token id of a text, of any length and without special tokens; `None` where inputs are no texts.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub fn encode(&self, text: &str) -> Option<Result<Vec<u32>, DataError>> {
        self.text().map(|program| program.token_ids(text))
    }

    /// The text of token ids; `None` where inputs are no texts.
    ///
    /// # Errors
    /// Ids that the tokenizer refuses.
    pub fn decode(&self, ids: &[u32]) -> Option<Result<String, DataError>> {
        self.text().map(|program| program.decode(ids))
    }

    fn text(&self) -> Option<&TextProgram> {
        match &self.program {
            Program::Text { text, .. } | Program::Corpus(text) => Some(text),
            Program::Image(_) | Program::Table(_) => None,
        }
    }

    /// Whether samples are blocks of plain text.
    pub(crate) fn is_corpus(&self) -> bool {
        matches!(self.program, Program::Corpus(_))
    }

    /// "image", "text" or "table".
    pub fn kind(&self) -> &'static str {
        match self.program {
            Program::Image(_) => "image",
            Program::Text { .. } | Program::Corpus(_) => "text",
            Program::Table(_) => "table",
        }
    }

    /// Writes the program into a model's folder: `preprocessor_config.json` (images and tables), or
    /// `tokenizer.json` (byte for byte the source file) and `tokenizer_config.json`. Hugging Face fields say the same
    /// to other tools; the `kiln` object is the exact program.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn save(&self, folder: &Path) -> Result<(), DataError> {
        let (file, fields, stored) = match &self.program {
            Program::Image(program) => (IMAGE_FILE, program.hugging_face(), Stored::Image(program.clone())),
            Program::Table(table) => (IMAGE_FILE, Map::new(), Stored::Table(table.clone())),
            Program::Corpus(text) => {
                files::write_synced(&folder.join(TOKENIZER_FILE), &text.source)?;
                (TEXT_FILE, text_fields(text), Stored::Corpus { block_size: text.max_length })
            }
            Program::Text { text, columns } => {
                files::write_synced(&folder.join(TOKENIZER_FILE), &text.source)?;
                let stored = Stored::Text {
                    max_length: text.max_length,
                    columns: columns.clone(),
                    text_transforms: text.transforms.list().to_vec(),
                };
                (TEXT_FILE, text_fields(text), stored)
            }
        };
        let path = folder.join(file);
        let bytes = render(fields, &stored, self).map_err(|e| program_fault(&path, e))?;
        Ok(files::write_synced(&path, &bytes)?)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// A file is missing, damaged, or was not written by kiln.
    pub fn load(folder: &Path) -> Result<Self, DataError> {
        let image = folder.join(IMAGE_FILE);
        let path = if image.is_file() { image } else { folder.join(TEXT_FILE) };
        let expected = "a model folder's preprocessor_config.json or tokenizer_config.json";
        let bytes = std::fs::read(&path).map_err(DataError::opening(&path, expected))?;
        let mut value: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|e| program_fault(&path, e))?;
        let stored = value
            .remove("kiln")
            .ok_or_else(|| program_fault(&path, "no \"kiln\" object with the exact program"))?;
        let program = match serde_json::from_value(stored).map_err(|e| program_fault(&path, e))? {
            Stored::Image(program) => {
                validate(program.channels, program.background.as_ref(), &program.transforms)
                    .map_err(|e| program_fault(&path, e))?;
                Program::Image(program)
            }
            Stored::Table(table) => Program::Table(table),
            Stored::Corpus { block_size } => {
                Program::Corpus(TextProgram::open_unpadded(&folder.join(TOKENIZER_FILE), block_size)?)
            }
            Stored::Text { max_length, columns, text_transforms } => {
                let words = matches!(columns.wanted, Wanted::Words { .. });
                let text = TextProgram::open(&folder.join(TOKENIZER_FILE), max_length, words)?;
                let of = Texts { words, pair: columns.pair.is_some(), ..Texts::default() };
                let text =
                    text.with_transforms(&text_transforms, &of).map_err(|e| program_fault(&path, e))?;
                Program::Text { text, columns }
            }
        };
        let masking = value.remove(MASKING).map(serde_json::from_value).transpose();
        let masking = masking.map_err(|e| program_fault(&path, e))?;
        let targets = value.remove(TARGETS).map(serde_json::from_value).transpose();
        let targets = targets.map_err(|e| program_fault(&path, e))?.unwrap_or_default();
        Ok(Self::new(program).with_targets(targets).with_masking(masking))
    }
}

/// A block reads all its tokens but the last, and each one's answer is the next.
fn next_tokens(mut ids: Vec<u32>) -> (Features, Label) {
    let answers = ids.iter().skip(1).map(|id| i64::from(*id)).collect();
    ids.pop();
    let types = vec![0; ids.len()];
    (Features::Tokens { ids, types }, Label::Tokens(answers))
}

/// What the source's `tokenizer_config.json` said, with kiln's length.
fn text_fields(text: &TextProgram) -> Map<String, Value> {
    let mut fields = text.config.clone();
    fields.entry("tokenizer_class").or_insert(json!("PreTrainedTokenizerFast"));
    fields.insert("model_max_length".into(), json!(text.max_length));
    fields
}

fn render(
    mut fields: Map<String, Value>,
    stored: &Stored,
    program: &Preprocessor,
) -> serde_json::Result<Vec<u8>> {
    fields.insert("kiln".into(), serde_json::to_value(stored)?);
    if !program.targets.is_empty() {
        fields.insert(TARGETS.into(), serde_json::to_value(&program.targets)?);
    }
    if let Some(masking) = &program.masking {
        fields.insert(MASKING.into(), serde_json::to_value(masking)?);
    }
    let mut bytes = serde_json::to_vec_pretty(&fields)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn program_fault(path: &Path, problem: impl std::fmt::Display) -> DataError {
    DataError::Program { path: path.into(), problem: problem.to_string() }
}
