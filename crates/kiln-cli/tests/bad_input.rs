//! Everything that users hand to kiln by mistake or malice, through the real binary: a clear error that names the place,
//! the right exit code, no panic, and the last good checkpoint intact.
//! Owns the exit codes of bad input; what a config can get wrong is in config.rs and mutations.rs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests stop at the first surprise, and say when they are skipped"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Said, digits, images, kiln, reviews, root, texts, tokenizer, write};

const USAGE: i32 = 2;
const DATA: i32 = 4;
const LOCKED: i32 = 73;
const IO: i32 = 74;
const RESUMABLE: i32 = 75;

fn train(config: &Path, extra: &[&str]) -> Said {
    Said::by(kiln().arg("train").arg(config).args(extra))
}

#[test]
fn a_missing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path(), &["cat", "dog"], 10);
    fs::remove_dir_all(folder.path().join("images")).unwrap();
    train(&config, &[]).expect(DATA, &["images"]);
    assert!(!folder.path().join("runs").exists(), "a run folder was made for data that is not there");
}

#[test]
fn an_empty_class() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path(), &["cat", "dog"], 10);
    fs::create_dir(folder.path().join("images/bird")).unwrap();
    train(&config, &[]).expect(DATA, &["bird"]);
}

#[test]
fn an_image_that_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path(), &["cat", "dog"], 10);
    write(folder.path(), "images/dog/003.bmp", "this is text");
    train(&config, &[]).expect(DATA, &["dog/003.bmp"]);
}

#[test]
fn a_truncated_image() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path(), &["cat", "dog"], 10);
    let whole = support::bmp(8, 8, [1, 2, 3]);
    write(folder.path(), "images/cat/007.bmp", &whole[..whole.len() / 2]);
    train(&config, &[]).expect(DATA, &["cat/007.bmp"]);
}

#[test]
fn an_image_of_another_size() {
    let folder = tempfile::tempdir().unwrap();
    let config = images(folder.path(), &["cat", "dog"], 10);
    write(folder.path(), "images/cat/007.bmp", support::bmp(9, 8, [1, 2, 3]));
    train(&config, &[]).expect(DATA, &["cat/007.bmp", "resize"]);
}

#[test]
fn a_missing_column() {
    let folder = tempfile::tempdir().unwrap();
    let config = texts(folder.path(), &reviews(20), 8);
    train(&config, &["data.label=star"]).expect(DATA, &["rows.csv", "star", "stars"]);
}

#[test]
fn an_unlabelled_row() {
    let folder = tempfile::tempdir().unwrap();
    let config = texts(folder.path(), &(reviews(20) + "w1 w2,\n"), 8);
    train(&config, &[]).expect(DATA, &["rows.csv:22"]);
}

#[test]
fn a_tokenizer_with_more_words_than_the_embedding() {
    let folder = tempfile::tempdir().unwrap();
    let config = texts(folder.path(), &reviews(20), 8);
    let run = train(&config, &[]).expect(0, &[]).run();
    tokenizer(&folder.path().join("tokenizer.json"), 30);
    let pretrained = format!("model.pretrained={}", run.join("model").display());
    // Each file is good by itself: the config pairs them.
    train(&config, &[&pretrained]).expect(USAGE, &["10", "32", "tokenizer"]);
}

#[test]
fn damaged_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let run = train(&config, &[]).expect(0, &[]).run();
    let good = fs::read(run.join("model/model.safetensors")).unwrap();
    let weights = write(folder.path(), "weights.safetensors", &good);
    let pretrained = format!("model.pretrained={}", weights.display());
    train(&config, &[&pretrained]).expect(0, &[]);
    for damaged in [&good[..good.len() - 1], &good[..good.len() / 2], &good[..20], &good[..3], &[]] {
        fs::write(&weights, damaged).unwrap();
        train(&config, &[&pretrained]).expect(DATA, &["weights.safetensors"]);
    }
    let mut header = good.clone();
    header[10] ^= 0xff;
    fs::write(&weights, header).unwrap();
    train(&config, &[&pretrained]).expect(DATA, &["weights.safetensors"]);
}

#[test]
fn a_pickle_that_runs_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/malicious.pt");
    let bare = write(folder.path(), "bare.pt", b"cos\nsystem\n(S'touch PICKLE_RAN'\ntR.");
    for weights in [archive, bare] {
        let pretrained = format!("model.pretrained={}", weights.display());
        let said = Said::by(kiln().current_dir(folder.path()).arg("train").arg(&config).arg(pretrained));
        said.expect(DATA, &[weights.file_name().unwrap().to_str().unwrap()]);
    }
    assert!(!folder.path().join("PICKLE_RAN").exists(), "the pickle ran");
}

/// Trains until a checkpoint is there, asks it to stop, and gives the run folder.
fn stopped_run(folder: &Path) -> PathBuf {
    let config = digits(folder, "[checkpoint]\nevery = \"5 steps\"\n");
    let mut child =
        kiln().arg("train").arg(config).args(["train.epochs=2000", "run_name=stopped"]).spawn().unwrap();
    let run = folder.join("runs/stopped");
    let began = Instant::now();
    while !fs::read_dir(run.join("checkpoints")).is_ok_and(|mut entries| {
        entries.any(|e| e.unwrap().file_name().to_string_lossy().starts_with("step-"))
    }) {
        assert!(began.elapsed() < Duration::from_secs(60), "no checkpoint within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(RESUMABLE));
    run
}

/// Resumes the run for a moment and asks it to stop again: its newest checkpoint is good.
fn still_resumes(run: &Path) {
    let log = || fs::read(run.join("metrics.jsonl")).unwrap().len();
    let before = log();
    let mut child = kiln().arg("train").arg("--resume").arg(run).spawn().unwrap();
    let began = Instant::now();
    while log() <= before {
        assert!(
            began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(),
            "it does not go on"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(RESUMABLE));
}

/// Everything below a folder, with its content.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The kernel refuses to let a file grow beyond 100 KiB (the model has 157), as a full disk would refuse it.
#[test]
fn a_disk_that_is_full_during_a_save() {
    let folder = tempfile::tempdir().unwrap();
    let run = stopped_run(folder.path());
    let before = contents(&run.join("checkpoints"));
    let limited = "trap '' XFSZ; ulimit -f 200; exec \"$0\" train --resume \"$1\"";
    let said = Said::by(Command::new("sh").args(["-c", limited, env!("CARGO_BIN_EXE_kiln")]).arg(&run));
    said.expect(IO, &["cannot"]);
    assert!(before == contents(&run.join("checkpoints")), "the checkpoints changed");
    still_resumes(&run);
}

/// A real full disk, where the system lets a test mount one.
#[test]
fn a_small_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "[checkpoint]\nevery = \"1 step\"\nkeep_last = 1000\n");
    let mount = "mkdir -p \"$1/runs\" && mount -t tmpfs -o size=800k none \"$1/runs\" || exit 99; \
        \"$0\" train \"$2\" run_name=small; code=$?; [ -e \"$1/runs/small/checkpoints/step-00000001/manifest.json\" ] || exit 98; \
        mount -o remount,size=32m \"$1/runs\"; \"$0\" train --resume \"$1/runs/small\" >&2 || exit 97; exit $code";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", mount, env!("CARGO_BIN_EXE_kiln")])
        .arg(folder.path())
        .arg(config);
    let said = Said::by(&mut command);
    if said.code == 99 || said.err.contains("unshare") {
        eprintln!("skipped: this system lets no test mount a disk");
        return;
    }
    said.expect(IO, &["could not be saved", "no room", "free some space"]);
}

#[test]
fn a_run_folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = stopped_run(folder.path());
    let writable = |yes: bool| {
        for path in [run.join("checkpoints"), run.clone()] {
            let status = Command::new("chmod").arg(if yes { "u+w" } else { "a-w" }).arg(path).status();
            assert!(status.unwrap().success());
        }
    };
    writable(false);
    // Root may write anywhere unless it gives that power up.
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_kiln"), "train", "--resume"])
        .arg(&run);
    let said = Said::by(&mut command);
    writable(true);
    said.expect(IO, &["runs/stopped", "cannot"]);
    still_resumes(&run);
}

#[test]
fn another_model_on_resume() {
    let folder = tempfile::tempdir().unwrap();
    let run = stopped_run(folder.path());
    let before = contents(&run.join("checkpoints"));
    Said::by(kiln().arg("train").arg("--resume").arg(&run).arg("model.hidden=[8]"))
        .expect(USAGE, &["model.hidden"]);
    assert!(before == contents(&run.join("checkpoints")), "the checkpoints changed");
    still_resumes(&run);
}

#[test]
fn a_damaged_newest_checkpoint_gives_way_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let run = stopped_run(folder.path());
    let mut saved: Vec<PathBuf> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    saved.sort();
    assert!(saved.len() >= 2, "{saved:?}");
    let weights = saved.last().unwrap().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    still_resumes(&run);
}

#[test]
fn two_processes_on_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = stopped_run(folder.path());
    let mut holder = kiln().arg("train").arg("--resume").arg(&run).spawn().unwrap();
    let name = format!("process {}", holder.id());
    let began = Instant::now();
    while !fs::read_to_string(run.join("run.lock")).unwrap().contains(&name) {
        assert!(began.elapsed() < Duration::from_secs(60), "the lock is not taken");
        std::thread::sleep(Duration::from_millis(2));
    }
    Said::by(kiln().arg("train").arg("--resume").arg(&run)).expect(LOCKED, &[&name]);
    Command::new("kill").arg(holder.id().to_string()).status().unwrap();
    assert_eq!(holder.wait().unwrap().code(), Some(RESUMABLE));
}

#[test]
fn a_device_that_is_not_there() {
    let config = root().join("configs/quickstart.toml");
    train(&config, &["device=metal:7"]).expect(3, &["metal:7", "cpu"]);
    train(&config, &["device=cpu,cuda:0"]).expect(USAGE, &["one device"]);
}

/// A checkpoint carries the run's config too; it is not a run, and training in it would spoil it.
#[test]
fn a_checkpoint_is_not_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = stopped_run(folder.path());
    let checkpoint = fs::read_dir(run.join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    let before = contents(&checkpoint);
    let hint = format!("kiln train --resume {}", run.display());
    Said::by(kiln().arg("train").arg("--resume").arg(&checkpoint)).expect(USAGE, &["no run here", &hint]);
    Said::by(kiln().arg("eval").arg(&checkpoint)).expect(DATA, &["not a model"]);
    assert!(contents(&checkpoint) == before, "the checkpoint changed");
}

/// The config may stand before or behind `--resume`, among overrides.
#[test]
fn words_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let config = digits(folder.path(), "");
    let run = Said::by(kiln().arg("train").arg("train.max_steps=2").arg(&config)).expect(0, &[]).run();
    for words in [["--resume", "train.max_steps=2"], ["train.max_steps=2", "--resume"]] {
        let again =
            Said::by(kiln().arg("train").arg(&config).args(words)).expect(0, &["the run is finished"]);
        assert_eq!(again.run(), run);
    }
    Said::by(kiln().arg("train").arg(&config).arg("stray")).expect(USAGE, &["`stray`", "train.epochs=3"]);
}

#[test]
fn a_file_that_is_no_config_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "text,label\n".to_string() + &"good = fine,1\n\"bad, really\",0\n".repeat(500);
    let json = "{\"model_type\": \"bert\",\n \"hidden_size\": 8}";
    let files: [(&str, &[u8], &str); 5] = [
        ("rows.csv", rows.as_bytes(), "its lines are not `key = value`"),
        ("few.csv", b"text,label\nfine,1\n", "its lines are not `key = value`"),
        ("config.json", json.as_bytes(), "its lines are not `key = value`"),
        (
            "model.safetensors",
            b"\x08\0\0\0\0\0\0\0{}      \xff\xfe",
            "it is no text (byte 0xff at offset 16)",
        ),
        ("large.csv", &vec![b','; (1 << 24) + 1], "it has 16 MiB"),
    ];
    for (name, content, why) in files {
        let path = write(folder.path(), name, content);
        for verb in ["check", "train", "eval"] {
            let said = Said::by(kiln().arg(verb).arg(&path));
            let said = said.expect(2, &[name, "is not a config", why, "1 error; nothing was started"]);
            assert!(said.err.lines().count() < 12, "{}", said.err);
        }
    }
    let broken = write(folder.path(), "broken.toml", "[data]\nkind = \n[model\nkind = \"mlp\"\n");
    Said::by(kiln().arg("check").arg(&broken)).expect(2, &["not valid TOML", "broken.toml:2"]);
}
