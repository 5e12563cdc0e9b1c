//! Inputs that a client has prepared itself: which tensors a net takes without its preprocessing.
//! Owns their limits, as the model's card has them; whoever takes such inputs checks them against these. The server does.

use kiln_core::{InputSpec, TaskKind};
use kiln_models::{Card, FAMILIES};

use crate::Bundle;

/// One input as the net reads it, and what is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Token ids, and the segment of each.
    Tokens {
        /// Ids are below this.
        vocab_size: usize,
        /// Most tokens of a sequence.
        longest: usize,
        /// Segments are below this; 1 where the net tells none apart.
        segments: usize,
    },
    /// Pixels as the preprocessing leaves them: `[C, H, W]`.
    Pixels([usize; 3]),
}

impl Bundle {
    /// What the net takes of a client that has prepared its input itself; `None` where rows are read, and where answers
    /// are in the words of the text that was asked.
    pub fn takes(&self) -> Option<Takes> {
        use TaskKind::{Classification, MultiLabelClassification, Regression};
        if !matches!(self.task.kind(), Classification | MultiLabelClassification | Regression) {
            return None;
        }
        match (self.preprocessor.input(), &self.model.card.kiln_input) {
            (InputSpec::Image { channels, height, width }, _) => {
                Some(Takes::Pixels([*channels, *height, *width]))
            }
            // The net's own vocabulary may be larger than its tokenizer's.
            (InputSpec::Tokens { .. }, Some(InputSpec::Tokens { vocab_size, .. }))
            | (InputSpec::Tokens { vocab_size, .. }, _) => Some(of_tokens(&self.model.card, *vocab_size)),
            (InputSpec::Table { .. }, _) => None,
        }
    }
}

fn of_tokens(card: &Card, vocab_size: usize) -> Takes {
    let family = FAMILIES.iter().find(|family| family.reads(card));
    // RoBERTa's first position is the one behind the padding's.
    let facts = family.and_then(|family| family.facts(card).ok());
    let unused = facts.and_then(|facts| facts.padding_position).map_or(0, |padding| padding + 1);
    let segments = card.sizes.get("type_vocab_size").and_then(serde_json::Value::as_u64).unwrap_or(1);
    let longest = card.positions().saturating_sub(unused);
    Takes::Tokens { vocab_size, longest, segments: segments.max(1) as usize }
}
