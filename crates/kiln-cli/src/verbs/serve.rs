//! `kiln serve`: models answer over HTTP until SIGTERM.
//! Owns what its words mean: names, versions, limits and tokens; kiln-serve serves.

use std::io::{Write, stderr, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_core::Exit;
use kiln_core::device::DeviceSpec;
use kiln_core::files;
use kiln_serve::{ADDRESS, Limits, ServeError, Settings, Source, Tokens, serve};

use crate::report::{Failure, Outcome};
use crate::target::{self, Target};

/// Holds a token, or several, one a line.
const TOKEN: &str = "KILN_TOKEN";
const MIB: usize = 1 << 20;

/// Answer over HTTP: Open Inference Protocol v2, a plain endpoint, and a page to try a model
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run or model folder, or a folder of versions (1, 2, ...); its name is the model's, or say name=FOLDER or name@2=FOLDER
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Where to listen; another address than this machine's own needs a token (or --insecure)
    #[arg(long, default_value_t = ADDRESS)]
    address: SocketAddr,
    /// File of bearer tokens, one a line; KILN_TOKEN in the environment holds them too
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let everyone who reaches the address ask
    #[arg(long)]
    insecure: bool,
    /// Let pages of this origin (https://app.example, or *) ask from a browser; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Certificate chain (PEM), for HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Load a model anew when its folder is replaced; a request for it (POST /v2/repository/models/NAME/load) does so too
    #[arg(long)]
    watch: bool,
    /// Device; by default the first GPU, else the CPU
    #[arg(long)]
    device: Option<DeviceSpec>,
    /// Append each prediction with its input to this file: a JSON line each, or to a table of a .db, .sqlite or .sqlite3 file
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// What is too much
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitArgs,
}

/// Limits on the command line; defaults are kiln-serve's.
#[derive(Debug, clap::Args)]
struct LimitArgs {
    /// Most inputs in a batch; 1 turns batching off
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_batch as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_batch: u32,
    /// Longest that a batch waits for as many requests as the one before had
    #[arg(long, value_name = "MS", default_value_t = Limits::default().max_delay.as_millis() as u64, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    max_delay_ms: u64,
    /// Most inputs that wait for a model, and in one request; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_queue as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_queue: u32,
    /// Longest that an answer may take; later ones are 504 and are not computed
    #[arg(long, value_name = "MS", default_value_t = Limits::default().deadline.as_millis() as u64, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    deadline_ms: u64,
    /// Longest body
    #[arg(long, value_name = "MIB", default_value_t = (Limits::default().max_body / MIB) as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_body_mib: u32,
    /// Most connections
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// Longest that a request's headers may take to arrive, and a connection may idle
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().header_timeout.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    header_timeout: u64,
    /// Longest that a body may take to arrive
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().body_timeout.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    body_timeout: u64,
    /// Longest that a client may leave an answer unread
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().write_timeout.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    write_timeout: u64,
    /// Most tokens that a request may ask a text to be continued by
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_new_tokens as u32, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    max_new_tokens: u32,
    /// Longest that requests are finished after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().drain.as_secs(), value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain: u64,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        let seconds = Duration::from_secs;
        let max_body = args.max_body_mib as usize * MIB;
        Self {
            max_batch: args.max_batch as usize,
            max_delay: Duration::from_millis(args.max_delay_ms),
            max_queue: args.max_queue as usize,
            deadline: Duration::from_millis(args.deadline_ms),
            max_body,
            max_body_total: Self::default().max_body_total.max(4 * max_body),
            header_timeout: seconds(args.header_timeout),
            body_timeout: seconds(args.body_timeout),
            write_timeout: seconds(args.write_timeout),
            max_new_tokens: args.max_new_tokens as usize,
            max_connections: args.max_connections as usize,
            drain: seconds(args.drain),
            ..Self::default()
        }
    }
}

pub(crate) fn run(args: Args) -> Outcome {
    let mut models = Vec::new();
    for word in &args.models {
        models.extend(sources(word)?);
    }
    let chosen = target::device(args.device, None)?;
    let names: Vec<String> = models.iter().map(|m| format!("{} (version {})", m.name, m.version)).collect();
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let settings = Settings {
        models,
        device: chosen.device,
        address: args.address,
        tokens: tokens(args.token_file.as_deref())?,
        insecure: args.insecure,
        origins: args.allow_origin,
        tls: args.tls_cert.zip(args.tls_key),
        watch: args.watch,
        limits: args.limits.into(),
        log: Box::new(stderr()),
        predictions: args.predictions,
    };
    serve(settings, |address| {
        // Nobody may be reading, and the server answers all the same.
        let _ =
            writeln!(stdout(), "{scheme}://{address} answers for {} on {}", names.join(", "), chosen.name);
    })?;
    Ok(Exit::Done)
}

/// The versions that one word names.
fn sources(word: &str) -> Result<Vec<Source>, Failure> {
    let (name, version, folder) = match word.split_once('=').filter(|_| !Path::new(word).exists()) {
        None => (None, None, PathBuf::from(word)),
        Some((name, folder)) => match name.split_once('@') {
            None => (Some(name), None, folder.into()),
            Some((name, version)) => (Some(name), Some(number(word, version)?), folder.into()),
        },
    };
    let name = name.map_or_else(|| name_of(&folder), str::to_owned);
    let versions = if version.is_none() { versions(&folder) } else { Vec::new() };
    if !versions.is_empty() {
        let source = |(version, folder): (u64, PathBuf)| {
            let folder = Target::of(&folder)?.model(&folder)?;
            Ok(Source { name: name.clone(), version, folder })
        };
        return versions.into_iter().map(source).collect();
    }
    let folder = Target::of(&folder)?.model(&folder)?;
    Ok(vec![Source { name, version: version.unwrap_or(1), folder }])
}

fn number(word: &str, version: &str) -> Result<u64, Failure> {
    version.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{word}: expected a version from 1, got {version:?}"))
            .hint("say name@2=FOLDER")
    })
}

/// A folder's own name, also where it is written as `.`.
fn name_of(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Subfolders that are called by a number, lowest first; none in a model's own folder.
fn versions(folder: &Path) -> Vec<(u64, PathBuf)> {
    if folder.join("config.json").exists() || folder.join("config.toml").exists() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok().filter(|n| *n > 0)?;
        entry.path().is_dir().then(|| (number, entry.path()))
    });
    let mut all: Vec<_> = numbered.collect();
    all.sort();
    all
}

fn tokens(file: Option<&Path>) -> Result<Tokens, Failure> {
    let mut text = std::env::var(TOKEN).unwrap_or_default();
    if let Some(path) = file {
        text.push('\n');
        text.push_str(&files::read_text(path)?);
    }
    let tokens = Tokens::parse(&text)?;
    match file {
        Some(path) if tokens.is_empty() => {
            Err(Failure::new(Exit::Usage, format!("{}: there is no token in it", path.display()))
                .hint("write one token a line"))
        }
        _ => Ok(tokens),
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit: error.exit() }
    }
}
