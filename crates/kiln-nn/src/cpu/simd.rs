//! One binary for every processor: a loop is compiled for AVX-512, for AVX2 and for the baseline, and the widest that
//! the machine has is called.
//! Owns the choice at run time; the loops are plain Rust that the compiler vectorises. Kernels use `simd!`.

/// What the processor can do, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Neither of the below; on Arm this is NEON with fused multiply-add.
    Baseline,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// The widest vectors of this processor.
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma");
        if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// Whether the kernels are worth calling: their fused multiply-adds are function calls on a processor without.
pub(crate) fn is_known() -> bool {
    cfg!(target_arch = "aarch64") || level() >= Level::Avx2
}

/// Defines a function whose body is compiled once for each [`Level`].
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, unsafe_code)]
        $vis fn $name($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn narrow($($arg: $ty),*) $(-> $out)? { body($($arg),*) }
                // SAFETY: `level` has asked the processor for exactly these features.
                match $crate::cpu::simd::level() {
                    $crate::cpu::simd::Level::Avx512 => return unsafe { wide($($arg),*) },
                    $crate::cpu::simd::Level::Avx2 => return unsafe { narrow($($arg),*) },
                    $crate::cpu::simd::Level::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}

pub(crate) use simd;

/// Sums `f(0) + .. + f(n - 1)` in sixteen lanes, whose order does not depend on the machine.
#[inline(always)]
pub(crate) fn sum16(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let whole = n / 16 * 16;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += 16;
    }
    for (lane, i) in (whole..n).enumerate() {
        lanes[lane] += f(i);
    }
    fold16(&lanes)
}

/// The sum of sixteen lanes, pairwise.
#[inline(always)]
pub(crate) fn fold16(lanes: &[f32; 16]) -> f32 {
    let mut sums = *lanes;
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The largest value, the lowest float where there is none; a value that is no number is passed over.
#[inline(always)]
pub(crate) fn max16(row: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let largest = lanes.iter().fold(f32::MIN, |a, b| a.max(*b));
    rest.iter().fold(largest, |a, b| a.max(*b))
}
