//! BERT, RoBERTa and DistilBERT: one encoder with post-norm layers, under three families' names, and their heads.
//! Owns the order of the pass and which head the state has; kiln-models' `families/encoder` and the families' `net` files
//! are what it must equal. The mask alone says what is padding, on either side.

use kiln_core::InputSpec;
use kiln_models::{Activation, Facts};

use super::{Answer, Text, counted, padding, places, real_token, segments, text};
use crate::graph::{Attr, Graph, Value};

/// What the families call the parts of the encoder.
struct Names {
    base: &'static str,
    layers: &'static str,
    query: [&'static str; 3],
    attended: [&'static str; 2],
    fed: [&'static str; 3],
}

const BERT: Names = Names {
    base: "bert",
    layers: "encoder.layer",
    query: ["attention.self.query", "attention.self.key", "attention.self.value"],
    attended: ["attention.output.dense", "attention.output.LayerNorm"],
    fed: ["intermediate.dense", "output.dense", "output.LayerNorm"],
};
const ROBERTA: Names = Names { base: "roberta", ..BERT };
const DISTILBERT: Names = Names {
    base: "distilbert",
    layers: "transformer.layer",
    query: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attended: ["attention.out_lin", "sa_layer_norm"],
    fed: ["ffn.lin1", "ffn.lin2", "output_layer_norm"],
};

/// Hidden states `[B, T, D]` and what they were read from.
struct Read {
    text: Text,
    hidden: Value,
    width: usize,
}

pub(super) fn bert(g: &mut Graph<'_>, facts: &Facts, _: &InputSpec) -> Answer {
    let read = encoded(g, &BERT, facts);
    let words = "bert.embeddings.word_embeddings.weight";
    if g.has("cls.predictions.bias") {
        let [dense, norm] = ["dense", "LayerNorm"].map(|part| format!("cls.predictions.transform.{part}"));
        let x = g.linear(&read.hidden, &dense);
        let x = activated(g, &x, facts);
        let x = g.layer_norm(&x, &norm, facts.eps);
        return vocabulary(g, &x, words, "cls.predictions.bias");
    }
    if g.has("bert.pooler.dense.weight") {
        let first = real_token(g, &read.hidden, &read.text.mask, false);
        let pooled = g.linear(&first, "bert.pooler.dense");
        let pooled = g.op("Tanh", &[&pooled]);
        return sample(g, &pooled, "classifier");
    }
    of_tokens(g, &read)
}

pub(super) fn roberta(g: &mut Graph<'_>, facts: &Facts, _: &InputSpec) -> Answer {
    let read = encoded(g, &ROBERTA, facts);
    if g.has("lm_head.bias") {
        let x = g.linear(&read.hidden, "lm_head.dense");
        let x = g.gelu(&x);
        let x = g.layer_norm(&x, "lm_head.layer_norm", facts.eps);
        return vocabulary(g, &x, "roberta.embeddings.word_embeddings.weight", "lm_head.bias");
    }
    if g.has("classifier.dense.weight") {
        let first = real_token(g, &read.hidden, &read.text.mask, false);
        let x = g.linear(&first, "classifier.dense");
        let x = g.op("Tanh", &[&x]);
        return sample(g, &x, "classifier.out_proj");
    }
    of_tokens(g, &read)
}

pub(super) fn distilbert(g: &mut Graph<'_>, facts: &Facts, _: &InputSpec) -> Answer {
    let read = encoded(g, &DISTILBERT, facts);
    if g.has("vocab_projector.bias") {
        let x = g.linear(&read.hidden, "vocab_transform");
        let x = activated(g, &x, facts);
        let x = g.layer_norm(&x, "vocab_layer_norm", facts.eps);
        let words = "distilbert.embeddings.word_embeddings.weight";
        return vocabulary(g, &x, words, "vocab_projector.bias");
    }
    if g.has("pre_classifier.weight") {
        let first = real_token(g, &read.hidden, &read.text.mask, false);
        let x = g.linear(&first, "pre_classifier");
        let x = g.relu(&x);
        return sample(g, &x, "classifier");
    }
    of_tokens(g, &read)
}

fn sample(g: &mut Graph<'_>, x: &Value, head: &str) -> Answer {
    let k = g.first_side(&format!("{head}.weight"));
    Answer::Sample(g.linear(x, head), k)
}

/// Scores of every word by its embedding.
fn vocabulary(g: &mut Graph<'_>, x: &Value, words: &str, bias: &str) -> Answer {
    let k = g.first_side(words);
    let scores = g.tied(x, words, "decoder");
    Answer::Tokens(g.biased(scores, bias), k)
}

/// The classifier of every token; without one, the text's embedding.
fn of_tokens(g: &mut Graph<'_>, read: &Read) -> Answer {
    if g.has("classifier.weight") {
        let k = g.first_side("classifier.weight");
        return Answer::Tokens(g.linear(&read.hidden, "classifier"), k);
    }
    let mean = mean(g, &read.hidden, &read.text.mask);
    Answer::Embedding(mean, read.width)
}

/// The mean over real tokens, of length 1, as sentence-transformers pools and normalises.
fn mean(g: &mut Graph<'_>, hidden: &Value, mask: &Value) -> Value {
    g.at("mean_pooling");
    let [one, two] = [1, 2].map(|axis| g.integers(&[axis]));
    let real = g.op_with("Cast", &[mask], &[("to", Attr::Int(1))]);
    let real = g.op("Unsqueeze", &[&real, &two]);
    let masked = g.op("Mul", &[hidden, &real]);
    let gone = || [("keepdims", Attr::Int(0))];
    let sum = g.op_with("ReduceSum", &[&masked, &one], &gone());
    let count = g.op_with("ReduceSum", &[&real, &one], &gone());
    let least = g.number(1.0);
    let count = g.op("Max", &[&count, &least]);
    let mean = g.op("Div", &[&sum, &count]);
    let square = g.op("Mul", &[&mean, &mean]);
    let length = g.op_with("ReduceSum", &[&square, &one], &[("keepdims", Attr::Int(1))]);
    let length = g.op("Sqrt", &[&length]);
    let least = g.number(1e-7);
    let length = g.op("Max", &[&length, &least]);
    g.op("Div", &[&mean, &length])
}

fn activated(g: &mut Graph<'_>, x: &Value, facts: &Facts) -> Value {
    match facts.activation {
        Activation::Gelu => g.gelu(x),
        Activation::GeluTanh => g.gelu_tanh(x),
        Activation::Relu => g.relu(x),
    }
}

fn encoded(g: &mut Graph<'_>, names: &Names, facts: &Facts) -> Read {
    let text = text(g);
    let embeddings = format!("{}.embeddings", names.base);
    let width = g.first_side(&format!("{embeddings}.LayerNorm.weight"));
    let sum = embedded(g, &text, &embeddings, facts);
    let mut hidden = g.layer_norm(&sum, &format!("{embeddings}.LayerNorm"), facts.eps);
    let padding = padding(g, &text.mask);
    let layers = format!("{}.{}.", names.base, names.layers);
    for i in 0..g.count(&layers, &format!(".{}.weight", names.query[0])) {
        hidden = layer(g, &hidden, &format!("{layers}{i}"), names, width, &padding, facts);
    }
    Read { text, hidden, width }
}

fn embedded(g: &mut Graph<'_>, text: &Text, place: &str, facts: &Facts) -> Value {
    let words = g.embedding(&text.ids, &format!("{place}.word_embeddings"));
    let types = types(g, place);
    let sum = match types {
        Some(types) => g.op("Add", &[&words, &types]),
        None => words,
    };
    let positions = match facts.padding_position {
        Some(start) => {
            let (count, start) = (counted(g, &text.mask), g.integer(start as i64));
            let real = g.op("Mul", &[&count, &text.mask]);
            g.op("Add", &[&real, &start])
        }
        None => places(g, &text.mask),
    };
    let positions = g.embedding(&positions, &format!("{place}.position_embeddings"));
    g.op("Add", &[&sum, &positions])
}

/// Segments; a table of one row (RoBERTa) asks for none, an encoder without a table (DistilBERT) has none.
fn types(g: &mut Graph<'_>, place: &str) -> Option<Value> {
    let layer = format!("{place}.token_type_embeddings");
    let table = format!("{layer}.weight");
    if !g.has(&table) {
        return None;
    }
    if g.first_side(&table) == 1 {
        return Some(g.weight(&table));
    }
    let ids = segments(g);
    Some(g.embedding(&ids, &layer))
}

fn layer(
    g: &mut Graph<'_>,
    x: &Value,
    place: &str,
    names: &Names,
    width: usize,
    padding: &Value,
    facts: &Facts,
) -> Value {
    let name = |part: &str| format!("{place}.{part}");
    let [query, key, value] = names.query.map(|part| g.linear(x, &name(part)));
    let mixed = g.attention([&query, &key, &value], facts.heads, width, Some(padding), &name("attention"));
    let attended = g.linear(&mixed, &name(names.attended[0]));
    let sum = g.op("Add", &[&attended, x]);
    let x = g.layer_norm(&sum, &name(names.attended[1]), facts.eps);
    let wide = g.linear(&x, &name(names.fed[0]));
    let wide = activated(g, &wide, facts);
    let fed = g.linear(&wide, &name(names.fed[1]));
    let sum = g.op("Add", &[&fed, &x]);
    g.layer_norm(&sum, &name(names.fed[2]), facts.eps)
}
