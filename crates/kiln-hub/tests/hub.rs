//! Pull and push against a Hub in a thread: what comes, what is kept, and what is said when something is wrong.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use kiln_core::Exit;
use kiln_hub::{HubError, Name, Pulled, Push, Settings, pull, push};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use support::{COMMIT, Hub, is_large};
use tempfile::TempDir;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The Hub's tags: SHA-256 of a large file, git's hash of a small one.
fn tag(name: &str, content: &[u8]) -> String {
    if is_large(name) {
        return hex(&Sha256::digest(content));
    }
    hex(&Sha1::digest([format!("blob {}\0", content.len()).as_bytes(), content].concat()))
}

fn weights() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

struct Bench {
    hub: Hub,
    settings: Settings,
    folder: TempDir,
}

impl Bench {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let hub = Hub::start(files);
        hub.state().tag = Some(tag);
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("hub");
        let settings = Settings { endpoint: hub.url.clone(), token: None, cache, offline: false };
        Self { hub, settings, folder }
    }

    /// Configuration, a tokenizer and one file of weights, and two files that are not wanted.
    fn tiny() -> Self {
        let files: [(&str, &[u8]); 5] = [
            ("README.md", b"# tiny"),
            ("config.json", b"{\"model_type\": \"bert\"}"),
            ("model.safetensors", &weights()),
            ("pytorch_model.bin", b"old"),
            ("tokenizer.json", b"{}"),
        ];
        Self::new(&files)
    }

    fn pull(&self, name: &str) -> Result<Pulled, HubError> {
        pull(&name.parse::<Name>().unwrap(), &self.settings)
    }

    #[track_caller]
    fn refused(&self, name: &str, exit: Exit, words: &[&str]) -> HubError {
        let error = self.pull(name).unwrap_err();
        let text = format!("{error}\n{}", error.hint().unwrap_or_default());
        assert_eq!(error.exit(), exit, "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} not in {text}"));
        error
    }

    fn model(&self) -> PathBuf {
        self.settings.cache.join("models--org--tiny")
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> =
        entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_model_comes_into_the_layout_that_python_shares() {
    let bench = Bench::tiny();
    let pulled = bench.pull("org/tiny").unwrap();
    assert_eq!((pulled.commit.as_str(), pulled.note), (COMMIT, None));
    assert_eq!(pulled.bytes, weights().len() as u64 + 22 + 2);
    assert_eq!(pulled.folder, bench.model().join("snapshots").join(COMMIT));
    assert_eq!(names(&pulled.folder), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read(pulled.folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(fs::read_to_string(bench.model().join("refs/main")).unwrap(), COMMIT);
    let blob = tag("model.safetensors", &weights());
    let link = fs::read_link(pulled.folder.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(&blob));
    assert_eq!(names(&bench.model().join("blobs")).len(), 3);

    // Again: asked, and nothing comes.
    let again = bench.pull("org/tiny").unwrap();
    assert_eq!((again.bytes, again.folder), (0, pulled.folder));
    assert_eq!(bench.hub.count("GET", "/large/"), 1);
    leave_for_python(&bench);
}

/// Where the environment asks for it, the cache stays for `tests/hub_cache_opens.py`.
fn leave_for_python(bench: &Bench) {
    if let Some(out) = std::env::var_os("KILN_PEER_OUT") {
        let to = Path::new(&out).join("hub");
        let _ = fs::remove_dir_all(&to);
        let copied = std::process::Command::new("cp").arg("-a").arg(&bench.settings.cache).arg(&to).status();
        assert!(copied.unwrap().success());
    }
}

#[test]
fn branches_and_commits_are_revisions() {
    let bench = Bench::tiny();
    bench.pull("org/tiny@refs/pr/1").unwrap();
    assert_eq!(fs::read_to_string(bench.model().join("refs/refs/pr/1")).unwrap(), COMMIT);
    assert!(!bench.model().join("refs/main").exists());
    let asked = bench.hub.state().requests.len();
    // A commit never changes: with all its files here, nobody is asked.
    assert_eq!(bench.pull(&format!("org/tiny@{COMMIT}")).unwrap().bytes, 0);
    assert_eq!(bench.hub.state().requests.len(), asked);
    assert!(!bench.model().join("refs").join(COMMIT).exists());
    bench.refused("org/tiny@nowhere", Exit::Data, &["org/tiny", "no branch, tag or commit \"nowhere\""]);
}

#[test]
fn a_private_model_needs_its_token_and_the_store_never_sees_it() {
    let mut bench = Bench::tiny();
    bench.hub.state().private = Some("hf_right".into());
    bench.refused("org/tiny", Exit::Data, &["refuses access", "401", "without a token", "HF_TOKEN"]);
    bench.settings.token = Some("hf_wrong".into());
    bench.refused("org/tiny", Exit::Data, &["refuses access", "403", "with a token", "gated"]);
    bench.settings.token = Some("hf_right".into());
    bench.pull("org/tiny").unwrap();
    assert_eq!(bench.hub.count("GET", "/large/"), 1); // with a token it would have answered 400
}

#[test]
fn what_is_not_there_is_named() {
    let bench = Bench::tiny();
    bench.refused("org/other", Exit::Data, &["org/other: no such model", "404", "spelling"]);
    bench.hub.state().files.remove("model.safetensors");
    bench.hub.state().files.remove("pytorch_model.bin");
    bench.refused("org/tiny", Exit::Data, &["no safetensors or PyTorch weights", "README.md, config.json"]);
    bench.hub.state().files.remove("config.json");
    bench.refused("org/tiny", Exit::Data, &["no config.json among its files"]);
    assert!(!bench.model().join("snapshots").exists());
}

#[test]
fn shards_follow_their_index_and_a_missing_one_is_named() {
    let map = |second: &str| {
        format!(r#"{{"weight_map": {{"a": "model-1.safetensors", "b": "{second}"}}}}"#).into_bytes()
    };
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        ("model-1.safetensors", b"first"),
        ("model-2.safetensors", b"second"),
        ("model.safetensors.index.json", &map("model-2.safetensors")),
    ];
    let bench = Bench::new(&files);
    let pulled = bench.pull("org/tiny").unwrap();
    assert_eq!(fs::read(pulled.folder.join("model-2.safetensors")).unwrap(), b"second");
    // One shard lost from the cache: offline, the model is not whole.
    fs::remove_file(pulled.folder.join("model-2.safetensors")).unwrap();
    let offline = Settings { offline: true, ..bench.settings.clone() };
    assert!(matches!(pull(&"org/tiny".parse().unwrap(), &offline), Err(HubError::Offline { .. })));

    let index = |second: &str| {
        let files: [(&str, &[u8]); 3] = [
            ("config.json", b"{}"),
            ("model-1.safetensors", b"1"),
            ("model.safetensors.index.json", &map(second)),
        ];
        Bench::new(&files)
    };
    let bench = index("model-3.safetensors");
    bench.refused("org/tiny", Exit::Data, &["no file model-3.safetensors", "index"]);
    assert!(!bench.model().join("snapshots").exists());
    index("../../x").refused("org/tiny", Exit::Io, &["weight_map names", "same folder"]);
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let bench = Bench::tiny();
    bench.hub.state().cut = Some(150_000); // of 400,000 bytes: three answers
    let pulled = bench.pull("org/tiny").unwrap();
    assert_eq!(fs::read(pulled.folder.join("model.safetensors")).unwrap(), weights());
    let ranges: Vec<Option<String>> = bench
        .hub
        .state()
        .requests
        .iter()
        .filter(|r| r.path.contains("/large/"))
        .map(|r| r.headers.get("range").cloned())
        .collect();
    assert_eq!(ranges, [None, Some("bytes=150000-".into()), Some("bytes=300000-".into())]);
}

#[test]
fn a_download_that_stays_cut_leaves_no_half_file_in_the_snapshot() {
    let bench = Bench::tiny();
    bench.hub.state().cut = Some(0);
    bench.refused("org/tiny", Exit::Io, &["model.safetensors"]);
    assert!(!bench.model().join("snapshots").exists() && !bench.model().join("refs").exists());
    // Half of it came, then no more: that half is used by the next try.
    let part = bench.model().join("blobs").join(tag("model.safetensors", &weights()) + ".incomplete");
    fs::write(&part, &weights()[..200_000]).unwrap();
    bench.refused("org/tiny", Exit::Io, &["cut after 200000 of 400000 bytes", "goes on where it was cut"]);
    bench.hub.state().cut = None;
    assert_eq!(bench.pull("org/tiny").unwrap().bytes, 200_000);
    assert!(!part.exists());
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let bench = Bench::tiny();
    bench.hub.state().whole_only = true;
    let blobs = bench.model().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(tag("model.safetensors", &weights()) + ".incomplete"), b"something").unwrap();
    let pulled = bench.pull("org/tiny").unwrap();
    assert_eq!(fs::read(pulled.folder.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn other_bytes_than_the_hubs_are_refused() {
    let bench = Bench::tiny();
    let blobs = bench.model().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(tag("model.safetensors", &weights()) + ".incomplete");
    // A wrong half from before is thrown away, and the file comes anew.
    fs::write(&part, vec![7; 200_000]).unwrap();
    bench.pull("org/tiny").unwrap();
    let bench = Bench::tiny();
    bench.hub.state().corrupt = true;
    bench.refused("org/tiny", Exit::Io, &["model.safetensors", "not what the Hub has"]);
    assert!(!bench.model().join("snapshots").exists());
}

#[test]
fn offline_the_cache_alone_is_used() {
    let mut bench = Bench::tiny();
    bench.settings.offline = true;
    bench.refused("org/tiny", Exit::Data, &["HF_HUB_OFFLINE", "models--org--tiny"]);
    assert!(bench.hub.state().requests.is_empty());
    bench.settings.offline = false;
    bench.pull("org/tiny").unwrap();
    let asked = bench.hub.state().requests.len();
    bench.settings.offline = true;
    assert_eq!(bench.pull("org/tiny").unwrap().bytes, 0);
    assert_eq!(bench.hub.state().requests.len(), asked);
    bench.refused("org/tiny@refs/pr/1", Exit::Data, &["not in the cache"]);
}

#[test]
fn without_a_network_the_cache_is_used_and_said() {
    let mut bench = Bench::tiny();
    bench.pull("org/tiny").unwrap();
    bench.settings.endpoint = "http://127.0.0.1:1".into();
    let pulled = bench.pull("org/tiny").unwrap();
    assert!(pulled.note.unwrap().contains("taken from the cache"));
    bench.refused("org/other", Exit::Io, &["cannot reach http://127.0.0.1:1", "HF_ENDPOINT"]);
}

#[test]
fn a_hub_out_of_order_is_said() {
    let bench = Bench::tiny();
    bench.hub.state().broken = Some(500);
    bench.refused("org/tiny", Exit::Io, &["answered 500: out of order"]);
    bench.hub.state().broken = Some(200);
    bench.refused("org/tiny", Exit::Io, &["something unexpected: not JSON"]);
}

/// A run's model folder as kiln leaves it.
fn model(bench: &Bench) -> PathBuf {
    let folder = bench.folder.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), "{}").unwrap();
    fs::write(folder.join("notes.txt"), "named by the model's .gitignore").unwrap();
    fs::write(folder.join(".half"), "x").unwrap();
    fs::write(folder.join("model.safetensors"), weights()).unwrap();
    folder
}

fn pushed(bench: &Bench, folder: &Path) -> Result<kiln_hub::Pushed, HubError> {
    let what = Push { folder, message: "Upload", private: true };
    push(&"org/tiny".parse().unwrap(), &what, &bench.settings)
}

#[test]
fn a_push_is_one_commit_of_the_right_files() {
    for chunk in [None, Some(150_000)] {
        let mut bench = Bench::tiny();
        bench.settings.token = Some("hf_write".into());
        bench.hub.state().chunk = chunk;
        let done = pushed(&bench, &model(&bench)).unwrap();
        assert_eq!((done.commit.as_str(), done.bytes), (COMMIT, weights().len() as u64));
        assert_eq!(done.files, ["config.json", "model.safetensors"]);
        let state = bench.hub.state();
        let oid = hex(&Sha256::digest(weights()));
        assert_eq!(state.uploads.len(), 1);
        assert_eq!(state.uploads[&oid], weights());
        let lines: Vec<Value> =
            state.commits[0].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((state.commits.len(), lines.len()), (1, 3));
        assert_eq!(lines[0]["value"]["summary"], "Upload");
        assert_eq!((&lines[1]["key"], &lines[1]["value"]["path"]), (&"file".into(), &"config.json".into()));
        let content = lines[1]["value"]["content"].as_str().unwrap();
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(content).unwrap(), b"{}");
        assert_eq!(lines[2]["key"], "lfsFile");
        assert_eq!(lines[2]["value"]["oid"], oid.as_str());
        assert_eq!(lines[2]["value"]["size"], weights().len());
        let made = state.requests.iter().find(|r| r.path == "/api/repos/create").unwrap();
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        assert_eq!((&made["organization"], &made["name"]), (&"org".into(), &"tiny".into()));
        assert_eq!(made["private"], true);
    }
}

#[test]
fn a_push_says_what_it_lacks() {
    let mut bench = Bench::tiny();
    let folder = model(&bench);
    assert!(matches!(pushed(&bench, &folder), Err(HubError::NoToken)));
    assert!(bench.hub.state().requests.is_empty());
    bench.settings.token = Some("hf_read".into());
    let what = Push { folder: &folder, message: "Upload", private: false };
    let ownerless = push(&"tiny".parse().unwrap(), &what, &bench.settings).unwrap_err();
    assert!(ownerless.to_string().contains("needs the owner"), "{ownerless}");
    bench.hub.state().private = Some("hf_write".into());
    assert!(matches!(pushed(&bench, &folder), Err(HubError::Denied { status: 403, token: true, .. })));
    assert!(bench.hub.state().commits.is_empty());
    fs::remove_file(folder.join("config.json")).unwrap();
    assert!(pushed(&bench, &folder).unwrap_err().to_string().contains("no model to push"));
    bench.settings.offline = true;
    assert!(matches!(pushed(&bench, &folder), Err(HubError::PushOffline)));
}
