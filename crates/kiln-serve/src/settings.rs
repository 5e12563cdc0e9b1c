//! What a server is told when it starts.
//! Owns the defaults; the command line fills it in.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::Device;

use crate::token::Tokens;

/// One version of one model.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name in URLs.
    pub name: String,
    /// From 1; the highest is asked where a request names none.
    pub version: u64,
    /// The model folder.
    pub folder: PathBuf,
}

/// What a server is told when it starts.
pub struct Settings {
    /// The models; at least one.
    pub models: Vec<Source>,
    /// Where they compute.
    pub device: Device,
    /// Where to listen; port 0 is any free one.
    pub address: SocketAddr,
    /// Who may ask; empty where everyone may.
    pub tokens: Tokens,
    /// Whether an address that others can reach may do without a token.
    pub insecure: bool,
    /// Origins (`https://app.example`, or `*`) whose pages may ask from a browser.
    pub origins: Vec<String>,
    /// PEM files of the certificate chain and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether a folder that is replaced is loaded anew.
    pub watch: bool,
    /// What is too much.
    pub limits: Limits,
    /// Where the log's lines go.
    pub log: Box<dyn Write + Send>,
    /// Where predictions are kept: a table where this ends in `.db`, `.sqlite` or `.sqlite3`, else a JSON line each.
    pub predictions: Option<PathBuf>,
}

/// What is too much, and how long anything may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most inputs in a batch.
    pub max_batch: usize,
    /// Longest that a batch waits for more inputs.
    pub max_delay: Duration,
    /// Most inputs that wait for one model, and in one request.
    pub max_queue: usize,
    /// Longest that a request may take, its body's arrival left out.
    pub deadline: Duration,
    /// Longest body, in bytes.
    pub max_body: usize,
    /// Most bytes of bodies that are being received or answered.
    pub max_body_total: usize,
    /// Largest image, in pixels.
    pub max_pixels: u64,
    /// Longest that headers may take to arrive, and a connection may idle.
    pub header_timeout: Duration,
    /// Longest that a body may take to arrive.
    pub body_timeout: Duration,
    /// Longest that a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Most tokens that a text is continued by.
    pub max_new_tokens: usize,
    /// Most bytes of a request's headers.
    pub max_header: usize,
    /// Most connections.
    pub max_connections: usize,
    /// Longest that requests are finished after SIGTERM.
    pub drain: Duration,
}

/// The address that is listened on by default: this machine's own.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch: 32,
            max_delay: Duration::from_millis(2),
            max_queue: 256,
            deadline: Duration::from_secs(30),
            max_body: 10 << 20,
            max_body_total: 256 << 20,
            max_pixels: 50_000_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_new_tokens: 1024,
            max_header: 32 << 10,
            max_connections: 4096,
            drain: Duration::from_secs(30),
        }
    }
}
