//! The net's names, which are timm's, and those of `transformers`: in its files, and of its modules, which differ from
//! them since version 5 and which adapters go by. Owns these tables; never which tensors a net has (`net` does).

use crate::Card;
use crate::dialect::Dialect;

const LAYER: [(&str, &str); 8] = [
    ("norm1", "layernorm_before"),
    ("attn.query", "attention.attention.query"),
    ("attn.key", "attention.attention.key"),
    ("attn.value", "attention.attention.value"),
    ("attn.proj", "attention.output.dense"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];
/// The names of the modules in `transformers` 5, which some files have instead.
const MODULE: [(&str, &str); 8] = [
    ("norm1", "layernorm_before"),
    ("attn.query", "attention.q_proj"),
    ("attn.key", "attention.k_proj"),
    ("attn.value", "attention.v_proj"),
    ("attn.proj", "attention.o_proj"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
];
const AROUND: [(&str, &str); 5] = [
    ("cls_token", "embeddings.cls_token"),
    ("dist_token", "embeddings.distillation_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("norm", "layernorm"),
];

/// The card's own dialect first.
pub(super) fn dialects(card: &Card, two_heads: bool) -> Vec<Dialect> {
    let model = if card.model_type == "deit" { "deit." } else { "vit." };
    let other = if model == "vit." { "deit." } else { "vit." };
    let spelled = |base, layers, of: &[(&str, &str)]| transformers(base, layers, of, two_heads);
    let mut all = vec![
        spelled(model, "encoder.layer", &LAYER),
        spelled(other, "encoder.layer", &LAYER),
        spelled(model, "layers", &MODULE),
    ];
    if crate::timm::architecture(&card.sizes).is_some() {
        all.insert(0, Dialect::own(""));
    }
    all
}

/// The names of the modules.
pub(super) fn modules(card: &Card, two_heads: bool) -> Dialect {
    match (crate::timm::architecture(&card.sizes), card.model_type.as_str()) {
        (Some(_), _) => Dialect::own(""),
        (None, "deit") => transformers("deit.", "layers", &MODULE, two_heads),
        _ => transformers("vit.", "layers", &MODULE, two_heads),
    }
}

fn transformers(base: &'static str, layers: &str, layer: &[(&str, &str)], two_heads: bool) -> Dialect {
    let inside = layer
        .iter()
        .map(|(own, theirs)| (format!("blocks.{{}}.{own}"), format!("{base}{layers}.{{}}.{theirs}")));
    let around = AROUND.iter().map(|(own, theirs)| ((*own).to_string(), format!("{base}{theirs}")));
    let heads: &[(&str, &str)] = match two_heads {
        true => &[("head", "cls_classifier"), ("head_dist", "distillation_classifier")],
        false => &[("head", "classifier")],
    };
    let heads = heads.iter().map(|(own, theirs)| ((*own).to_string(), (*theirs).to_string()));
    Dialect::new(base, inside.chain(around).chain(heads))
}
