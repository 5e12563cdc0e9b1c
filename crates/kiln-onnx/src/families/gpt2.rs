//! GPT-2: embeddings, pre-norm decoder blocks, final norm; the tied output layer, or a head for sequences or tokens.
//! Owns the order of the pass; kiln-models' `families/gpt2` is what it must equal. One pass over a whole text: the file
//! keeps no keys and values between calls.

use kiln_core::InputSpec;
use kiln_models::{Activation, Facts};

use super::{Answer, padding, places, real_token, text};
use crate::graph::{Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, _: &InputSpec) -> Answer {
    let text = text(g);
    let width = g.first_side("transformer.ln_f.weight");
    let positions = places(g, &text.mask);
    let positions = g.embedding(&positions, "transformer.wpe");
    let words = g.embedding(&text.ids, "transformer.wte");
    let mut x = g.op("Add", &[&words, &positions]);
    let hidden = unseen(g, &text.ids, &text.mask);
    for i in 0..g.count("transformer.h.", ".ln_1.weight") {
        x = block(g, &x, &format!("transformer.h.{i}"), width, &hidden, facts);
    }
    let x = g.layer_norm(&x, "transformer.ln_f", facts.eps);
    if g.has("score.weight") {
        let k = g.first_side("score.weight");
        let last = real_token(g, &x, &text.mask, true);
        return Answer::Sample(g.linear(&last, "score"), k);
    }
    if g.has("classifier.weight") {
        let k = g.first_side("classifier.weight");
        return Answer::Tokens(g.linear(&x, "classifier"), k);
    }
    let k = g.first_side("transformer.wte.weight");
    Answer::Tokens(g.tied(&x, "transformer.wte.weight", "lm_head"), k)
}

/// True where a query does not see a key, `[B, 1, T, T]`: keys behind it, and padding other than itself.
fn unseen(g: &mut Graph<'_>, ids: &Value, mask: &Value) -> Value {
    let padding = padding(g, mask);
    g.at("causal_mask");
    let shape = g.op("Shape", &[ids]);
    let length = g.one(&shape, 0, 1);
    let (zero, one) = (g.integer(0), g.integer(1));
    let place = g.op("Range", &[&zero, &length, &one]);
    let (first, second) = (g.integers(&[0]), g.integers(&[1]));
    let (keys, queries) = (g.op("Unsqueeze", &[&place, &first]), g.op("Unsqueeze", &[&place, &second]));
    let behind = g.op("Greater", &[&keys, &queries]);
    let same = g.op("Equal", &[&keys, &queries]);
    let other = g.op("Not", &[&same]);
    let padding = g.op("And", &[&padding, &other]);
    g.op("Or", &[&behind, &padding])
}

fn block(g: &mut Graph<'_>, x: &Value, place: &str, width: usize, hidden: &Value, facts: &Facts) -> Value {
    let normal = g.layer_norm(x, &format!("{place}.ln_1"), facts.eps);
    let attn = format!("{place}.attn");
    let all = g.conv1d(&normal, &format!("{attn}.c_attn"));
    let wide = width as i64;
    let [query, key, value] = [0, 1, 2].map(|i| g.narrowed(&all, 2, i * wide, (i + 1) * wide));
    let mixed = g.attention([&query, &key, &value], facts.heads, width, Some(hidden), &attn);
    let mixed = g.conv1d(&mixed, &format!("{attn}.c_proj"));
    let x = g.op("Add", &[x, &mixed]);
    let normal = g.layer_norm(&x, &format!("{place}.ln_2"), facts.eps);
    let wide = g.conv1d(&normal, &format!("{place}.mlp.c_fc"));
    let wide = match facts.activation {
        Activation::Gelu => g.gelu(&wide),
        Activation::GeluTanh => g.gelu_tanh(&wide),
        Activation::Relu => g.relu(&wide),
    };
    let fed = g.conv1d(&wide, &format!("{place}.mlp.c_proj"));
    g.op("Add", &[&x, &fed])
}
