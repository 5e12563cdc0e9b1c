//! `kiln serve` continues texts: as `kiln predict` does, in both protocols, whole and as it grows, and not for ever.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::server::{Reply, Server};
use support::{Said, kiln, reviews, texts};

const PREDICT: &str = "/v1/models/m/predict";
/// Far more tokens than a test waits for.
const FOR_EVER: &str = "1000000";

/// Run folders of a decoder and of a classifier, trained once for the tests of this file.
fn runs() -> &'static (tempfile::TempDir, PathBuf, PathBuf) {
    static RUNS: OnceLock<(tempfile::TempDir, PathBuf, PathBuf)> = OnceLock::new();
    RUNS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let trained = |config: &Path| Said::by(kiln().arg("train").arg(config)).expect(0, &[]).run();
        let decoder = trained(&support::prose(&folder.path().join("prose")));
        let classifier = trained(&texts(&folder.path().join("texts"), &reviews(40), 5));
        (folder, decoder, classifier)
    })
}

fn server(words: &[&str]) -> Server {
    let (_, decoder, classifier) = runs();
    let models = [format!("m={}", decoder.display()), format!("c={}", classifier.display())];
    Server::start(models.iter().map(String::as_str).chain(words.iter().copied()))
}

/// What `kiln predict` says, without the prompt.
fn predicted(prompt: &str, words: &[&str]) -> Value {
    let (_, decoder, _) = runs();
    let said = Said::by(kiln().arg("predict").arg(decoder).arg(prompt).args(["--device", "cpu"]).args(words));
    let mut line: Value = serde_json::from_str(said.expect(0, &[]).out.trim()).unwrap();
    line.as_object_mut().unwrap().remove("input");
    line
}

fn ask(server: &Server, body: &Value) -> Reply {
    server.post(PREDICT, "application/json", body.to_string())
}

/// The data of each event.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, "text/event-stream"));
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn texts_are_continued_as_by_predict_in_both_protocols() {
    let server = server(&[]);
    let greedy = predicted("to be", &["--max-new-tokens", "40", "--temperature", "0"]);
    assert_eq!((&greedy["tokens"], &greedy["finish_reason"]), (&json!(40), &json!("length")));
    let options = json!({"max_new_tokens": 40, "temperature": 0});
    let mut body = options.clone();
    body["text"] = json!("to be");
    assert_eq!(ask(&server, &body).answered()["predictions"], json!([greedy]));
    let deeper = json!({"inputs": ["to be", "to be"], "parameters": options});
    assert_eq!(ask(&server, &deeper).answered()["predictions"], json!([greedy, greedy]));

    let drawn = predicted(
        "or",
        &[
            "--max-new-tokens",
            "30",
            "--temperature",
            "0.9",
            "--top-k",
            "5",
            "--top-p",
            "0.9",
            "--seed",
            "3",
            "--stop",
            "to",
        ],
    );
    let body = json!({"text": "or", "max_new_tokens": 30, "temperature": 0.9, "top_k": 5, "top_p": 0.9, "seed": 3, "stop": ["to"]});
    assert_eq!(ask(&server, &body).answered()["predictions"][0], drawn);
    // Nothing is said: the defaults of predict.
    let plain = server.post(PREDICT, "text/plain", "to be").answered();
    assert_eq!(plain["predictions"][0], predicted("to be", &[]));

    let input = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["to be"]});
    let request =
        json!({"inputs": [input], "parameters": {"max_new_tokens": 40, "temperature": 0, "priority": 1}});
    let reply = server.post("/v2/models/m/infer", "application/json", request.to_string()).answered();
    let output = |name: &str, datatype: &str, data: &Value| json!({"name": name, "datatype": datatype, "shape": [1], "data": [data]});
    assert_eq!(
        reply["outputs"],
        json!([
            output("text", "BYTES", &greedy["text"]),
            output("tokens", "INT64", &json!(40)),
            output("finish_reason", "BYTES", &json!("length"))
        ])
    );
    let listed = server.get("/v2/models/m").answered();
    assert_eq!(listed["inputs"], json!([{"name": "text", "datatype": "BYTES", "shape": [-1]}]));
    assert_eq!(listed["outputs"][1], json!({"name": "tokens", "datatype": "INT64", "shape": [-1]}));
    let models = server.get("/v1/models").answered()["models"].clone();
    assert_eq!(
        (&models[1]["task"], &models[1]["max_new_tokens"]),
        (&json!("causal_language_modeling"), &json!(1024))
    );
    let generated = 40 * 4 + 100 + drawn["tokens"].as_u64().unwrap();
    let line = format!("kiln_generated_tokens_total{{model=\"m\"}} {generated}");
    assert!(server.get("/metrics").text().contains(&line), "{line}");
}

#[test]
fn a_text_that_is_sent_as_it_grows_is_the_same_text() {
    let server = server(&[]);
    let words = ["--max-new-tokens", "60", "--temperature", "0.7", "--seed", "5", "--stop", "not"];
    for (stop, words) in [(json!([]), &words[..6]), (json!(["not"]), &words[..])] {
        let expected = predicted("to", words);
        let reply = ask(
            &server,
            &json!({"text": "to", "max_new_tokens": 60, "temperature": 0.7, "seed": 5, "stop": stop, "stream": true}),
        );
        let mut events = events(&reply);
        assert_eq!(events.pop().unwrap(), expected);
        let pieces: String = events.iter().map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(pieces, expected["text"].as_str().unwrap());
        assert!(events.len() > 1, "{events:?}");
    }
}

#[test]
fn what_cannot_be_continued_is_refused() {
    let server = server(&["--max-new-tokens", "50"]);
    for (body, expected) in [
        (
            json!({"text": "to", "max_new_tokens": 51}),
            "max_new_tokens: expected a number of tokens from 1 to 50, got 51",
        ),
        (json!({"text": "to", "temperature": "hot"}), "temperature: expected 0 or more, got \"hot\""),
        (
            json!({"text": "to", "max_tokens": 3}),
            "of the options max_new_tokens, temperature, top_k, top_p, seed, stop; got \"max_tokens\"",
        ),
        (json!({"text": "to", "stream": 1}), "stream: expected true or false, got 1"),
        (json!({"text": ["to", "be"], "stream": true}), "\"stream\": expected one text, got 2 inputs"),
        (json!({"text": ""}), "input 1: an empty prompt"),
        (json!({"text": "", "stream": true}), "input 1: an empty prompt"),
        (json!({"text": ["to", "ω"]}), "input 2: "),
        (json!({"text": []}), "expected 1 to 256 inputs, got 0"),
    ] {
        let said = ask(&server, &body).refused(400);
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
    }
    let plain = server.post(PREDICT, "text/plain", "to be").answered();
    assert_eq!(plain["predictions"][0]["tokens"], 50, "the default is within the limit");
}

/// Sends a request, and gives the lines of its answer as they come.
fn begun(server: &Server, body: &Value, headers: &str) -> BufReader<std::net::TcpStream> {
    let mut stream = server.connect();
    let body = body.to_string();
    let head = format!("POST {PREDICT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    BufReader::new(stream)
}

fn until(lines: &mut impl BufRead, word: &str) -> String {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no {word}");
    }
    line
}

#[test]
fn a_generation_ends_with_its_deadline_and_with_its_client() {
    let server = server(&["--max-new-tokens", FOR_EVER, "--deadline-ms", "3600000"]);
    let long = |stream: bool| json!({"text": "to", "max_new_tokens": 1_000_000, "stream": stream});
    let short = json!({"text": "to", "max_new_tokens": 1});
    let after = |what: &str| {
        let start = Instant::now();
        ask(&server, &short).answered();
        assert!(start.elapsed() < Duration::from_secs(30), "{what} was computed on");
    };
    let body = long(false).to_string();
    let headers = [("x-request-timeout-ms", "200"), ("content-type", "application/json")];
    let said = server.send("POST", PREDICT, &headers, body.as_bytes()).refused(504);
    assert!(said.contains("deadline"), "{said}");
    after("what was late");

    let mut lines = begun(&server, &long(true), "x-request-timeout-ms: 300\r\n");
    until(&mut lines, "delta");
    let last = until(&mut lines, "error");
    assert!(last.contains("the deadline passed"), "{last}");
    after("a stream that was late");

    let mut lines = begun(&server, &long(true), "");
    until(&mut lines, "delta");
    // The other model answers meanwhile, and a request that waits behind is late by itself.
    server.post("/v1/models/c/predict", "text/plain", "w0 w1").answered();
    let headers = [("x-request-timeout-ms", "100"), ("content-type", "application/json")];
    server.send("POST", PREDICT, &headers, short.to_string().as_bytes()).refused(504);
    drop(lines);
    after("a stream whose client had gone");

    let waiting = begun(&server, &long(false), "");
    std::thread::sleep(Duration::from_millis(300));
    drop(waiting);
    after("what its client no longer waits for");
    let page = server.get("/metrics").text();
    let tokens = page.lines().find_map(|l| l.strip_prefix("kiln_generated_tokens_total{model=\"m\"} "));
    assert!(tokens.unwrap().parse::<u64>().unwrap() < 1_000_000, "{tokens:?}");
}
