//! Prepared samples gathered into one batch, first on the host, then on a device.
//! Owns padding and the only door to tensors (`collate`); never prepares a sample.
//! Hands a `kiln_core::Batch` to the loop and the evaluator.
//!
//! Shapes: `B` batch, `C` channels, `H W` pixels, `T` tokens (longest of the batch), `F` features.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use kiln_core::{Batch, Input, InputSpec, Table, Tokens};

use crate::label::{HostTarget, Label};

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
    /// One row of a table.
    Row {
        /// `F` numbers.
        numbers: Vec<f32>,
        /// `N` category indices.
        categories: Vec<u32>,
    },
}

impl Features {
    /// Tokens of a text; 0 for what is no text.
    pub fn tokens(&self) -> usize {
        match self {
            Features::Tokens { ids, .. } => ids.len(),
            Features::Image(_) | Features::Row { .. } => 0,
        }
    }
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
    /// `[B, F]` numbers and `[B, N]` categories.
    Table {
        /// Numbers row by row.
        numbers: Vec<f32>,
        /// Category indices row by row.
        categories: Vec<i32>,
        /// `[B, F, N]`
        shape: [usize; 3],
    },
}

/// A batch in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// The padded samples.
    pub features: HostFeatures,
    /// The labels; `None` where a sample has none.
    pub target: Option<HostTarget>,
    /// `[B]` places of the samples in their split.
    pub indices: Vec<usize>,
    /// Whether its one sample is a copy of another rank's, which keeps ranks in step and counts for nothing.
    pub padding: bool,
}

impl HostBatch {
    /// `B`
    pub fn size(&self) -> usize {
        self.indices.len()
    }

    /// Tokens of its texts, padding left out; 0 for anything but texts.
    pub fn tokens(&self) -> u64 {
        match &self.features {
            HostFeatures::Tokens { mask, .. } => mask.iter().filter(|real| **real).count() as u64,
            HostFeatures::Image { .. } | HostFeatures::Table { .. } => 0,
        }
    }

    /// Gathers prepared samples: `(place in the split, features, label)`. Texts are padded to the longest.
    /// Samples of another kind than `input` cannot come out of the preprocessor that `input` describes.
    pub fn gather(samples: Vec<(usize, Features, Label)>, input: &InputSpec) -> Self {
        let mut gathering = Gathering::new(samples.len());
        samples.into_iter().for_each(|(index, features, label)| gathering.add(index, features, label));
        gathering.finish(input)
    }

    /// Some of its images; batches of anything else stay whole.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        let HostFeatures::Image { values, shape: [n, c, h, w] } = self.features else { return self };
        if range == (0..n) {
            return Self { features: HostFeatures::Image { values, shape: [n, c, h, w] }, ..self };
        }
        let size = c * h * w;
        let values = values[range.start * size..range.end * size].to_vec();
        let features = HostFeatures::Image { values, shape: [range.len(), c, h, w] };
        let target = self.target.map(|target| target.part(range.clone()));
        Self { features, target, indices: self.indices[range].to_vec(), padding: self.padding }
    }

    /// Sample `i` alone, padded as it is here; `None` where there is no such sample.
    pub fn one(&self, i: usize) -> Option<Self> {
        let index = *self.indices.get(i)?;
        let of = |width: usize| i * width..(i + 1) * width;
        let features = match &self.features {
            HostFeatures::Image { values, shape: [_, c, h, w] } => {
                HostFeatures::Image { values: values.get(of(c * h * w))?.to_vec(), shape: [1, *c, *h, *w] }
            }
            HostFeatures::Tokens { ids, mask, types, shape: [_, t] } => HostFeatures::Tokens {
                ids: ids.get(of(*t))?.to_vec(),
                mask: mask.get(of(*t))?.to_vec(),
                types: types.get(of(*t))?.to_vec(),
                shape: [1, *t],
            },
            HostFeatures::Table { numbers, categories, shape: [_, f, n] } => HostFeatures::Table {
                numbers: numbers.get(of(*f))?.to_vec(),
                categories: categories.get(of(*n))?.to_vec(),
                shape: [1, *f, *n],
            },
        };
        let target = self.target.clone().map(|target| target.part(i..i + 1));
        Some(Self { features, target, indices: vec![index], padding: self.padding })
    }

    /// What a mean loss over this batch is a mean over: samples, or tokens that are scored; 0 for padding.
    pub fn weight(&self) -> u64 {
        if self.padding {
            return 0;
        }
        self.target.as_ref().map_or(self.size() as u64, HostTarget::weight)
    }
}

/// A batch in the making. Numbers are copied as they come, so that one sample's memory serves the next.
#[derive(Debug)]
pub(crate) struct Gathering {
    size: usize,
    numbers: Vec<f32>,
    categories: Vec<i32>,
    texts: Vec<Features>,
    labels: Vec<Label>,
    indices: Vec<usize>,
}

impl Gathering {
    /// Of `size` samples.
    pub(crate) fn new(size: usize) -> Self {
        let (numbers, categories, texts) = (Vec::new(), Vec::new(), Vec::new());
        Self { size, numbers, categories, texts, labels: Vec::new(), indices: Vec::with_capacity(size) }
    }

    pub(crate) fn add(&mut self, index: usize, features: Features, label: Label) {
        if self.indices.is_empty()
            && let Features::Image(values) | Features::Row { numbers: values, .. } = &features
        {
            self.numbers.reserve_exact(values.len() * self.size);
        }
        match features {
            Features::Image(values) => self.numbers.extend_from_slice(&values),
            Features::Row { numbers, categories } => {
                self.numbers.extend_from_slice(&numbers);
                self.categories.extend(categories.into_iter().map(|category| category as i32));
            }
            text @ Features::Tokens { .. } => self.texts.push(text),
        }
        self.indices.push(index);
        self.labels.push(label);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    pub(crate) fn finish(self, input: &InputSpec) -> HostBatch {
        let b = self.indices.len();
        let features = match input {
            InputSpec::Image { channels, height, width } => {
                HostFeatures::Image { values: self.numbers, shape: [b, *channels, *height, *width] }
            }
            InputSpec::Table { features, cardinalities } => HostFeatures::Table {
                numbers: self.numbers,
                categories: self.categories,
                shape: [b, *features, cardinalities.len()],
            },
            InputSpec::Tokens { pad_id, .. } => pad(&self.texts, *pad_id),
        };
        let width = match &features {
            HostFeatures::Tokens { shape: [_, t], .. } => *t,
            HostFeatures::Image { .. } | HostFeatures::Table { .. } => 0,
        };
        let target = HostTarget::gather(self.labels, width);
        HostBatch { features, target, indices: self.indices, padding: false }
    }
}

fn pad(samples: &[Features], pad_id: u32) -> HostFeatures {
    let texts = || {
        samples.iter().map(|s| match s {
            Features::Tokens { ids, types } => (ids.as_slice(), types.as_slice()),
            Features::Image(_) | Features::Row { .. } => (&[][..], &[][..]),
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
    let (size, weight) = (batch.size(), batch.weight());
    let input = match batch.features {
        HostFeatures::Image { values, shape } => {
            Input::Image(Tensor::from_data(TensorData::new(values, shape), device))
        }
        HostFeatures::Table { numbers, categories, shape: [b, f, n] } => Input::Table(Table {
            numbers: (f > 0).then(|| Tensor::from_data(TensorData::new(numbers, [b, f]), device)),
            categories: (n > 0)
                .then(|| Tensor::<2, Int>::from_data(TensorData::new(categories, [b, n]), device)),
        }),
        HostFeatures::Tokens { ids, mask, types, shape } => Input::Tokens(Tokens {
            ids: Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device),
            mask: Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), device),
            types: Tensor::<2, Int>::from_data(TensorData::new(types, shape), device),
        }),
    };
    let target = batch.target.map(|target| target.on(device));
    Batch { input, target, size, weight }
}
