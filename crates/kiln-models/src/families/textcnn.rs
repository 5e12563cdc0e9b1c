//! TextCNN (Kim, 2014, "Convolutional Neural Networks for Sentence Classification"), CNN-rand: embeddings learned from
//! scratch, filters of several widths side by side, ReLU, maximum over time, dropout, the head.
//! Reference: the paper's own `conv_net_sentence.py`, which pads a sentence with empty words on both sides. Each filter
//! here sees every window that holds a token, at the ends with empty words beside it: so texts shorter than a filter
//! are read too, and padding changes nothing. Differences: windows of padding alone are left out; weight decay takes
//! the place of the norm constraint.
//! Own names: `embedding.weight`, `convs.N.weight`, `convs.N.bias`, `head.*`.
//!
//! Shapes: `B` batch, `T` tokens, `D` embedding, `M` filters of a width, `P` windows, `K` classes.

use burn::module::{Initializer, Module};
use burn::nn::PaddingConfig1d;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, module};
use kiln_core::{Forward, InputSpec, Net, TaskKind, Tokens};
use kiln_nn::{Dropout, Embedding, Linear, relu};
use serde::{Deserialize, Serialize};

use super::{dropout, one_answer_a_sample, wrong_branch, wrong_input};
use crate::{Card, ModelConfig, ModelError};

#[derive(Module, Debug)]
struct Textcnn {
    embedding: Embedding,
    convs: Vec<Conv1d>,
    head: Linear,
    dropout: Dropout,
}

/// 1 for each window of `width` that holds a token, else 0: `[B, 1, P]` of the mask `[B, 1, T]`.
fn windows(mask: Tensor<3>, width: usize) -> Tensor<3> {
    let ones = Tensor::<3>::ones([1, 1, width], &mask.device());
    module::conv1d(mask, ones, None, ConvOptions::new([1], [width - 1], [1], 1)).clamp_max(1.0)
}

impl Forward for Textcnn {
    type In = Tokens;
    type Out = Tensor<2>;

    /// Ids `[B, T]` to `[B, K]`.
    fn forward(&self, x: Tokens) -> Tensor<2> {
        let mask = x.mask.float().unsqueeze_dim::<3>(1);
        let words = self.embedding.forward(x.ids).swap_dims(1, 2) * mask.clone();
        let pooled = self.convs.iter().map(|conv| {
            let found = relu(conv.forward(words.clone()));
            // A window without a token counts 0, which the maximum of ReLUs does not see.
            (found * windows(mask.clone(), conv.kernel_size)).max_dim(2).squeeze_dim::<2>(2)
        });
        self.head.forward(self.dropout.forward(Tensor::cat(pooled.collect(), 1)))
    }
}

#[derive(Serialize, Deserialize)]
struct Sizes {
    vocab_size: usize,
    embedding_size: usize,
    kernel_sizes: Vec<usize>,
    num_filters: usize,
    dropout: f64,
}

impl Sizes {
    fn check(&self) -> Result<(), ModelError> {
        let zero = self.kernel_sizes.contains(&0) || self.embedding_size == 0 || self.num_filters == 0;
        if zero || self.kernel_sizes.is_empty() {
            let message = format!(
                "kernel_sizes {:?} with {} filters each over {} numbers a word",
                self.kernel_sizes, self.num_filters, self.embedding_size
            );
            return Err(ModelError::config(
                message,
                "give each at least 1, for example kernel_sizes = [3, 4, 5]",
            ));
        }
        Ok(())
    }
}

pub(super) struct Family;

impl super::Family for Family {
    fn name(&self) -> &'static str {
        "textcnn"
    }

    fn model_type(&self) -> &'static str {
        "kiln_textcnn"
    }

    fn description(&self) -> &'static str {
        "convolutions over words (Kim, 2014), for text from scratch"
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
        one_answer_a_sample("textcnn", task)?;
        let ModelConfig::Textcnn(config) = config else { return Err(wrong_branch(config)) };
        let InputSpec::Tokens { vocab_size, .. } = input else {
            return Err(wrong_input("textcnn", "text", input));
        };
        let sizes = Sizes {
            vocab_size: *vocab_size,
            embedding_size: config.embedding_size,
            kernel_sizes: config.kernel_sizes.clone(),
            num_filters: config.num_filters,
            dropout: config.dropout,
        };
        sizes.check()?;
        Card::new("TextCNN", self.model_type(), input, labels, task, &sizes)
    }

    fn net(&self, card: &Card, device: &Device) -> Result<Box<dyn Net>, ModelError> {
        let sizes: Sizes = card.sizes()?;
        sizes.check()?;
        let (d, m) = (sizes.embedding_size, sizes.num_filters);
        // Kim draws words that no pretrained vector has from here.
        let uniform = Initializer::Uniform { min: -0.25, max: 0.25 };
        let conv = |width: &usize| {
            let wide = PaddingConfig1d::Explicit(width - 1, width - 1);
            Conv1dConfig::new(d, m, *width).with_padding(wide).init(device)
        };
        Ok(Box::new(Textcnn {
            embedding: Embedding::new(sizes.vocab_size, d, &uniform, device),
            convs: sizes.kernel_sizes.iter().map(conv).collect(),
            head: Linear::new(m * sizes.kernel_sizes.len(), card.num_labels(), device),
            dropout: dropout(sizes.dropout)?,
        }))
    }
}
