//! Which layer of a net a parameter belongs to, read off the names: 0 what stands before the first block, 1 to n the
//! blocks, n + 1 the head.
//! Owns that reading; never rates (`finetune`).
//!
//! Reference: timm's `group_parameters` with a model's fine `group_matcher`, as `param_groups_layer_decay` uses it: a
//! norm between the last block and the head belongs to the last block.

use std::collections::{BTreeMap, BTreeSet};

/// What numbers a block when a number follows: `encoder.layer.3`, `blocks.3`, `h.3`, `stages.1.blocks.2`.
const BLOCKS: [&str; 9] =
    ["layer", "layers", "block", "blocks", "h", "stage", "stages", "features", "resblocks"];
/// A last norm, as the families call it.
const NORMS: [&str; 6] = ["norm", "layernorm", "LayerNorm", "layer_norm", "ln_f", "final_layer_norm"];

/// Layer numbers by parameter name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    numbers: BTreeMap<String, usize>,
    top: usize,
}

impl Layers {
    /// From the names of all parameters in module order; `None` for a net without numbered blocks.
    pub fn of(names: &[&str]) -> Option<Self> {
        let keys: Vec<Option<Vec<usize>>> = names.iter().map(|name| block(name)).collect();
        let depth = keys.iter().flatten().map(Vec::len).max()?;
        let padded = |key: &Vec<usize>| {
            let mut key = key.clone();
            key.resize(depth, 0);
            key
        };
        let blocks: BTreeSet<Vec<usize>> = keys.iter().flatten().map(padded).collect();
        let first = keys.iter().position(Option::is_some)?;
        let number = |(at, key): (usize, &Option<Vec<usize>>)| match key {
            Some(key) => 1 + blocks.range(..padded(key)).count(),
            None if at < first => 0,
            None if is_last_norm(names[at]) => blocks.len(),
            None => blocks.len() + 1,
        };
        let numbers: Vec<usize> = keys.iter().enumerate().map(number).collect();
        let top = numbers.iter().copied().max()?;
        Some(Self { numbers: names.iter().map(|n| n.to_string()).zip(numbers).collect(), top })
    }

    /// The layer of a parameter; one that is not known counts as the head's.
    pub fn number(&self, name: &str) -> usize {
        self.numbers.get(name).copied().unwrap_or(self.top)
    }

    /// The highest number.
    pub fn top(&self) -> usize {
        self.top
    }
}

/// The numbers of the block that a parameter is in, outermost first.
fn block(name: &str) -> Option<Vec<usize>> {
    let mut key = Vec::new();
    let mut counts = false; // whether a number here is a block's
    for part in name.split('.') {
        counts = match part.parse::<usize>() {
            Ok(n) if counts => {
                key.push(n);
                true
            }
            Ok(_) => false,
            Err(_) => match part.strip_prefix("layer").and_then(|n| n.parse::<usize>().ok()) {
                Some(n) => {
                    key.push(n); // ResNet's layer1 to layer4
                    true
                }
                None => BLOCKS.contains(&part),
            },
        };
    }
    (!key.is_empty()).then_some(key)
}

/// `norm.weight`, `vit.layernorm.bias`, `transformer.ln_f.weight`; a norm within a head is the head's.
fn is_last_norm(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let norm = parts.len().checked_sub(2).is_some_and(|i| NORMS.contains(&parts[i]));
    norm && !parts.iter().any(|p| ["head", "classifier", "fc", "cls", "lm_head"].contains(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &[&str]) -> Vec<usize> {
        let layers = Layers::of(names).unwrap();
        names.iter().map(|name| layers.number(name)).collect()
    }

    #[test]
    fn text_encoders_decoders_and_residual_nets() {
        let bert = [
            "bert.embeddings.LayerNorm.bias",
            "bert.encoder.layer.0.output.dense.weight",
            "bert.encoder.layer.10.output.dense.weight",
            "bert.encoder.layer.2.attention.self.query.lora_A.weight",
            "bert.pooler.dense.weight",
            "classifier.weight",
        ];
        assert_eq!(numbers(&bert), [0, 1, 3, 2, 4, 4]);
        let gpt = [
            "transformer.wte.weight",
            "transformer.h.0.ln_1.weight",
            "transformer.h.1.mlp.c_fc.weight",
            "transformer.ln_f.weight",
        ];
        assert_eq!(numbers(&gpt), [0, 1, 2, 2]);
        let resnet = [
            "conv1.weight",
            "bn1.weight",
            "layer1.0.conv1.weight",
            "layer1.1.bn2.bias",
            "layer2.0.downsample.0.weight",
            "layer2.0.conv1.weight",
            "fc.weight",
        ];
        assert_eq!(numbers(&resnet), [0, 0, 1, 2, 3, 3, 4]);
        let convnext = [
            "stem.0.weight",
            "stages.0.blocks.0.gamma",
            "stages.0.blocks.1.gamma",
            "stages.1.downsample.0.weight",
            "stages.1.blocks.0.gamma",
            "head.norm.weight",
            "head.fc.weight",
        ];
        assert_eq!(numbers(&convnext), [0, 1, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn a_net_without_blocks_has_no_layers() {
        assert_eq!(Layers::of(&["fc1.weight", "fc2.weight"]), None);
    }
}
