//! Whether a device computes right: a small product against the host, in f64.
//! Owns the check and the catching of drivers' panics; chooses nothing.
//! `kiln doctor` asks it of every device.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Tensor, TensorData};

use super::{DeviceError, Found};

/// The largest difference of [`probe`] that a working device may show: TF32 products stay below it.
pub const PROBE_TOLERANCE: f32 = 1e-2;

/// Multiplies two small matrices of numbers in `[-1, 1]` on the device and compares with the host in f64: the
/// largest absolute difference. A working device stays below [`PROBE_TOLERANCE`].
///
/// # Errors
/// The device cannot be opened or does not answer.
pub fn probe(found: &Found) -> Result<f32, DeviceError> {
    const M: usize = 33;
    const K: usize = 65;
    const N: usize = 17;
    let a: Vec<f32> = (0..M * K).map(|i| (i as f32 * 0.37).sin()).collect();
    let b: Vec<f32> = (0..K * N).map(|i| (i as f32 * 0.73).cos()).collect();
    let product = quietly(|| {
        let left = Tensor::<2>::from_data(TensorData::new(a.clone(), [M, K]), &found.device);
        let right = Tensor::<2>::from_data(TensorData::new(b.clone(), [K, N]), &found.device);
        left.matmul(right).into_data().convert::<f32>().try_to_vec::<f32>()
    });
    let broken = |reason: String| DeviceError::Broken { name: found.name.clone(), reason };
    let product = product.map_err(broken)?.map_err(|e| broken(format!("{e:?}")))?;
    let exact =
        |i: usize, j: usize| (0..K).map(|k| f64::from(a[i * K + k]) * f64::from(b[k * N + j])).sum::<f64>();
    let difference = |at: usize| (f64::from(product[at]) - exact(at / N, at % N)).abs() as f32;
    // Not f32::max, which would pass over a NaN.
    Ok((0..M * N).map(difference).fold(0.0, |worst, d| if d <= worst { worst } else { d }))
}

/// Runs `work` with panics caught and not printed; the panic's message is the error.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // The hook is one for the whole process: one caller at a time may replace it.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    result.map_err(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            payload.downcast::<&str>().map_or_else(|_| "it panicked".into(), |text| text.to_string())
        }
    })
}
