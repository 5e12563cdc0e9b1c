//! Small data sets of every kind, and the batches of a pass over them.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // each test file uses some of it

use std::path::Path;

use kiln_core::IGNORE;
use kiln_data::config::{DataConfig, LoaderConfig};
use kiln_data::{Dataset, HostBatch, HostFeatures, HostTarget, Loader, OpenOptions, Order};
use serde_json::{Value, json};

use super::fixture;

pub(crate) fn parse(config: Value) -> DataConfig {
    serde_json::from_value(config).unwrap()
}

pub(crate) fn open(config: Value) -> Dataset {
    let config = parse(config);
    if let Err(faults) = Dataset::check(&config, &OpenOptions::default()) {
        panic!("{faults:?}");
    }
    Dataset::open(&config, &OpenOptions::default()).unwrap()
}

/// `a` with the keys of `b`.
pub(crate) fn with(mut a: Value, b: Value) -> Value {
    for (key, value) in b.as_object().unwrap() {
        a[key] = value.clone();
    }
    a
}

/// Two classes of `n` images of 24 x 20 pixels each.
pub(crate) fn images(dir: &Path, n: usize) -> Value {
    for class in ["cat", "dog"] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..n {
            let level = (i * 5 + usize::from(class == "dog") * 100) as u8;
            let image = image::RgbImage::from_fn(24, 20, |x, y| {
                image::Rgb([level, (x * 9) as u8, (y * 11) as u8 ^ level])
            });
            image.save(dir.join(class).join(format!("{i:03}.png"))).unwrap();
        }
    }
    json!({"kind": "image_folder", "path": dir, "transforms": [
        {"kind": "resize", "size": [18, 22]},
        {"kind": "random_crop", "size": 16, "padding": 2},
        {"kind": "random_horizontal_flip"},
        {"kind": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    ]})
}

/// `n` texts of 3 to 16 tokens, of two classes.
pub(crate) fn texts(dir: &Path, n: usize) -> Value {
    let path = dir.join("rows.tsv");
    let words = ["bad", "good fun", "the movie is a mess", "one of the best films of the year"];
    let row = |i: usize| format!("{} {}\t{}\n", words[i % 4], "film ".repeat(i * 7 % 9), i % 2);
    std::fs::write(&path, (0..n).map(row).collect::<String>()).unwrap();
    json!({"kind": "tsv", "path": path, "header": false, "text": 0, "label": 1,
           "tokenizer": {"path": fixture("tokenizer.json"), "max_length": 16}})
}

/// `n` rows of two numbers and a category, of two classes.
pub(crate) fn table(dir: &Path, n: usize) -> Value {
    let path = dir.join("rows.csv");
    let row = |i: usize| format!("{},{},{},{}\n", i, i * i % 17, ["x", "y", "z"][i % 3], i % 2);
    std::fs::write(&path, format!("a,b,c,label\n{}", (0..n).map(row).collect::<String>())).unwrap();
    json!({"kind": "csv", "path": path, "features": ["a", "b"], "categories": ["c"], "label": "label"})
}

/// Ten images of 16 x 20 pixels in two tar files.
pub(crate) fn shards() -> Value {
    json!({"kind": "webdataset", "path": fixture("shards").join("train-{000..001}.tar"), "transforms": [
        {"kind": "center_crop", "size": 14}, {"kind": "random_crop", "size": 12}, {"kind": "random_horizontal_flip"}]})
}

/// Seven images of 16 x 20 pixels in two Parquet files.
pub(crate) fn parquet() -> Value {
    json!({"kind": "parquet", "path": fixture("parquet/images"), "image": "image", "label": "label", "transforms": [
        {"kind": "pad", "padding": 2}, {"kind": "random_crop", "size": 12}, {"kind": "random_horizontal_flip"}]})
}

/// The training batches from `from` on.
pub(crate) fn pass(data: &Dataset, config: &LoaderConfig, order: Order, from: usize) -> Vec<HostBatch> {
    let loader = Loader::new(data.train.as_ref().unwrap(), &data.preprocessor, config, order).unwrap();
    loader.starting_at(from).map(Result::unwrap).collect()
}

pub(crate) fn indices(batches: &[HostBatch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.indices.clone()).collect()
}

/// Batches by their numbers' bits, for NaN is not equal to itself.
pub(crate) fn bits(batches: &[HostBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.extend(format!("{:?}{:?}", batch.indices, batch.target).into_bytes());
        match &batch.features {
            HostFeatures::Image { values, shape } => {
                bytes.extend(format!("{shape:?}").into_bytes());
                values.iter().for_each(|value| bytes.extend(value.to_bits().to_le_bytes()));
            }
            other => bytes.extend(format!("{other:?}").into_bytes()),
        }
    }
    bytes
}

/// The parts of all ranks as the batch of one.
pub(crate) fn joined(parts: Vec<HostBatch>) -> HostBatch {
    let parts: Vec<HostBatch> = parts.into_iter().filter(|part| !part.padding).collect();
    let width = |part: &HostBatch| match part.features {
        HostFeatures::Tokens { shape: [_, t], .. } => t,
        _ => 0,
    };
    let widest = parts.iter().map(width).max().unwrap();
    let mut parts = parts.into_iter();
    let mut whole = widened(parts.next().unwrap(), widest);
    for part in parts.map(|part| widened(part, widest)) {
        whole.indices.extend(part.indices);
        match (&mut whole.features, part.features) {
            (HostFeatures::Image { values, shape }, HostFeatures::Image { values: more, shape: own }) => {
                values.extend(more);
                shape[0] += own[0];
            }
            (
                HostFeatures::Tokens { ids, mask, types, shape },
                HostFeatures::Tokens { ids: i, mask: m, types: t, shape: own },
            ) => {
                ids.extend(i);
                mask.extend(m);
                types.extend(t);
                shape[0] += own[0];
            }
            (
                HostFeatures::Table { numbers, categories, shape },
                HostFeatures::Table { numbers: n, categories: c, shape: own },
            ) => {
                numbers.extend(n);
                categories.extend(c);
                shape[0] += own[0];
            }
            _ => panic!("parts of two kinds"),
        }
        match (whole.target.as_mut().unwrap(), part.target.unwrap()) {
            (HostTarget::Classes(all), HostTarget::Classes(more)) => all.extend(more),
            (HostTarget::Soft { values, .. }, HostTarget::Soft { values: more, .. }) => values.extend(more),
            (HostTarget::Tokens { ids, .. }, HostTarget::Tokens { ids: more, .. }) => ids.extend(more),
            other => panic!("{other:?}"),
        }
    }
    whole
}

/// Texts padded to `to` tokens; the fixtures' pad is token 0.
fn widened(mut part: HostBatch, to: usize) -> HostBatch {
    if let HostFeatures::Tokens { ids, mask, types, shape } = &mut part.features {
        let from = shape[1];
        fn wide<T: Copy>(row: &mut Vec<T>, from: usize, to: usize, fill: T) {
            *row = row
                .chunks(from)
                .flat_map(|r| r.iter().copied().chain(std::iter::repeat_n(fill, to - from)))
                .collect();
        }
        wide(ids, from, to, 0);
        wide(mask, from, to, false);
        wide(types, from, to, 0);
        shape[1] = to;
        if let Some(HostTarget::Tokens { ids, width }) = &mut part.target {
            wide(ids, *width, to, IGNORE);
            *width = to;
        }
    }
    part
}
