//! Files to samples to batches: sources, splits, transforms, loader. No tensor before `collate`.

pub mod config;
