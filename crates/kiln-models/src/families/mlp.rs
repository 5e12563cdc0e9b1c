//! A multi-layer perceptron: linear, ReLU, dropout for each hidden width, then the head.
//! Reads table rows, and images flattened in `C H W` order.
//! Own names: `layers.N.weight`, `head.weight`; initial weights are `torch.nn.Linear`'s.
//!
//! Shapes: `B` batch, `F` features, `K` classes.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use kiln_core::{Forward, InputSpec, Net, TaskKind};
use kiln_nn::{Dropout, Linear};
use serde::{Deserialize, Serialize};

use super::{dropout, one_answer_a_sample, wrong_branch, wrong_input};
use crate::{Card, ModelConfig, ModelError};

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
    head: Linear,
    dropout: Dropout,
}

impl Forward for Mlp {
    type In = Tensor<2>;
    type Out = Tensor<2>;

    /// `[B, F]` to `[B, K]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = |x, layer: &Linear| self.dropout.forward(activation::relu(layer.forward(x)));
        self.head.forward(self.layers.iter().fold(x, hidden))
    }
}

#[derive(Serialize, Deserialize)]
struct Sizes {
    hidden_sizes: Vec<usize>,
    dropout: f64,
}

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn model_type(&self) -> &'static str {
        "kiln_mlp"
    }

    fn description(&self) -> &'static str {
        "fully connected layers with ReLU, for table rows and small images"
    }

    fn head(&self, _: &Card) -> Result<&'static str, ModelError> {
        Ok("head")
    }

    fn card(
        &self,
        config: &ModelConfig,
        input: &InputSpec,
        labels: &[String],
        task: TaskKind,
    ) -> Result<Card, ModelError> {
        one_answer_a_sample("mlp", task)?;
        let ModelConfig::Mlp(config) = config else { return Err(wrong_branch(config)) };
        features(input)?;
        if let Some(at) = config.hidden.iter().position(|width| *width == 0) {
            let message = format!("[model] hidden[{at}] is 0, expected at least 1");
            return Err(ModelError::config(message, "give every hidden layer a width"));
        }
        let sizes = Sizes { hidden_sizes: config.hidden.clone(), dropout: config.dropout };
        Card::new("Mlp", self.model_type(), input, labels, task, &sizes)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        let mut width = features(card.input()?)?;
        let mut layers = Vec::new();
        for hidden in sizes.hidden_sizes {
            layers.push(Linear::new(width, hidden, device));
            width = hidden;
        }
        let head = Linear::new(width, card.num_labels(), device);
        Ok(Box::new(Mlp { layers, head, dropout: dropout(sizes.dropout)? }))
    }
}

/// `F`
fn features(input: &InputSpec) -> Result<usize, ModelError> {
    match input {
        InputSpec::Table { features, cardinalities } if cardinalities.is_empty() => Ok(*features),
        InputSpec::Table { .. } => Err(wrong_input("mlp", "numbers", input)),
        InputSpec::Image { channels, height, width } => Ok(channels * height * width),
        InputSpec::Tokens { .. } => Err(wrong_input("mlp", "table rows or images", input)),
    }
}
