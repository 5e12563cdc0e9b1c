//! Images per second of one pass over a folder of classes: decode, random_resized_crop 224, flip, normalise.
//! Run: loader_speed FOLDER WORKERS PASSES (benches/peers/loader.py is the same in torchvision).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a measuring tool, not part of kiln

use std::time::Instant;

use kiln_data::config::{DataConfig, ImageData, LoaderConfig};
use kiln_data::{Dataset, Loader, OpenOptions, Order};

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder of classes");
    let workers = args.next().map_or(2, |n| n.parse().unwrap());
    let passes: u64 = args.next().map_or(3, |n| n.parse().unwrap());
    let words = serde_json::json!({"path": folder, "transforms": [
        {"kind": "random_resized_crop", "size": 224}, {"kind": "random_horizontal_flip"},
        {"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}]});
    let data: ImageData = serde_json::from_value(words).unwrap();
    let data = Dataset::open(&DataConfig::ImageFolder(data), &OpenOptions::default()).unwrap();
    let split = data.train.unwrap();
    let config = LoaderConfig { batch_size: 64, workers, ..LoaderConfig::default() };
    for epoch in 0..passes {
        let (start, mut images) = (Instant::now(), 0);
        for batch in
            Loader::new(&split, &data.preprocessor, &config, Order::Train { seed: 1, epoch }).unwrap()
        {
            images += batch.unwrap().size();
        }
        println!("{:.1}", images as f64 / start.elapsed().as_secs_f64());
    }
}
