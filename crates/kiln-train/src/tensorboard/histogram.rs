//! The distribution of a tensor's numbers in equal bins.
//! Owns the counting; a number that is not finite is in no bin.

/// Bins of a distribution.
const BINS: usize = 64;

/// As TensorBoard's `HistogramProto`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) sum_of_squares: f64,
    /// Upper ends of the bins.
    pub(super) limits: Vec<f64>,
    /// Numbers in each.
    pub(super) counts: Vec<f64>,
}

impl Histogram {
    /// Counts; `None` where there is no finite number.
    pub(super) fn of(values: &[f32]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|x| x.is_finite()).map(f64::from);
        let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        if min > max {
            return None;
        }
        let bins = if min < max { BINS } else { 1 };
        let width = (max - min) / bins as f64;
        let mut counts = vec![0.0; bins];
        let (mut count, mut sum, mut sum_of_squares) = (0.0, 0.0, 0.0);
        for x in finite() {
            let bin = if width > 0.0 { (((x - min) / width) as usize).min(bins - 1) } else { 0 };
            counts[bin] += 1.0;
            (count, sum, sum_of_squares) = (count + 1.0, sum + x, sum_of_squares + x * x);
        }
        let mut limits: Vec<f64> = (1..=bins).map(|k| min + width * k as f64).collect();
        limits[bins - 1] = max;
        Some(Self { min, max, count, sum, sum_of_squares, limits, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_number_is_in_one_bin() {
        let values: Vec<f32> = (0..=640).map(|n| n as f32 / 10.0).chain([f32::NAN, f32::INFINITY]).collect();
        let h = Histogram::of(&values).unwrap();
        assert_eq!((h.min, h.max, h.count, h.limits.len()), (0.0, 64.0, 641.0, BINS));
        assert_eq!((h.counts.iter().sum::<f64>(), h.limits[0], h.limits[BINS - 1]), (641.0, 1.0, 64.0));
        assert_eq!(h.counts[BINS - 1], 11.0, "the largest is in the last");
    }

    #[test]
    fn equal_numbers_have_one_bin_and_none_have_no_distribution() {
        let h = Histogram::of(&[2.0; 5]).unwrap();
        assert_eq!((h.limits, h.counts, h.sum, h.sum_of_squares), (vec![2.0], vec![5.0], 10.0, 20.0));
        assert_eq!(Histogram::of(&[f32::NAN]), None);
        assert_eq!(Histogram::of(&[]), None);
    }
}
