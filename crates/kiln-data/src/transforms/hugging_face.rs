//! A list of transforms as the fields of a Hugging Face image processor, for other tools that open the model.
//! Owns the translation of what happens in evaluation, where that processor's order (resize, crop, rescale, normalise)
//! can say it.

use serde_json::{Map, Value, json};

use super::{Interpolation, RandomResizedCrop, Size, Transform};

/// `do_resize`, `size`, `resample`, `do_center_crop` and `crop_size`; empty where it cannot be said.
pub(crate) fn fields(transforms: &[Transform]) -> Map<String, Value> {
    let sized = |t: &&Transform| {
        use Transform::{CenterCrop, Pad, RandomCrop, RandomResizedCrop, Resize};
        matches!(t, Resize(_) | CenterCrop(_) | RandomCrop(_) | RandomResizedCrop(_) | Pad(_))
    };
    let geometry: Vec<&Transform> = transforms.iter().filter(sized).collect();
    let said = match geometry.as_slice() {
        [] => json!({"do_resize": false, "do_center_crop": false}),
        [Transform::RandomResizedCrop(crop)] => resized_crop(crop),
        [one] => both(resize(one), crop(one)),
        [first, second] => both(resize(first).filter(|_| resize(second).is_none()), crop(second)),
        _ => Value::Null,
    };
    match said {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A resize and a cut, either of which may be absent where the other is there.
fn both(scale: Option<Value>, cut: Option<Value>) -> Value {
    let (mut all, none) = (Map::new(), scale.is_none() && cut.is_none());
    for part in
        [scale.unwrap_or(json!({"do_resize": false})), cut.unwrap_or(json!({"do_center_crop": false}))]
    {
        all.extend(part.as_object().cloned().unwrap_or_default());
    }
    if none { Value::Null } else { Value::Object(all) }
}

fn resize(transform: &Transform) -> Option<Value> {
    let Transform::Resize(own) = transform else { return None };
    let size = match (own.size, own.max_size) {
        (Size::Side(n), None) => json!({"shortest_edge": n}),
        (Size::Side(n), Some(max)) => json!({"shortest_edge": n, "longest_edge": max}),
        (Size::HeightWidth([h, w]), _) => json!({"height": h, "width": w}),
    };
    Some(json!({"do_resize": true, "size": size, "resample": resample(own.interpolation)}))
}

fn crop(transform: &Transform) -> Option<Value> {
    let size = match transform {
        Transform::CenterCrop(own) => own.size,
        Transform::RandomCrop(own) => own.size,
        _ => return None,
    };
    let (h, w) = size.sides();
    Some(json!({"do_center_crop": true, "crop_size": {"height": h, "width": w}}))
}

/// For square cuts the shorter side decides, which is what the processor can say.
fn resized_crop(own: &RandomResizedCrop) -> Value {
    let (h, w) = own.size.sides();
    if h != w {
        return Value::Null;
    }
    let edge = own.whole((1, 1)).0;
    json!({
        "do_resize": true, "size": {"shortest_edge": edge}, "resample": resample(own.interpolation),
        "do_center_crop": true, "crop_size": {"height": h, "width": w},
    })
}

/// Pillow's numbers of the filters.
fn resample(interpolation: Interpolation) -> u8 {
    match interpolation {
        Interpolation::Nearest => 0,
        Interpolation::Lanczos => 1,
        Interpolation::Bilinear => 2,
        Interpolation::Bicubic => 3,
    }
}
