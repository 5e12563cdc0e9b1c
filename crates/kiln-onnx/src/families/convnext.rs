//! ConvNeXt: a patch stem, stages of depthwise convolution, norm and feed-forward, mean over pixels, norm, the head.
//! Owns the order of the pass; kiln-models' `families/convnext` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, image};
use crate::blocks::{Pad, Window};
use crate::graph::{Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, input: &InputSpec) -> Answer {
    let x = image(g, input);
    let x = patches(g, &x, "stem.0");
    let mut x = g.layer_norm_2d(&x, "stem.1", facts.eps);
    for stage in 0..g.count("stages.", ".blocks.0.conv_dw.weight") {
        let down = format!("stages.{stage}.downsample");
        if g.has(&format!("{down}.1.weight")) {
            x = g.layer_norm_2d(&x, &format!("{down}.0"), facts.eps);
            x = patches(g, &x, &format!("{down}.1"));
        }
        for i in 0..g.count(&format!("stages.{stage}.blocks."), ".conv_dw.weight") {
            x = block(g, &x, &format!("stages.{stage}.blocks.{i}"), facts.eps);
        }
    }
    let x = g.average_pool(&x);
    let x = g.layer_norm(&x, "head.norm", facts.head_eps);
    let k = g.first_side("head.fc.weight");
    Answer::Sample(g.linear(&x, "head.fc"), k)
}

/// A convolution over patches that do not overlap.
fn patches(g: &mut Graph<'_>, x: &Value, layer: &str) -> Value {
    let side = g.shape(&format!("{layer}.weight")).last().copied().unwrap_or(1);
    g.conv(x, layer, Window { stride: side, pad: Pad::By(0) })
}

fn block(g: &mut Graph<'_>, x: &Value, place: &str, eps: f64) -> Value {
    let y = g.depthwise(x, &format!("{place}.conv_dw"), Window { stride: 1, pad: Pad::By(3) });
    let y = g.permuted(&y, &[0, 2, 3, 1]);
    let y = g.layer_norm(&y, &format!("{place}.norm"), eps);
    let y = g.linear(&y, &format!("{place}.mlp.fc1"));
    let y = g.gelu(&y);
    let mut y = g.linear(&y, &format!("{place}.mlp.fc2"));
    let gamma = format!("{place}.gamma");
    if g.has(&gamma) {
        let gamma = g.weight(&gamma);
        y = g.op("Mul", &[&y, &gamma]);
    }
    let y = g.permuted(&y, &[0, 3, 1, 2]);
    g.op("Add", &[x, &y])
}
