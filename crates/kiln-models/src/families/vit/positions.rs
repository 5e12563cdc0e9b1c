//! Learned positions for another grid of patches: those of the weights, resampled.
//! Bicubic with antialiasing, as timm's `resample_abs_pos_embed` (and PyTorch's `interpolate` with `antialias`): the
//! kernel is Keys' with a = -0.5, widened where the grid shrinks. `transformers`' `interpolate_pos_encoding` has neither
//! the antialiasing nor that a, and resamples at each pass; a net here keeps what it was given once.
//! Owns this arithmetic, in double precision on the host; never which image size is wanted (`sizes` does).
//!
//! Shapes: `P` tokens before the patches, `T` tokens, `D` hidden.

use burn::tensor::TensorData;
use kiln_core::StateDict;

use super::sizes::Sizes;
use crate::ModelError;

const NAME: &str = "pos_embed";

/// Resamples the state's positions where their number is not the net's.
pub(super) fn fit(sizes: &Sizes, state: &mut StateDict) -> Result<Vec<String>, ModelError> {
    let (grid, prefix) = (sizes.grid(), sizes.prefix());
    let Some(data) = state.get(NAME) else { return Ok(Vec::new()) };
    let [1, tokens, width] = data.shape()[..] else { return Ok(Vec::new()) };
    if tokens == prefix + grid[0] * grid[1] || width != sizes.hidden {
        return Ok(Vec::new());
    }
    let side = tokens.saturating_sub(prefix).isqrt();
    if side == 0 || side * side + prefix != tokens {
        return Err(not_square(tokens, prefix));
    }
    let values: Vec<f32> = data.clone().convert::<f32>().try_to_vec().map_err(|e| unreadable(&e))?;
    let (before, patches) = values.split_at(prefix * width);
    let mut fitted = before.to_vec();
    fitted.extend(resample(patches, [side, side], grid, width));
    let shape = [1, prefix + grid[0] * grid[1], width];
    state.insert(NAME.into(), TensorData::new(fitted, shape));
    let [down, across] = grid;
    Ok(vec![format!("positions resampled from {side}x{side} to {down}x{across} patches")])
}

fn not_square(tokens: usize, prefix: usize) -> ModelError {
    ModelError::config(
        format!(
            "the position embedding has {tokens} tokens: without the {prefix} before the patches they are no square \
             that could be resampled"
        ),
        "give weights that were trained on square images, or images of the size they were trained on",
    )
}

fn unreadable(e: &dyn std::fmt::Debug) -> ModelError {
    ModelError::config(format!("the position embedding cannot be read: {e:?}"), "give unquantised weights")
}

/// `[from0 from1, D]` to `[to0 to1, D]`.
fn resample(values: &[f32], from: [usize; 2], to: [usize; 2], width: usize) -> Vec<f32> {
    let (rows, columns) = (weights(from[0], to[0]), weights(from[1], to[1]));
    let mut out = Vec::with_capacity(to[0] * to[1] * width);
    for row in &rows {
        for column in &columns {
            let mut sum = vec![0f64; width];
            for (y, wy) in row {
                for (x, wx) in column {
                    let start = (y * from[1] + x) * width;
                    let token = &values[start..start + width];
                    sum.iter_mut().zip(token).for_each(|(s, v)| *s += wy * wx * f64::from(*v));
                }
            }
            out.extend(sum.into_iter().map(|v| v as f32));
        }
    }
    out
}

/// For each of `to` places along one side: which of the `from` places count, and how much.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let place = |i: usize| {
        let centre = scale * (i as f64 + 0.5);
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let near: Vec<(usize, f64)> =
            (first..end).map(|j| (j, cubic((j as f64 - centre + 0.5) / stretch))).collect();
        let total: f64 = near.iter().map(|(_, w)| w).sum();
        near.into_iter().map(|(j, w)| (j, w / total)).collect()
    };
    (0..to).map(place).collect()
}

/// Keys' cubic kernel, a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
