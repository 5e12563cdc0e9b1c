//! Many requests, one batch: the thread that owns a model.
//! Owns batching and deadlines; knows no HTTP. A request that is too late, or whose client has gone, is never computed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use kiln_eval::{Fields, Predictor, Prepared};
use serde_json::json;
use tokio::sync::oneshot;

use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::queue::{Full, Queue, Waiting};
use crate::settings::Limits;

/// The inputs of one request.
struct Job {
    inputs: Vec<Prepared>,
    /// Whether the net's own numbers are asked for too.
    logits: bool,
    queued: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<Done, Failed>>,
}

/// A request's answers.
#[derive(Debug)]
pub(crate) struct Done {
    /// One an input, in order.
    pub(crate) rows: Vec<Fields>,
    /// As many numbers an input as the net has answers, where they were asked for.
    pub(crate) logits: Vec<f32>,
    /// From the queue to the batch.
    pub(crate) waited: Duration,
    /// Inputs of the batch, other requests' too.
    pub(crate) batch: usize,
}

/// Why a request has no answers.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Its deadline passed first.
    Expired,
    /// The model failed; the log says how.
    Model,
}

/// What comes of a request.
pub(crate) type Answering = oneshot::Receiver<Result<Done, Failed>>;

/// The thread that answers in batches. It ends when this is dropped, after what waits.
pub(crate) struct Batcher(Queue<Job>);

impl Batcher {
    /// Starts the thread.
    pub(crate) fn start(
        name: &str,
        predictor: Predictor,
        limits: Limits,
        metrics: Arc<Metrics>,
        log: Lines,
    ) -> std::io::Result<Self> {
        let (queue, jobs, waiting) = Queue::new(limits.max_queue);
        let thread = Thread { name: name.into(), predictor, limits, metrics, log, waiting };
        std::thread::Builder::new().name(format!("model {name}")).spawn(move || thread.run(&jobs))?;
        Ok(Self(queue))
    }

    /// Inputs that wait.
    pub(crate) fn depth(&self) -> usize {
        self.0.depth()
    }

    /// Puts a request's inputs into the queue, all or none.
    pub(crate) fn ask(
        &self,
        inputs: Vec<Prepared>,
        logits: bool,
        deadline: Instant,
    ) -> Result<Answering, Full> {
        let (reply, answer) = oneshot::channel();
        let n = inputs.len();
        self.0.put(n, Job { inputs, logits, queued: Instant::now(), deadline, reply })?;
        Ok(answer)
    }
}

/// The thread's own.
struct Thread {
    name: String,
    predictor: Predictor,
    limits: Limits,
    metrics: Arc<Metrics>,
    log: Lines,
    waiting: Arc<Waiting>,
}

impl Thread {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut last = 1;
        while let Ok(first) = jobs.recv() {
            let batch = self.gather(first, jobs, last);
            last = batch.len();
            self.answer(batch);
        }
    }

    /// What waits already, and more for at most `max_delay`: but only until there are as many requests as in the last
    /// batch, so that a lone client never waits for others.
    fn gather(&self, first: Job, jobs: &Receiver<Job>, last: usize) -> Vec<Job> {
        let until = Instant::now() + self.limits.max_delay;
        let mut size = first.inputs.len();
        let mut batch = vec![first];
        while size < self.limits.max_batch {
            let next = match jobs.try_recv() {
                Ok(job) => Ok(job),
                Err(_) if batch.len() >= last => break,
                Err(_) => jobs.recv_deadline(until),
            };
            let Ok(job) = next else { break };
            size += job.inputs.len();
            batch.push(job);
        }
        batch
    }

    fn answer(&mut self, batch: Vec<Job>) {
        let size: usize = batch.iter().map(|job| job.inputs.len()).sum();
        self.waiting.left(size);
        let now = Instant::now();
        let mut inputs = Vec::with_capacity(size);
        let mut asked = Vec::with_capacity(batch.len());
        for job in batch {
            self.metrics.waited(&self.name, now - job.queued);
            if job.reply.is_closed() || job.deadline <= now {
                self.metrics.expired(&self.name);
                let _ = job.reply.send(Err(Failed::Expired));
                continue;
            }
            asked.push((job.inputs.len(), job.logits, now - job.queued, job.reply));
            inputs.extend(job.inputs);
        }
        let size = inputs.len();
        let wanted = asked.iter().any(|(_, logits, ..)| *logits);
        let computed = self.compute(inputs, wanted);
        let width = computed.as_ref().map_or(0, |(_, logits)| logits.len() / size.max(1));
        let mut computed = computed.map(|(rows, logits)| (rows.into_iter(), logits.into_iter()));
        for (n, wanted, waited, reply) in asked {
            let answer = match &mut computed {
                Some((rows, logits)) => {
                    let rows = rows.by_ref().take(n).collect();
                    let own: Vec<f32> = logits.by_ref().take(n * width).collect();
                    Ok(Done { rows, logits: if wanted { own } else { Vec::new() }, waited, batch: size })
                }
                None => Err(Failed::Model),
            };
            let _ = reply.send(answer);
        }
    }

    /// At most `max_batch` inputs at a time; `None` where the model fails, with a line in the log.
    fn compute(&mut self, inputs: Vec<Prepared>, logits: bool) -> Option<(Vec<Fields>, Vec<f32>)> {
        let mut all = (Vec::with_capacity(inputs.len()), Vec::new());
        let mut inputs = inputs.into_iter().peekable();
        while inputs.peek().is_some() {
            let chunk: Vec<_> = inputs.by_ref().take(self.limits.max_batch).collect();
            let (n, start) = (chunk.len(), Instant::now());
            match within(&mut self.predictor, chunk, logits) {
                Ok((rows, own)) if rows.len() == n => {
                    all.0.extend(rows);
                    all.1.extend(own);
                }
                Ok((rows, _)) => {
                    return self.failed(&format!("{} answers to {n} inputs", rows.len()));
                }
                Err(reason) => return self.failed(&reason),
            }
            let took = start.elapsed();
            self.metrics.batch(&self.name, n, took);
            self.waiting.took(n, took);
        }
        Some(all)
    }

    fn failed<T>(&self, reason: &str) -> Option<T> {
        self.log.event("error", "batch failed", json!({"model": self.name, "error": reason}));
        None
    }
}

/// One batch, and the net's own numbers where `logits`.
pub(crate) fn within(
    predictor: &mut Predictor,
    inputs: Vec<Prepared>,
    logits: bool,
) -> Result<(Vec<Fields>, Vec<f32>), String> {
    unharmed(move || {
        let answers = match logits {
            true => predictor.batch_with_logits(inputs),
            false => predictor.batch(inputs).map(|rows| (rows, Vec::new())),
        };
        answers.map_err(|e| e.to_string())
    })
    .and_then(|answers| answers)
}

/// Runs something on one of the threads that a model's ops are shared among: an op then wakes no other thread to begin
/// with. A crash of an op is an error of this work alone.
pub(crate) fn unharmed<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    let work = move || rayon::scope(move |_| work());
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
        format!("crashed: {}", message.unwrap_or_else(|| "without a message".into()))
    })
}
