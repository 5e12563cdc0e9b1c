//! Images per second with decoded images kept nowhere, in memory and on the disk, in turns: median of the passes after the
//! first, which fills the caches.
//! Run: loader_cache FOLDER RECIPE WORKERS ROUNDS CACHE_FOLDER; recipes: cifar, resize, resized_crop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // a measuring tool, not part of kiln

use std::time::Instant;

use kiln_data::config::{DataConfig, LoaderConfig};
use kiln_data::{Dataset, Loader, OpenOptions, Order};
use serde_json::json;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, recipe, workers, rounds, kept] = &args[..] else {
        panic!("five words: see the file's head")
    };
    let first = match recipe.as_str() {
        "cifar" => json!([{"kind": "random_crop", "size": 32, "padding": 4}]),
        "resize" => json!([{"kind": "resize", "size": 256}, {"kind": "random_crop", "size": 224}]),
        _ => json!([{"kind": "random_resized_crop", "size": 224}]),
    };
    let mut transforms = first.as_array().unwrap().clone();
    transforms.push(json!({"kind": "random_horizontal_flip"}));
    transforms
        .push(json!({"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}));
    let kinds = ["none", "memory", "disk"];
    let open = |cache: &&str| {
        let words = json!({"kind": "image_folder", "path": folder, "transforms": transforms,
            "loader": {"cache": cache, "cache_dir": kept}});
        let data: DataConfig = serde_json::from_value(words).unwrap();
        Dataset::open(&data, &OpenOptions::default()).unwrap()
    };
    let all: Vec<Dataset> = kinds.iter().map(open).collect();
    let config =
        LoaderConfig { batch_size: 64, workers: workers.parse().unwrap(), ..LoaderConfig::default() };
    let pass = |data: &Dataset, epoch| {
        let (split, start) = (data.train.as_ref().unwrap(), Instant::now());
        let loader =
            Loader::new(split, &data.preprocessor, &config, Order::Train { seed: 1, epoch }).unwrap();
        let images: usize = loader.map(|batch| batch.unwrap().size()).sum();
        images as f64 / start.elapsed().as_secs_f64()
    };
    let mut speeds = [const { Vec::new() }; 3];
    for round in 0..=rounds.parse().unwrap() {
        let turns = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for k in turns {
            let speed = pass(&all[k], round);
            if round == 0 {
                println!("{} (first pass): {speed:.0}", kinds[k]);
            } else {
                speeds[k].push(speed);
            }
        }
    }
    for (kind, speeds) in kinds.iter().zip(&mut speeds) {
        speeds.sort_by(f64::total_cmp);
        println!("{kind}: {:.0} images a second", speeds[speeds.len() / 2]);
    }
}
