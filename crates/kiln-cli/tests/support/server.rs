//! A real `kiln serve` on a free port, and a client so plain that it can send what no client should.
//! Owns the process: it ends with the value, and a panic in it fails the test.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The patience of a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server.
pub struct Server {
    child: Child,
    /// `host:port`
    pub address: String,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The message of a refusal.
    #[track_caller]
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["error"].as_str().unwrap().to_string()
    }

    /// The JSON of an answer.
    #[track_caller]
    pub fn answered(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}

impl Server {
    /// Starts it with these words behind `kiln serve`, and waits until it answers.
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(words: I) -> Self {
        Self::with(words, |_| ())
    }

    /// The same, with the command changed first.
    pub fn with<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        words: I,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let words: Vec<_> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let mut command = super::kiln();
        command.args(["serve", "--device", "cpu"]).args(&words);
        if !words.iter().any(|word| word == "--address") {
            command.args(["--address", "127.0.0.1:0"]);
        }
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.split([' ', '/']).nth(2).map(str::to_string) else {
            let _ = child.kill();
            panic!("did not start: {line}{}", fs::read_to_string(&log).unwrap());
        };
        Self { child, address, log, _folder: folder }
    }

    /// A connection, to be written to.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes as they are, and reads what comes until the server closes; `None` where nothing came.
    pub fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut stream = self.connect();
        // A server that has said no may close before everything is written.
        let _ = stream.write_all(bytes);
        read(stream)
    }

    /// One request with these headers.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        let mut bytes = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend(body);
        self.raw(&bytes).unwrap_or_else(|| panic!("no answer to {method} {path}; log: {}", self.log()))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, kind: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send("POST", path, &[("content-type", kind)], body.as_ref())
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert!(!self.log().contains("panicked"), "{}", self.log());
        }
    }
}

/// What a server sends until it closes.
pub fn read(mut stream: TcpStream) -> Option<Reply> {
    let mut all = Vec::new();
    // A reset behind the answer takes nothing from it.
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers: BTreeMap<_, _> = headers.map(|(k, v)| (k.to_lowercase(), v.to_string())).collect();
    let body = all.split_off(end + 4);
    let announced = headers.get("content-length").map_or(body.len(), |n| n.parse().unwrap());
    assert_eq!(body.len(), announced, "an answer cut short: {head}");
    Some(Reply { status, headers, body })
}
