//! TextCNN: embeddings, filters of several widths over every window that holds a token, maximum over time, the head.
//! Owns the order of the pass; kiln-models' `families/textcnn.rs` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, text};
use crate::blocks::{Pad, Window};
use crate::graph::{Attr, Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, _: &Facts, _: &InputSpec) -> Answer {
    let text = text(g);
    let words = g.embedding(&text.ids, "embedding");
    let words = g.permuted(&words, &[0, 2, 1]);
    let float = g.op_with("Cast", &[&text.mask], &[("to", Attr::Int(1))]);
    let axis = g.integers(&[1]);
    let mask = g.op("Unsqueeze", &[&float, &axis]);
    let words = g.op("Mul", &[&words, &mask]);
    let pooled: Vec<Value> = (0..g.count("convs.", ".weight"))
        .map(|i| {
            let layer = format!("convs.{i}");
            let width = g.shape(&format!("{layer}.weight")).last().copied().unwrap_or(1);
            let window = Window { stride: 1, pad: Pad::By(width.saturating_sub(1)) };
            let found = g.conv(&words, &layer, window);
            let found = g.relu(&found);
            let seen = windows(g, &mask, width, window);
            let found = g.op("Mul", &[&found, &seen]);
            let time = g.integers(&[2]);
            g.op_with("ReduceMax", &[&found, &time], &[("keepdims", Attr::Int(0))])
        })
        .collect();
    let all = g.op_with("Concat", &pooled.iter().collect::<Vec<_>>(), &[("axis", Attr::Int(1))]);
    let k = g.first_side("head.weight");
    Answer::Sample(g.linear(&all, "head"), k)
}

/// 1 for each window that holds a token, else 0: `[B, 1, P]`.
fn windows(g: &mut Graph<'_>, mask: &Value, width: usize, window: Window) -> Value {
    let ones = g.constant(&format!("ones_{width}"), &[1, 1, width], &vec![1.0; width]);
    let tokens = g.window(mask, &ones, &[1, 1, width], window);
    let one = g.number(1.0);
    g.op("Min", &[&tokens, &one])
}
