//! FT-Transformer: every column a token behind the class token, pre-norm blocks with ReGLU, the head on the class token.
//! Owns the order of the pass; kiln-models' `families/ft_transformer.rs` is what it must equal.

use kiln_core::InputSpec;
use kiln_models::Facts;

use super::{Answer, table};
use crate::graph::{Attr, Graph, Value};

pub(super) fn draw(g: &mut Graph<'_>, facts: &Facts, input: &InputSpec) -> Answer {
    let width = g.first_side("cls_embedding.weight");
    let mut x = tokens(g, input, width);
    let blocks = g.count("backbone.blocks.", ".attention.W_q.weight");
    for i in 0..blocks {
        x = block(g, &x, &format!("backbone.blocks.{i}"), width, i + 1 == blocks, facts);
    }
    g.at("backbone.output");
    let class = g.one(&x, 1, 0);
    let class = g.layer_norm(&class, "backbone.output.normalization", facts.eps);
    let class = g.relu(&class);
    let k = g.first_side("backbone.output.linear.weight");
    Answer::Sample(g.linear(&class, "backbone.output.linear"), k)
}

/// `[B, 1 + F + N, D]`
fn tokens(g: &mut Graph<'_>, input: &InputSpec, width: usize) -> Value {
    let (numbers, categories) = table(g, input);
    let mut all = Vec::new();
    if let Some(numbers) = numbers {
        g.at("cont_embeddings");
        let last = g.integers(&[2]);
        let column = g.op("Unsqueeze", &[&numbers, &last]);
        let (weight, bias) = (g.weight("cont_embeddings.weight"), g.weight("cont_embeddings.bias"));
        let scaled = g.op("Mul", &[&column, &weight]);
        all.push(g.op("Add", &[&scaled, &bias]));
    }
    if let Some(categories) = categories {
        let rows: Vec<Value> = (0..g.count("cat_embeddings.embeddings.", ".weight"))
            .map(|i| {
                let layer = format!("cat_embeddings.embeddings.{i}");
                g.at(&layer);
                let ids = g.narrowed(&categories, 1, i as i64, i as i64 + 1);
                g.embedding(&ids, &layer)
            })
            .collect();
        g.at("cat_embeddings");
        let words = g.op_with("Concat", &rows.iter().collect::<Vec<_>>(), &[("axis", Attr::Int(1))]);
        let bias = g.weight("cat_embeddings.bias");
        all.push(g.op("Add", &[&words, &bias]));
    }
    g.at("cls_embedding");
    let class = g.weight("cls_embedding.weight");
    let class = match all.first() {
        Some(first) => g.in_every_row(&class, &first.clone(), width),
        None => class,
    };
    all.insert(0, class);
    g.op_with("Concat", &all.iter().collect::<Vec<_>>(), &[("axis", Attr::Int(1))])
}

/// The last block answers its first token alone.
fn block(g: &mut Graph<'_>, x: &Value, place: &str, width: usize, last: bool, facts: &Facts) -> Value {
    let norm = format!("{place}.attention_normalization");
    let normal = match g.has(&format!("{norm}.weight")) {
        true => g.layer_norm(x, &norm, facts.eps),
        false => x.clone(),
    };
    g.at(place);
    let (asked, x) = match last {
        true => (g.narrowed(&normal, 1, 0, 1), g.narrowed(x, 1, 0, 1)),
        false => (normal.clone(), x.clone()),
    };
    let attention = format!("{place}.attention");
    let query = g.linear(&asked, &format!("{attention}.W_q"));
    let [key, value] = ["W_k", "W_v"].map(|part| g.linear(&normal, &format!("{attention}.{part}")));
    let mixed = g.attention([&query, &key, &value], facts.heads, width, None, &attention);
    let mixed = g.linear(&mixed, &format!("{attention}.W_out"));
    let x = g.op("Add", &[&x, &mixed]);
    let normal = g.layer_norm(&x, &format!("{place}.ffn_normalization"), facts.eps);
    let both = g.linear(&normal, &format!("{place}.ffn.linear1"));
    let half = g.first_side(&format!("{place}.ffn.linear1.weight")) as i64 / 2;
    let (value, gate) = (g.narrowed(&both, 2, 0, half), g.narrowed(&both, 2, half, 2 * half));
    let gate = g.relu(&gate);
    let gated = g.op("Mul", &[&value, &gate]);
    let fed = g.linear(&gated, &format!("{place}.ffn.linear2"));
    g.op("Add", &[&x, &fed])
}
