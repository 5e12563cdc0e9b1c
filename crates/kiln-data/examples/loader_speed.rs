//! Samples per second of passes over data, each pass a line: kiln's side of benches/loader.py, which runs the same in Python.
//!
//! Run: `loader_speed jpeg|cifar FOLDER WORKERS PASSES`, `loader_speed text TSV WORKERS PASSES TOKENIZER`,
//! `loader_speed scan|rows PARQUET WORKERS PASSES COLUMN...` (`scan`: columns to typed values; `rows`: rows ready to train on,
//! the last column the label).

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a measuring tool, not part of kiln

use std::path::Path;
use std::time::Instant;

use kiln_data::config::{DataConfig, LoaderConfig};
use kiln_data::{Dataset, Loader, OpenOptions, Order, scan};
use serde_json::{Value, json};

fn images(folder: &str, transforms: Value) -> Value {
    json!({"kind": "image_folder", "path": folder, "transforms": transforms})
}

fn normalize() -> Value {
    json!({"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]})
}

fn open(config: Value) -> Dataset {
    let config: DataConfig = serde_json::from_value(config).unwrap();
    Dataset::open(&config, &OpenOptions::default()).unwrap()
}

fn main() {
    // As the kiln binary does at its start.
    kiln_core::memory::keep_pages();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (case, path) = (args[0].as_str(), args[1].as_str());
    let (workers, passes): (usize, u64) = (args[2].parse().unwrap(), args[3].parse().unwrap());
    let flip = json!({"kind": "random_horizontal_flip"});
    let config = match case {
        "jpeg" => images(path, json!([{"kind": "random_resized_crop", "size": 224}, flip, normalize()])),
        "cifar" => {
            images(path, json!([{"kind": "random_crop", "size": 32, "padding": 4}, flip, normalize()]))
        }
        "text" => json!({"kind": "tsv", "path": path, "header": false, "text": 0, "label": 1,
            "tokenizer": {"path": args[4], "max_length": 128}}),
        "scan" => return columns(Path::new(path), passes, &args[4..]),
        "rows" => return rows(path, passes, &args[4..]),
        other => panic!("no case {other}"),
    };
    let data = open(config);
    let split = data.train.unwrap();
    let config = LoaderConfig { batch_size: 64, workers, ..LoaderConfig::default() };
    for epoch in 0..passes {
        let (start, mut samples) = (Instant::now(), 0);
        for batch in
            Loader::new(&split, &data.preprocessor, &config, Order::Train { seed: 1, epoch }).unwrap()
        {
            samples += batch.unwrap().size();
        }
        println!("{:.1}", samples as f64 / start.elapsed().as_secs_f64());
    }
}

fn columns(path: &Path, passes: u64, names: &[String]) {
    for _ in 0..passes {
        let start = Instant::now();
        let columns = scan(path, names).unwrap();
        println!("{:.1}", columns[0].len() as f64 / start.elapsed().as_secs_f64());
    }
    for column in scan(path, names).unwrap() {
        println!("# {} {}", column.len(), column.checksum());
    }
}

fn rows(path: &str, passes: u64, names: &[String]) {
    let (label, features) = names.split_last().unwrap();
    for _ in 0..passes {
        let start = Instant::now();
        let data = open(json!({"kind": "parquet", "path": path, "features": features, "label": label}));
        println!("{:.1}", data.train.unwrap().len() as f64 / start.elapsed().as_secs_f64());
    }
}
