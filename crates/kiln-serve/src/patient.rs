//! A stream whose other end must read what is written to it.
//! Owns the patience with clients that do not: hyper waits for them for ever. Knows no HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::metrics::Metrics;

/// Writes fail when what was given has not all been taken for this long, counted from when it first had to wait: reading a
/// byte now and then buys no more time.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while something waits to be taken.
    waiting: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration, metrics: Arc<Metrics>) -> Self {
        Self { stream, patience, waiting: None, metrics }
    }

    /// An error where the patience is at its end while something is `Pending`.
    fn within<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            return poll;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(cx));
        self.metrics.unread.fetch_add(1, Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        if poll.is_ready() {
            self.waiting = None;
        }
        self.within(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn a_reader_of_a_byte_now_and_then_is_given_up_too() {
        run(async {
            let (ours, mut theirs) = duplex(64);
            let metrics = Arc::new(Metrics::default());
            let mut ours = Patient::new(ours, Duration::from_millis(300), metrics.clone());
            let reader = tokio::spawn(async move {
                let mut byte = [0];
                while theirs.read(&mut byte).await.is_ok_and(|n| n > 0) {
                    sleep(Duration::from_millis(20)).await;
                }
            });
            let start = Instant::now();
            let error = ours.write_all(&[7; 4096]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed() >= Duration::from_millis(300));
            assert_eq!(metrics.unread.load(Relaxed), 1);
            reader.abort();
        });
    }

    #[test]
    fn patience_begins_anew_once_everything_was_taken() {
        run(async {
            let (ours, mut theirs) = duplex(64);
            let mut ours = Patient::new(ours, Duration::from_millis(1500), Arc::default());
            let reader = tokio::spawn(async move {
                let mut all = [0; 512];
                for _ in 0..10 {
                    sleep(Duration::from_millis(200)).await;
                    theirs.read_exact(&mut all).await.unwrap();
                }
            });
            // Longer than the patience in all, each part within it.
            for _ in 0..10 {
                ours.write_all(&[7; 512]).await.unwrap();
                ours.flush().await.unwrap();
            }
            reader.await.unwrap();
        });
    }
}
