//! What a device reaches at best with kiln's own means: one large matrix product, one large copy. Shares of a peak are of
//! these, not of a data sheet.
//! Owns the two probes; a process of its own runs them once a device.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use kiln_core::device;
use serde::{Deserialize, Serialize};

use super::{BenchError, Place, machine};

/// The best of a device, and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// The device as its driver calls it, or the processor's name.
    pub hardware: String,
    /// Of square f32 matrix products of growing size, the fastest: two operations for a multiply-add.
    pub gflops: f64,
    /// A tensor of 256 MiB written as another times a number: bytes read and written.
    pub copy_gb_per_sec: f64,
}

/// Largest side of a product, and the seconds beyond which no larger one is tried.
const LARGEST: usize = 8192;
const LONG: f64 = 0.1;
/// Numbers that are copied.
const COPIED: usize = 64 << 20;

/// Measures `place`.
///
/// # Errors
/// There is no such device, or it fails.
pub fn ceilings(place: &Place) -> Result<Ceilings, BenchError> {
    let chosen = device::resolve(&place.device().parse()?)?;
    let on = chosen.device.inner();
    Ok(place.run(|| Ceilings {
        hardware: hardware(&chosen.name),
        gflops: products(&on),
        copy_gb_per_sec: copies(&on),
    }))
}

/// What a device is.
fn hardware(name: &str) -> String {
    let found = device::found().into_iter().find(|found| found.name == name);
    match found {
        Some(found) if !found.description.starts_with("the processor") => found.description,
        _ => machine::processor(),
    }
}

/// The shortest of five times.
fn best(device: &Device, work: impl Fn()) -> f64 {
    work(); // compiles and tunes, where the device does
    let _ = device.sync();
    let once = || {
        let start = Instant::now();
        work();
        let _ = device.sync();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn products(device: &Device) -> f64 {
    let (mut n, mut fastest) = (512, 0.0f64);
    loop {
        let draw = || Tensor::<2>::random([n, n], Distribution::Uniform(-1.0, 1.0), device);
        let (a, b) = (draw(), draw());
        let seconds = best(device, || drop(a.clone().matmul(b.clone())));
        fastest = fastest.max(2.0 * (n as f64).powi(3) / seconds / 1e9);
        n *= 2;
        if n > LARGEST || seconds > LONG {
            return fastest;
        }
    }
}

fn copies(device: &Device) -> f64 {
    let x = Tensor::<1>::ones([COPIED], device);
    let seconds = best(device, || drop(x.clone().mul_scalar(2.0)));
    2.0 * (COPIED * size_of::<f32>()) as f64 / seconds / 1e9
}
