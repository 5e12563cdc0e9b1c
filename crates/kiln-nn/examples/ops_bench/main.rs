//! Times the ops of kiln's nets on the processor: `ops_bench [PART OF A NAME] [--fast]` prints a row an op and shape, the
//! medians in ms forward and backward of the processor's form and, without `--fast`, of the plain Burn expression.
//! `benches/peers/ops.py` has the same rows of PyTorch, `benches/audit.py` compares. Threads: `RAYON_NUM_THREADS`.

#![allow(clippy::print_stdout)] // what it prints is its result

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use kiln_core::memory;
use kiln_nn::ops;

mod images;
mod words;

/// Repeats of a measurement, after one that does not count; fewer where one takes long.
const REPEATS: usize = 15;
const LIMIT: Duration = Duration::from_secs(2);

/// Times of a repeat, forward and backward; the latter is zero where there is none.
type Times = [Duration; 2];

/// One op and shape; `start` makes its inputs and gives what is repeated.
struct Case {
    name: String,
    start: Box<dyn Fn() -> Box<dyn FnMut() -> Times>>,
}

/// A device whose tensors are recorded.
fn device() -> Device {
    Device::flex().autodiff()
}

/// Normal numbers whose gradient is asked for.
fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device()).require_grad()
}

/// An op with a gradient. `make` gives the op, which holds its inputs.
fn case<const D: usize, F: Fn() -> Tensor<D> + 'static>(
    name: String,
    make: impl Fn() -> F + 'static,
) -> Case {
    let start = move || -> Box<dyn FnMut() -> Times> {
        let op = make();
        Box::new(move || {
            let start = Instant::now();
            let y = op();
            let forward = start.elapsed();
            let start = Instant::now();
            drop(black_box(y.backward()));
            [forward, start.elapsed()]
        })
    };
    Case { name, start: Box::new(start) }
}

/// Something done once a step, without a gradient.
fn step<F: FnMut() + 'static>(name: String, make: impl Fn() -> F + 'static) -> Case {
    let start = move || -> Box<dyn FnMut() -> Times> {
        let mut op = make();
        Box::new(move || {
            let start = Instant::now();
            op();
            [start.elapsed(), Duration::ZERO]
        })
    };
    Case { name, start: Box::new(start) }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Medians forward and backward.
fn time(case: &Case) -> [f64; 2] {
    let mut repeat = (case.start)();
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() <= REPEATS && (times.len() < 4 || started.elapsed() < LIMIT) {
        times.push(repeat());
    }
    [0, 1].map(|i| median(times.iter().skip(1).map(|time| time[i]).collect()))
}

fn main() {
    memory::keep_pages();
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let (wanted, compares) = (words.first().cloned().unwrap_or_default(), options.is_empty());
    let cases = images::cases().into_iter().chain(words::cases());
    println!("{:<52}{:>10}{:>10}{:>10}{:>10}", "op", "forward", "backward", "plain f", "plain b");
    for case in cases.filter(|case| case.name.contains(&wanted)) {
        let [forward, backward] = time(&case);
        print!("{:<52}{forward:>10.3}{backward:>10.3}", case.name);
        if compares {
            let [forward, backward] = ops::plainly(|| time(&case));
            print!("{forward:>10.3}{backward:>10.3}");
        }
        println!();
    }
}
