//! What a sample is to be answered with, before and after it is gathered into a batch.
//! Owns the padding of token targets; never reads a file. Sources make labels, the loader gathers them, `collate`
//! puts them on a device.
//!
//! Shapes: `B` batch, `T` tokens, `K` classes or numbers.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln_core::{IGNORE, Target};

/// One sample's label.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Label {
    /// There is none.
    #[default]
    None,
    /// A class index.
    Class(usize),
    /// `K` numbers, 1 where the class applies, else 0.
    MultiHot(Vec<f32>),
    /// `K` numbers.
    Values(Vec<f32>),
    /// A class index for each word of a sentence that comes in words.
    Tags(Vec<usize>),
    /// A class or vocabulary index for each token of the prepared sample, [`IGNORE`] where none is scored.
    Tokens(Vec<i64>),
}

impl Label {
    /// The class index, where it is one.
    pub fn class(&self) -> Option<usize> {
        match self {
            Label::Class(class) => Some(*class),
            _ => None,
        }
    }
}

/// A tag a word to one a token: a word's first token has its tag, the others and special tokens are not scored
/// (transformers' `run_ner`). Words without a token have no place.
pub(crate) fn align(tags: &[usize], words: &[Option<u32>]) -> Label {
    let mut before = None;
    let target = |word: &Option<u32>| {
        let first = *word != before;
        before = *word;
        let tag = word.filter(|_| first).and_then(|word| tags.get(word as usize));
        tag.map_or(IGNORE, |tag| *tag as i64)
    };
    Label::Tokens(words.iter().map(target).collect())
}

/// The labels of a batch side by side.
#[derive(Debug, Clone, PartialEq)]
pub enum HostTarget {
    /// `[B]` class indices.
    Classes(Vec<i64>),
    /// `[B, K]` shares of the classes, which add up to 1 in each row.
    Soft {
        /// Row by row.
        values: Vec<f32>,
        /// `K`
        width: usize,
    },
    /// `[B, K]` zeros and ones.
    MultiHot {
        /// Row by row.
        values: Vec<f32>,
        /// `K`
        width: usize,
    },
    /// `[B, K]` numbers.
    Values {
        /// Row by row.
        values: Vec<f32>,
        /// `K`
        width: usize,
    },
    /// `[B, T]` indices, [`IGNORE`] where no token is scored.
    Tokens {
        /// Row by row.
        ids: Vec<i64>,
        /// `T`
        width: usize,
    },
}

impl HostTarget {
    /// The labels of a batch; token labels are padded to `width` tokens. `None` where a sample has no label, or not
    /// one of the first one's kind.
    pub fn gather(labels: Vec<Label>, width: usize) -> Option<Self> {
        let n = labels.len();
        match labels.first()? {
            Label::None | Label::Tags(_) => None,
            Label::Class(_) => {
                let classes = labels.into_iter().map(|l| l.class().map(|class| class as i64));
                classes.collect::<Option<_>>().map(HostTarget::Classes)
            }
            Label::MultiHot(first) => {
                let width = first.len();
                let values = concat(labels, |l| match l {
                    Label::MultiHot(row) => Some(row),
                    _ => None,
                })?;
                (values.len() == n * width).then_some(HostTarget::MultiHot { values, width })
            }
            Label::Values(first) => {
                let width = first.len();
                let values = concat(labels, |l| match l {
                    Label::Values(row) => Some(row),
                    _ => None,
                })?;
                (values.len() == n * width).then_some(HostTarget::Values { values, width })
            }
            Label::Tokens(_) => {
                let ids = concat(labels, |l| match l {
                    Label::Tokens(mut row) => {
                        row.resize(width, IGNORE);
                        Some(row)
                    }
                    _ => None,
                })?;
                Some(HostTarget::Tokens { ids, width })
            }
        }
    }

    /// Those of some samples.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        let rows = |width: usize| range.start * width..range.end * width;
        match self {
            HostTarget::Classes(classes) => HostTarget::Classes(classes[range].to_vec()),
            HostTarget::Soft { values, width } => {
                HostTarget::Soft { values: values[rows(width)].to_vec(), width }
            }
            HostTarget::MultiHot { values, width } => {
                HostTarget::MultiHot { values: values[rows(width)].to_vec(), width }
            }
            HostTarget::Values { values, width } => {
                HostTarget::Values { values: values[rows(width)].to_vec(), width }
            }
            HostTarget::Tokens { ids, width } => HostTarget::Tokens { ids: ids[rows(width)].to_vec(), width },
        }
    }

    /// What a mean loss over this batch is a mean over: samples, or tokens that are scored.
    pub fn weight(&self) -> u64 {
        match self {
            HostTarget::Classes(classes) => classes.len() as u64,
            HostTarget::MultiHot { values, width }
            | HostTarget::Soft { values, width }
            | HostTarget::Values { values, width } => (values.len() / (*width).max(1)) as u64,
            HostTarget::Tokens { ids, .. } => ids.iter().filter(|id| **id != IGNORE).count() as u64,
        }
    }

    /// On a device.
    pub(crate) fn on(self, device: &Device) -> Target {
        let rows = |values: Vec<f32>, width: usize| {
            let shape = [values.len() / width.max(1), width];
            Tensor::<2>::from_data(TensorData::new(values, shape), device)
        };
        match self {
            HostTarget::Classes(classes) => {
                let n = classes.len();
                Target::Classes(Tensor::<1, Int>::from_data(TensorData::new(classes, [n]), device))
            }
            HostTarget::MultiHot { values, width } => Target::MultiHot(rows(values, width)),
            HostTarget::Soft { values, width } => Target::Soft(rows(values, width)),
            HostTarget::Values { values, width } => Target::Values(rows(values, width)),
            HostTarget::Tokens { ids, width } => {
                let shape = [ids.len() / width.max(1), width];
                Target::Tokens(Tensor::<2, Int>::from_data(TensorData::new(ids, shape), device))
            }
        }
    }
}

/// All rows one after another; `None` where one is of another kind.
fn concat<T>(labels: Vec<Label>, row: impl Fn(Label) -> Option<Vec<T>>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    for label in labels {
        all.extend(row(label)?);
    }
    Some(all)
}
