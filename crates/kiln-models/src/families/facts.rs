//! What of a net's arithmetic the names and shapes of its tensors do not say.
//! Owns these few numbers and nothing else; families answer them from a card ([`super::Family::facts`]). Whoever draws
//! the net again in another form (kiln-onnx) needs them beside the state.

pub use super::encoder::Activation;

/// The facts; a family sets those that its nets have.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Attention heads; 0 in a net without attention.
    pub heads: usize,
    /// What norms add to a variance.
    pub eps: f64,
    /// The same of the norm before the head, where that is another.
    pub head_eps: f64,
    /// Of the feed-forward layers.
    pub activation: Activation,
    /// RoBERTa: positions count on from this one, which is the padding's. `None`: from 0.
    pub padding_position: Option<usize>,
    /// MobileNetV2: the stride of each stage's first block.
    pub strides: Vec<usize>,
    /// Convolutions pad as TensorFlow's "SAME" does.
    pub same_padding: bool,
}

impl Default for Facts {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self {
            heads: 0,
            eps: 1e-5,
            head_eps: 1e-5,
            activation: Activation::Gelu,
            padding_position: None,
            strides: Vec::new(),
            same_padding: false,
        }
    }
}
