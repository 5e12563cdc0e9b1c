//! MobileNetV2: a strided stem, inverted residuals, a 1x1 convolution, mean over pixels, the head; ReLU6 between.
//! Owns the order of the pass; kiln-models' `families/mobilenet_v2` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, image};
use crate::blocks::{Pad, Window};
use crate::graph::{Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, input: &InputSpec) -> Answer {
    let x = image(g, input);
    let mut x = conv(g, &x, "conv_stem", "bn1", 2, false, facts);
    x = g.relu6(&x);
    for (stage, first) in facts.strides.iter().enumerate() {
        for i in 0..g.count(&format!("blocks.{stage}."), ".conv_dw.weight") {
            let stride = if i == 0 { *first } else { 1 };
            x = block(g, &x, &format!("blocks.{stage}.{i}."), stride, facts);
        }
    }
    x = conv(g, &x, "conv_head", "bn2", 1, false, facts);
    x = g.relu6(&x);
    x = g.average_pool(&x);
    let k = g.first_side("classifier.weight");
    Answer::Sample(g.linear(&x, "classifier"), k)
}

/// Expansion, depthwise, projection; or depthwise and projection.
fn block(g: &mut Graph<'_>, x: &Value, place: &str, stride: usize, facts: &Facts) -> Value {
    let name = |part: &str| format!("{place}{part}");
    let expands = g.has(&name("conv_pwl.weight"));
    let mut y = x.clone();
    if expands {
        y = conv(g, &y, &name("conv_pw"), &name("bn1"), 1, false, facts);
        y = g.relu6(&y);
    }
    let [dw, project, norm] = if expands { ["bn2", "conv_pwl", "bn3"] } else { ["bn1", "conv_pw", "bn2"] };
    y = conv(g, &y, &name("conv_dw"), &name(dw), stride, true, facts);
    y = g.relu6(&y);
    y = conv(g, &y, &name(project), &name(norm), 1, false, facts);
    let reads = if expands { "conv_pw.weight" } else { "conv_dw.weight" };
    let from = match g.shape(&name(reads))[..] {
        [_, from, ..] if expands => from,
        [from, ..] => from,
        [] => 0,
    };
    let to = g.first_side(&name(&format!("{project}.weight")));
    if stride == 1 && from == to { g.op("Add", &[x, &y]) } else { y }
}

fn conv(
    g: &mut Graph<'_>,
    x: &Value,
    conv: &str,
    norm: &str,
    stride: usize,
    depthwise: bool,
    facts: &Facts,
) -> Value {
    let side = g.shape(&format!("{conv}.weight")).last().copied().unwrap_or(1);
    let pad = if facts.same_padding && side > 1 { Pad::Same } else { Pad::By(side / 2) };
    g.conv_norm(x, [conv, norm], facts.eps, depthwise, Window { stride, pad })
}
