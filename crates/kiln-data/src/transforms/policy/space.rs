//! The ranges of magnitudes, in bins, as torchvision's `_AUGMENTATION_SPACE` writes them.
//! Owns their arithmetic in single precision, as `torch.linspace` does it. The policies list operations with these.

/// How an operation's magnitude runs over the bins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::transforms) enum Range {
    /// It has none.
    None,
    /// From 0 to this, of either sign.
    To(f64),
    /// From 0 to this share of the width, of either sign.
    OfWidth(f64),
    /// As `OfWidth`, of the height.
    OfHeight(f64),
    /// From 1 to 0.
    Falling,
    /// Bits: from the first, fewer by the second over all bins, rounded half to even.
    Bits(f32, f32),
}

impl Range {
    pub(in crate::transforms) fn signed(self) -> bool {
        matches!(self, Range::To(_) | Range::OfWidth(_) | Range::OfHeight(_))
    }

    /// The magnitude in bin `bin` of `bins` for an image of `(height, width)`; 0 where there is none.
    pub(in crate::transforms) fn at(self, bin: usize, bins: usize, (h, w): (usize, usize)) -> f64 {
        match self {
            Range::None => 0.0,
            Range::To(end) => linspace(0.0, end, bin, bins),
            Range::OfWidth(share) => linspace(0.0, share * w as f64, bin, bins),
            Range::OfHeight(share) => linspace(0.0, share * h as f64, bin, bins),
            Range::Falling => linspace(1.0, 0.0, bin, bins),
            Range::Bits(first, fewer) => {
                let step = (bins.max(2) - 1) as f32 / fewer;
                f64::from((first - bin as f32 / step).round_ties_even())
            }
        }
    }
}

/// The upper half is counted from the end, as torch does.
fn linspace(start: f64, end: f64, bin: usize, bins: usize) -> f64 {
    let (start, end) = (start as f32, end as f32);
    if bins < 2 {
        return f64::from(start);
    }
    let step = (end - start) / (bins - 1) as f32;
    f64::from(match bin < bins / 2 {
        true => start + step * bin as f32,
        false => end - step * (bins - 1 - bin) as f32,
    })
}
