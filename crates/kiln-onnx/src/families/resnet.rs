//! Residual nets: the CIFAR form with shortcuts without parameters, and the ImageNet form, also with the stem for small
//! images. Owns the order of the pass; kiln-models' `families/resnet` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, image};
use crate::blocks::{Pad, Window};
use crate::graph::{Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, input: &InputSpec) -> Answer {
    let x = image(g, input);
    let cifar = g.has("linear.weight");
    let mut x = stem(g, &x, facts.eps, cifar);
    for stage in 1..=4 {
        for i in 0..g.count(&format!("layer{stage}."), ".conv1.weight") {
            let stride = if stage > 1 && i == 0 { 2 } else { 1 };
            x = block(g, &x, &format!("layer{stage}.{i}"), stride, facts.eps);
        }
    }
    let x = g.average_pool(&x);
    let head = if cifar { "linear" } else { "fc" };
    let k = g.first_side(&format!("{head}.weight"));
    Answer::Sample(g.linear(&x, head), k)
}

/// A 7x7 convolution halves and a pooling halves again; a 3x3 one keeps every pixel.
fn stem(g: &mut Graph<'_>, x: &Value, eps: f64, cifar: bool) -> Value {
    let large = !cifar && g.shape("conv1.weight").last() == Some(&7);
    let window = match large {
        true => Window { stride: 2, pad: Pad::By(3) },
        false => Window { stride: 1, pad: Pad::By(1) },
    };
    let x = g.conv_norm(x, ["conv1", "bn1"], eps, false, window);
    let x = g.relu(&x);
    if large { g.max_pool(&x, 3, 2, 1) } else { x }
}

/// Two 3x3 convolutions, or a bottleneck of three, whose 3x3 one has the stride.
fn block(g: &mut Graph<'_>, x: &Value, place: &str, stride: usize, eps: f64) -> Value {
    let convolved = |g: &mut Graph<'_>, x: &Value, n: usize, stride: usize| {
        let [conv, norm] = ["conv", "bn"].map(|part| format!("{place}.{part}{n}"));
        let side = g.shape(&format!("{conv}.weight")).last().copied().unwrap_or(1);
        g.conv_norm(x, [&conv, &norm], eps, false, Window { stride, pad: Pad::By(side / 2) })
    };
    let deep = g.has(&format!("{place}.conv3.weight"));
    let y = convolved(g, x, 1, if deep { 1 } else { stride });
    let y = g.relu(&y);
    let mut y = convolved(g, &y, 2, if deep { stride } else { 1 });
    if deep {
        y = g.relu(&y);
        y = convolved(g, &y, 3, 1);
    }
    let shortcut = shortcut(g, x, place, stride, eps);
    let sum = g.op("Add", &[&y, &shortcut]);
    g.relu(&sum)
}

/// A 1x1 projection; without one, where channels are new, every second pixel and zeros around the old channels.
fn shortcut(g: &mut Graph<'_>, x: &Value, place: &str, stride: usize, eps: f64) -> Value {
    let [conv, norm] = ["0", "1"].map(|part| format!("{place}.downsample.{part}"));
    if g.has(&format!("{conv}.weight")) {
        return g.conv_norm(x, [&conv, &norm], eps, false, Window { stride, pad: Pad::By(0) });
    }
    let shape = g.shape(&format!("{place}.conv1.weight"));
    let (to, from) = (shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0));
    if to == from || g.has(&format!("{place}.conv3.weight")) {
        return x.clone();
    }
    g.at(&format!("{place}.shortcut"));
    let [start, end, axes, steps] =
        [[0, 0], [i64::MAX, i64::MAX], [2, 3], [2, 2]].map(|bounds| g.integers(&bounds));
    let half = g.op("Slice", &[x, &start, &end, &axes, &steps]);
    let around = ((to - from) / 2) as i64;
    let pads = g.integers(&[0, around, 0, 0, 0, around, 0, 0]);
    g.op("Pad", &[&half, &pads])
}
