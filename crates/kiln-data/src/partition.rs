//! One set of samples into train, validation and test by fractions.
//! Owns the rule; never reads a sample. Hands three lists of rows to the dataset.
//!
//! Each class (or all samples, where they have no one class each) is sorted by the samples' hashes: its lowest go to test, its highest to validation, each the rounded
//! fraction and at least one. So the shares are exact in every class, a sample's split depends on no seed and on no
//! other sample's place, and new samples move old ones only where a border moves. Samples of one class with the same
//! content stay together.

use crate::error::DataError;
use crate::label::Label;
use crate::source::Source;

/// Shares of the samples that are held out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fractions {
    pub(crate) validation: f64,
    pub(crate) test: f64,
}

/// Rows of each part, in file order.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) train: Vec<usize>,
    pub(crate) validation: Vec<usize>,
    pub(crate) test: Vec<usize>,
}

/// Splits by the fractions, class by class.
pub(crate) fn partition(
    source: &dyn Source,
    labels: &[Label],
    classes: &[String],
    fractions: Fractions,
) -> Result<Parts, DataError> {
    if fractions.validation == 0.0 && fractions.test == 0.0 {
        return Ok(Parts { train: (0..labels.len()).collect(), ..Parts::default() });
    }
    let mut parts = Parts::default();
    let stratified = labels.iter().any(|label| label.class().is_some());
    // Samples without one class each are one stratum.
    let mut by_class = vec![Vec::new(); classes.len().max(1)];
    for (i, label) in labels.iter().enumerate() {
        match label.class() {
            None if stratified => parts.train.push(i), // a faulty row, which the loader leaves out
            class => by_class[class.unwrap_or(0)].push((source.hash(i), i)),
        }
    }
    for (k, members) in by_class.into_iter().enumerate().filter(|(_, members)| !members.is_empty()) {
        divide(members, fractions, &mut parts).map_err(|(needed, got)| DataError::TooFew {
            place: source.place(),
            of: match classes.get(k).filter(|_| stratified) {
                Some(class) => format!("of class \"{class}\" to split it by the fractions"),
                None => "to split them by the fractions".into(),
            },
            needed,
            got,
        })?;
    }
    for part in [&mut parts.train, &mut parts.validation, &mut parts.test] {
        part.sort_unstable();
    }
    Ok(parts)
}

/// `Err((needed, got))`: too few distinct samples for every part to have one.
fn divide(
    mut members: Vec<([u8; 32], usize)>,
    f: Fractions,
    parts: &mut Parts,
) -> Result<(), (usize, usize)> {
    members.sort_unstable();
    let n = members.len();
    let share = |fraction: f64| match fraction {
        0.0 => 0,
        f => ((f * n as f64).round() as usize).max(1),
    };
    let hash = |i: usize| members[i].0;
    let mut low = share(f.test).min(n);
    while low > 0 && low < n && hash(low) == hash(low - 1) {
        low += 1;
    }
    let mut high = n - share(f.validation).min(n);
    while high > 0 && high < n && hash(high) == hash(high - 1) {
        high -= 1;
    }
    if low >= high {
        return Err((1 + usize::from(f.validation > 0.0) + usize::from(f.test > 0.0), n));
    }
    let rows = |range: std::ops::Range<usize>| members[range].iter().map(|m| m.1);
    parts.test.extend(rows(0..low));
    parts.train.extend(rows(low..high));
    parts.validation.extend(rows(high..n));
    Ok(())
}
