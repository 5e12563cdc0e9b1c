//! Inputs that a client has prepared itself, as for PyTorch or ONNX Runtime: token ids with their mask, or pixels.
//! Owns their checks: nothing that reaches the net may be out of its vocabulary, its positions or its size.
//! Names and types are those of `transformers`' models.
//!
//! Shapes: `n` inputs, `T` tokens with padding, `C H W` a pixel's place.

use kiln_data::Features;
use kiln_eval::Takes;

use super::column::{Column, Layout};
use super::request::Inputs;
use super::signature::{INPUT_IDS, INT64, MASK, PIXELS, TYPES};
use crate::ask::Sent;
use crate::reply::Refusal;

impl Inputs<'_> {
    /// Takes them where they are there.
    pub(super) fn prepared(&mut self) -> Result<Option<Vec<Sent>>, Refusal> {
        match self.served.takes {
            Some(Takes::Tokens { vocab_size, longest, segments }) if self.has(INPUT_IDS) => {
                self.tokens(vocab_size, longest, segments).map(Some)
            }
            Some(Takes::Pixels(shape)) if self.has(PIXELS) => self.pixels(shape).map(Some),
            _ => Ok(None),
        }
    }

    fn pixels(&mut self, shape: [usize; 3]) -> Result<Vec<Sent>, Refusal> {
        let values = self.floats(PIXELS, Layout::Images(shape))?;
        if let Some(x) = values.iter().find(|x| !x.is_finite()) {
            return Err(Refusal::bad(format!("input {PIXELS:?}: expected finite numbers, got {x}")));
        }
        let image = |values: &[f32]| Sent::Given(Features::Image(values.to_vec()));
        Ok(values.chunks_exact(shape.iter().product()).map(image).collect())
    }

    fn tokens(&mut self, vocab_size: usize, longest: usize, segments: usize) -> Result<Vec<Sent>, Refusal> {
        let (ids, t) = self.integers(INPUT_IDS, longest, vocab_size)?;
        let (mask, width) = self.integers(MASK, longest, 2)?;
        same(MASK, (ids.len() / t, t), (mask.len() / width, width))?;
        let types = match self.has(TYPES) {
            true => {
                let (types, width) = self.integers(TYPES, longest, segments)?;
                same(TYPES, (ids.len() / t, t), (types.len() / width, width))?;
                types
            }
            false => vec![0; ids.len()],
        };
        let rows = ids.chunks_exact(t).zip(mask.chunks_exact(t)).zip(types.chunks_exact(t));
        rows.enumerate().map(|(i, ((ids, mask), types))| row(i, ids, mask, types)).collect()
    }

    /// The elements of `[n, T]`, each below `below`, and `T`.
    fn integers(&mut self, name: &str, longest: usize, below: usize) -> Result<(Vec<u32>, usize), Refusal> {
        let input = self.take(name)?;
        let t = input.shape.last().copied().unwrap_or(1).max(1) as usize;
        let Column::Integers(list) = input.column(INT64, Layout::Sequences(longest))? else {
            return Err(Refusal::internal());
        };
        let own = |(at, x): (usize, i64)| match u32::try_from(x) {
            Ok(x) if (x as usize) < below => Ok(x),
            _ => {
                let (i, k) = (at / t, at % t);
                let message = format!(
                    "input {name:?}: expected numbers from 0 to {}, got {x} at [{i}, {k}]",
                    below - 1
                );
                Err(Refusal::bad(message))
            }
        };
        Ok((list.into_iter().enumerate().map(own).collect::<Result<_, _>>()?, t))
    }
}

fn same(name: &str, expected: (usize, usize), got: (usize, usize)) -> Result<(), Refusal> {
    match expected == got {
        true => Ok(()),
        false => {
            let ((n, t), (other, width)) = (expected, got);
            let message = format!(
                "input {name:?}: expected shape [{n}, {t}] as of {INPUT_IDS:?}, got [{other}, {width}]"
            );
            Err(Refusal::bad(message))
        }
    }
}

/// One sequence without its padding, which stands behind it.
fn row(i: usize, ids: &[u32], mask: &[u32], types: &[u32]) -> Result<Sent, Refusal> {
    let real = mask.iter().take_while(|real| **real == 1).count();
    if real == 0 || mask[real..].contains(&1) {
        let expected = "ones and then zeros (padding behind), at least one 1, in each row";
        let message = format!("input {MASK:?}: expected {expected}; row {i} is {}", few(mask));
        return Err(Refusal::bad(message));
    }
    let (ids, types) = (ids[..real].to_vec(), types[..real].to_vec());
    Ok(Sent::Given(Features::Tokens { ids, types }))
}

fn few(mask: &[u32]) -> String {
    match mask.len() > 16 {
        true => format!("{:?} and {} more", &mask[..16], mask.len() - 16),
        false => format!("{mask:?}"),
    }
}
