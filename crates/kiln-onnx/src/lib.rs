//! Trained models as ONNX files that check themselves: drawn, run by another implementation, compared, and only then
//! there. Owns the graphs of all families, the golden cases and their check; never trains, prints nothing.
//! `kiln export` and `kiln verify` call it; the latter also with an ONNX Runtime that is installed (`onnxruntime`).
//!
//! How a graph comes to be: by hand, family by family (`families`), from a net's own state and `config.json`. The other
//! way is to capture the operations of a pass and lower them, as burn-onnx 0.22's experimental `export` does. It was looked at and
//! not taken: of the nets here it lowers residual ones only (no embedding, layer norm, softmax, GELU, transpose or mask),
//! kiln's own fused operations are opaque to it, a dynamic batch and length is guessed from two passes, and nodes have no
//! layer's name. Drawn by hand, every size of batch and text is right by construction and an error names its layer. The
//! price is one more form of each pass; every export compares the two, and a tensor of the state that no node reads is
//! refused.
//!
//! The messages of the format are tract's own (`tract_onnx::pb`, generated from the published `onnx.proto`): one library
//! both writes and runs the file, and no second copy of the format has to be generated.

mod blocks;
mod calibration;
mod check;
mod error;
mod export;
mod families;
pub mod file;
pub mod golden;
mod graph;
mod half;
mod int8;
mod onnxruntime;
mod units;
mod verify;

pub use calibration::calibration;
pub use check::Checked;
pub use error::OnnxError;
pub use export::{Calibration, Options, Precision, Report, Subject, export, hashes};
pub use verify::{verify, verify_by_onnxruntime};

/// The words of the families that can be exported.
pub fn families() -> Vec<&'static str> {
    families::EXPORTERS.iter().map(|(name, _)| *name).collect()
}
