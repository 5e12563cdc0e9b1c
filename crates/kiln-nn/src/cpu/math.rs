//! exp, erf and tanh of float32 without a branch, so that loops over them are vectorised.
//! Own their polynomials; `tests` compares each with double precision. Kernels call them.

/// e^x within 2 units in the last place; 0 below -87.3 and 2^127-ish above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Cody and Waite: x = n ln 2 + r; a polynomial for e^r (Cephes expf), 2^n through the exponent's bits.
    let clamped = x.clamp(-87.336_54, 88.376_26);
    let shifter = 12_582_912.0f32; // 1.5 * 2^23: adding it rounds to the nearest whole number
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, shifter);
    let n = shifted - shifter;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let e = (p * r).mul_add(r, r) + 1.0;
    // The low bits of `shifted` hold n.
    let bits = (shifted.to_bits().wrapping_add(127)) << 23;
    let scaled = e * f32::from_bits(bits);
    if x < -87.336_54 { 0.0 } else { scaled }
}

/// The error function within 5e-7: the rational approximation of Eigen and XLA on [-4, 4], outside of which it is ±1.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let clamped = x.clamp(-4.0, 4.0);
    let s = clamped * clamped;
    let p = -2.726_142_3e-10f32;
    let p = p.mul_add(s, 2.770_681_5e-8);
    let p = p.mul_add(s, -2.101_024e-6);
    let p = p.mul_add(s, -5.692_506_4e-5);
    let p = p.mul_add(s, -7.349_906_3e-4);
    let p = p.mul_add(s, -2.954_6e-3);
    let p = p.mul_add(s, -1.609_603_3e-2);
    let q = -1.456_607_2e-5f32;
    let q = q.mul_add(s, -2.133_740_6e-4);
    let q = q.mul_add(s, -1.682_827e-3);
    let q = q.mul_add(s, -7.373_329_2e-3);
    let q = q.mul_add(s, -1.426_473_9e-2);
    // Exactly one at the end: GELU multiplies what is missing by x.
    if x.abs() >= 4.0 { 1.0f32.copysign(x) } else { clamped * p / q }
}

/// tanh within 2e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Odd, and 1 in float32 from 9.01 on; near 0 the difference below would lose digits, so a series takes over.
    let a = if x.abs() > 9.02 { 9.02 } else { x.abs() };
    let s = a * a;
    let small = a * (-0.333_333_34f32 + s * (0.133_333_34 - s * 0.053_968_254)).mul_add(s, 1.0);
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    let value = if a < 0.1 { small } else { large };
    value.copysign(x)
}

/// The density of the standard normal distribution.
#[inline(always)]
pub(crate) fn normal_density(x: f32) -> f32 {
    0.398_942_3 * exp(-0.5 * x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its series and, far out, by the continued fraction, in double precision.
    fn erf64(x: f64) -> f64 {
        let a = x.abs();
        let value = if a < 3.0 {
            let (mut term, mut sum) = (a, a);
            for n in 1..200 {
                term *= -a * a / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let tail = (1..60).rev().fold(0.0, |f, k| k as f64 / 2.0 / (a + f));
            1.0 - (-a * a).exp() / (a + tail) / std::f64::consts::PI.sqrt()
        };
        value.copysign(x)
    }

    #[test]
    fn functions_are_those_of_double_precision() {
        for i in -200_000..=200_000 {
            let x = i as f32 * 5e-5;
            let wide = f64::from(x);
            assert!((f64::from(exp(x)) / wide.exp() - 1.0).abs() < 2e-7, "exp {x}");
            assert!((f64::from(erf(x)) - erf64(wide)).abs() < 5e-7, "erf {x}");
            assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 2e-7, "tanh {x}");
        }
        for x in [-80.0f32, -30.0, 30.0, 80.0, 88.0] {
            assert!((f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs() < 2e-7, "exp {x}");
        }
    }

    #[test]
    fn extremes_are_harmless() {
        assert_eq!((exp(-1e30), exp(-88.0)), (0.0, 0.0));
        assert!(exp(1e30).is_finite());
        assert_eq!((tanh(1e30), tanh(-1e30), erf(1e30), erf(-4.0)), (1.0, -1.0, 1.0, -1.0));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
    }
}
