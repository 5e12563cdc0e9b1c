//! Files to samples to batches: sources, splits, transforms, loader. No tensor before `collate`.
//!
//! The way of a datum: a source (image folder, IDX, table) names it, [`Split::raw`] reads it, [`Preprocessor::prepare`]
//! turns it into numbers, [`Loader`] gathers numbers into a [`HostBatch`], and [`collate`] puts that on a device.

mod bad;
mod batch;
mod brought;
mod build_tokenizer;
mod cache;
mod columns;
pub mod config;
mod corpus;
mod dataset;
mod decode;
mod draw;
mod error;
mod fingerprint;
mod image_program;
mod inputs_iter;
mod interleave;
mod kinds;
mod label;
mod layout;
mod loader;
pub mod look;
mod masking;
mod mixup;
mod order;
mod partition;
mod parts;
mod pattern;
mod pipeline_files;
mod pixels;
mod preprocessor;
mod program;
mod reading;
pub mod resplit;
mod same_inputs;
mod sent;
mod shards;
pub mod sketch;
mod source;
mod split;
mod table_program;
mod text_program;
mod text_transforms;
mod transforms;

/// What `kiln predict` reads: images, texts and rows without labels.
pub mod inputs {
    pub use crate::fingerprint::{Fingerprint, fingerprint};
    pub use crate::inputs_iter::{Input, Inputs, open};
}

pub use bad::BadSample;
pub use batch::{Features, HostBatch, HostFeatures, collate};
pub use dataset::{Dataset, OpenOptions, Outline};
pub use decode::{DecodedImage, decode_bytes, decode_file, size_in};
pub use error::DataError;
pub use label::{HostTarget, Label};
pub use layout::holds_validation;
pub use loader::{Loader, batches};
pub use mixup::Mixup;
pub use order::Order;
pub use pattern::is_pattern;
pub use pipeline_files::pipeline_hashes;
pub use preprocessor::Preprocessor;
pub use reading::{Reading, Word};
pub use sent::{Reads, rows, separated_rows};
pub use source::parquet::{ScannedColumn, scan};
pub use source::rows::Separated;
pub use split::{Raw, Split};
pub use table_program::Scale;
