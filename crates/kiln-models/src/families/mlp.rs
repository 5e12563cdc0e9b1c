//! A multi-layer perceptron: linear, ReLU, dropout for each hidden width, then the head.
//! Reads table rows, and images flattened in `C H W` order. Each column of categories becomes an embedding of
//! `min(50, (values + 1) / 2)` numbers (the rule of fastai's first tabular models), put behind the numbers.
//! Own names: `embeddings.N.weight`, `layers.N.weight`, `head.weight`; initial weights are `torch.nn`'s.
//!
//! Shapes: `B` batch, `F` features, `N` categories, `K` classes.

use burn::module::{Initializer, Module};
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, InputSpec, Net, Table, TaskKind};
use kiln_nn::{Dropout, Embedding, Linear, relu};
use serde::{Deserialize, Serialize};

use super::{dropout, one_answer_a_sample, wrong_branch, wrong_input};
use crate::{Card, ModelConfig, ModelError};

#[derive(Module, Debug)]
struct Mlp {
    embeddings: Vec<Embedding>,
    layers: Vec<Linear>,
    head: Linear,
    dropout: Dropout,
}

impl Mlp {
    /// Numbers, then each category's embedding.
    fn features(&self, x: Table) -> Tensor<2> {
        let mut all: Vec<Tensor<2>> = x.numbers.into_iter().collect();
        if let Some(categories) = x.categories {
            let embed = |(i, of): (usize, &Embedding)| {
                of.forward(categories.clone().narrow(1, i, 1)).squeeze_dim::<2>(1)
            };
            all.extend(self.embeddings.iter().enumerate().map(embed));
        }
        match all.len() {
            1 => all.remove(0),
            _ => Tensor::cat(all, 1),
        }
    }
}

impl Forward for Mlp {
    type In = Table;
    type Out = Tensor<2>;

    /// A table of `[B, F]` and `[B, N]` to `[B, K]`.
    fn forward(&self, x: Table) -> Tensor<2> {
        let x = self.features(x);
        let hidden = |x, layer: &Linear| self.dropout.forward(relu(layer.forward(x)));
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
        columns(input)?;
        if let Some(at) = config.hidden.iter().position(|width| *width == 0) {
            let message = format!("[model] hidden[{at}] is 0, expected at least 1");
            return Err(ModelError::config(message, "give every hidden layer a width"));
        }
        let sizes = Sizes { hidden_sizes: config.hidden.clone(), dropout: config.dropout };
        Card::new("Mlp", self.model_type(), input, labels, task, &sizes)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        let (features, cardinalities) = columns(card.input()?)?;
        let widths: Vec<usize> = cardinalities.iter().map(|n| 50.min(n.div_ceil(2))).collect();
        let normal = Initializer::Normal { mean: 0.0, std: 1.0 };
        let embedding = |(n, width): (&usize, &usize)| Embedding::new(*n, *width, &normal, device);
        let embeddings = cardinalities.iter().zip(&widths).map(embedding).collect();
        let mut width = features + widths.iter().sum::<usize>();
        let mut layers = Vec::new();
        for hidden in sizes.hidden_sizes {
            layers.push(Linear::new(width, hidden, device));
            width = hidden;
        }
        let head = Linear::new(width, card.num_labels(), device);
        Ok(Box::new(Mlp { embeddings, layers, head, dropout: dropout(sizes.dropout)? }))
    }
}

/// `F`, and the values of each of `N` categories.
fn columns(input: &InputSpec) -> Result<(usize, &[usize]), ModelError> {
    match input {
        InputSpec::Table { features, cardinalities } => Ok((*features, cardinalities)),
        InputSpec::Image { channels, height, width } => Ok((channels * height * width, &[])),
        InputSpec::Tokens { .. } => Err(wrong_input("mlp", "table rows or images", input)),
    }
}
