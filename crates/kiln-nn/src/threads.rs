//! Which threads compute on the CPU.
//! Owns one choice for the whole process; never a thread of its own. The binary makes it once at its start.

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
