//! What a server counts, in Prometheus' text format 0.0.4.
//! Owns the numbers and their names; the requests' way and the batchers report to it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock;

/// Seconds, by powers of about 2.5.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// One histogram.
#[derive(Debug, Clone)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn add(&mut self, x: f64) {
        let place = self.bounds.partition_point(|bound| *bound < x);
        self.counts[place] += 1;
        self.sum += x;
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let mut total = 0;
        for (count, bound) in self.counts.iter().zip(self.bounds) {
            total += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        total += self.counts[self.bounds.len()];
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {total}", self.sum);
    }
}

/// Of one model, all versions.
#[derive(Debug)]
struct OfModel {
    waits: Histogram,
    batches: Histogram,
    computing: f64,
    tokens: u64,
    expired: u64,
    loads: u64,
    failed_loads: u64,
    load_seconds: f64,
}

impl Default for OfModel {
    fn default() -> Self {
        Self {
            waits: Histogram::new(&SECONDS),
            batches: Histogram::new(&SIZES),
            computing: 0.0,
            tokens: 0,
            expired: 0,
            loads: 0,
            failed_loads: 0,
            load_seconds: 0.0,
        }
    }
}

/// A request's route, model and status.
type Key = (&'static str, String, u16);

/// The numbers.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Key, u64>>,
    latencies: Mutex<BTreeMap<(&'static str, String), Histogram>>,
    models: Mutex<BTreeMap<String, OfModel>>,
    pub(crate) in_flight: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    /// Connections whose client did not read.
    pub(crate) unread: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) lost_lines: AtomicU64,
}

impl Metrics {
    /// A request was answered or refused.
    pub(crate) fn request(&self, route: &'static str, model: &str, status: u16, took: Duration) {
        *lock(&self.requests).entry((route, model.to_string(), status)).or_default() += 1;
        lock(&self.latencies)
            .entry((route, model.to_string()))
            .or_insert_with(|| Histogram::new(&SECONDS))
            .add(took.as_secs_f64());
    }

    /// An input's request left the queue.
    pub(crate) fn waited(&self, model: &str, wait: Duration) {
        self.of(model, |m| m.waits.add(wait.as_secs_f64()));
    }

    /// A request was too late to be computed.
    pub(crate) fn expired(&self, model: &str) {
        self.of(model, |m| m.expired += 1);
    }

    /// A batch was computed.
    pub(crate) fn batch(&self, model: &str, size: usize, took: Duration) {
        self.of(model, |m| {
            m.batches.add(size as f64);
            m.computing += took.as_secs_f64();
        });
    }

    /// Tokens were generated.
    pub(crate) fn generated(&self, model: &str, tokens: usize) {
        self.of(model, |m| m.tokens += tokens as u64);
    }

    /// A model was loaded and warmed up, or could not be.
    pub(crate) fn loaded(&self, model: &str, took: Option<Duration>) {
        self.of(model, |m| match took {
            Some(took) => (m.loads, m.load_seconds) = (m.loads + 1, took.as_secs_f64()),
            None => m.failed_loads += 1,
        });
    }

    fn of(&self, model: &str, change: impl FnOnce(&mut OfModel)) {
        let mut models = lock(&self.models);
        match models.get_mut(model) {
            Some(of) => change(of),
            None => change(models.entry(model.to_string()).or_default()),
        }
    }

    /// The page; `depths` are the inputs that wait, by model.
    pub(crate) fn render(&self, depths: &[(String, usize)]) -> String {
        let mut out = String::new();
        let mut head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        head(&mut out, "kiln_requests_total", "counter", "Requests by route, model and status.");
        for ((route, model, code), n) in &*lock(&self.requests) {
            let _ = writeln!(
                out,
                "kiln_requests_total{{route=\"{route}\",model=\"{model}\",code=\"{code}\"}} {n}"
            );
        }
        let name = "kiln_request_duration_seconds";
        head(&mut out, name, "histogram", "From the end of a request's headers to its answer.");
        for ((route, model), histogram) in &*lock(&self.latencies) {
            histogram.render(name, &format!("route=\"{route}\",model=\"{model}\""), &mut out);
        }
        self.render_models(&mut out, &mut head);
        head(&mut out, "kiln_queue_inputs", "gauge", "Inputs that wait for a model.");
        for (model, depth) in depths {
            let _ = writeln!(out, "kiln_queue_inputs{{model=\"{model}\"}} {depth}");
        }
        let plain = [
            ("kiln_requests_in_flight", "gauge", "Requests that are being answered.", &self.in_flight),
            ("kiln_connections", "gauge", "Open connections.", &self.connections),
            (
                "kiln_connections_refused_total",
                "counter",
                "Connections over the limit.",
                &self.refused_connections,
            ),
            (
                "kiln_connections_unread_total",
                "counter",
                "Connections closed because their client did not read its answer in time.",
                &self.unread,
            ),
            ("kiln_panics_total", "counter", "Requests and batches that crashed.", &self.panics),
            (
                "kiln_lines_lost_total",
                "counter",
                "Lines of log and predictions that no disk took in time.",
                &self.lost_lines,
            ),
        ];
        for (name, kind, help, value) in plain {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "{name} {}", value.load(Relaxed));
        }
        if let Some(bytes) = resident() {
            let name = "process_resident_memory_bytes";
            head(&mut out, name, "gauge", "Resident memory size in bytes.");
            let _ = writeln!(out, "{name} {bytes}");
        }
        out
    }

    fn render_models(&self, out: &mut String, head: &mut impl FnMut(&mut String, &str, &str, &str)) {
        let models = lock(&self.models);
        let name = "kiln_queue_wait_seconds";
        head(out, name, "histogram", "From a request's place in the queue to its batch.");
        models.iter().for_each(|(m, of)| of.waits.render(name, &format!("model=\"{m}\""), out));
        let name = "kiln_batch_size";
        head(out, name, "histogram", "Inputs of a batch.");
        models.iter().for_each(|(m, of)| of.batches.render(name, &format!("model=\"{m}\""), out));
        type Number = fn(&OfModel) -> f64;
        let numbers: [(&str, &str, &str, Number); 6] = [
            ("kiln_compute_seconds_total", "counter", "Time in the model.", |m| m.computing),
            ("kiln_generated_tokens_total", "counter", "Tokens of continued texts.", |m| m.tokens as f64),
            ("kiln_expired_total", "counter", "Requests too late to be computed.", |m| m.expired as f64),
            ("kiln_model_loads_total", "counter", "Loads of a model.", |m| m.loads as f64),
            ("kiln_model_load_failures_total", "counter", "Loads that failed.", |m| m.failed_loads as f64),
            ("kiln_model_load_seconds", "gauge", "The last load, warm-up included.", |m| m.load_seconds),
        ];
        for (name, kind, help, number) in numbers {
            head(out, name, kind, help);
            for (model, of) in &*models {
                let _ = writeln!(out, "{name}{{model=\"{model}\"}} {}", number(of));
            }
        }
    }
}

/// Bytes of memory that the process holds; `None` where the system does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Counts something in a gauge for as long as it lives, also where its client goes away.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    gauge: fn(&Metrics) -> &AtomicU64,
}

impl Counted {
    pub(crate) fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicU64) -> Self {
        gauge(metrics).fetch_add(1, Relaxed);
        Self { metrics: metrics.clone(), gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_inclusive() {
        let mut histogram = Histogram::new(&SIZES);
        [1.0, 2.0, 2.5, 1000.0].into_iter().for_each(|x| histogram.add(x));
        let mut out = String::new();
        histogram.render("n", "m=\"a\"", &mut out);
        for line in [
            "n_bucket{m=\"a\",le=\"1\"} 1",
            "le=\"2\"} 2",
            "le=\"4\"} 3",
            "le=\"+Inf\"} 4",
            "n_sum{m=\"a\"} 1005.5",
        ] {
            assert!(out.contains(line), "{line}: {out}");
        }
    }
}
