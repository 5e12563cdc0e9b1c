//! Weights by name, as PyTorch names and lays them out, on the host.
//! Owns the map and the report of a load; never reads or writes files (kiln-models does).
//! `Net::state` fills it, `Net::load_state` takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use burn::tensor::TensorData;

use crate::net::ParamInfo;

/// Tensors by their PyTorch `state_dict` name, in name order.
pub type StateDict = BTreeMap<String, TensorData>;

/// A tensor whose shape is not the net's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The tensor's name.
    pub name: String,
    /// The net's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub got: Vec<usize>,
}

/// What became of every tensor when a state was loaded into a net.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Loaded.
    pub matched: Vec<String>,
    /// The net has it, the file has not: it keeps its value.
    pub missing: Vec<String>,
    /// The file has it, the net has not: it was not used.
    pub unexpected: Vec<String>,
    /// Both have it, with different shapes: it keeps its value.
    pub mismatched: Vec<Mismatch>,
}

impl LoadReport {
    /// What loading `state` into a net of these parameters comes to.
    pub fn of(parameters: &[ParamInfo], state: &StateDict) -> Self {
        let mut report = Self::default();
        let mut left: BTreeSet<&String> = state.keys().collect();
        for p in parameters {
            left.remove(&p.name);
            match state.get(&p.name).map(|data| data.shape().to_vec()) {
                None => report.missing.push(p.name.clone()),
                Some(got) if got == p.shape => report.matched.push(p.name.clone()),
                Some(got) => {
                    let (name, expected) = (p.name.clone(), p.shape.clone());
                    report.mismatched.push(Mismatch { name, expected, got });
                }
            }
        }
        report.unexpected = left.into_iter().cloned().collect();
        report
    }

    /// Every tensor of the net was loaded and every tensor of the file was used.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} matched, {} missing, {} unexpected, {} of another shape",
            self.matched.len(),
            self.missing.len(),
            self.unexpected.len(),
            self.mismatched.len()
        )?;
        for name in &self.missing {
            write!(f, "\n  missing     {name}")?;
        }
        for name in &self.unexpected {
            write!(f, "\n  unexpected  {name}")?;
        }
        for m in &self.mismatched {
            write!(
                f,
                "\n  shape       {}: the model has {:?}, the file has {:?}",
                m.name, m.expected, m.got
            )?;
        }
        Ok(())
    }
}
