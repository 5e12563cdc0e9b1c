//! What a masked language model puts in the place of each mask token: the most probable tokens.
//! Owns the form of these answers; scores nothing.
//! Reference: transformers' `FillMaskPipeline` (`top_k=5`).
//!
//! Shapes: `B` batch, `T` tokens, `V` vocabulary.

use burn::tensor::Tensor;
use serde_json::{Map, Value, json};

use super::{Answered, Asked};
use crate::EvalError;
use crate::scores::{BadAnswer, softmax};

/// Tokens named for each mask.
const TOP: usize = 5;

/// Answers for a batch's `logits [B, T, V]`; only the masks' rows leave the device.
pub(super) fn answers(logits: &Tensor<3>, asked: &Asked<'_>) -> Result<Vec<Answered>, EvalError> {
    asked
        .features
        .iter()
        .enumerate()
        .map(|(sample, features)| {
            let places = asked.preprocessor.masks(features);
            if places.is_empty() {
                let token =
                    asked.preprocessor.mask_token().map_or_else(String::new, |(_, token)| token.into());
                return Ok(Err(BadAnswer::NoMask { token }));
            }
            let masks = places.into_iter().map(|place| {
                let [_, _, v] = logits.dims();
                let row = logits.clone().slice([sample..sample + 1, place..place + 1, 0..v]);
                let row = row.into_data().convert::<f32>().try_to_vec::<f32>()?;
                Ok(fill(&row, place, asked))
            });
            let masks: Vec<Result<Value, BadAnswer>> = masks.collect::<Result<_, EvalError>>()?;
            let masks: Result<Vec<Value>, BadAnswer> = masks.into_iter().collect();
            Ok(masks.map(|masks| Map::from_iter([("masks".to_string(), Value::Array(masks))])))
        })
        .collect()
}

/// The best tokens of one place, of equals the first of the vocabulary.
fn fill(logits: &[f32], place: usize, asked: &Asked<'_>) -> Result<Value, BadAnswer> {
    if logits.iter().any(|x| !x.is_finite()) {
        return Err(BadAnswer::NotFinite);
    }
    let p = softmax(logits);
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    let named = order
        .into_iter()
        .take(TOP)
        .map(|id| json!({"token": asked.preprocessor.token(id as u32), "id": id, "score": p[id]}));
    Ok(json!({"position": place, "tokens": named.collect::<Vec<_>>()}))
}
