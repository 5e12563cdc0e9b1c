//! Vision transformers, ViT and DeiT: patches as tokens, class token (and distillation token), learned positions,
//! pre-norm layers, the head or the mean of two. Owns the order of the pass; kiln-models' `families/vit` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, image};
use crate::blocks::{Pad, Window};
use crate::graph::{Attr, Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, input: &InputSpec) -> Answer {
    let width = g.first_side("norm.weight");
    let mut x = embedded(g, input, width);
    for i in 0..g.count("blocks.", ".norm1.weight") {
        x = block(g, &x, &format!("blocks.{i}"), width, facts);
    }
    let x = g.layer_norm(&x, "norm", facts.eps);
    let k = g.first_side("head.weight");
    let class = g.one(&x, 1, 0);
    let logits = g.linear(&class, "head");
    if !g.has("head_dist.weight") {
        return Answer::Sample(logits, k);
    }
    g.at("head_dist");
    let taught = g.one(&x, 1, 1);
    let second = g.linear(&taught, "head_dist");
    let (sum, two) = (g.op("Add", &[&logits, &second]), g.number(2.0));
    Answer::Sample(g.op("Div", &[&sum, &two]), k)
}

/// `[B, C, H, W]` to `[B, T, D]`.
fn embedded(g: &mut Graph<'_>, input: &InputSpec, width: usize) -> Value {
    let pixels = image(g, input);
    let side = g.shape("patch_embed.proj.weight").last().copied().unwrap_or(1);
    let patches = g.conv(&pixels, "patch_embed.proj", Window { stride: side, pad: Pad::By(0) });
    let flat = g.integers(&[0, width as i64, -1]);
    let patches = g.op("Reshape", &[&patches, &flat]);
    let patches = g.permuted(&patches, &[0, 2, 1]);
    let mut all = Vec::new();
    for token in ["cls_token", "dist_token"] {
        if g.has(token) {
            g.at(token);
            let weight = g.weight(token);
            all.push(g.in_every_row(&weight, &patches, width));
        }
    }
    all.push(patches);
    g.at("pos_embed");
    let tokens = g.op_with("Concat", &all.iter().collect::<Vec<_>>(), &[("axis", Attr::Int(1))]);
    let positions = g.weight("pos_embed");
    g.op("Add", &[&tokens, &positions])
}

fn block(g: &mut Graph<'_>, x: &Value, place: &str, width: usize, facts: &Facts) -> Value {
    let normal = g.layer_norm(x, &format!("{place}.norm1"), facts.eps);
    let attn = format!("{place}.attn");
    let [query, key, value] = projections(g, &normal, &attn, width);
    let mixed = g.attention([&query, &key, &value], facts.heads, width, None, &attn);
    let attended = g.linear(&mixed, &format!("{attn}.proj"));
    let x = g.op("Add", &[x, &attended]);
    let normal = g.layer_norm(&x, &format!("{place}.norm2"), facts.eps);
    let wide = g.linear(&normal, &format!("{place}.mlp.fc1"));
    let wide = g.gelu(&wide);
    let fed = g.linear(&wide, &format!("{place}.mlp.fc2"));
    g.op("Add", &[&x, &fed])
}

/// By one layer (timm) or three (`transformers`).
fn projections(g: &mut Graph<'_>, x: &Value, attn: &str, width: usize) -> [Value; 3] {
    if !g.has(&format!("{attn}.qkv.weight")) {
        return ["query", "key", "value"].map(|part| g.linear(x, &format!("{attn}.{part}")));
    }
    let all = g.linear(x, &format!("{attn}.qkv"));
    let width = width as i64;
    [0, 1, 2].map(|i| g.narrowed(&all, 2, i * width, (i + 1) * width))
}
