//! The threads of a loader, and the batches that they have ready.
//! Owns threads and tickets; prepares nothing itself (`work` does). Hands batches to the loader in their order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::gate::Pass;
use super::work::{Made, Work};
use crate::error::DataError;

type Done = (usize, Result<Made, DataError>);

/// Threads at work. A batch is prepared when a ticket with its number is out; the number of tickets and the bytes of their
/// batches bound the memory.
#[derive(Debug)]
pub(super) struct Crew {
    work: Arc<Work>,
    tickets: Option<Sender<usize>>,
    issued: usize,
    most: usize,
    /// Of each batch that was ordered and not handed out, in order.
    passes: VecDeque<Pass>,
    done: Receiver<Done>,
    early: BTreeMap<usize, Result<Made, DataError>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// `prefetch` batches may lie ready while every thread makes one more.
    pub(super) fn hire(
        work: &Arc<Work>,
        workers: usize,
        first: usize,
        prefetch: usize,
    ) -> Result<Self, DataError> {
        let (tickets, orders) = unbounded::<usize>();
        let (results, done) = unbounded();
        let mut crew = Self {
            work: Arc::clone(work),
            tickets: Some(tickets),
            issued: first,
            most: prefetch + workers,
            passes: VecDeque::new(),
            done,
            early: BTreeMap::new(),
            threads: Vec::new(),
        };
        for k in 0..workers {
            let (work, orders, results) = (Arc::clone(&crew.work), orders.clone(), results.clone());
            let thread =
                Builder::new().name(format!("kiln-data-{k}")).spawn(move || serve(&work, &orders, &results));
            crew.threads.push(thread.map_err(DataError::Thread)?);
        }
        Ok(crew)
    }

    /// Orders as many batches as may be under way: at least one, whatever its size.
    fn issue(&mut self) {
        while self.passes.len() < self.most && self.issued < self.work.batches.len() {
            let bytes = self.work.bytes(self.issued);
            let (Some(tickets), Some(pass)) = (&self.tickets, self.work.ready.try_enter(bytes)) else {
                return;
            };
            // A send fails only when every thread is gone, which `deliver` reports.
            if tickets.send(self.issued).is_err() {
                return;
            }
            self.passes.push_back(pass);
            self.issued += 1;
        }
    }

    pub(super) fn deliver(&mut self, batch: usize) -> Result<Made, DataError> {
        self.issue();
        loop {
            if let Some(ready) = self.early.remove(&batch) {
                self.passes.pop_front();
                self.issue();
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
