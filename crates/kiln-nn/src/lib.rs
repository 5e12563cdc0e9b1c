//! Layers and losses with PyTorch's names, layouts, initial values and semantics, so that no weight is ever converted.
//! Owns what Burn lacks or defines differently; never an architecture (kiln-models) or an update rule (kiln-train).
//! Hands layers to kiln-models and the loss to kiln-train and kiln-eval.
//!
//! `Conv2d` (with the meter told) is Burn's own: its parameters already carry PyTorch's names (`weight`, `bias`), layout
//! (`[out, in, h, w]`) and initial values. Burn's `Linear` is not used because it stores
//! `[in, out]`; its norms are not because they call their parameters `gamma` and `beta`.

pub mod attention;
pub mod checkpoint;
pub mod conv;
pub mod conv1d;
#[cfg(feature = "cpu")]
mod cpu;
pub mod drop_path;
pub mod dropout;
pub mod embedding;
mod hand;
pub mod linear;
pub mod lora;
pub mod loss;
pub mod meter;
pub mod norm;
pub mod ops;
pub mod precision;
pub mod random;
pub mod threads;

pub use attention::{attention, attention_packed};
pub use burn::nn::PaddingConfig2d;
pub use conv::{Conv2d, Conv2dConfig};
pub use conv1d::Conv1D;
pub use drop_path::DropPath;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use linear::Linear;
pub use loss::{
    binary_cross_entropy_with_logits, cross_entropy, mse, soft_cross_entropy, token_cross_entropy,
};
pub use norm::{BatchNorm2d, LayerNorm};
pub use ops::{gelu, gelu_new, global_avg_pool2d, max_pool2d, relu, relu6, silu};
pub use precision::Precision;
