//! The families of kiln-models in ONNX's words, one file each, and the slice that lists them.
//! Owns the inputs' names (`transformers`' and optimum's) and what an answer is; never a layer (`blocks`) or a file.
//! Each draws its net's forward pass in evaluation, by the names of the net's own state.
//!
//! Shapes: `B` batch, `T` tokens, `C` channels, `H W` pixels, `F` numbers, `N` categories, `K` labels, `D` width.

mod cnn;
mod convnext;
mod encoder;
mod ft_transformer;
mod gpt2;
mod mlp;
mod mobilenet_v2;
mod resnet;
mod textcnn;
mod vit;

use kiln_core::InputSpec;
use kiln_models::Facts;

use crate::graph::{Graph, Side, Value};

/// What a graph gives out.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// `[B, K]`
    Sample(Value, usize),
    /// `[B, T, K]`
    Tokens(Value, usize),
    /// `[B, D]` of length 1.
    Embedding(Value, usize),
}

/// Draws a net: by the state that the graph reads, the facts, and the shape of one input.
pub(crate) type Draw = fn(&mut Graph<'_>, &Facts, &InputSpec) -> Answer;

/// How each family is drawn, by its word in `[model] kind`.
pub(crate) const EXPORTERS: &[(&str, Draw)] = &[
    ("mlp", mlp::draw),
    ("ft_transformer", ft_transformer::draw),
    ("textcnn", textcnn::draw),
    ("cnn", cnn::draw),
    ("resnet", resnet::draw),
    ("vit", vit::draw),
    ("convnext", convnext::draw),
    ("mobilenet_v2", mobilenet_v2::draw),
    ("bert", encoder::bert),
    ("roberta", encoder::roberta),
    ("distilbert", encoder::distilbert),
    ("gpt2", gpt2::draw),
];

const BATCH: Side = Side::Any("batch_size");
const SEQUENCE: Side = Side::Any("sequence_length");

/// A text's inputs, `[B, T]` each.
struct Text {
    ids: Value,
    /// 1 where a token is real.
    mask: Value,
}

fn text(g: &mut Graph<'_>) -> Text {
    let shape = [BATCH, SEQUENCE];
    Text { ids: g.input("input_ids", true, &shape), mask: g.input("attention_mask", true, &shape) }
}

/// `[B, T]` segments.
fn segments(g: &mut Graph<'_>) -> Value {
    g.input("token_type_ids", true, &[BATCH, SEQUENCE])
}

/// `[B, C, H, W]`; the sides of other inputs are 0, and no graph with them passes the check.
fn image(g: &mut Graph<'_>, input: &InputSpec) -> Value {
    let [c, h, w] = match input {
        InputSpec::Image { channels, height, width } => [*channels, *height, *width],
        InputSpec::Tokens { .. } | InputSpec::Table { .. } => [0; 3],
    };
    g.input("pixel_values", false, &[BATCH, Side::Fixed(c), Side::Fixed(h), Side::Fixed(w)])
}

/// `[B, F]` numbers and `[B, N]` categories of a table, where it has any.
fn table(g: &mut Graph<'_>, input: &InputSpec) -> (Option<Value>, Option<Value>) {
    let (features, categories) = match input {
        InputSpec::Table { features, cardinalities } => (*features, cardinalities.len()),
        InputSpec::Tokens { .. } | InputSpec::Image { .. } => (0, 0),
    };
    let numbers = (features > 0).then(|| g.input("numbers", false, &[BATCH, Side::Fixed(features)]));
    let words = (categories > 0).then(|| g.input("categories", true, &[BATCH, Side::Fixed(categories)]));
    (numbers, words)
}

/// True where a token is padding: `[B, 1, 1, T]`.
fn padding(g: &mut Graph<'_>, mask: &Value) -> Value {
    g.at("padding");
    let zero = g.integer(0);
    let hidden = g.op("Equal", &[mask, &zero]);
    let sides = g.integers(&[1, 2]);
    g.op("Unsqueeze", &[&hidden, &sides])
}

/// Real tokens up to and with each one: `[B, T]`.
fn counted(g: &mut Graph<'_>, mask: &Value) -> Value {
    g.at("positions");
    let axis = g.integer(1);
    g.op("CumSum", &[mask, &axis])
}

/// The place of each real token among the real ones, from 0; padding shares that of a token beside it.
fn places(g: &mut Graph<'_>, mask: &Value) -> Value {
    let count = counted(g, mask);
    let (one, zero) = (g.integer(1), g.integer(0));
    let place = g.op("Sub", &[&count, &one]);
    g.op("Max", &[&place, &zero])
}

/// `[B, T, D]` to `[B, D]`: the first real token, or the last.
fn real_token(g: &mut Graph<'_>, hidden: &Value, mask: &Value, last: bool) -> Value {
    use crate::graph::Attr;
    g.at("pooled_token");
    let how = [
        ("axis", Attr::Int(1)),
        ("keepdims", Attr::Int(1)),
        ("select_last_index", Attr::Int(i64::from(last))),
    ];
    let at = g.op_with("ArgMax", &[mask], &how);
    g.op_with("GatherND", &[hidden, &at], &[("batch_dims", Attr::Int(1))])
}
