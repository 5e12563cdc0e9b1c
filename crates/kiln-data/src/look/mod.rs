//! A look at data before and beside training: counts, sizes, lengths, duplicates, leakage, and a page to look at.
//! Owns what is measured and how it reads; never changes a file of the data. `kiln data` and `kiln check` ask.

mod cells;
mod columns;
mod duplicates;
mod leakage;
mod preview;
mod report;
mod samples;
mod stats;
mod svg;

pub(crate) use cells::{Cell, Sheet, broken, next_record, separated};
pub(crate) use columns::{Profile, profile};

pub use columns::{Bars, ColumnStats};
pub use duplicates::{Across, Duplicates, Group, Member};
pub use leakage::{Leak, leakage};
pub use preview::{GENERATOR, PreviewOptions, pictures, preview};
pub use report::page;
pub use samples::Range;
pub use stats::{ClassCount, Images, Lengths, SplitStats, Stats, Unreadable, stats};
pub use svg::Picture;
