//! A Hub in a thread: the paths that a pull and a push use, one model, and the faults that a test asks for.
//! Owns no expectation; keeps every request for the test to look at.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "tests use what they need")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

/// The commit that `main` is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The only model.
pub const MODEL: &str = "org/tiny";

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Default)]
pub struct State {
    /// Name -> content. `.safetensors` and `.bin` are large: they lie on the other server.
    pub files: BTreeMap<String, Vec<u8>>,
    /// A file's tag: its sum on the Hub.
    pub tag: Option<fn(&str, &[u8]) -> String>,
    /// Only who has this token may read.
    pub private: Option<String>,
    /// Bytes after which each answer with a large file is cut.
    pub cut: Option<usize>,
    /// Large files come with other bytes of the same number.
    pub corrupt: bool,
    /// `Range` is not understood.
    pub whole_only: bool,
    /// Every answer is this status.
    pub broken: Option<u16>,
    /// Large files are taken in parts of so many bytes.
    pub chunk: Option<usize>,
    pub requests: Vec<Request>,
    pub uploads: BTreeMap<String, Vec<u8>>,
    pub commits: Vec<String>,
}

pub struct Hub {
    pub url: String,
    store: String,
    state: Arc<Mutex<State>>,
}

pub fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

impl Hub {
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().unwrap().files = files.iter().map(|(n, b)| ((*n).to_owned(), b.to_vec())).collect();
        let (hub, store) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        // Another host as far as a client can tell.
        let store_url = format!("http://localhost:{}", store.local_addr().unwrap().port());
        let url = format!("http://{}", hub.local_addr().unwrap());
        for (listener, is_hub) in [(hub, true), (store, false)] {
            let (state, store) = (Arc::clone(&state), store_url.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (state, store) = (Arc::clone(&state), store.clone());
                    thread::spawn(move || serve(stream, &state, &store, is_hub));
                }
            });
        }
        Self { url, store: store_url, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How often a path with this in it was asked for so.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.state().requests.iter().filter(|r| r.method == method && r.path.contains(part)).count()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((key, value)) => headers.insert(key.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    if headers.contains_key("expect") {
        (&mut &*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes after which the connection ends.
    cut: Option<usize>,
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: vec![], body: body.into(), cut: None }
}

fn fault(status: u16, code: &str) -> Answer {
    Answer { headers: vec![("X-Error-Code", code.into())], ..answer(status, r#"{"error": "no"}"#) }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, store: &str, is_hub: bool) {
    let Some(request) = read(&stream) else { return };
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let Answer { status, headers, body, cut } = match (state.broken, is_hub) {
        (Some(status), _) => answer(status, "out of order"),
        (None, true) => hub(&mut state, &request, store),
        (None, false) => stored(&mut state, &request),
    };
    drop(state);
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    headers.iter().for_each(|(key, value)| head += &format!("{key}: {value}\r\n"));
    let _ = stream.write_all((head + "\r\n").as_bytes());
    if request.method != "HEAD" {
        let _ = stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]);
    }
    let _ = stream.flush();
}

fn hub(state: &mut State, request: &Request, store: &str) -> Answer {
    let Request { method, path, headers, body } = request;
    let bearer = headers.get("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    let json_body = || serde_json::from_slice::<Value>(body).unwrap();
    if method == "POST" && path == "/api/repos/create" {
        return if bearer.is_some() { answer(409, "exists") } else { fault(401, "") };
    }
    if !path.contains(MODEL) {
        return fault(404, "RepoNotFound");
    }
    if state.private.as_ref().is_some_and(|token| bearer.as_ref() != Some(token)) {
        return if bearer.is_some() { fault(403, "") } else { fault(401, "") };
    }
    if let Some(revision) = path.strip_prefix("/api/models/org/tiny/revision/") {
        if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
            return fault(404, "RevisionNotFound");
        }
        let files: Vec<Value> = state.files.keys().map(|name| json!({"rfilename": name})).collect();
        return answer(200, json!({"id": MODEL, "sha": COMMIT, "siblings": files}).to_string());
    }
    let cached = "/api/resolve-cache/models/org/tiny/";
    if let Some(name) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
        let Some(content) = state.files.get(name) else { return fault(404, "EntryNotFound") };
        let tag = format!("\"{}\"", (state.tag.unwrap())(name, content));
        let commit = ("X-Repo-Commit", COMMIT.to_owned());
        if is_large(name) {
            let size = content.len().to_string();
            let place = format!("{store}/large/{name}");
            let headers = vec![commit, ("X-Linked-Etag", tag), ("X-Linked-Size", size), ("Location", place)];
            return Answer { headers, ..answer(302, "") };
        }
        if name == "tokenizer.json" {
            return Answer {
                headers: vec![commit, ("Location", format!("{cached}{name}"))],
                ..answer(307, "")
            };
        }
        return Answer { headers: vec![commit, ("ETag", tag)], ..answer(200, content.clone()) };
    }
    if let Some(name) = path.strip_prefix(cached) {
        let content = state.files[name].clone();
        let tag = format!("W/\"{}\"", (state.tag.unwrap())(name, &content));
        return Answer {
            headers: vec![("X-Repo-Commit", COMMIT.to_owned()), ("ETag", tag)],
            ..answer(200, content)
        };
    }
    if bearer.is_none() {
        return fault(401, "");
    }
    match path.rsplit_once('/').map_or("", |(_, last)| last) {
        _ if path.contains("/preupload/") => {
            let mode = |file: &Value| {
                let name = file["path"].as_str().unwrap().to_owned();
                let mode = if is_large(&name) { "lfs" } else { "regular" };
                json!({"path": name, "uploadMode": mode, "shouldIgnore": name == "notes.txt"})
            };
            let files: Vec<Value> = json_body()["files"].as_array().unwrap().iter().map(mode).collect();
            answer(200, json!({"files": files}).to_string())
        }
        "batch" => {
            let objects: Vec<Value> =
                json_body()["objects"].as_array().unwrap().iter().map(|o| upload(state, o, store)).collect();
            answer(200, json!({"transfer": "basic", "objects": objects}).to_string())
        }
        _ if path.contains("/commit/") => {
            state.commits.push(String::from_utf8(body.clone()).unwrap());
            answer(200, json!({"commitOid": COMMIT, "commitUrl": "http://hub/org/tiny/commit/0"}).to_string())
        }
        _ => fault(404, "RepoNotFound"),
    }
}

fn upload(state: &State, object: &Value, store: &str) -> Value {
    let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
    let mut header = json!({});
    let mut href = format!("{store}/upload/{oid}");
    if let Some(chunk) = state.chunk {
        header["chunk_size"] = json!(chunk.to_string());
        for part in 1..=size.div_ceil(chunk) {
            header[format!("{part:05}")] = json!(format!("{store}/part/{oid}/{part}"));
        }
        href = format!("{store}/complete/{oid}");
    }
    let verify = json!({"href": format!("{store}/verify/{oid}")});
    json!({"oid": oid, "size": size, "actions": {"upload": {"href": href, "header": header}, "verify": verify}})
}

/// The store behind the Hub: addresses carry their own right.
fn stored(state: &mut State, request: &Request) -> Answer {
    if request.headers.contains_key("authorization") {
        return answer(400, "a token must not come here");
    }
    let words: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match words[..] {
        ["large", name] => large(state, request, name),
        ["upload", oid] => {
            state.uploads.insert(oid.into(), request.body.clone());
            answer(200, "")
        }
        ["part", oid, part] => {
            state.uploads.entry(oid.into()).or_default().extend(&request.body);
            Answer { headers: vec![("ETag", format!("\"part-{part}\""))], ..answer(200, "") }
        }
        ["complete" | "verify", _] => answer(200, "{}"),
        _ => answer(404, ""),
    }
}

fn large(state: &State, request: &Request, name: &str) -> Answer {
    let mut content = state.files[name].clone();
    if state.corrupt {
        content.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let start = request.headers.get("range").filter(|_| !state.whole_only);
    let start = start.map(|r| r.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
    let status = if start.is_some() { 206 } else { 200 };
    Answer { cut: state.cut, ..answer(status, content.split_off(start.unwrap_or(0))) }
}
