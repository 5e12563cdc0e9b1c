//! Texts that are continued: the thread that owns a causal language model.
//! Owns its queue, one request at a time, and when a generation ends early: at its deadline, or when its client has gone.
//! Options are read in `options`, answers that come in pieces are sent by `stream`.

pub(crate) mod options;
mod pieces;
pub(crate) mod stream;

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use kiln_eval::{Continued, EvalError, Fields, Generation, Predictor};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::batcher::{Answering, Done, Failed, unharmed};
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::queue::{Full, Queue, Waiting};
use pieces::Pieces;

/// The prompts of one request.
struct Job {
    prompts: Vec<String>,
    how: Generation,
    queued: Instant,
    deadline: Instant,
    /// Where the text goes as it grows.
    pieces: Option<UnboundedSender<String>>,
    reply: oneshot::Sender<Result<Done, Failed>>,
}

impl Job {
    /// Whether nobody waits for it any more.
    fn is_over(&self) -> bool {
        self.reply.is_closed() || self.deadline <= Instant::now()
    }
}

/// The thread that continues texts. It ends when this is dropped, after what waits.
pub(crate) struct Generating(Queue<Job>);

impl Generating {
    /// Starts the thread; requests have at most `most` prompts together in the queue.
    pub(crate) fn start(
        name: &str,
        predictor: Predictor,
        most: usize,
        metrics: Arc<Metrics>,
        log: Lines,
    ) -> std::io::Result<Self> {
        let (queue, jobs, waiting) = Queue::new(most);
        let mut thread = Thread { name: name.into(), predictor, metrics, log, waiting };
        std::thread::Builder::new().name(format!("model {name}")).spawn(move || thread.run(&jobs))?;
        Ok(Self(queue))
    }

    /// Prompts that wait.
    pub(crate) fn depth(&self) -> usize {
        self.0.depth()
    }

    /// Puts a request's prompts into the queue, all or none; they are continued one after the other.
    pub(crate) fn ask(
        &self,
        prompts: Vec<String>,
        how: Generation,
        deadline: Instant,
    ) -> Result<Answering, Full> {
        self.put(prompts, how, deadline, None)
    }

    /// The same for one prompt, whose text comes in pieces too.
    pub(crate) fn ask_in_pieces(
        &self,
        prompt: String,
        how: Generation,
        deadline: Instant,
    ) -> Result<(UnboundedReceiver<String>, Answering), Full> {
        let (sender, pieces) = unbounded_channel();
        Ok((pieces, self.put(vec![prompt], how, deadline, Some(sender))?))
    }

    fn put(
        &self,
        prompts: Vec<String>,
        how: Generation,
        deadline: Instant,
        pieces: Option<UnboundedSender<String>>,
    ) -> Result<Answering, Full> {
        let (reply, answer) = oneshot::channel();
        let n = prompts.len();
        self.0.put(n, Job { prompts, how, queued: Instant::now(), deadline, pieces, reply })?;
        Ok(answer)
    }
}

/// The thread's own.
struct Thread {
    name: String,
    predictor: Predictor,
    metrics: Arc<Metrics>,
    log: Lines,
    waiting: Arc<Waiting>,
}

impl Thread {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            self.waiting.left(job.prompts.len());
            let waited = job.queued.elapsed();
            self.metrics.waited(&self.name, waited);
            let rows = self.rows(&job);
            if let Err(Failed::Expired) = &rows {
                self.metrics.expired(&self.name);
            }
            // Pieces end before the whole, so that who reads them knows that there are no more.
            let Job { pieces, reply, .. } = job;
            drop(pieces);
            let _ = reply.send(rows.map(|rows| Done { rows, logits: Vec::new(), waited, batch: 1 }));
        }
    }

    fn rows(&mut self, job: &Job) -> Result<Vec<Fields>, Failed> {
        let mut rows = Vec::with_capacity(job.prompts.len());
        for prompt in &job.prompts {
            if job.is_over() {
                return Err(Failed::Expired);
            }
            let start = Instant::now();
            let continued = self.continued(prompt, job)?;
            let took = start.elapsed();
            self.metrics.batch(&self.name, 1, took);
            self.waiting.took(1, took);
            rows.push(match continued {
                Ok(text) => {
                    self.metrics.generated(&self.name, text.tokens);
                    if text.finish_reason == "cancelled" {
                        return Err(Failed::Expired);
                    }
                    Ok(text.fields())
                }
                Err(reason) => Err(reason),
            });
        }
        Ok(rows)
    }

    /// What follows a prompt, or why nothing can.
    fn continued(&mut self, prompt: &str, job: &Job) -> Result<Result<Continued, String>, Failed> {
        let predictor = &mut self.predictor;
        let mut pieces = Pieces::new(&job.how.stop);
        let send = |piece: Option<String>| {
            if let (Some(sender), Some(piece)) = (&job.pieces, piece) {
                // A client that has gone is noticed by `is_over`.
                let _ = sender.send(piece);
            }
        };
        let work = || {
            let predictor: &mut Predictor = predictor;
            let mut told = |text: &str| {
                send(pieces.next(text));
                !job.is_over()
            };
            match predictor.generator().text_told(prompt, &job.how, &mut told) {
                Ok(continued) => {
                    send(pieces.last(&continued.text));
                    Ok(Ok(continued))
                }
                // The prompt's fault.
                Err(error @ (EvalError::EmptyPrompt | EvalError::Data(_))) => Ok(Err(error.to_string())),
                Err(error) => Err(error.to_string()),
            }
        };
        let reason = match unharmed(work).and_then(|continued| continued) {
            Ok(continued) => return Ok(continued),
            Err(reason) => reason,
        };
        self.log.event("error", "generation failed", json!({"model": self.name, "error": reason}));
        Err(Failed::Model)
    }
}
