//! The choice of threads, in a process of its own since it holds for the whole process.

#![cfg(feature = "cpu")]

#[test]
fn the_calling_thread_becomes_a_worker_where_there_are_several() {
    assert_eq!(rayon::current_thread_index(), None);
    kiln_nn::threads::compute_here();
    let several = std::thread::available_parallelism().map_or(1, usize::from) > 1;
    assert_eq!(rayon::current_thread_index().is_some(), several);
    // A thread that is no worker is still served while this one waits.
    let sum = std::thread::spawn(|| {
        use rayon::prelude::*;
        (0..1000).into_par_iter().sum::<i32>()
    });
    assert_eq!(sum.join().unwrap(), 499_500);
}
