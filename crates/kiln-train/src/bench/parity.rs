//! `kiln parity`: the same weights and the same batch on two devices, compared layer by layer and parameter by parameter.
//! Owns what is compared and relative to what; the tolerance is the caller's.
//!
//! Forward: what every linear layer, convolution and norm answers in training, in the order in which they run; the output;
//! the loss. Backward: the gradient of every parameter, from the last to the first. Update: what the optimizer makes of
//! the first device's gradients on either device, so that a difference of gradients is not told twice.

mod record;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use serde::Serialize;

use super::{BenchError, Place, Subject};
use record::{data, layer, recorded};

/// A tensor whose largest value is below this share of the largest of its kind is measured by the latter: a gradient that
/// is zero but for rounding (the bias of an attention's keys) has no digits that could agree.
const FLOOR: f64 = 1e-3;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What a layer answers; its name is its place in the order in which layers run, and the shape of the answer.
    Layer,
    /// The net's answer.
    Output,
    /// The loss.
    Loss,
    /// The gradient of a parameter.
    Gradient,
    /// The change of a parameter in one step, given equal gradients.
    Update,
}

/// One tensor on both devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What it is.
    pub part: Part,
    /// Which one.
    pub name: String,
    /// The largest absolute value on the first device.
    pub largest: f64,
    /// The largest absolute difference, relative to the largest value. Infinite where a value is not a number.
    pub difference: f64,
}

/// Everything that was compared, in the order in which it is computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parity {
    /// The first device.
    pub first: String,
    /// The second.
    pub second: String,
    /// Tensor by tensor.
    pub compared: Vec<Compared>,
}

impl Parity {
    /// The first tensor that differs by more than `tolerance`.
    pub fn diverges(&self, tolerance: f64) -> Option<&Compared> {
        self.compared.iter().find(|compared| compared.difference > tolerance)
    }
}

/// Compares `second` with `first`.
///
/// # Errors
/// Config, data, model or a device have a fault; the net draws random numbers and the devices draw different ones.
pub fn parity(
    path: &Path,
    overrides: &[String],
    first: &Place,
    second: &Place,
) -> Result<Parity, BenchError> {
    let open = |place: &Place| place.run(|| Subject::open(path, overrides, place));
    let subject = open(first)?;
    let (start, order) = (subject.net.state(), subject.net.parameters());
    if first.device() != second.device() && first.run(|| draws(&subject))? {
        return Err(BenchError::Draws { first: first.to_string(), second: second.to_string() });
    }
    drop(subject); // with the running statistics that the passes above have moved
    let record = |place: &Place, gradients: Option<&BTreeMap<String, TensorData>>| {
        let mut subject = open(place)?;
        subject.net.load_state(&start);
        place.run(|| recorded(subject, gradients))
    };
    let a = record(first, None)?;
    let b = record(second, Some(&a.gradients))?;
    a.equal_in_form(&b).map_err(|(what, difference)| BenchError::Unequal {
        first: first.to_string(),
        second: second.to_string(),
        what,
        difference,
    })?;

    let mut compared: Vec<Compared> = (a.layers.iter().zip(&b.layers).enumerate())
        .map(|(i, (a, b))| against(Part::Layer, layer(i, a), a, b))
        .collect();
    compared.push(against(Part::Output, "output".into(), &a.output, &b.output));
    let (loss, other) = (f64::from(a.loss), f64::from(b.loss));
    compared.push(relative(Part::Loss, "loss".into(), [(loss, other)].into_iter(), 0.0));
    let floor = FLOOR * a.gradients.values().map(largest).fold(0.0, f64::max);
    let names = || order.iter().map(|p| p.name.as_str());
    for name in names().rev() {
        if let (Some(a), Some(b)) = (a.gradients.get(name), b.gradients.get(name)) {
            let pairs = floats(a).into_iter().zip(floats(b));
            compared.push(relative(Part::Gradient, name.into(), pairs, floor));
        }
    }
    for name in names().filter(|name| a.gradients.contains_key(*name)) {
        if let (Some(from), Some(a), Some(b)) = (start.get(name), a.updated.get(name), b.updated.get(name)) {
            let pairs = floats(from).into_iter().zip(floats(a).into_iter().zip(floats(b)));
            compared.push(relative(Part::Update, name.into(), pairs.map(change), 0.0));
        }
    }
    Ok(Parity { first: first.to_string(), second: second.to_string(), compared })
}

/// The change of a value on both sides; a difference of the last bit of the value itself is none.
fn change((from, (a, b)): (f64, (f64, f64))) -> (f64, f64) {
    let last_bit = f64::from(f32::EPSILON) * a.abs();
    let b = if (a - b).abs() <= last_bit { a } else { b };
    (a - from, b - from)
}

/// Whether a training pass depends on the seed.
fn draws(subject: &Subject) -> Result<bool, BenchError> {
    let once = data(subject.output()?);
    let key = kiln_core::seed::mix(subject.config.seed, kiln_core::seed::Purpose::Device, &[1, 1]);
    Ok(once.bytes() != data(subject.output_from(key)?).bytes())
}

fn floats(data: &TensorData) -> Vec<f64> {
    data.iter::<f64>().collect()
}

fn largest(data: &TensorData) -> f64 {
    data.iter::<f64>().map(f64::abs).fold(0.0, f64::max)
}

fn against(part: Part, name: String, a: &TensorData, b: &TensorData) -> Compared {
    relative(part, name, floats(a).into_iter().zip(floats(b)), 0.0)
}

/// The largest difference of pairs, relative to the largest first value or `floor`.
fn relative(part: Part, name: String, pairs: impl Iterator<Item = (f64, f64)>, floor: f64) -> Compared {
    let (mut largest, mut apart) = (0.0f64, 0.0f64);
    for (a, b) in pairs {
        largest = largest.max(a.abs());
        apart = if (a - b).is_finite() { apart.max((a - b).abs()) } else { f64::INFINITY };
    }
    let scale = largest.max(floor);
    let difference = if apart == 0.0 { 0.0 } else { apart / scale.max(f64::MIN_POSITIVE) };
    Compared { part, name, largest, difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(pairs: &[(f64, f64)], floor: f64) -> f64 {
        relative(Part::Layer, String::new(), pairs.iter().copied(), floor).difference
    }

    #[test]
    fn differences_are_relative_to_the_largest_value_and_see_what_is_no_number() {
        assert_eq!(difference(&[(4.0, 4.0), (-8.0, -6.0)], 0.0), 0.25);
        assert_eq!(difference(&[(4.0, 2.0)], 100.0), 0.02);
        assert_eq!(difference(&[(0.0, 0.0)], 0.0), 0.0);
        assert_eq!(difference(&[(1.0, f64::NAN), (1.0, 1.0)], 0.0), f64::INFINITY);
    }

    #[test]
    fn a_change_of_the_last_bit_is_none() {
        let next = f64::from(1.0f32.next_up());
        assert_eq!(change((1.0, (1.0, next))), (0.0, 0.0));
        assert_eq!(change((1.0, (2.0, 3.0))), (1.0, 2.0));
    }
}
