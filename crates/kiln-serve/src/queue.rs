//! The queue in front of a model's thread: bounded in inputs, which enter all or none of a request.
//! Owns the count of what waits and the guess of when a full queue has room; knows no model.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// A full queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Seconds until there may be room.
    pub(crate) retry_after: u64,
}

/// The end where requests enter. The other end closes when it is dropped, after what is in it.
pub(crate) struct Queue<J> {
    jobs: Sender<J>,
    waiting: Arc<Waiting>,
    most: usize,
}

/// Between the queue's two ends.
#[derive(Default)]
pub(crate) struct Waiting {
    inputs: AtomicUsize,
    /// Microseconds that an input took lately.
    pace: AtomicUsize,
}

impl Waiting {
    /// These inputs have left the queue.
    pub(crate) fn left(&self, inputs: usize) {
        self.inputs.fetch_sub(inputs, Relaxed);
    }

    /// So many inputs took so long together.
    pub(crate) fn took(&self, inputs: usize, time: Duration) {
        self.pace.store(time.as_micros() as usize / inputs.max(1), Relaxed);
    }
}

impl<J> Queue<J> {
    /// A queue of at most `most` inputs, and what its thread needs.
    pub(crate) fn new(most: usize) -> (Self, Receiver<J>, Arc<Waiting>) {
        let (jobs, receiver) = unbounded();
        let waiting = Arc::new(Waiting::default());
        (Self { jobs, waiting: waiting.clone(), most }, receiver, waiting)
    }

    /// Inputs that wait.
    pub(crate) fn depth(&self) -> usize {
        self.waiting.inputs.load(Relaxed)
    }

    /// Puts a job of so many inputs into the queue, where there is room for all.
    pub(crate) fn put(&self, inputs: usize, job: J) -> Result<(), Full> {
        let room = |waiting: usize| (waiting + inputs <= self.most).then_some(waiting + inputs);
        if self.waiting.inputs.try_update(Relaxed, Relaxed, room).is_err() {
            return Err(self.full());
        }
        // The thread lives as long as this end of the queue.
        let _ = self.jobs.send(job);
        Ok(())
    }

    /// Says when a full queue may have room: when half of it is done at the last pace.
    fn full(&self) -> Full {
        let micros = self.waiting.pace.load(Relaxed) * self.depth() / 2;
        Full { retry_after: (micros as u64).div_ceil(1_000_000).clamp(1, 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_enters_whole_or_not_at_all() {
        let (queue, jobs, waiting) = Queue::new(4);
        queue.put(3, "a").unwrap();
        assert_eq!(queue.put(2, "b"), Err(Full { retry_after: 1 }));
        queue.put(1, "c").unwrap();
        waiting.took(2, Duration::from_secs(10));
        assert_eq!(queue.put(1, "d"), Err(Full { retry_after: 10 }));
        assert_eq!(jobs.try_recv(), Ok("a"));
        waiting.left(3);
        assert_eq!(queue.depth(), 1);
        queue.put(3, "e").unwrap();
    }
}
