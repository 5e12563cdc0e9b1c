//! JSON lines that leave the process without holding a request up: the log, and the predictions that are kept.
//! Owns one thread a file; a line that a slow disk cannot take in time is dropped and counted, never waited for.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;

use crate::metrics::Metrics;

/// Most lines that wait.
const WAITING: usize = 16_384;

/// Where lines go.
#[derive(Clone)]
pub(crate) struct Lines {
    lines: Sender<String>,
    metrics: Arc<Metrics>,
}

/// The thread that writes.
pub(crate) struct Writer {
    lines: Sender<String>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Waits until every line so far is written, and ends: an empty line is the last.
    pub(crate) fn finish(self) {
        if self.lines.send(String::new()).is_ok() {
            let _ = self.thread.join();
        }
    }
}

impl Lines {
    pub(crate) fn new(out: Box<dyn Write + Send>, metrics: &Arc<Metrics>) -> std::io::Result<(Self, Writer)> {
        let (sender, receiver) = bounded(WAITING);
        let counted = metrics.clone();
        let thread =
            thread::Builder::new().name("lines".into()).spawn(move || write(out, &receiver, &counted))?;
        let writer = Writer { lines: sender.clone(), thread };
        Ok((Self { lines: sender, metrics: metrics.clone() }, writer))
    }

    pub(crate) fn line(&self, value: &Value) {
        if self.lines.try_send(format!("{value}\n")).is_err() {
            self.metrics.lost_lines.fetch_add(1, Relaxed);
        }
    }

    /// Something that is worth a line but belongs to no request.
    pub(crate) fn event(&self, level: &str, event: &str, mut fields: Value) {
        let mut line = serde_json::json!({"time": now(), "level": level, "event": event});
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object_mut()) {
            line.append(fields);
        }
        self.line(&line);
    }
}

/// The time as the log has it: UTC, milliseconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Whatever waits is written together, then flushed.
fn write(mut out: Box<dyn Write + Send>, lines: &Receiver<String>, metrics: &Metrics) {
    let mut last = false;
    while !last {
        let Ok(mut line) = lines.recv() else { return };
        last = line.is_empty();
        let mut count = 1;
        while !last && let Ok(more) = lines.try_recv() {
            last = more.is_empty();
            line.push_str(&more);
            count += 1;
        }
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            metrics.lost_lines.fetch_add(count, Relaxed);
        }
    }
}
