//! The net's names, which are timm's, and those of `transformers` and torchvision, which number blocks in other ways.
//! Owns the rules between them; never which tensors a net has (`net` does).

use super::sizes::Sizes;
use crate::dialect::Dialect;

/// The convolutions with their norms, in the order of the pass: (own convolution, own norm).
fn layers(sizes: &Sizes) -> Vec<Vec<[String; 2]>> {
    let at = |place: &str, conv: &str, norm: &str| [format!("{place}{conv}"), format!("{place}{norm}")];
    let mut all = vec![vec![at("", "conv_stem", "bn1")]];
    for (s, stage) in sizes.stages.iter().enumerate() {
        for (b, block) in stage.iter().enumerate() {
            let place = format!("blocks.{s}.{b}.");
            all.push(match block.expanded {
                Some(_) => vec![
                    at(&place, "conv_pw", "bn1"),
                    at(&place, "conv_dw", "bn2"),
                    at(&place, "conv_pwl", "bn3"),
                ],
                None => vec![at(&place, "conv_dw", "bn1"), at(&place, "conv_pw", "bn2")],
            });
        }
    }
    all.push(vec![at("", "conv_head", "bn2")]);
    all
}

/// The first block belongs to the stem, the others are numbered.
pub(super) fn transformers(sizes: &Sizes) -> Dialect {
    let layers = layers(sizes);
    let last = layers.len().saturating_sub(1);
    let mut rules = vec![("classifier".to_string(), "classifier".to_string())];
    for (n, block) in layers.into_iter().enumerate() {
        let (place, names): (String, &[&str]) = match n {
            0 => ("conv_stem.".into(), &["first_conv"]),
            1 => ("conv_stem.".into(), &["conv_3x3", "reduce_1x1"]),
            n if n == last => (String::new(), &["conv_1x1"]),
            n => (format!("layer.{}.", n - 2), &["expand_1x1", "conv_3x3", "reduce_1x1"]),
        };
        for ([conv, norm], theirs) in block.into_iter().zip(names) {
            rules.push((conv, format!("mobilenet_v2.{place}{theirs}.convolution")));
            rules.push((norm, format!("mobilenet_v2.{place}{theirs}.normalization")));
        }
    }
    Dialect::new("mobilenet_v2.", rules)
}

/// Every block is one of `features`; all but a block's last convolution are a pair with their norm.
pub(super) fn torchvision(sizes: &Sizes) -> Dialect {
    let layers = layers(sizes);
    let last = layers.len().saturating_sub(1);
    let mut rules = vec![("classifier".to_string(), "classifier.1".to_string())];
    for (n, block) in layers.into_iter().enumerate() {
        let projection = block.len() - 1;
        for (i, [conv, norm]) in block.into_iter().enumerate() {
            let (c, b) = match n {
                n if n == 0 || n == last => (format!("features.{n}.0"), format!("features.{n}.1")),
                n if i == projection => {
                    (format!("features.{n}.conv.{i}"), format!("features.{n}.conv.{}", i + 1))
                }
                n => (format!("features.{n}.conv.{i}.0"), format!("features.{n}.conv.{i}.1")),
            };
            rules.extend([(conv, c), (norm, b)]);
        }
    }
    Dialect::new("", rules)
}
