//! What is learned: the words of `[task]`, and the plain kind that data, models and scores agree on.
//! Owns the words, no loss and no metric (kiln-eval's tasks have them); every room reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskConfig {
    /// One class a sample, cross-entropy. A sentence pair is a text with `data.text_pair`.
    #[default]
    Classification,
    /// Any number of classes a sample, binary cross-entropy of each.
    MultiLabelClassification,
    /// One or more numbers a sample, squared error.
    Regression(RegressionConfig),
    /// One class a word (BIO tags), cross-entropy over each word's first token.
    TokenClassification,
    /// Guess hidden tokens (Devlin et al., 2018).
    MaskedLanguageModeling(MaskingConfig),
    /// Guess the next token.
    CausalLanguageModeling,
}

/// `kind = "regression"`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegressionConfig {
    /// Learn `(y - mean) / std` of the training rows. The loss is then of these; scores and answers stay in the
    /// label's own units.
    pub standardize: bool,
}

/// `kind = "masked_language_modeling"`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MaskingConfig {
    /// Share of the tokens to guess: of these 80 % are masked, 10 % replaced, 10 % kept.
    #[schemars(range(min = 0.01, max = 0.99))]
    pub mlm_probability: f64,
    /// Choose whole words, not single tokens.
    pub whole_word: bool,
}

impl Default for MaskingConfig {
    fn default() -> Self {
        Self { mlm_probability: 0.15, whole_word: false }
    }
}

/// A formula that training minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// `-ln softmax(x)` of the true class.
    CrossEntropy,
    /// Each class against the rest, the mean over all; as timm's `BinaryCrossEntropy` for one class a sample.
    BinaryCrossEntropy,
    /// The task's own formula times `(1 - p)^gamma` of the truth's probability: easy samples count less (Lin et al., 2017,
    /// arXiv 1708.02002).
    Focal,
}

/// The kind of a task without its settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One class a sample.
    #[default]
    Classification,
    /// Any number of classes a sample.
    MultiLabelClassification,
    /// One or more numbers a sample.
    Regression,
    /// One class a word.
    TokenClassification,
    /// Guess hidden tokens.
    MaskedLanguageModeling,
    /// Guess the next token.
    CausalLanguageModeling,
}

impl TaskConfig {
    /// Without the settings.
    pub fn kind(&self) -> TaskKind {
        match self {
            TaskConfig::Classification => TaskKind::Classification,
            TaskConfig::MultiLabelClassification => TaskKind::MultiLabelClassification,
            TaskConfig::Regression(_) => TaskKind::Regression,
            TaskConfig::TokenClassification => TaskKind::TokenClassification,
            TaskConfig::MaskedLanguageModeling(_) => TaskKind::MaskedLanguageModeling,
            TaskConfig::CausalLanguageModeling => TaskKind::CausalLanguageModeling,
        }
    }
}

impl TaskKind {
    /// The config's word.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Classification => "classification",
            TaskKind::MultiLabelClassification => "multi_label_classification",
            TaskKind::Regression => "regression",
            TaskKind::TokenClassification => "token_classification",
            TaskKind::MaskedLanguageModeling => "masked_language_modeling",
            TaskKind::CausalLanguageModeling => "causal_language_modeling",
        }
    }

    /// Whether the answer is a vocabulary of scores at every token.
    pub fn is_language_modeling(self) -> bool {
        matches!(self, TaskKind::MaskedLanguageModeling | TaskKind::CausalLanguageModeling)
    }

    /// Whether labels are names of classes.
    pub fn has_classes(self) -> bool {
        matches!(
            self,
            TaskKind::Classification | TaskKind::MultiLabelClassification | TaskKind::TokenClassification
        )
    }
}

impl std::fmt::Display for TaskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
