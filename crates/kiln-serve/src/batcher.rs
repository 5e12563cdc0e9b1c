//! Many requests, one batch: the thread that owns a model and what waits in front of it.
//! Owns queue, batching and deadlines; knows no HTTP. A request that is too late, or whose client has gone, is never
//! computed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use kiln_eval::{Fields, Predictor, Prepared};
use serde_json::json;
use tokio::sync::oneshot;

use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::settings::Limits;

/// The inputs of one request.
struct Job {
    inputs: Vec<Prepared>,
    queued: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<Done, Failed>>,
}

/// A request's answers.
#[derive(Debug)]
pub(crate) struct Done {
    /// One an input, in order.
    pub(crate) rows: Vec<Fields>,
    /// From the queue to the batch.
    pub(crate) waited: Duration,
    /// Inputs of the batch, other requests' too.
    pub(crate) batch: usize,
}

/// Why a request has no answers.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Its deadline passed before its batch began.
    Expired,
    /// The model failed; the log says how.
    Model,
}

/// A full queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Seconds until there may be room.
    pub(crate) retry_after: u64,
}

/// The queue in front of a model. Its thread ends when the queue is dropped, after what is in it.
pub(crate) struct Batcher {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
    limits: Limits,
}

/// Between the queue's two ends.
#[derive(Default)]
struct Shared {
    /// Inputs that wait.
    waiting: AtomicUsize,
    /// Microseconds that an input took lately.
    pace: AtomicUsize,
}

impl Batcher {
    /// Starts the thread.
    pub(crate) fn start(
        name: &str,
        predictor: Predictor,
        limits: Limits,
        metrics: Arc<Metrics>,
        log: Lines,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = unbounded();
        let shared = Arc::new(Shared::default());
        let thread = Thread { name: name.into(), predictor, limits, metrics, log, shared: shared.clone() };
        std::thread::Builder::new().name(format!("model {name}")).spawn(move || thread.run(&receiver))?;
        Ok(Self { jobs: sender, shared, limits })
    }

    /// Inputs that wait.
    pub(crate) fn depth(&self) -> usize {
        self.shared.waiting.load(Relaxed)
    }

    /// Puts a request's inputs into the queue, all or none.
    pub(crate) fn ask(
        &self,
        inputs: Vec<Prepared>,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Done, Failed>>, Full> {
        let n = inputs.len();
        let room = |waiting: usize| (waiting + n <= self.limits.max_queue).then_some(waiting + n);
        if self.shared.waiting.try_update(Relaxed, Relaxed, room).is_err() {
            return Err(self.full());
        }
        let (reply, answer) = oneshot::channel();
        // The thread lives as long as this end of the queue.
        let _ = self.jobs.send(Job { inputs, queued: Instant::now(), deadline, reply });
        Ok(answer)
    }

    /// Says when a full queue may have room: when half of it is done at the last pace.
    fn full(&self) -> Full {
        let micros = self.shared.pace.load(Relaxed) * self.depth() / 2;
        Full { retry_after: (micros as u64).div_ceil(1_000_000).clamp(1, 60) }
    }
}

/// The thread's own.
struct Thread {
    name: String,
    predictor: Predictor,
    limits: Limits,
    metrics: Arc<Metrics>,
    log: Lines,
    shared: Arc<Shared>,
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
        self.shared.waiting.fetch_sub(size, Relaxed);
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
            asked.push((job.inputs.len(), now - job.queued, job.reply));
            inputs.extend(job.inputs);
        }
        let size = inputs.len();
        let mut rows = self.compute(inputs).map(Vec::into_iter);
        for (n, waited, reply) in asked {
            let answer = match &mut rows {
                Some(rows) => Ok(Done { rows: rows.by_ref().take(n).collect(), waited, batch: size }),
                None => Err(Failed::Model),
            };
            let _ = reply.send(answer);
        }
    }

    /// At most `max_batch` inputs at a time; `None` where the model fails, with a line in the log.
    fn compute(&mut self, inputs: Vec<Prepared>) -> Option<Vec<Fields>> {
        let mut rows = Vec::with_capacity(inputs.len());
        let mut inputs = inputs.into_iter().peekable();
        while inputs.peek().is_some() {
            let chunk: Vec<_> = inputs.by_ref().take(self.limits.max_batch).collect();
            let (n, start) = (chunk.len(), Instant::now());
            match within(&mut self.predictor, chunk) {
                Ok(answers) if answers.len() == n => rows.extend(answers),
                Ok(answers) => {
                    return self.failed(&format!("{} answers to {n} inputs", answers.len()));
                }
                Err(reason) => return self.failed(&reason),
            }
            let took = start.elapsed();
            self.metrics.batch(&self.name, n, took);
            self.shared.pace.store(took.as_micros() as usize / n, Relaxed);
        }
        Some(rows)
    }

    fn failed<T>(&self, reason: &str) -> Option<T> {
        self.log.event("error", "batch failed", json!({"model": self.name, "error": reason}));
        None
    }
}

/// One batch, on one of the threads that its ops are shared among: an op then wakes no other thread to begin with. A
/// crash of an op is an error of this batch alone.
pub(crate) fn within(predictor: &mut Predictor, inputs: Vec<Prepared>) -> Result<Vec<Fields>, String> {
    let work = move || {
        rayon::scope(move |_| {
            let predictor: &mut Predictor = predictor;
            predictor.batch(inputs).map_err(|e| e.to_string())
        })
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
        Err(format!("crashed: {}", message.unwrap_or_else(|| "without a message".into())))
    })
}
