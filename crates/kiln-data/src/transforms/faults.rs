//! What is wrong with a list of transforms: the keys of each, and their order.
//! Owns the gathering; each transform knows its own rules. `[data]`'s checks and kiln-train's report what is found here.

use super::{Stage, Transform};

/// A fault of one key of a transform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, or nothing for the transform as a whole.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Faults {
    pub(crate) fn add(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Fault { key: key.into(), problem: problem.into(), remedy: remedy.into() });
    }

    pub(crate) fn add_if(
        &mut self,
        wrong: bool,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if wrong {
            self.add(key, problem, remedy);
        }
    }

    /// A probability or another share.
    pub(crate) fn share(&mut self, key: &str, value: f64) {
        let wrong = !(0.0..=1.0).contains(&value);
        self.add_if(wrong, key, format!("`{key}` is {value}, and must be 0 to 1"), "write a share of 1");
    }

    /// `[low, high]` within bounds.
    pub(crate) fn range(&mut self, key: &str, [low, high]: [f64; 2], (least, most): (f64, f64)) {
        let fits = low.is_finite() && high.is_finite() && least <= low && low <= high && high <= most;
        let bounds = match (least, most) {
            (l, m) if l == f64::MIN && m == f64::MAX => String::new(),
            (l, f64::MAX) => format!(" and be at least {l}"),
            (l, m) => format!(" and be {l} to {m}"),
        };
        let problem = format!("`{key}` is [{low}, {high}], and must go from low to high{bounds}");
        self.add_if(!fits, key, problem, format!("for example: {key} = [low, high]"));
    }
}

/// Every fault of a list of transforms for images of `channels` channels, each with the place of its transform from 0.
pub fn faults(transforms: &[Transform], channels: usize) -> Vec<(usize, Fault)> {
    let mut all = Vec::new();
    for (i, transform) in transforms.iter().enumerate() {
        let mut own = Faults::default();
        transform.op().check(channels, &mut own);
        order(transforms, i, &mut own);
        all.extend(own.into_iter().map(|fault| (i, fault)));
    }
    all
}

/// Pixels before numbers.
fn order(transforms: &[Transform], i: usize, faults: &mut Faults) {
    let stage = transforms[i].op().stage();
    let later = transforms[i + 1..].iter().map(|t| t.op().stage());
    match stage {
        Stage::Normalize if later.clone().any(|other| other <= stage) => {
            let remedy =
                "move normalize to the end: the others act on pixels (only random_erasing follows it)";
            faults.add("", "normalize (or a preset, which has it) stands before another transform", remedy);
        }
        Stage::Numbers if later.clone().any(|other| other < stage) => {
            let remedy = "move random_erasing to the end: it acts on the numbers that the model reads";
            faults.add("", "random_erasing stands before another transform", remedy);
        }
        _ => {}
    }
}
