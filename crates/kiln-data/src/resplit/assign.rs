//! Which split a unit belongs to.
//! Owns the two rules, both pure: by the unit's own hash, or by quotas of classes around what was decided before.

use std::collections::{BTreeMap, HashMap};

/// Rows that stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Of the key and the salt.
    pub(super) hash: u64,
    /// Places of the rows.
    pub(super) rows: Vec<usize>,
    /// Rows of each class.
    pub(super) classes: Vec<(String, usize)>,
}

/// The split of a hash: test below its share, then validation, then train. Depends on nothing else, so that no other row
/// can move it.
pub(super) fn place(hash: u64, [_, validation, test]: [f64; 3]) -> usize {
    let at = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    match () {
        () if at < test => 2,
        () if at < test + validation => 1,
        () => 0,
    }
}

/// Every class divided by the shares as nearly as whole units can. Units that were there before keep their split; the
/// others follow in the order of their hashes, each to where its classes lack most.
pub(super) fn quotas(units: &[Unit], shares: [f64; 3], before: &BTreeMap<u64, usize>) -> Vec<usize> {
    let mut totals: HashMap<&str, f64> = HashMap::new();
    let mut have: HashMap<&str, [f64; 3]> = HashMap::new();
    let mut splits = vec![usize::MAX; units.len()];
    for (unit, split) in units.iter().zip(&mut splits) {
        for (class, n) in &unit.classes {
            *totals.entry(class).or_default() += *n as f64;
        }
        if let Some(&kept) = before.get(&unit.hash) {
            *split = kept;
            unit.classes.iter().for_each(|(class, n)| have.entry(class).or_default()[kept] += *n as f64);
        }
    }
    let mut order: Vec<usize> = (0..units.len()).filter(|&k| splits[k] == usize::MAX).collect();
    order.sort_by_key(|&k| units[k].hash);
    for k in order {
        let lacks = |split: usize| {
            let lack = |(class, n): &(String, usize)| {
                let wanted = shares[split] * totals.get(class.as_str()).copied().unwrap_or(0.0);
                let had = have.get(class.as_str()).map_or(0.0, |counts| counts[split]);
                (wanted - had) * *n as f64
            };
            units[k].classes.iter().map(lack).sum::<f64>()
        };
        let best = (1..3).fold(0, |best, split| if lacks(split) > lacks(best) { split } else { best });
        splits[k] = best;
        units[k].classes.iter().for_each(|(class, n)| have.entry(class).or_default()[best] += *n as f64);
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible hashes without a generator.
    fn hash(i: u64) -> u64 {
        u64::from_le_bytes(blake3::hash(&i.to_le_bytes()).as_bytes()[..8].try_into().unwrap())
    }

    fn units(of: std::ops::Range<u64>, classes: u64) -> Vec<Unit> {
        let unit = |i| Unit {
            hash: hash(i),
            rows: vec![i as usize],
            classes: vec![(format!("c{}", hash(i + 1_000_000) % classes), 1 + (i % 3) as usize)],
        };
        of.map(unit).collect()
    }

    #[test]
    fn a_hash_decides_alone_and_by_the_shares() {
        let shares = [0.7, 0.2, 0.1];
        let mut counts = [0_usize; 3];
        (0..100_000).for_each(|i| counts[place(hash(i), shares)] += 1);
        for (count, share) in counts.iter().zip(shares) {
            // Five standard deviations of a binomial share.
            let bound = 5.0 * (share * (1.0 - share) / 100_000.0_f64).sqrt();
            assert!((*count as f64 / 100_000.0 - share).abs() < bound, "{counts:?}");
        }
        assert_eq!(place(0, shares), 2);
        assert_eq!(place(u64::MAX, shares), 0);
        assert_eq!(place(0, [1.0, 0.0, 0.0]), 0);
    }

    #[test]
    fn adding_rows_never_moves_old_ones() {
        let shares = [0.8, 0.1, 0.1];
        for seed in 0..20 {
            let from = seed * 10_000;
            let mut all = units(from..from + 50 + 13 * seed, 3);
            let mut known: BTreeMap<u64, usize> = BTreeMap::new();
            for more in 0..5 {
                let splits = quotas(&all, shares, &known);
                for (unit, split) in all.iter().zip(&splits) {
                    let old = known.get(&unit.hash);
                    assert!(old.is_none_or(|old| old == split), "seed {seed}: a row moved");
                }
                known.extend(all.iter().map(|unit| unit.hash).zip(splits));
                // New rows come in front, so that no place is kept by chance.
                let new = from + 5000 + more * 100;
                let mut longer = units(new..new + 37, 4);
                longer.append(&mut all);
                all = longer;
            }
        }
    }

    #[test]
    fn classes_are_divided_by_the_shares() {
        let shares = [0.7, 0.2, 0.1];
        let all = units(0..3000, 5);
        let splits = quotas(&all, shares, &BTreeMap::new());
        let mut counts: HashMap<&str, [f64; 3]> = HashMap::new();
        for (unit, &split) in all.iter().zip(&splits) {
            counts.entry(&unit.classes[0].0).or_default()[split] += unit.classes[0].1 as f64;
        }
        for (class, counts) in counts {
            let total: f64 = counts.iter().sum();
            for (count, share) in counts.iter().zip(shares) {
                // A unit has at most three rows, which cannot be parted.
                assert!((count - share * total).abs() <= 3.0, "{class}: {counts:?} of {total}");
            }
        }
    }
}
