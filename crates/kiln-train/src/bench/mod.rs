//! `kiln bench`: what a config's model costs on a device, measured, written down and compared.
//! Owns the numbers and their definitions; never prints and never starts a run.
//!
//! A row is one config on one device in one precision at one batch size. `measure` takes it in a process of its own
//! (`crew` starts them), so that a row that aborts or is killed takes no other with it. `results` and `html` write what
//! came out, `compare` reads it back. `parity` compares what two devices compute instead of how fast.

mod batch_size;
mod ceilings;
mod child;
mod compare;
mod crew;
pub(crate) mod ending;
mod error;
mod html;
pub(crate) mod machine;
mod measure;
mod nvml;
mod parity;
mod place;
mod results;
mod row;
mod stats;
mod subject;
mod usage;
mod warm;

pub use batch_size::{Found, Tried, find_batch_size};
pub use ceilings::{Ceilings, ceilings};
pub use compare::{Comparison, Difference, compare};
pub use crew::{Answer, Ask, Crew};
pub use error::BenchError;
pub use measure::measure;
pub use parity::{Compared, Parity, Part, parity};
pub use place::{PLAIN, Place};
pub use results::{COLUMNS, Column, METHOD, Results};
pub use row::{Costs, Key, Measured, Row, RowSpec, Status};
pub use stats::Timing;
pub(crate) use subject::Subject;
pub use warm::Warmed;
