//! Trained models answering: many inputs as a job that survives being killed (`batch`), and over HTTP by the Open
//! Inference Protocol v2, an endpoint for people, and a page.
//! Owns jobs, requests, batching and lifecycle; never trains, and prints nothing. The command line hands it models.
//!
//! The way of a request: `accept` bounds its connection, `routes` its right to ask, `body` its bytes; `oip` or `friendly`
//! says what was sent; `ask` prepares it and waits; `batcher` answers many at once, `generating` continues texts.

mod accept;
mod ask;
pub mod batch;
mod batcher;
mod body;
mod completions;
mod error;
mod friendly;
mod generating;
mod kept;
mod lines;
mod metrics;
mod oip;
mod origins;
mod page;
mod patient;
mod queue;
mod reply;
mod repository;
mod routes;
mod served;
mod settings;
mod tls;
mod token;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tower_http::cors::CorsLayer;

pub use error::ServeError;
pub use settings::{ADDRESS, Limits, Settings, Source};
pub use token::Tokens;

use body::Budget;
use lines::Lines;
use metrics::Metrics;
use repository::Repository;
use routes::State;
use served::Ground;

/// Processors for each thread that speaks HTTP: the models need the others.
const PROCESSORS_A_THREAD: usize = 4;

/// Loads the models, tells `ready` the address once they answer, and serves until SIGTERM or SIGINT and all that was
/// accepted is answered. A second signal ends the drain.
///
/// # Errors
/// Nothing was started: a model, the address, a file. Or the drain's limit passed with requests unanswered.
pub fn serve(settings: Settings, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let Settings { models, device, address, tokens, insecure, origins, tls, watch, limits, log, predictions } =
        settings;
    if !address.ip().is_loopback() && tokens.is_empty() && !insecure {
        return Err(ServeError::Open { address });
    }
    let tls = tls.map(|(chain, key)| tls::acceptor(&chain, &key)).transpose()?;
    let origins = origins::layer(&origins)?;
    raise_open_files();
    let metrics = Arc::new(Metrics::default());
    let (log, log_writer) = Lines::new(lines::Text(log), &metrics).map_err(ServeError::Start)?;
    let (predictions, predictions_writer) = match predictions {
        None => (None, None),
        Some(path) => {
            let (lines, writer) = Lines::new(kept::open(&path)?, &metrics).map_err(ServeError::Start)?;
            (Some(lines), Some(writer))
        }
    };
    let ground = Ground { device, limits, metrics: metrics.clone(), log: log.clone() };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let state = Arc::new(State {
        models: Repository::open(&models, ground)?,
        limits,
        metrics,
        log,
        predictions,
        budget: Budget::new(limits.max_body_total),
        preparing: Arc::new(Semaphore::new(processors)),
        draining: AtomicBool::new(false),
        ids: routes::Ids::default(),
        tokens,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.div_ceil(PROCESSORS_A_THREAD))
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let result = runtime.block_on(listen(&state, address, (tls, origins), watch, ready));
    runtime.shutdown_background();
    drop(state);
    predictions_writer.into_iter().chain([log_writer]).for_each(lines::Writer::finish);
    result
}

async fn listen(
    state: &Arc<State>,
    address: SocketAddr,
    (tls, origins): (Option<tokio_rustls::TlsAcceptor>, Option<CorsLayer>),
    watched: bool,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let mut term = signal(SignalKind::terminate()).map_err(ServeError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Start)?;
    let refused = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let (stop, stopped) = watch::channel(false);
    let router = routes::router(state);
    let router = origins.map_or(router.clone(), |origins| router.layer(origins));
    let mut served = tokio::spawn(accept::accept(listener, router, state.clone(), tls, stopped));
    if watched {
        let state = state.clone();
        let watch = move || state.models.watch(|| state.is_draining());
        std::thread::Builder::new().name("watch".into()).spawn(watch).map_err(ServeError::Start)?;
    }
    state.log.event("info", "ready", json!({"address": address.to_string()}));
    ready(address);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut served => return ended.unwrap_or_else(|e| Err(ServeError::Start(e.into()))),
    }
    let start = Instant::now();
    state.draining.store(true, Relaxed);
    state.log.event("info", "draining", json!({}));
    let _ = stop.send(true);
    let result = tokio::select! {
        ended = &mut served => ended.unwrap_or_else(|e| Err(ServeError::Start(e.into()))),
        _ = term.recv() => Err(at_once(state)),
        _ = interrupt.recv() => Err(at_once(state)),
    };
    let seconds = start.elapsed().as_secs_f64();
    state.log.event("info", "stopped", json!({"drained": result.is_ok(), "seconds": seconds}));
    result
}

/// A second signal: what is open is given up.
fn at_once(state: &State) -> ServeError {
    ServeError::Drain { connections: state.metrics.connections.load(Relaxed) as usize, seconds: 0 }
}

/// As many open files as the system lets the process have: each connection is one, and the usual limit is 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused, the old limit holds; `accept` waits where it is reached.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A lock whose holder never leaves the value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
