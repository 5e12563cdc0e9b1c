//! TensorBoard's event files of real runs, read back byte by byte: checksums, steps, and the very numbers of
//! `metrics.jsonl`, also after interruptions. Folders for tests/peers/tensorboard_reads.py are written when
//! KILN_PEER_OUT names a place.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_train::Outcome;
use serde_json::Value;
use support::runs::{go, new, resume};

/// A config on the digits that the repository carries: 41 steps an epoch.
fn config(folder: &Path, out: &Path, rest: &str) -> PathBuf {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits");
    let text = format!(
        "device = \"cpu\"\noutput_dir = {out:?}\n[model]\nkind = \"mlp\"\nhidden = [32]\n[data]\nkind = \"idx\"\n\
         path = {digits:?}\nvalidation_fraction = 0.1\n[optimizer]\nkind = \"adamw\"\n[train]\nepochs = 2\n\
         max_grad_norm = 1.0\n[evaluate]\nevery = \"10 steps\"\n[checkpoint]\nevery = \"15 steps\"\n{rest}",
    );
    let path = folder.join("digits.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn folder_of(outcome: Outcome) -> PathBuf {
    match outcome {
        Outcome::Finished(summary) => summary.run,
        Outcome::Interrupted { run, .. } => run,
    }
}

fn event_files(run: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let ours = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().contains("tfevents");
    let mut files: Vec<PathBuf> = entries.filter(ours).collect();
    files.sort();
    files
}

/// CRC-32C bit by bit, rotated and masked as TensorFlow does.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// The records of a file, their checksums proven.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(word(at + 8), masked(&bytes[at..at + 8]), "checksum of the length at {at}");
        let data = &bytes[at + 12..at + 12 + length];
        assert_eq!(word(at + 12 + length), masked(data), "checksum of the record at {at}");
        found.push(data.to_vec());
        at += 16 + length;
    }
    found
}

/// A protocol buffer's field.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Double(f64),
    Float(f32),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (head, rest) = bytes.split_at(n);
        *bytes = rest;
        head
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn bytes_of<'a>(fields: &'a [(u64, Field<'a>)], number: u64) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter_map(move |(n, field)| match field {
        Field::Bytes(bytes) if *n == number => Some(*bytes),
        _ => None,
    })
}

/// What a run's event files hold together.
#[derive(Default)]
struct Events {
    scalars: BTreeMap<String, Vec<(u64, f32)>>,
    texts: BTreeMap<String, String>,
    /// Tag, step, and (number of values, sum of the bins).
    histograms: Vec<(String, u64, f64, f64)>,
    /// Tag, step, and height, width, channels and PNG.
    images: Vec<(String, u64, [u64; 3], Vec<u8>)>,
    /// Steps of restart marks.
    restarts: Vec<u64>,
}

fn read(run: &Path) -> Events {
    let mut events = Events::default();
    for file in event_files(run) {
        for (n, record) in records(&file).iter().enumerate() {
            let event = fields(record);
            let wall = event.iter().find_map(|f| if let (1, Field::Double(t)) = f { Some(*t) } else { None });
            assert!(wall.unwrap() > 1.7e9, "seconds since 1970");
            let step = event.iter().find_map(|f| if let (2, Field::Number(s)) = f { Some(*s) } else { None });
            let version = bytes_of(&event, 3).next();
            assert_eq!(version.is_some(), n == 0, "the first record, and only that, has the version");
            events.restarts.extend(bytes_of(&event, 7).map(|_| step.unwrap()));
            for summary in bytes_of(&event, 5) {
                for value in bytes_of(&fields(summary), 1) {
                    add(&mut events, step.unwrap(), &fields(value));
                }
            }
        }
    }
    events
}

fn add(events: &mut Events, step: u64, value: &[(u64, Field<'_>)]) {
    let tag = String::from_utf8(bytes_of(value, 1).next().unwrap().to_vec()).unwrap();
    if let Some(x) = value.iter().find_map(|f| if let (2, Field::Float(x)) = f { Some(*x) } else { None }) {
        events.scalars.entry(tag.clone()).or_default().push((step, x));
    }
    for tensor in bytes_of(value, 8) {
        let text = bytes_of(&fields(tensor), 8).next().unwrap().to_vec();
        events.texts.insert(tag.clone(), String::from_utf8(text).unwrap());
    }
    for image in bytes_of(value, 4) {
        let all = fields(image);
        let number = |n: u64| {
            let found = all
                .iter()
                .find_map(|f| if let Field::Number(x) = f.1 { (f.0 == n).then_some(x) } else { None });
            found.unwrap()
        };
        let png = bytes_of(&all, 4).next().unwrap().to_vec();
        events.images.push((tag.clone(), step, [number(1), number(2), number(3)], png));
    }
    for histogram in bytes_of(value, 5) {
        let all = fields(histogram);
        let count = all.iter().find_map(|f| if let (3, Field::Double(x)) = f { Some(*x) } else { None });
        let bins = bytes_of(&all, 7).next().unwrap().chunks(8);
        let sum = bins.map(|b| f64::from_le_bytes(b.try_into().unwrap())).sum();
        events.histograms.push((tag.clone(), step, count.unwrap(), sum));
    }
}

/// What `metrics.jsonl` says must stand there.
fn expected(run: &Path) -> BTreeMap<String, Vec<(u64, f32)>> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut all: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let step = line["step"].as_u64().unwrap();
        for (key, value) in line.as_object().unwrap() {
            let Some(x) = value.as_f64().filter(|_| key != "step") else { continue };
            let tag = match (line["split"].as_str(), key.as_str()) {
                (Some(split), key) => format!("{split}/{key}"),
                (None, "elapsed" | "data_wait" | "samples") => continue,
                (None, "loss" | "learning_rate" | "grad_norm" | "epoch" | "update_ratio") => {
                    format!("train/{key}")
                }
                (None, key) => format!("throughput/{key}"),
            };
            all.entry(tag).or_default().push((step, x as f32));
        }
    }
    all
}

#[test]
fn every_number_of_the_log_stands_there_once_also_after_interruptions() {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("KILN_PEER_OUT").map(|out| PathBuf::from(out).join("tensorboard"));
    kept.iter().for_each(|place| drop(std::fs::remove_dir_all(place))); // of an earlier run of this test
    let out = kept.unwrap_or(folder.path().join("runs"));
    let config = config(folder.path(), &out, "[log]\nhistograms = true\n");
    let whole = folder_of(go(&new(&config, &["run_name=whole"]), 0).unwrap());
    let events = read(&whole);
    assert_eq!(events.scalars, expected(&whole));
    for tag in ["train/loss", "train/grad_norm", "throughput/step_p95_ms"] {
        assert_eq!(events.scalars[tag].len(), 82, "{tag}");
    }
    assert_eq!(events.scalars["validation/accuracy"].len(), 9, "every ten steps and at the end");
    assert_eq!(events.scalars["test/loss"].len(), 1);
    assert!(!events.scalars.contains_key("throughput/tokens_per_second"), "digits are no texts");
    assert!(events.texts["config"].starts_with("```toml\n") && events.texts["config"].contains("epochs = 2"));
    assert!(events.restarts.is_empty());
    // The first images of the first batch, as PNG.
    assert_eq!(events.images.len(), 8);
    for (k, (tag, step, size, png)) in events.images.iter().enumerate() {
        assert_eq!((tag.as_str(), *step, *size), (format!("samples/{k}").as_str(), 1, [8, 8, 1]));
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    }
    // Two layers of weights and biases, at each evaluation, every number in a bin.
    assert_eq!(events.histograms.len(), 9 * 4);
    let weights: Vec<_> = events.histograms.iter().filter(|h| h.2 == 64.0 * 32.0).collect();
    assert_eq!(weights.len(), 9, "{:?}", events.histograms);
    assert!(events.histograms.iter().all(|h| h.2 == h.3 && h.0.starts_with("weights/")));

    // Cut before the first checkpoint of its own, after one, and in the second epoch; the third time it goes on to the end.
    let mut run = folder_of(go(&new(&config, &["run_name=resumed"]), 7).unwrap());
    for at in [23, 50] {
        // What a killed process leaves: lines after its last checkpoint, the last one cut.
        for (path, more) in
            [(run.join("metrics.jsonl"), "{\"step\":99"), (event_files(&run).pop().unwrap(), "\u{9}half")]
        {
            let text = [std::fs::read(&path).unwrap(), more.as_bytes().to_vec()].concat();
            std::fs::write(path, text).unwrap();
        }
        run = folder_of(go(&resume(&run, &[]), at).unwrap());
    }
    let run = folder_of(go(&resume(&run, &[]), 0).unwrap());
    let events = read(&run);
    assert_eq!(events.scalars, expected(&run));
    assert_eq!(events.restarts, [8, 24, 51]);
    let steps =
        |events: &Events, tag: &str| events.scalars[tag].iter().map(|(step, _)| *step).collect::<Vec<_>>();
    let uninterrupted = read(&whole);
    for tag in ["train/loss", "validation/accuracy"] {
        assert_eq!(steps(&events, tag), steps(&uninterrupted, tag), "{tag}");
        assert_eq!(events.scalars[tag], uninterrupted.scalars[tag], "{tag}");
    }
    assert!(run.join("curves.svg").is_file());
}

#[test]
fn turned_off_and_on_again_the_earlier_steps_come_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &folder.path().join("runs"), "");
    let run = folder_of(go(&new(&config, &["run_name=x", "log.tensorboard=false"]), 20).unwrap());
    assert_eq!(event_files(&run), Vec::<PathBuf>::new());
    let run = folder_of(go(&resume(&run, &["log.tensorboard=true"]), 30).unwrap());
    assert_eq!(read(&run).scalars, expected(&run));
    // Off for ten steps: a run that goes on with it has those too.
    folder_of(go(&resume(&run, &["log.tensorboard=false"]), 40).unwrap());
    folder_of(go(&resume(&run, &["log.tensorboard=true"]), 0).unwrap());
    let events = read(&run);
    assert_eq!(events.scalars, expected(&run));
    assert_eq!(events.scalars["train/loss"].len(), 82);
    assert_eq!(events.restarts, [1], "a reader that is open begins again");
}

#[test]
fn histograms_without_event_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), folder.path(), "[log]\nhistograms = true\ntensorboard = false\n");
    let fault = go(&new(&config, &[]), 0).unwrap_err().to_string();
    assert!(fault.contains("`log.histograms` does nothing without `log.tensorboard`"), "{fault}");
}
