//! The small convolutional net: stages of convolution, batch norm, ReLU and pooling, then two linear layers.
//! Owns the order of the pass; kiln-models' `families/cnn.rs` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, image};
use crate::blocks::{Pad, Window};
use crate::graph::{Attr, Graph};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, input: &InputSpec) -> Answer {
    let mut x = image(g, input);
    let window = Window { stride: 1, pad: Pad::By(1) };
    for i in 0..g.count("stages.", ".conv.weight") {
        let [conv, norm] = ["conv", "bn"].map(|part| format!("stages.{i}.{part}"));
        x = g.conv_norm(&x, [&conv, &norm], facts.eps, false, window);
        x = g.relu(&x);
        x = g.max_pool(&x, 2, 2, 0);
    }
    x = g.op_with("Flatten", &[&x], &[("axis", Attr::Int(1))]);
    x = g.linear(&x, "fc");
    x = g.relu(&x);
    let k = g.first_side("head.weight");
    Answer::Sample(g.linear(&x, "head"), k)
}
