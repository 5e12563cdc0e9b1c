//! The life of `kiln serve`: who may ask, what is too much, what goes wrong, how models are replaced and how it ends.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::server::{Server, read};
use support::{Said, kiln, reviews, texts, write};

/// The run folder of a small text model, trained once.
fn run() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run =
            Said::by(kiln().arg("train").arg(texts(folder.path(), &reviews(40), 5))).expect(0, &[]).run();
        (folder, run)
    });
    run
}

fn model() -> String {
    format!("m={}", run().display())
}

const PREDICT: &str = "/v1/models/m/predict";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn only_who_has_a_token_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "tokens", format!("# ours\n{TOKEN}\n"));
    let server = Server::start([model().as_str(), "--token-file", file.to_str().unwrap()]);
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        server.send("POST", PREDICT, &[("authorization", &bearer), ("content-type", "text/plain")], b"w0")
    };
    with(TOKEN).answered();
    for other in ["", "0123456789abcdef0123456789abcdee", "# ours"] {
        assert_eq!(with(other).headers["www-authenticate"], "Bearer");
    }
    for path in ["/v2", "/v2/models/m", "/v1/models", "/metrics", "/anything"] {
        server.get(path).refused(401);
    }
    assert!(["/", "/v2/health/live", "/v2/health/ready"].iter().all(|path| server.get(path).status == 200));

    let other = Server::with([model().as_str(), "--address", "0.0.0.0:0"], |command| {
        command.env("KILN_TOKEN", TOKEN);
    });
    assert!(other.address.starts_with("0.0.0.0:"));
    Said::by(kiln().args(["serve", &model()]).env("KILN_TOKEN", "short")).expect(2, &["at least 16"]);
}

#[test]
fn pages_of_other_origins_ask_where_they_are_allowed_to() {
    let words = [model(), "--allow-origin".into(), "https://app.example".into()];
    let server = Server::with(words, |command| {
        command.env("KILN_TOKEN", TOKEN);
    });
    let from = |method: &str, origin: &str, more: &[(&str, &str)]| {
        let headers = [&[("origin", origin)], more].concat();
        server.send(method, PREDICT, &headers, b"")
    };
    let allowed = |reply: &support::server::Reply| reply.headers.get("access-control-allow-origin").cloned();
    let wish =
        [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];
    // A browser asks beforehand, without the token.
    let reply = from("OPTIONS", "https://app.example", &wish);
    assert_eq!((reply.status, allowed(&reply).as_deref()), (200, Some("https://app.example")));
    assert!(reply.headers["access-control-allow-headers"].contains("authorization"));
    assert_eq!(allowed(&from("OPTIONS", "https://other.example", &wish)), None);
    let reply = from("POST", "https://app.example", &[]);
    assert_eq!((reply.status, allowed(&reply).as_deref()), (401, Some("https://app.example")));
    let none = Server::start([model()]);
    assert_eq!(none.send("OPTIONS", PREDICT, &wish, b"").status, 405);
    Said::by(kiln().args(["serve", &model(), "--allow-origin", "app.example"]))
        .expect(2, &["origin \"app.example\""]);
}

#[test]
fn bodies_headers_and_patience_have_limits() {
    let server = Server::start([
        model().as_str(),
        "--max-body-mib",
        "1",
        "--header-timeout",
        "1",
        "--body-timeout",
        "1",
    ]);
    let head =
        |rest: &str| format!("POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n{rest}");
    // Announced, and in chunks that announce nothing.
    let said = server.raw(head("content-length: 99999999\r\n\r\n").as_bytes()).unwrap().refused(413);
    assert_eq!(said, "expected a body of at most 1048576 bytes");
    let chunks = format!("258\r\n{}\r\n", "w0 w1 ".repeat(100)).repeat(2000);
    let long = head("transfer-encoding: chunked\r\n\r\n") + &chunks;
    server.raw(long.as_bytes()).unwrap().refused(413);
    let short = head("connection: close\r\ntransfer-encoding: chunked\r\n\r\n") + "2\r\nw0\r\n0\r\n\r\n";
    server.raw(short.as_bytes()).unwrap().answered();
    let said = server.send("POST", PREDICT, &[("content-encoding", "gzip")], b"x").refused(415);
    assert!(said.contains("not compressed"), "{said}");
    let many = head(&"a: b\r\n".repeat(200)) + "\r\n";
    assert_eq!(server.raw(many.as_bytes()).unwrap().status, 431);
    let large = head(&format!("a: {}\r\n\r\n", "b".repeat(100_000)));
    assert_eq!(server.raw(large.as_bytes()).unwrap().status, 431);

    let slow = |bytes: &str| {
        let mut stream = server.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        let start = Instant::now();
        let reply = read(stream);
        assert!(start.elapsed() < Duration::from_secs(20), "{bytes:?} was waited for");
        reply
    };
    assert!(
        slow("POST /v2 HTTP/1.1\r\nhost: ").is_none_or(|reply| reply.status == 408),
        "headers that never end"
    );
    assert!(slow("").is_none(), "a connection that says nothing");
    let said = slow(&head("connection: close\r\ncontent-length: 10\r\n\r\nw0")).unwrap().refused(408);
    assert!(said.contains("did not arrive within 1 s"), "{said}");
}

#[test]
fn what_is_late_is_504_and_a_full_queue_429() {
    let server = Server::start([model().as_str(), "--max-queue", "4", "--max-batch", "2"]);
    let late =
        server.send("POST", PREDICT, &[("x-request-timeout-ms", "0"), ("content-type", "text/plain")], b"w0");
    assert!(late.refused(504).contains("deadline"));
    let input = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["w0"]});
    let request = json!({"inputs": [input], "parameters": {"timeout": 0}});
    server.post("/v2/models/m/infer", "application/json", request.to_string()).refused(504);
    let said = server.post(PREDICT, "application/json", json!(vec!["w0"; 5]).to_string()).refused(400);
    assert_eq!(said, "expected 1 to 4 inputs, got 5");

    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let reply = server.post(PREDICT, "application/json", json!(vec!["w0"; 4]).to_string());
                    match reply.status {
                        200 => answered.fetch_add(1, SeqCst),
                        _ => {
                            assert_eq!(reply.refused(429), "the model's queue is full");
                            assert!(reply.headers["retry-after"].parse::<u32>().unwrap() > 0);
                            refused.fetch_add(1, SeqCst)
                        }
                    };
                }
            });
        }
    });
    assert!(answered.load(SeqCst) > 0 && refused.load(SeqCst) > 0, "{answered:?} {refused:?}");
    assert!(server.get("/metrics").text().contains("kiln_queue_inputs{model=\"m\"} 0"));
}

#[test]
fn log_metrics_and_predictions_tell_of_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("predictions.jsonl");
    let mut server = Server::start([model().as_str(), "--predictions", kept.to_str().unwrap()]);
    let reply = server.send(
        "POST",
        PREDICT,
        &[("x-request-id", "mine"), ("content-type", "application/json")],
        br#"["w0", "w1 w2"]"#,
    );
    assert_eq!(reply.headers["x-request-id"], "mine");
    let prediction = reply.answered()["predictions"][1].clone();
    let own = server.get("/v2").headers["x-request-id"].clone();
    assert_ne!(own, server.get("/v2").headers["x-request-id"]);
    let page = server.get("/metrics").text();
    for line in [
        "kiln_requests_total{route=\"predict\",model=\"m\",code=\"200\"} 1",
        "kiln_request_duration_seconds_count{route=\"predict\",model=\"m\"} 1",
        "kiln_batch_size_bucket{model=\"m\",le=\"2\"} 1",
        "kiln_queue_wait_seconds_count{model=\"m\"} 1",
        "kiln_model_loads_total{model=\"m\"} 1",
        "kiln_requests_in_flight 1",
        "kiln_panics_total 0",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let resident = page.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes ")).unwrap();
    assert!(resident.parse::<u64>().unwrap() > 1 << 20);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    let log = lines(&server.log());
    let line = log.iter().find(|line| line["request_id"] == "mine").unwrap();
    assert_eq!(
        (&line["route"], &line["status"], &line["inputs"], &line["batch"]),
        (&json!("predict"), &json!(200), &json!(2), &json!(2))
    );
    assert!(line["ms"].as_f64().unwrap() >= line["queue_ms"].as_f64().unwrap());
    assert!(log.iter().any(|line| line["request_id"] == json!(own)));
    assert_eq!(log.last().unwrap()["event"], "stopped");
    let kept = lines(&fs::read_to_string(kept).unwrap());
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (&kept[1]["input"], &kept[1]["index"], &kept[1]["request_id"]),
        (&json!("w1 w2"), &json!(1), &json!("mine"))
    );
    assert_eq!(kept[1]["prediction"], prediction);
}

/// Asks over and over until `done`; what came instead of answers.
fn load(server: &Server, done: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let mut wrong = Vec::new();
    while !done.load(SeqCst) {
        let reply = server.post(PREDICT, "text/plain", "w0 w1");
        match reply.status {
            200 => _ = answered.fetch_add(1, SeqCst),
            status => wrong.push(format!("{status}: {}", reply.text())),
        }
    }
    wrong
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_model_is_replaced_while_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("m");
    copy(&run().join("model"), &served);
    let server = Server::start([served.to_str().unwrap(), "--watch"]);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| load(&server, &done, &answered))).collect();
        for _ in 0..5 {
            let reply = server.post("/v2/repository/models/m/load", "application/json", "{}");
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        // A damaged folder leaves the old model answering.
        fs::write(served.join("config.json"), "{").unwrap();
        let said = server.post("/v2/repository/models/m/load", "application/json", "{}").refused(409);
        assert!(!said.contains(folder.path().to_str().unwrap()), "{said}");
        // Whole again, it is found by the watch.
        let loads = |page: String| {
            let line = page.lines().find_map(|l| l.strip_prefix("kiln_model_loads_total{model=\"m\"} "));
            line.unwrap().parse::<u32>().unwrap()
        };
        let before = loads(server.get("/metrics").text());
        copy(&run().join("model"), &served);
        let start = Instant::now();
        while loads(server.get("/metrics").text()) == before {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the folder's change was not seen: {}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        done.store(true, SeqCst);
        for client in clients {
            assert_eq!(client.join().unwrap(), Vec::<String>::new());
        }
    });
    assert!(answered.load(SeqCst) > 10);
    server.post("/v2/repository/models/x/load", "application/json", "{}").refused(404);
}

#[test]
fn what_was_accepted_is_answered_before_the_end() {
    let mut server = Server::start([model().as_str()]);
    // Connected, and silent until after the signal: accepted all the same.
    let mut silent = server.connect();
    let mut idle = server.connect();
    idle.write_all(b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.terminate();
    let start = Instant::now();
    while !server.log().contains("draining") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", server.log());
    }
    idle.write_all(b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut rest = String::new();
    idle.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 503") && rest.contains("connection: close"), "{rest}");
    let body = "w0 w1";
    let request = format!(
        "POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    silent.write_all(request.as_bytes()).unwrap();
    read(silent).unwrap().answered();
    assert_eq!(server.wait().code(), Some(0));
    assert!(std::net::TcpStream::connect(&server.address).is_err());
}

/// Pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

#[test]
fn malformed_bodies_and_paths_are_refused_without_a_crash_or_a_leak() {
    let server = Server::start([model().as_str()]);
    let good = json!({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["w0 w1"]}]})
        .to_string();
    let mut dice = Dice(7);
    let mut seen = std::collections::BTreeMap::<u16, usize>::new();
    let mut check = |reply: support::server::Reply, what: &str| {
        assert!(reply.status < 500, "{what}: {}", reply.text());
        let said = reply.text();
        for leak in [run().to_str().unwrap(), "/tmp", "/root", "/home", ".rs:"] {
            assert!(!said.contains(leak), "{what}: {said}");
        }
        *seen.entry(reply.status).or_default() += 1;
    };
    for i in 0..400 {
        let mut body = good.clone().into_bytes();
        match i % 4 {
            0 => body.truncate(dice.next(body.len())),
            1 => (0..=dice.next(4)).for_each(|_| {
                let at = dice.next(body.len());
                body[at] = dice.next(256) as u8;
            }),
            2 => {
                let at = dice.next(body.len());
                body.splice(at..at, std::iter::repeat_n(b"[{\"\\"[dice.next(4)], 1 + dice.next(3000)));
            }
            _ => body = (0..dice.next(300)).map(|_| dice.next(256) as u8).collect(),
        }
        let what = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let length = dice.next(300).to_string();
        let headers =
            [("content-type", "application/json"), ("inference-header-content-length", length.as_str())];
        let path = ["/v2/models/m/infer", PREDICT][dice.next(2)];
        check(server.send("POST", path, &headers[..1 + i % 2], &body), &what);
    }
    for climb in ["../", "..%2f", "%2e%2e/", "..\\", "%252e%252e%252f", "....//", "/", "%00", "..;/", "$../"]
    {
        for depth in 1..4 {
            let name = climb.repeat(depth) + "etc/passwd";
            for path in [
                format!("/{name}"),
                format!("/v2/models/{name}"),
                format!("/v2/models/{name}/ready"),
                format!("/v2/models/m/versions/{name}"),
                format!("/v2/repository/models/{name}/load"),
            ] {
                let reply = server.get(&path);
                assert!((400..500).contains(&reply.status), "{path}: {}", reply.status);
                assert!(!reply.text().contains("root:"));
                check(reply, &path);
            }
        }
    }
    assert!(seen[&400] > 300, "{seen:?}");
    server.post(PREDICT, "text/plain", "w0").answered();
    assert!(server.get("/metrics").text().contains("kiln_panics_total 0"));
}
