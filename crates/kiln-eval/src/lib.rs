//! A trained model as a folder, asked and scored: bundle, predictor, evaluation. Owns no optimizer and no HTTP.
//! The training loop, `kiln eval` and `kiln predict` call it.

pub mod bundle;
pub mod embedder;
mod error;
pub mod evaluate;
pub mod generate;
mod given;
pub mod metrics;
pub mod model_card;
pub mod predictor;
mod prepared;
pub mod report;
pub mod sample;
pub mod scores;
pub mod tasks;
mod tta;

pub use bundle::Bundle;
pub use embedder::Embedder;
pub use error::EvalError;
pub use evaluate::Evaluation;
pub use generate::{Continued, Generation, Generator};
pub use given::Takes;
pub use model_card::ModelCard;
pub use predictor::{Answer, Prediction, Predictions, Predictor};
pub use prepared::{Fields, Prepared};
pub use sample::Sampling;
pub use scores::Scores;
pub use tasks::Task;
pub use tta::Tta;
