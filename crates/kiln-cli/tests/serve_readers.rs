//! `kiln serve` and clients that do not read what they asked for.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use support::server::Server;
use support::{Said, kiln, reviews, texts};

/// Together their answers are far more than the system keeps for a client that does not read: 2,000 times the page.
const MUCH: usize = 2000;

#[test]
fn a_client_that_never_reads_gives_its_place_up() {
    let folder = tempfile::tempdir().unwrap();
    let run = Said::by(kiln().arg("train").arg(texts(folder.path(), &reviews(40), 5))).expect(0, &[]).run();
    let model = format!("m={}", run.display());
    let server = Server::start([model.as_str(), "--write-timeout", "2", "--max-connections", "1"]);
    let much = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(MUCH);

    // A client that reads late, but within the time, has everything.
    let mut late = server.connect();
    late.write_all(&much).unwrap();
    late.write_all(b"GET /v2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let mut all = Vec::new();
    late.read_to_end(&mut all).unwrap();
    let answers = all.windows(15).filter(|w| w == b"HTTP/1.1 200 OK").count();
    assert_eq!(answers, MUCH + 1);
    drop(late);

    let mut deaf = server.connect();
    let start = Instant::now();
    // Refused for as long as the other holds the only place; it has been admitted once there is a refusal.
    deaf.write_all(&much).unwrap();
    let refused = || {
        server
            .raw(b"GET /v2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .is_none_or(|reply| reply.status == 503)
    };
    while !refused() {
        assert!(start.elapsed() < Duration::from_secs(20), "the place was not taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    while refused() {
        assert!(start.elapsed() < Duration::from_secs(60), "the place was not given up");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It reads now, and finds the end of what was in between.
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    assert!(rest.len() < all.len());
    let page = loop {
        match server.raw(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n") {
            Some(reply) if reply.status == 200 => break reply.text(),
            _ => assert!(start.elapsed() < Duration::from_secs(60)),
        }
    };
    assert!(page.contains("kiln_connections_unread_total 1"), "{page}");
}
