//! Prepared samples gathered into one batch, first on the host, then on a device.
//! Owns padding and the only door to tensors (`collate`); never prepares a sample.
//! Hands a `kiln_core::Batch` to the loop and the evaluator.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `T` tokens (longest of the batch), `F` features.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use kiln_core::{Batch, Input, InputSpec, Tokens};

/// One prepared sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Features {
    /// `C * H * W` numbers, channels first.
    Image(Vec<f32>),
    /// Ids and segments of one text, not padded.
    Tokens {
        /// Vocabulary indices.
        ids: Vec<u32>,
        /// Segment of each token.
        types: Vec<u32>,
    },
    /// `F` numbers.
    Row(Vec<f32>),
}

/// The samples of one batch side by side, padded to one shape.
#[derive(Debug, Clone, PartialEq)]
pub enum HostFeatures {
    /// `[B, C, H, W]`
    Image {
        /// Numbers in that order.
        values: Vec<f32>,
        /// `[B, C, H, W]`
        shape: [usize; 4],
    },
    /// `[B, T]`
    Tokens {
        /// Vocabulary indices, padded.
        ids: Vec<i32>,
        /// True where a token is real.
        mask: Vec<bool>,
        /// Segments, padded with 0.
        types: Vec<i32>,
        /// `[B, T]`
        shape: [usize; 2],
    },
    /// `[B, F]`
    Table {
        /// Numbers in that order.
        values: Vec<f32>,
        /// `[B, F]`
        shape: [usize; 2],
    },
}

/// A batch in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// The padded samples.
    pub features: HostFeatures,
    /// `[B]` class indices; `None` where a sample has no label.
    pub classes: Option<Vec<i64>>,
    /// `[B]` places of the samples in their split.
    pub indices: Vec<usize>,
}

impl HostBatch {
    /// `B`
    pub fn size(&self) -> usize {
        self.indices.len()
    }

    /// Gathers prepared samples: `(place in the split, features, class)`. Texts are padded to the longest.
    /// Samples of another kind than `input` cannot come out of the preprocessor that `input` describes.
    pub fn gather(samples: Vec<(usize, Features, Option<usize>)>, input: &InputSpec) -> Self {
        let indices = samples.iter().map(|s| s.0).collect();
        let classes = samples.iter().map(|s| s.2.map(|class| class as i64)).collect();
        let features = gather(samples.into_iter().map(|s| s.1).collect(), input);
        Self { features, classes, indices }
    }
}

fn gather(samples: Vec<Features>, input: &InputSpec) -> HostFeatures {
    let b = samples.len();
    match *input {
        InputSpec::Image { channels, height, width } => {
            HostFeatures::Image { values: side_by_side(samples), shape: [b, channels, height, width] }
        }
        InputSpec::Table { features } => {
            HostFeatures::Table { values: side_by_side(samples), shape: [b, features] }
        }
        InputSpec::Tokens { pad_id, .. } => pad(&samples, pad_id),
    }
}

fn side_by_side(samples: Vec<Features>) -> Vec<f32> {
    let rows = samples.into_iter().map(|s| match s {
        Features::Image(values) | Features::Row(values) => values,
        Features::Tokens { .. } => Vec::new(),
    });
    rows.reduce(|mut all, row| {
        all.extend_from_slice(&row);
        all
    })
    .unwrap_or_default()
}

fn pad(samples: &[Features], pad_id: u32) -> HostFeatures {
    let texts = || {
        samples.iter().map(|s| match s {
            Features::Tokens { ids, types } => (ids.as_slice(), types.as_slice()),
            Features::Image(_) | Features::Row(_) => (&[][..], &[][..]),
        })
    };
    // A model cannot read zero tokens: an empty text without special tokens becomes one pad.
    let t = texts().map(|(ids, _)| ids.len()).max().unwrap_or(0).max(1);
    let n = samples.len() * t;
    let (mut ids, mut mask, mut types) = (vec![pad_id as i32; n], vec![false; n], vec![0; n]);
    for (row, (own_ids, own_types)) in texts().enumerate() {
        for (column, (id, segment)) in own_ids.iter().zip(own_types).enumerate() {
            let at = row * t + column;
            (ids[at], mask[at], types[at]) = (*id as i32, true, *segment as i32);
        }
    }
    HostFeatures::Tokens { ids, mask, types, shape: [samples.len(), t] }
}

/// Puts a batch on a device.
pub fn collate(batch: HostBatch, device: &Device) -> Batch {
    let size = batch.size();
    let input = match batch.features {
        HostFeatures::Image { values, shape } => {
            Input::Image(Tensor::from_data(TensorData::new(values, shape), device))
        }
        HostFeatures::Table { values, shape } => {
            Input::Table(Tensor::from_data(TensorData::new(values, shape), device))
        }
        HostFeatures::Tokens { ids, mask, types, shape } => Input::Tokens(Tokens {
            ids: Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device),
            mask: Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), device),
            types: Tensor::<2, Int>::from_data(TensorData::new(types, shape), device),
        }),
    };
    let classes =
        batch.classes.map(|classes| Tensor::<1, Int>::from_data(TensorData::new(classes, [size]), device));
    Batch { input, classes, size }
}
