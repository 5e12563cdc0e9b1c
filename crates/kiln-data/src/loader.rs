//! Batches of one pass over a split, prepared by threads and handed out in order.
//! Owns threads and prefetch; which sample is in which batch, and how it is augmented, is order.rs's and depends on
//! (seed, epoch, index) alone. Hands host batches to the loop, which puts them on a device.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use kiln_core::seed::{Purpose, mix};

use crate::bad::BadSample;
use crate::batch::{Features, Gathering, HostBatch};
use crate::config::{LoaderConfig, OnBadSample, ShuffleBy};
use crate::error::DataError;
use crate::label::Label;
use crate::mixup::Mixup;
use crate::order::{Order, plan};
use crate::preprocessor::Preprocessor;
use crate::split::Split;

/// Batches of a pass over `n` samples.
pub fn batches(n: usize, config: &LoaderConfig, training: bool) -> usize {
    match training {
        true if config.drop_last => n / config.batch_size.max(1),
        true => n.div_ceil(config.batch_size.max(1)),
        false => n.div_ceil(config.eval_batch_size.unwrap_or(config.batch_size).max(1)),
    }
}

/// An iterator over the batches of one pass. Ends after the first error. Dropping it stops its threads.
#[derive(Debug)]
pub struct Loader {
    work: Arc<Work>,
    next: usize,
    workers: usize,
    prefetch: usize,
    crew: Option<Crew>,
}

impl Loader {
    /// Plans one pass. Threads start with the first batch asked for.
    ///
    /// # Errors
    /// Length buckets without text or without shuffling; a training pass without a batch; a text that cannot be
    /// tokenized while lengths are measured.
    pub fn new(
        split: &Split,
        preprocessor: &Arc<Preprocessor>,
        config: &LoaderConfig,
        order: Order,
    ) -> Result<Self, DataError> {
        let training = matches!(order, Order::Train { .. });
        let lengths = if training && config.length_bucketing {
            Some(lengths(split, preprocessor, config)?)
        } else {
            None
        };
        let by_shard = training && config.shuffle && config.shuffle_by == ShuffleBy::Shards;
        let shards = by_shard.then(|| split.shards());
        let batches = plan(split.len(), config, order, lengths, shards.as_deref());
        if training && batches.is_empty() {
            let problem = format!("{} samples do not fill one batch of {}", split.len(), config.batch_size);
            return Err(DataError::config(
                "loader.drop_last",
                problem,
                "lower data.loader.batch_size or set drop_last = false",
            ));
        }
        let work = Work {
            split: split.clone(),
            preprocessor: Arc::clone(preprocessor),
            batches,
            order,
            mixup: None,
            allowed: allowed(split.len(), config),
            stop: AtomicBool::new(false),
        };
        let prefetch = config.prefetch.max(1);
        Ok(Self { work: Arc::new(work), next: 0, workers: config.workers, prefetch, crew: None })
    }

    /// The same, mixing the images of training batches.
    #[must_use]
    pub fn mixed(mut self, mixup: Option<Mixup>) -> Self {
        self.crew = None;
        if let Some(work) = Arc::get_mut(&mut self.work) {
            work.mixup = mixup;
        }
        self
    }

    /// Continues at batch `batch` (from 0) of the pass; nothing is prepared for those before it.
    #[must_use]
    pub fn starting_at(mut self, batch: usize) -> Self {
        self.crew = None;
        self.next = batch;
        self
    }

    /// The next batch, and the threads, which start here.
    fn take(&mut self) -> Result<Made, DataError> {
        if self.workers == 0 {
            return self.work.prepare(self.next);
        }
        let crew = match &mut self.crew {
            Some(crew) => crew,
            none => none.insert(Crew::hire(&self.work, self.workers, self.next, self.prefetch)?),
        };
        crew.deliver(self.next)
    }
}

impl Iterator for Loader {
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.work.batches.len() {
            let batch = self.take().and_then(|made| self.work.deliver(made));
            self.next = if batch.is_ok() { self.next + 1 } else { self.work.batches.len() };
            if self.next == self.work.batches.len() {
                self.crew = None;
            }
            match batch {
                Ok(batch) if batch.size() == 0 => {} // in evaluation, where every sample of it is bad
                batch => return Some(batch),
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.work.batches.len().saturating_sub(self.next);
        // An error ends it early.
        (rest.min(1), Some(rest))
    }
}

fn lengths<'a>(
    split: &'a Split,
    preprocessor: &Preprocessor,
    config: &LoaderConfig,
) -> Result<&'a [u32], DataError> {
    let key = "loader.length_bucketing";
    if !config.shuffle {
        return Err(DataError::config(
            key,
            "it reorders samples, but shuffle = false keeps their order",
            "drop one of the two",
        ));
    }
    split
        .lengths(preprocessor)?
        .ok_or_else(|| DataError::config(key, "the samples are not text", "remove it"))
}

/// How many samples may be left out; `None` where none may.
fn allowed(samples: usize, config: &LoaderConfig) -> Option<usize> {
    let share = (samples as f64 * config.max_bad_fraction).ceil() as usize;
    (config.on_bad_sample != OnBadSample::Fail).then_some(share)
}

/// A batch and the samples that are left out of it.
#[derive(Debug)]
struct Made {
    batch: HostBatch,
    bad: Vec<BadSample>,
}

type Prepared = (usize, Features, Label);

/// What every thread knows.
#[derive(Debug)]
struct Work {
    split: Split,
    preprocessor: Arc<Preprocessor>,
    batches: Vec<Vec<usize>>,
    order: Order,
    mixup: Option<Mixup>,
    /// Samples that may be left out; `None`: the first bad one is an error.
    allowed: Option<usize>,
    stop: AtomicBool,
}

impl Work {
    fn prepare(&self, batch: usize) -> Result<Made, DataError> {
        let mut gathering = Gathering::new(self.batches[batch].len());
        let mut bad = Vec::new();
        for &i in &self.batches[batch] {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            match self.usable(i)? {
                Ok((i, features, label)) => gathering.add(i, features, label),
                Err(fault) => bad.push(fault),
            }
        }
        if gathering.is_empty() && !bad.is_empty() && self.order != Order::Sequential {
            let (i, features, label) = self.next_good(batch)?;
            gathering.add(i, features, label);
        }
        let mut made = gathering.finish(self.preprocessor.input());
        if let (Order::Train { seed, epoch }, Some(mixup)) = (self.order, self.mixup) {
            mixup.apply(&mut made, seed, epoch, batch);
        }
        Ok(Made { batch: made, bad })
    }

    /// The sample; the inner fault is that of a sample which may be left out.
    fn usable(&self, i: usize) -> Result<Result<Prepared, BadSample>, DataError> {
        let prepared = self.sample(i);
        let i = i % self.split.len();
        match prepared {
            Ok((features, label)) => Ok(Ok((i, features, label))),
            Err(fault) if self.allowed.is_some() && fault.is_of_one_sample() => {
                Ok(Err(BadSample { index: i, name: self.split.name(i), reason: fault.to_string() }))
            }
            Err(fault) => Err(fault),
        }
    }

    /// The first good sample after `batch` in the pass, from its start again at its end: each of its places is a
    /// function of the samples alone. A bad one on the way is counted where it stands itself.
    fn next_good(&self, batch: usize) -> Result<Prepared, DataError> {
        let (before, after) = self.batches.split_at(batch + 1);
        let mut passed = Vec::new();
        for &i in after.iter().chain(before).flatten() {
            match self.usable(i)? {
                Ok(sample) => return Ok(sample),
                Err(fault) => passed.push(fault),
            }
            if passed.len() > self.allowed.unwrap_or(0) {
                break;
            }
        }
        Err(self.too_many(passed.len(), passed.last()))
    }

    /// Counts what is left out of a batch when it is handed out, so that no thread's haste shows.
    fn deliver(&self, made: Made) -> Result<HostBatch, DataError> {
        for sample in made.bad {
            let bad = self.split.leave_out(sample.clone());
            if bad > self.allowed.unwrap_or(0) {
                return Err(self.too_many(bad, Some(&sample)));
            }
        }
        Ok(made.batch)
    }

    fn too_many(&self, bad: usize, last: Option<&BadSample>) -> DataError {
        let (total, allowed) = (self.split.len(), self.allowed.unwrap_or(0));
        let last = last.map_or_else(String::new, |sample| sample.reason.clone());
        DataError::TooManyBad { bad, total, allowed, last }
    }

    /// One sample, or a copy of it; a panic of a decoder becomes an error, so that no batch is waited for in vain.
    fn sample(&self, i: usize) -> Result<(Features, Label), DataError> {
        let augment = match self.order {
            Order::Train { seed, epoch } => Some(mix(seed, Purpose::Augment, &[epoch, i as u64])),
            Order::Sequential => None,
        };
        let i = i % self.split.len();
        let (label, name) = (self.split.label(i), self.split.name(i));
        let prepare = || self.preprocessor.example(self.split.raw(i)?, label, &name, augment, i);
        catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(DataError::Crashed { name: self.split.name(i), message })
        })
    }
}

type Done = (usize, Result<Made, DataError>);

/// Threads at work. A batch is prepared when a ticket with its number is out; tickets out at once bound the memory.
#[derive(Debug)]
struct Crew {
    work: Arc<Work>,
    tickets: Option<Sender<usize>>,
    issued: usize,
    done: Receiver<Done>,
    early: BTreeMap<usize, Result<Made, DataError>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// `prefetch` batches may lie ready while every thread makes one more.
    fn hire(work: &Arc<Work>, workers: usize, first: usize, prefetch: usize) -> Result<Self, DataError> {
        let (tickets, orders) = unbounded::<usize>();
        let (results, done) = unbounded();
        let (work, early, threads) = (Arc::clone(work), BTreeMap::new(), Vec::new());
        let mut crew = Self { work, tickets: Some(tickets), issued: first, done, early, threads };
        for k in 0..workers {
            let (work, orders, results) = (Arc::clone(&crew.work), orders.clone(), results.clone());
            let thread =
                Builder::new().name(format!("kiln-data-{k}")).spawn(move || serve(&work, &orders, &results));
            crew.threads.push(thread.map_err(DataError::Thread)?);
        }
        (0..prefetch + workers).for_each(|_| crew.issue());
        Ok(crew)
    }

    fn issue(&mut self) {
        if let (Some(tickets), true) = (&self.tickets, self.issued < self.work.batches.len()) {
            // A send fails only when every thread is gone, which `deliver` reports.
            if tickets.send(self.issued).is_ok() {
                self.issued += 1;
            }
        }
    }

    fn deliver(&mut self, batch: usize) -> Result<Made, DataError> {
        self.issue();
        loop {
            if let Some(ready) = self.early.remove(&batch) {
                return ready;
            }
            let (number, made) = self.done.recv().map_err(|_| DataError::Crashed {
                name: format!("batch {batch}"),
                message: "every loader thread ended".into(),
            })?;
            self.early.insert(number, made);
        }
    }
}

fn serve(work: &Work, orders: &Receiver<usize>, results: &Sender<Done>) {
    for batch in orders {
        if work.stop.load(Ordering::Relaxed) || results.send((batch, work.prepare(batch))).is_err() {
            return;
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.work.stop.store(true, Ordering::Relaxed);
        self.tickets = None;
        for thread in self.threads.drain(..) {
            // A thread's panic was already turned into an error of its sample.
            let _ = thread.join();
        }
    }
}
