//! Which threads compute on the CPU, and that they are awake between two ops.
//! Owns two choices for the whole process; never a thread of its own. The binary makes the first once at its start, the
//! ops the second.

/// Makes the calling thread one of rayon's workers, so that an op costs it no sleep and no waking: the workers are as
/// many as before, this thread among them. For a thread that computes itself; one that waits for others would be missed.
/// Leaves things as they are where only one worker is allowed or the workers were chosen before.
pub fn compute_here() {
    #[cfg(feature = "cpu")]
    {
        let allowed = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        let threads: usize =
            allowed.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        if threads > 1 {
            // The only refusal is that the workers exist already.
            let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global();
        }
    }
}

#[cfg(feature = "cpu")]
pub(crate) use awake::keep_awake;

#[cfg(feature = "cpu")]
mod awake {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use rayon::Yield;

    /// How long workers look for work before they sleep. Waking one costs as much as a small op takes; the gaps
    /// between the ops of a step are shorter than this.
    const LINGER: Duration = Duration::from_micros(200);

    /// Whether workers linger already.
    static LINGERING: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static HERE: Cell<bool> = const { Cell::new(false) };
    }

    /// Tells the other workers that more work is near. Does nothing on a thread that is no worker.
    pub(crate) fn keep_awake() {
        if LINGERING.load(Ordering::Relaxed) {
            return;
        }
        if let Some(this) = rayon::current_thread_index() {
            LINGERING.store(true, Ordering::Relaxed);
            rayon::spawn_broadcast(move |worker| {
                if worker.index() != this {
                    linger();
                }
            });
        }
    }

    /// Does what work there is until there has been none for a while. A worker that does so already, further down its
    /// stack, goes on there.
    fn linger() {
        if HERE.replace(true) {
            return;
        }
        let mut last = Instant::now();
        while last.elapsed() < LINGER {
            match rayon::yield_now() {
                Some(Yield::Executed) => last = Instant::now(),
                _ => thread::yield_now(),
            }
        }
        HERE.set(false);
        LINGERING.store(false, Ordering::Relaxed);
    }
}
