//! Times the ops of nets for images on the processor: `ops_bench [PART OF A NAME]` prints a row an op and shape, the
//! medians in ms forward and backward of the processor's form and of the plain Burn expression.
//! `benches/peers/ops.py` prints the same rows of PyTorch. Threads: `RAYON_NUM_THREADS`.

#![allow(clippy::print_stdout)] // what it prints is its result

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor};
use kiln_nn::{BatchNorm2d, ops};

/// Repeats of a measurement, after one that does not count; fewer where one takes long.
const REPEATS: usize = 15;
const LIMIT: Duration = Duration::from_secs(2);

type Op = dyn Fn(&[Tensor<4>]) -> Tensor<4>;

/// One op and shape: its inputs' shapes, and the op.
struct Case {
    name: String,
    inputs: Vec<[usize; 4]>,
    op: Box<Op>,
}

fn case(name: String, inputs: Vec<[usize; 4]>, op: impl Fn(&[Tensor<4>]) -> Tensor<4> + 'static) -> Case {
    Case { name, inputs, op: Box::new(op) }
}

fn conv([b, from, to, size, kernel, stride, groups]: [usize; 7]) -> Case {
    let options = ConvOptions::new([stride; 2], [(kernel - 1) / 2; 2], [1, 1], groups);
    let name = format!("conv {b}x{from}x{size}x{size} to {to}, {kernel}x{kernel}/{stride}, {groups} groups");
    let inputs = vec![[b, from, size, size], [to, from / groups, kernel, kernel]];
    case(name, inputs, move |x| ops::conv2d(x[0].clone(), x[1].clone(), None, options.clone()))
}

fn cases() -> Vec<Case> {
    let convs = [
        // ResNet-18 on 32x32.
        [32, 3, 64, 32, 3, 1, 1],
        [32, 64, 64, 32, 3, 1, 1],
        [32, 64, 128, 32, 3, 2, 1],
        [32, 64, 128, 32, 1, 2, 1],
        [32, 128, 128, 16, 3, 1, 1],
        [32, 256, 256, 8, 3, 1, 1],
        [32, 512, 512, 4, 3, 1, 1],
        // ResNet-50 on 224x224.
        [8, 3, 64, 224, 7, 2, 1],
        [8, 64, 256, 56, 1, 1, 1],
        [8, 256, 64, 56, 1, 1, 1],
        [8, 64, 64, 56, 3, 1, 1],
        [8, 128, 128, 56, 3, 2, 1],
        [8, 256, 1024, 14, 1, 1, 1],
        [8, 512, 2048, 7, 1, 1, 1],
        [8, 2048, 512, 7, 1, 1, 1],
        [8, 512, 512, 7, 3, 1, 1],
        // MobileNet and ConvNeXt.
        [8, 96, 96, 112, 3, 2, 96],
        [8, 144, 144, 56, 3, 1, 144],
        [8, 96, 96, 56, 7, 1, 96],
        [8, 768, 768, 7, 7, 1, 768],
    ];
    let mut cases: Vec<Case> = convs.into_iter().map(conv).collect();
    for [b, c, size] in [[32, 64, 32], [32, 512, 4], [8, 256, 56]] {
        let shape = [b, c, size, size];
        let layer = |channels| BatchNorm2d::new(channels, &Device::flex().autodiff());
        let norm = layer(c);
        cases.push(case(format!("batch norm {b}x{c}x{size}x{size}"), vec![shape], move |x| {
            norm.forward(x[0].clone())
        }));
    }
    cases
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Medians forward and backward.
fn time(case: &Case) -> [f64; 2] {
    let device = Device::flex().autodiff();
    let random = |shape: &[usize; 4]| Tensor::<4>::random(*shape, Distribution::Normal(0.0, 1.0), &device);
    let inputs: Vec<Tensor<4>> = case.inputs.iter().map(|shape| random(shape).require_grad()).collect();
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let started = Instant::now();
    while forward.len() <= REPEATS && (forward.len() < 4 || started.elapsed() < LIMIT) {
        let start = Instant::now();
        let y = (case.op)(&inputs);
        forward.push(start.elapsed());
        let start = Instant::now();
        drop(black_box(y.backward()));
        backward.push(start.elapsed());
    }
    [forward, backward].map(|times| median(times.into_iter().skip(1).collect()))
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    println!("{:<52}{:>10}{:>10}{:>10}{:>10}", "op", "forward", "backward", "plain f", "plain b");
    for case in cases().iter().filter(|case| case.name.contains(&wanted)) {
        let ([forward, backward], [plain, plain_back]) = (time(case), ops::plainly(|| time(case)));
        println!("{:<52}{forward:>10.2}{backward:>10.2}{plain:>10.2}{plain_back:>10.2}", case.name);
    }
}
