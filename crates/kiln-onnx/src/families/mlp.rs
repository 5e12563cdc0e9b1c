//! The perceptron: embeddings of categories behind the numbers, linear layers with ReLU, the head.
//! Owns the order of the pass; kiln-models' `families/mlp.rs` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, image, table};
use crate::graph::{Attr, Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, _: &Facts, input: &InputSpec) -> Answer {
    let mut x = features(g, input);
    for i in 0..g.count("layers.", ".weight") {
        x = g.linear(&x, &format!("layers.{i}"));
        x = g.relu(&x);
    }
    let k = g.first_side("head.weight");
    Answer::Sample(g.linear(&x, "head"), k)
}

/// One row of numbers a sample.
fn features(g: &mut Graph<'_>, input: &InputSpec) -> Value {
    let flat = [("axis", Attr::Int(1))];
    if matches!(input, InputSpec::Image { .. }) {
        let pixels = image(g, input);
        g.at("pixels");
        return g.op_with("Flatten", &[&pixels], &flat);
    }
    let (numbers, categories) = table(g, input);
    let mut all: Vec<Value> = numbers.into_iter().collect();
    if let Some(categories) = categories {
        for i in 0..g.count("embeddings.", ".weight") {
            let layer = format!("embeddings.{i}");
            g.at(&layer);
            let ids = g.one(&categories, 1, i as i64);
            all.push(g.embedding(&ids, &layer));
        }
    }
    match all.as_slice() {
        [one] => one.clone(),
        several => g.op_with("Concat", &several.iter().collect::<Vec<_>>(), &flat),
    }
}
