//! `--tta` of `kiln eval` and `kiln predict`.
//! Owns its word; kiln-eval shows the images.

use clap::ValueEnum;
use kiln_eval::Tta;

/// Test-time augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// As it is and mirrored left to right; class scores are averaged before the softmax
    Hflip,
}

pub(crate) fn chosen(shown: Option<Shown>) -> Tta {
    match shown {
        None => Tta::None,
        Some(Shown::Hflip) => Tta::HorizontalFlip,
    }
}
