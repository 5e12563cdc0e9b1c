//! The cache of decoded images: what is still good, what is not, and that it is bounded and never in the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kiln_data::config::LoaderConfig;
use kiln_data::{Dataset, HostBatch, Order};
use serde_json::{Value, json};
use support::data::{bits, images, open, parquet, pass, shards, with};

/// Bytes of an entry before its pixels.
const HEAD: usize = 133;

fn config() -> LoaderConfig {
    LoaderConfig { batch_size: 5, ..LoaderConfig::default() }
}

/// Waits until the times of files that were just written are believed.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn age(file: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

fn disk(cache: &Path) -> Value {
    json!({"cache": "disk", "cache_dir": cache, "cache_max_mb": 64})
}

/// One epoch, and how many images were found and decoded in it.
fn epoch(data: &Dataset) -> (Vec<HostBatch>, (u64, u64)) {
    let before = data.cache_counts().unwrap();
    let batches = pass(data, &config(), Order::Train { seed: 1, epoch: 0 }, 0);
    let after = data.cache_counts().unwrap();
    (batches, (after.0 - before.0, after.1 - before.1))
}

fn fresh(folder: &Value, cache: &Path) -> (Vec<HostBatch>, (u64, u64)) {
    epoch(&open(with(folder.clone(), json!({"loader": disk(cache)}))))
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let below = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = below(cache.into()).flat_map(below).collect();
    all.sort();
    all
}

#[test]
fn one_edited_image_is_one_entry() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = images(dir.path(), 8);
    settle();
    let plain =
        |folder: &Value| pass(&open(folder.clone()), &config(), Order::Train { seed: 1, epoch: 0 }, 0);
    let memory = open(with(folder.clone(), json!({"loader": {"cache": "memory", "cache_max_mb": 8}})));
    assert_eq!(epoch(&memory).1, (0, 16));
    assert_eq!(fresh(&folder, cache.path()).1, (0, 16));
    assert_eq!(fresh(&folder, cache.path()).1, (16, 0));

    // Another picture.
    let edited = dir.path().join("cat/003.png");
    image::RgbImage::from_pixel(30, 30, image::Rgb([9, 8, 7])).save(&edited).unwrap();
    for (batches, counts) in [fresh(&folder, cache.path()), epoch(&memory)] {
        assert_eq!(counts, (15, 1));
        assert_eq!(bits(&batches), bits(&plain(&folder)));
    }
    // Another picture of as many bytes, with its time put back: the inode's time tells.
    let (a, b) = (dir.path().join("dog/001.png"), dir.path().join("dog/002.png"));
    let meta = fs::metadata(&a).unwrap();
    let mut other = fs::read(&b).unwrap();
    let own = fs::read(&a).unwrap();
    if other.len() < own.len() {
        other.resize(own.len(), 0); // behind the end of a PNG nothing is read
    } else {
        fs::write(&b, &other).unwrap();
        other = image_of(&a, own.len());
    }
    fs::write(&a, &other).unwrap();
    fs::File::options().write(true).open(&a).unwrap().set_modified(meta.modified().unwrap()).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().len(), meta.len());
    for (batches, counts) in [fresh(&folder, cache.path()), epoch(&memory)] {
        assert_eq!(counts, (15, 1));
        assert_eq!(bits(&batches), bits(&plain(&folder)));
    }
    // Touched and copied over itself: the hash tells that nothing changed.
    let touched = dir.path().join("cat/005.png");
    age(&touched, 60);
    let same = fs::read(dir.path().join("cat/006.png")).unwrap();
    fs::write(dir.path().join("cat/006.png"), same).unwrap();
    for (batches, counts) in [fresh(&folder, cache.path()), epoch(&memory)] {
        assert_eq!(counts, (16, 0));
        assert_eq!(bits(&batches), bits(&plain(&folder)));
    }
}

/// Another picture in a PNG of `length` bytes.
fn image_of(like: &Path, length: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.png");
    let size = image::image_dimensions(like).unwrap();
    image::RgbImage::from_pixel(size.0, size.1, image::Rgb([1, 2, 3])).save(&path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    assert!(bytes.len() <= length);
    bytes.resize(length, 0);
    bytes
}

#[test]
fn an_edit_within_one_tick_of_the_clock_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let folder = images(dir.path(), 2);
    let memory = open(with(folder.clone(), json!({"loader": {"cache": "memory", "cache_max_mb": 8}})));
    let file = dir.path().join("cat/000.png");
    // Always written just now, always 4,000 bytes.
    for level in 0..20u8 {
        image::RgbImage::from_pixel(24, 20, image::Rgb([level, 0, 0])).save(&file).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes.resize(4000, 0);
        fs::write(&file, bytes).unwrap();
        let (batches, _) = epoch(&memory);
        let plain = pass(&open(folder.clone()), &config(), Order::Train { seed: 1, epoch: 0 }, 0);
        assert_eq!(bits(&batches), bits(&plain), "{level}");
    }
}

#[test]
fn other_fixed_transforms_are_other_entries() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = images(dir.path(), 4);
    assert_eq!(fresh(&folder, cache.path()).1, (0, 8));
    let mut other = folder.clone();
    other["transforms"][0]["size"] = json!([19, 23]);
    assert_eq!(fresh(&other, cache.path()).1, (0, 8));
    // What comes after the first random transform is not kept.
    let mut later = folder.clone();
    later["transforms"][1]["padding"] = json!(1);
    assert_eq!(fresh(&later, cache.path()).1, (8, 0));
    assert_eq!(fresh(&folder, cache.path()).1, (8, 0));
}

#[test]
fn a_damaged_or_unfinished_entry_is_made_again() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = images(dir.path(), 4);
    let (whole, _) = fresh(&folder, cache.path());
    let kept = entries(cache.path());
    assert_eq!(kept.len(), 8);
    let bytes = fs::read(&kept[0]).unwrap();
    fs::write(&kept[0], &bytes[..bytes.len() - 1]).unwrap(); // cut by a crash
    let mut flipped = fs::read(&kept[1]).unwrap();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    fs::write(&kept[1], flipped).unwrap();
    fs::write(&kept[2], b"").unwrap();
    let left = kept[3].with_extension("999-0.tmp"); // what a killed process leaves
    fs::write(&left, &bytes[..bytes.len() / 2]).unwrap();
    age(&left, 7200);
    let (batches, counts) = fresh(&folder, cache.path());
    assert_eq!((bits(&batches), counts), (bits(&whole), (5, 3)));
    assert_eq!(entries(cache.path()), kept, "the unfinished one is removed");
    assert_eq!(fs::read(&kept[0]).unwrap()[HEAD..], bytes[HEAD..]);
    assert_eq!(fresh(&folder, cache.path()).1, (8, 0));
}

#[test]
fn several_processes_share_a_folder() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = images(dir.path(), 30);
    let plain = bits(&pass(&open(folder.clone()), &config(), Order::Train { seed: 1, epoch: 0 }, 0));
    // Data sets that were opened apart know of each other as little as processes do.
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| bits(&fresh(&folder, cache.path()).0))).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), plain);
        }
    });
    assert_eq!(entries(cache.path()).len(), 60, "one file an image, none unfinished");
    assert_eq!(fresh(&folder, cache.path()).1, (60, 0));
}

#[test]
fn a_full_or_unwritable_cache_is_said_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir_all(dir.path().join(class)).unwrap();
        for i in 0..4 {
            let image = image::RgbImage::from_pixel(400, 400, image::Rgb([i * 20, 1, 2]));
            image.save(dir.path().join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let folder = json!({"kind": "image_folder", "path": dir.path(), "transforms": [{"kind": "random_crop", "size": 8}]});
    let plain = bits(&pass(&open(folder.clone()), &config(), Order::Train { seed: 1, epoch: 0 }, 0));
    let cache = tempfile::tempdir().unwrap();
    let unwritable = cache.path().join("file");
    fs::write(&unwritable, "").unwrap();
    // 480,000 bytes an image: two in a MiB.
    let bound = " MiB (data.loader.cache_max_mb)";
    for (words, kept, planned, said) in [
        (json!({"cache": "memory", "cache_max_mb": 1}), 2, bound, "is full: 0.9 MiB in memory"),
        (
            json!({"cache": "disk", "cache_dir": cache.path().join("c"), "cache_max_mb": 1}),
            2,
            bound,
            "is full: 0.9 MiB in ",
        ),
        (
            json!({"cache": "disk", "cache_dir": unwritable.join("c"), "cache_max_mb": 9}),
            0,
            "decoded images are not kept: ",
            "no longer written: ",
        ),
    ] {
        let data = open(with(folder.clone(), json!({"loader": words})));
        let plan = data.cache_plan().unwrap();
        assert!(plan.contains(planned), "{plan}");
        assert_eq!(data.cache_news(), None);
        for expected in [0, kept] {
            let (batches, (hits, _)) = epoch(&data);
            assert_eq!((hits, bits(&batches)), (expected, plain.clone()), "{words}");
        }
        let news = data.cache_news().unwrap();
        assert!(news.contains(said), "{news}");
        assert_eq!(data.cache_news(), None, "said once");
    }
}

#[test]
fn images_in_shards_are_known_by_their_bytes() {
    for (data, file) in [(shards(), "train-001.tar"), (parquet(), "train-00001-of-00002.parquet")] {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let from = PathBuf::from(data["path"].as_str().unwrap());
        let from = if from.is_dir() { from.join("data") } else { from.parent().unwrap().to_path_buf() };
        for shard in fs::read_dir(from).unwrap().map(|file| file.unwrap().path()) {
            fs::copy(&shard, dir.path().join(shard.file_name().unwrap())).unwrap();
        }
        let copy = with(data, json!({"path": dir.path()}));
        let (first, (_, n)) = fresh(&copy, cache.path());
        assert_eq!(fresh(&copy, cache.path()).1, (n, 0));
        // The shard is written anew, with the same samples in it.
        let shard = dir.path().join(file);
        let bytes = fs::read(&shard).unwrap();
        fs::remove_file(&shard).unwrap();
        fs::write(&shard, bytes).unwrap();
        let (batches, counts) = fresh(&copy, cache.path());
        assert_eq!((bits(&batches), counts), (bits(&first), (n, 0)), "{file}");
    }
}
