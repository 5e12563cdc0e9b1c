//! What one device computed in a pass and a step, on the host, and whether two such records can be compared at all.
//! Owns the recording; differences of the numbers are `parity`'s.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use kiln_core::{Gradients, Output, StateDict};
use kiln_nn::meter;

use super::super::subject::Pass;
use super::super::{BenchError, Subject};

/// What one device computed, on the host.
pub(super) struct Record {
    pub(super) layers: Vec<TensorData>,
    pub(super) output: TensorData,
    pub(super) loss: f32,
    pub(super) gradients: BTreeMap<String, TensorData>,
    pub(super) updated: StateDict,
}

impl Record {
    /// Whether the same layers ran, with answers of the same shapes, and the same parameters have gradients and values;
    /// else what is not the same, and the first that one side has and the other has not.
    pub(super) fn equal_in_form(&self, other: &Self) -> Result<(), (&'static str, String)> {
        let layers = |record: &Self| -> Vec<String> {
            record.layers.iter().enumerate().map(|(i, answer)| layer(i, answer)).collect()
        };
        let names = |tensors: &BTreeMap<String, TensorData>| tensors.keys().cloned().collect::<Vec<_>>();
        let values = |state: &StateDict| state.keys().cloned().collect::<Vec<_>>();
        for (what, a, b) in [
            ("layers", layers(self), layers(other)),
            ("gradients", names(&self.gradients), names(&other.gradients)),
            ("parameters", values(&self.updated), values(&other.updated)),
        ] {
            unequal(&a, &b).map_or(Ok(()), |difference| Err((what, difference)))?;
        }
        Ok(())
    }
}

/// The name of a layer: its place, and the shape of its answer.
pub(super) fn layer(place: usize, answer: &TensorData) -> String {
    format!("{} {:?}", place + 1, answer.shape().to_vec())
}

/// The first place in which two lists differ, in words.
fn unequal(a: &[String], b: &[String]) -> Option<String> {
    let at = (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i))?;
    let name = |list: &[String]| list.get(at).map_or_else(|| "nothing".into(), |name| format!("`{name}`"));
    Some(format!("{} of {} and {} of {}", name(a), a.len(), name(b), b.len()))
}

/// A pass and a step; with `given` gradients instead of its own, where there are some.
pub(super) fn recorded(
    subject: Subject,
    given: Option<&BTreeMap<String, TensorData>>,
) -> Result<Record, BenchError> {
    let (output, layers) = meter::answers(|| subject.output());
    let (output, layers) = (data(output?), layers.into_iter().map(|answer| answer.data).collect());
    let Pass { loss, gradients } = subject.pass()?;
    let gradients: BTreeMap<String, TensorData> =
        gradients.0.into_iter().map(|(name, gradient)| (name, gradient.into_data())).collect();
    let device = subject.device.clone().inner();
    let put = |(name, data): (&String, &TensorData)| {
        (name.clone(), Tensor::<1>::from_data(data.clone(), (&device, data.dtype())))
    };
    let same = Gradients(given.unwrap_or(&gradients).iter().map(put).collect());
    let updated = subject.updated(same).state();
    Ok(Record { layers, output, loss, gradients, updated })
}

/// The answer on the host.
pub(super) fn data(output: Output) -> TensorData {
    match output {
        Output::Logits(logits) => logits.into_data(),
        Output::TokenLogits(logits) => logits.into_data(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_other_layers_or_parameters_are_told_apart() {
        let tensor = |shape: [usize; 2]| TensorData::zeros::<f32, _>(shape);
        let record = |layers: &[[usize; 2]], names: &[&str]| Record {
            layers: layers.iter().map(|shape| tensor(*shape)).collect(),
            output: tensor([1, 1]),
            loss: 0.0,
            gradients: names.iter().map(|name| (name.to_string(), tensor([1, 1]))).collect(),
            updated: StateDict::new(),
        };
        let a = record(&[[2, 3], [2, 4]], &["head.bias", "head.weight"]);
        assert_eq!(a.equal_in_form(&a), Ok(()));
        let said = |b: Record| a.equal_in_form(&b).unwrap_err();
        let fewer = said(record(&[[2, 3]], &["head.bias", "head.weight"]));
        assert_eq!(fewer, ("layers", "`2 [2, 4]` of 2 and nothing of 1".into()));
        let other = said(record(&[[2, 3], [2, 5]], &["head.bias", "head.weight"]));
        assert_eq!(other, ("layers", "`2 [2, 4]` of 2 and `2 [2, 5]` of 2".into()));
        let names = said(record(&[[2, 3], [2, 4]], &["head.weight"]));
        assert_eq!(names, ("gradients", "`head.bias` of 2 and `head.weight` of 1".into()));
    }
}
