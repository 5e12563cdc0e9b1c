//! Resident memory after each pass of the image loader alone over a folder of classes: crop, flip, normalise.
//! Run: loader_memory FOLDER WORKERS PASSES (tests/loader_memory.py fits a line through what it prints).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a measuring tool, not part of kiln

use kiln_data::config::{DataConfig, LoaderConfig};
use kiln_data::{Dataset, Loader, OpenOptions, Order};

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder of classes");
    let workers = args.next().map_or(2, |n| n.parse().unwrap());
    let passes: u64 = args.next().map_or(20, |n| n.parse().unwrap());
    let words = serde_json::json!({"kind": "image_folder", "path": folder, "transforms": [
        {"kind": "random_crop", "size": 32, "padding": 4}, {"kind": "random_horizontal_flip"},
        {"kind": "normalize", "mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]}]});
    let data: DataConfig = serde_json::from_value(words).unwrap();
    let data = Dataset::open(&data, &OpenOptions::default()).unwrap();
    let split = data.train.unwrap();
    let config = LoaderConfig { batch_size: 128, workers, ..LoaderConfig::default() };
    for epoch in 0..passes {
        let loader =
            Loader::new(&split, &data.preprocessor, &config, Order::Train { seed: 1, epoch }).unwrap();
        let images: usize = loader.map(|batch| batch.unwrap().size()).sum();
        // Pages of 4 KiB; the second number is what is resident.
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        println!("{epoch} {images} {}", resident * 4);
    }
}
