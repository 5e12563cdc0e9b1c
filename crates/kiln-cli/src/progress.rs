//! The progress bar of a run: loss, rate, samples a second, time left and the share of time spent waiting for data.
//! A callback: it observes. Plain lines, a few a minute, when stderr is not a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kiln_core::event::{Callback, EvalInfo, Event, StepInfo};

use crate::report;
use crate::verbs::train::loss;

/// Between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    speed: Speed,
    last_line: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(plain: bool) -> Self {
        let bar = (!plain && std::io::stderr().is_terminal())
            .then(|| ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10)));
        Self { bar, total: 0, speed: Speed::default(), last_line: None }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => report::talk(text),
        }
    }

    fn started(&mut self, step: u64, total: u64) {
        self.total = total;
        self.speed = Speed { since: Some(Instant::now()), first_step: step, ..Speed::default() };
        if let Some(bar) = &self.bar {
            let template = "{bar:24} {pos}/{len} {msg} ETA {eta}";
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_length(total);
            bar.set_position(step);
            bar.reset_eta();
        }
    }

    fn step(&mut self, info: &StepInfo) {
        self.speed.add();
        let message = format!(
            "epoch {:.2} loss {} lr {:.2e} {:.0} samples/s data wait {:.0} %",
            info.epoch,
            loss(f64::from(info.loss)),
            info.learning_rate,
            info.pace.samples_per_second,
            info.pace.data_wait_share * 100.0
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(info.step);
                bar.set_message(message);
            }
            None => self.plain_line(info.step, &message),
        }
    }

    fn plain_line(&mut self, step: u64, message: &str) {
        let due = self.last_line.is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if due || step == self.total {
            self.last_line = Some(Instant::now());
            let left = self.speed.seconds_left(step, self.total);
            report::talk(&format!("step {step}/{} {message} ETA {left:.0} s", self.total));
        }
    }

    fn evaluated(&self, info: &EvalInfo) {
        let best = if info.is_best { " (best)" } else { "" };
        let EvalInfo { step, split, metrics, .. } = info;
        let loss = loss(info.loss);
        let first = metrics.iter().next().map(|(name, value)| format!(" {}", metric(name, value)));
        self.line(&format!("step {step}: {split} loss {loss}{}{best}", first.unwrap_or_default()));
    }
}

/// A metric as a person reads it: accuracies in percent.
pub(crate) fn metric(name: &str, value: &serde_json::Value) -> String {
    format!("{name} {}", cell(name, value))
}

/// As [`metric`], without the name.
pub(crate) fn cell(name: &str, value: &serde_json::Value) -> String {
    match value.as_f64() {
        Some(x) if name == "accuracy" => format!("{:.2} %", x * 100.0),
        _ => kiln_eval::report::number(value),
    }
}

impl Callback for Progress {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Note(text) => self.line(text),
            Event::Started { step, total, .. } => self.started(*step, *total),
            Event::Step(info) => self.step(info),
            Event::Evaluating { split, done, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("scoring {split} {done}/{total}"));
                }
            }
            Event::Evaluated(info) => self.evaluated(info),
            Event::Saved { .. } => {}
            Event::Stopped { step, reason } => self.line(&format!("stopped after step {step}: {reason}")),
            Event::Finished { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How long steps have taken since the loop began, with what lies between them.
#[derive(Debug, Default)]
struct Speed {
    since: Option<Instant>,
    first_step: u64,
    seconds: f64,
}

impl Speed {
    fn add(&mut self) {
        self.seconds = self.since.map_or(0.0, |s| s.elapsed().as_secs_f64());
    }

    fn seconds_left(&self, step: u64, total: u64) -> f64 {
        let done = (step - self.first_step).max(1) as f64;
        self.seconds / done * (total - step) as f64
    }
}
