//! Load for a server, and what came of it: requests a second, latencies, and every request that was lost.
//! Owns no expectation: scripts in tests/ and benches/ start it beside a server and judge. Speaks HTTP/1.1 over plain TCP,
//! also to other servers than kiln's. One thread.
//!
//! Usage: load ADDRESS PATH BODIES key=value ...   where BODIES is a file with a JSON body a line
//!   clients=8      that each send the next request when the last is answered
//!   rate=0         instead: requests a second, whatever the answers; latency counts from when each was due
//!   seconds=10     how long
//!   warmup=1       seconds before that which are not counted
//!   keepalive=0    connections besides, that each GET /v2/health/ready every 4 s
//!   loris=0        connections besides, that send their headers a byte a second
//!   deaf=0         connections besides, that ask for much and read nothing
//!   token=         bearer token
//!
//! Prints one JSON object. `lost` are requests whose connection was accepted and ended without an answer; `reused` of these
//! went out on a connection that had answered before, whose end by the server may have crossed them on the way.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a tool for scripts, which stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, sleep_until, timeout};

/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of the requests.
#[derive(Default)]
struct Tally {
    /// Latencies in microseconds, by status.
    answered: BTreeMap<u16, Vec<u32>>,
    unconnected: usize,
    lost: usize,
    reused: usize,
    late: usize,
}

struct Load {
    address: String,
    requests: Vec<Vec<u8>>,
    next: AtomicUsize,
    tally: Mutex<Tally>,
    keepalive: Mutex<Tally>,
    from: Instant,
    until: Instant,
    /// Connections that a slow header had closed.
    closed: AtomicUsize,
    /// Connections that an unread answer had closed.
    unread: AtomicUsize,
}

/// A connection that may be used again.
struct Connection {
    stream: TcpStream,
    used: bool,
}

enum Came {
    Answer { status: u16, keep: bool },
    Nothing,
    Late,
}

impl Connection {
    async fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, used: false })
    }

    /// Whether the server has not closed it meanwhile, as a client looks before it sends.
    fn is_open(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    }

    async fn ask(&mut self, request: &[u8]) -> Came {
        match timeout(PATIENCE, self.exchange(request)).await {
            Err(_) => Came::Late,
            Ok(None) => Came::Nothing,
            Ok(Some((status, keep))) => Came::Answer { status, keep },
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Option<(u16, bool)> {
        // A refusal may come before everything is written.
        let _ = self.stream.write_all(request).await;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
                let status = head.split(' ').nth(1)?.parse().ok()?;
                let field =
                    |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)).map(str::trim);
                let length = field("content-length:").and_then(|n| n.parse().ok()).unwrap_or(0);
                while bytes.len() < end + 4 + length {
                    if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                        return None;
                    }
                }
                return Some((status, field("connection:") != Some("close")));
            }
            if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl Load {
    fn request(&self) -> &[u8] {
        &self.requests[self.next.fetch_add(1, Relaxed) % self.requests.len()]
    }

    /// One request on this connection or a new one; gives the connection back where it goes on.
    async fn one(
        &self,
        connection: Option<Connection>,
        due: Instant,
        request: &[u8],
        tally: &Mutex<Tally>,
    ) -> Option<Connection> {
        let mut connection = match connection.filter(Connection::is_open) {
            Some(connection) => connection,
            None => match Connection::open(&self.address).await {
                Ok(connection) => connection,
                Err(_) => {
                    tally.lock().expect("a lock").unconnected += 1;
                    sleep(Duration::from_millis(2)).await;
                    return None;
                }
            },
        };
        let came = connection.ask(request).await;
        if due < self.from {
            return matches!(came, Came::Answer { keep: true, .. })
                .then(|| Connection { used: true, ..connection });
        }
        let mut tally = tally.lock().expect("a lock");
        match came {
            Came::Answer { status, keep } => {
                let micros = due.elapsed().as_micros() as u32;
                tally.answered.entry(status).or_default().push(micros);
                keep.then(|| Connection { used: true, ..connection })
            }
            Came::Late => {
                tally.late += 1;
                None
            }
            Came::Nothing => {
                tally.lost += 1;
                tally.reused += usize::from(connection.used);
                None
            }
        }
    }

    async fn client(self: Arc<Self>) {
        let mut connection = None;
        while Instant::now() < self.until {
            connection = self.one(connection, Instant::now(), self.request(), &self.tally).await;
        }
    }

    /// Requests when they are due, each on whatever connection is free.
    async fn at_rate(self: Arc<Self>, rate: f64, start: Instant) {
        let free: Arc<Mutex<Vec<Connection>>> = Arc::default();
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0.. {
            let due = start + Duration::from_secs_f64(f64::from(i) / rate);
            if due >= self.until {
                break;
            }
            sleep_until(due.into()).await;
            let (load, free) = (self.clone(), free.clone());
            tasks.spawn(async move {
                let connection = free.lock().expect("a lock").pop();
                let back = load.one(connection, due, load.request(), &load.tally).await;
                free.lock().expect("a lock").extend(back);
            });
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
    }

    async fn keep_alive(self: Arc<Self>, i: usize, start: Instant) {
        const EVERY: Duration = Duration::from_secs(4);
        let request = b"GET /v2/health/ready HTTP/1.1\r\nhost: load\r\n\r\n";
        sleep_until((start + EVERY.mul_f64((i % 1000) as f64 / 1000.0)).into()).await;
        let mut connection = None;
        while Instant::now() < self.until {
            let due = Instant::now();
            connection = self.one(connection, due, request, &self.keepalive).await;
            sleep_until((due + EVERY).into()).await;
        }
    }

    async fn loris(self: Arc<Self>) {
        while Instant::now() < self.until {
            let Ok(mut stream) = TcpStream::connect(&self.address).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            if stream.write_all(b"POST / HTTP/1.1\r\nhost: slow\r\nx-slow: ").await.is_err() {
                continue;
            }
            let mut byte = [0];
            loop {
                match timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
                    Ok(Ok(0) | Err(_)) => break,
                    _ if Instant::now() >= self.until => return,
                    _ => {}
                }
                if stream.write_all(b"a").await.is_err() {
                    break;
                }
            }
            self.closed.fetch_add(1, Relaxed);
        }
    }
}

impl Load {
    /// Asks for the page until the server takes no more, and then waits for its end.
    async fn deaf(self: Arc<Self>) {
        let many = b"GET / HTTP/1.1\r\nhost: deaf\r\n\r\n".repeat(256);
        while Instant::now() < self.until {
            // A small buffer, so that what is not read fills no memory of this machine.
            let socket = TcpSocket::new_v4().expect("a socket");
            let _ = socket.set_recv_buffer_size(4096);
            let address = self.address.parse().expect("an address");
            let Ok(mut stream) = socket.connect(address).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            loop {
                match timeout(self.until.saturating_duration_since(Instant::now()), stream.write_all(&many))
                    .await
                {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break,
                    Err(_) => return,
                }
            }
            self.unread.fetch_add(1, Relaxed);
        }
    }
}

fn report(tally: &Mutex<Tally>, seconds: f64) -> serde_json::Value {
    let tally = tally.lock().expect("a lock");
    let of = |list: &Vec<u32>| {
        let mut sorted = list.clone();
        sorted.sort_unstable();
        let at = |q: f64| f64::from(sorted[((sorted.len() - 1) as f64 * q).round() as usize]) / 1e3;
        json!({"count": sorted.len(), "per_second": sorted.len() as f64 / seconds, "p50_ms": at(0.5), "p95_ms": at(0.95),
            "p99_ms": at(0.99), "max_ms": at(1.0)})
    };
    let answered: serde_json::Map<_, _> =
        tally.answered.iter().map(|(status, list)| (status.to_string(), of(list))).collect();
    json!({"answered": answered, "unconnected": tally.unconnected, "lost": tally.lost, "reused": tally.reused, "late": tally.late})
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, bodies, settings @ ..] = words.as_slice() else {
        println!("usage: load ADDRESS PATH BODIES key=value ...");
        return;
    };
    let word = |key: &str| settings.iter().find_map(|s| s.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str, default: f64| word(key).map_or(default, |n| n.parse().expect("a number"));
    let token = word("token").map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
    let bodies = std::fs::read_to_string(bodies).expect("a file of bodies");
    let request = |body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n{token}");
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let start = Instant::now();
    let from = start + Duration::from_secs_f64(number("warmup", 1.0));
    let seconds = number("seconds", 10.0);
    let load = Arc::new(Load {
        address: address.clone(),
        requests: bodies.lines().map(request).collect(),
        next: AtomicUsize::new(0),
        tally: Mutex::default(),
        keepalive: Mutex::default(),
        from,
        until: from + Duration::from_secs_f64(seconds),
        closed: AtomicUsize::new(0),
        unread: AtomicUsize::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        (0..number("loris", 0.0) as usize).for_each(|_| _ = tasks.spawn(load.clone().loris()));
        (0..number("deaf", 0.0) as usize).for_each(|_| _ = tasks.spawn(load.clone().deaf()));
        (0..number("keepalive", 0.0) as usize)
            .for_each(|i| _ = tasks.spawn(load.clone().keep_alive(i, start)));
        match number("rate", 0.0) {
            rate if rate > 0.0 => _ = tasks.spawn(load.clone().at_rate(rate, start)),
            _ => (0..number("clients", 8.0) as usize).for_each(|_| _ = tasks.spawn(load.clone().client())),
        }
        tasks.join_all().await;
    });
    let mut all = report(&load.tally, seconds);
    all["keepalive"] = report(&load.keepalive, seconds);
    all["loris_closed"] = json!(load.closed.load(Relaxed));
    all["deaf_closed"] = json!(load.unread.load(Relaxed));
    println!("{all}");
}
