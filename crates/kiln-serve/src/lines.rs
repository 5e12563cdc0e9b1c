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

/// What takes lines: all that wait at once.
pub(crate) trait Sink: Send {
    /// Takes them all, or none where it fails.
    fn take(&mut self, lines: &[Value]) -> Result<(), String>;
}

/// A line of JSON each.
pub(crate) struct Text(pub(crate) Box<dyn Write + Send>);

impl Sink for Text {
    fn take(&mut self, lines: &[Value]) -> Result<(), String> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()).map_err(|e| e.to_string())
    }
}

/// Where lines go; `None` is the last.
#[derive(Clone)]
pub(crate) struct Lines {
    lines: Sender<Option<Value>>,
    metrics: Arc<Metrics>,
}

/// The thread that writes.
pub(crate) struct Writer {
    lines: Sender<Option<Value>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Waits until every line so far is written, and ends.
    pub(crate) fn finish(self) {
        if self.lines.send(None).is_ok() {
            let _ = self.thread.join();
        }
    }
}

impl Lines {
    pub(crate) fn new(sink: impl Sink + 'static, metrics: &Arc<Metrics>) -> std::io::Result<(Self, Writer)> {
        let (sender, receiver) = bounded(WAITING);
        let counted = metrics.clone();
        let thread =
            thread::Builder::new().name("lines".into()).spawn(move || write(sink, &receiver, &counted))?;
        let writer = Writer { lines: sender.clone(), thread };
        Ok((Self { lines: sender, metrics: metrics.clone() }, writer))
    }

    pub(crate) fn line(&self, value: Value) {
        if self.lines.try_send(Some(value)).is_err() {
            self.metrics.lost_lines.fetch_add(1, Relaxed);
        }
    }

    /// Something that is worth a line but belongs to no request.
    pub(crate) fn event(&self, level: &str, event: &str, mut fields: Value) {
        let mut line = serde_json::json!({"time": now(), "level": level, "event": event});
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object_mut()) {
            line.append(fields);
        }
        self.line(line);
    }
}

/// The time as the log has it: UTC, milliseconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Whatever waits is written together.
fn write(mut sink: impl Sink, lines: &Receiver<Option<Value>>, metrics: &Metrics) {
    let mut open = true;
    while open {
        let mut all: Vec<Value> = Vec::new();
        let mut next = lines.recv().ok();
        while let Some(line) = next {
            open = line.is_some();
            all.extend(line);
            next = if open { lines.try_recv().ok() } else { None };
        }
        if all.is_empty() {
            return;
        }
        if sink.take(&all).is_err() {
            metrics.lost_lines.fetch_add(all.len() as u64, Relaxed);
        }
    }
}
