//! Connections: accepted, bounded in number and patience, drained at the end.
//! Owns the loop that axum's `serve` would be, because that one gives a client for ever to send its headers. Knows no
//! route.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::ServeError;
use crate::metrics::Counted;
use crate::patient::Patient;
use crate::routes::State;

/// Most headers of a request.
const HEADERS: usize = 100;
/// After an error of `accept`, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an idle connection stays open in a drain: a request may be on its way.
const LAST_CALL: Duration = Duration::from_secs(2);
/// How long new connections are taken in a drain.
const REOPENED: Duration = Duration::from_millis(100);
/// What a client over the limit reads.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/json\r\n\
content-length: 33\r\n\r\n{\"error\":\"too many connections\"} ";

/// What a connection needs.
#[derive(Clone)]
struct Door {
    router: Router,
    state: Arc<State>,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
}

/// Serves until `stop`, then finishes what was accepted.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    state: Arc<State>,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let most = state.limits.max_connections;
    let places = Arc::new(Semaphore::new(most));
    let door = Door { router, state, tls, stop: stop.clone() };
    loop {
        tokio::select! {
            accepted = listener.accept() => door.admit(accepted, &places).await,
            _ = stop.changed() => break,
        }
    }
    // Clients whose connections are being closed come again at once; then whoever is connected already, for the system has
    // accepted them on our behalf.
    let until = Instant::now() + REOPENED;
    while let Ok(accepted) = timeout_at(until, listener.accept()).await {
        door.admit(accepted, &places).await;
    }
    door.admit_waiting(listener, &places).await;
    let limit = door.state.limits.drain;
    match timeout(limit, places.acquire_many(most as u32)).await {
        Ok(_) => Ok(()),
        Err(_) => {
            let connections = most - places.available_permits();
            Err(ServeError::Drain { connections, seconds: limit.as_secs() })
        }
    }
}

impl Door {
    /// Admits everybody in the system's queue, and closes it.
    async fn admit_waiting(&self, listener: TcpListener, places: &Arc<Semaphore>) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, address)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.admit(Ok((stream, address)), places).await;
            }
        }
    }

    async fn admit(&self, accepted: io::Result<(TcpStream, SocketAddr)>, places: &Arc<Semaphore>) {
        let Ok((stream, _)) = accepted else { return sleep(PAUSE).await };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(self.clone().connection(stream, place));
            }
            Err(_) => {
                self.state.metrics.refused_connections.fetch_add(1, Relaxed);
                // One try: a client that does not read must not hold the loop up.
                let _ = stream.try_write(FULL);
            }
        }
    }

    async fn connection(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let _counted = Counted::new(&self.state.metrics, |metrics| &metrics.connections);
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.speak(stream).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = timeout(self.state.limits.header_timeout, tls.accept(stream)).await {
                    self.speak(stream).await;
                }
            }
        }
    }

    async fn speak(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let limits = &self.state.limits;
        let stream = Patient::new(stream, limits.write_timeout, self.state.metrics.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.max_header)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        let mut connection = pin!(connection);
        let last_call = async {
            // An error means that the sender is gone, and so is the server.
            let _ = self.stop.wait_for(|stop| *stop).await;
            sleep(LAST_CALL).await;
        };
        tokio::select! {
            _ = connection.as_mut() => return,
            () = last_call => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
