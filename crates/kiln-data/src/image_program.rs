//! The image transforms of a config as one program for training, evaluation and prediction.
//! Owns which operation acts when, and the size of the result; never reads files or computes pixels itself.
//! Hands `[C, H, W]` numbers to the loader.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{Interpolation, Size, Transform};
use crate::decode::DecodedImage;
use crate::error::DataError;
use crate::order::{below, generator, unit};
use crate::pixels::{center, crop, flip, resize, table, to_floats, with_channels};
use crate::preprocessor::Columns;

/// What is done to every image, and the shape that comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageProgram {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) transforms: Vec<Transform>,
    /// Where a table has the image's path; `None` where samples are no rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Columns>,
}

impl ImageProgram {
    /// For images of which one is `first` high and wide.
    pub(crate) fn new(
        channels: usize,
        transforms: &[Transform],
        first: (usize, usize),
    ) -> Result<Self, DataError> {
        validate(channels, transforms)?;
        let (height, width) = transforms.iter().fold(first, |size, t| size_after(t, size));
        Ok(Self { channels, height, width, transforms: transforms.to_vec(), columns: None })
    }

    /// `C * H * W` numbers. With a seed random transforms act, without one their fixed counterparts.
    pub(crate) fn run(
        &self,
        image: DecodedImage,
        name: &str,
        seed: Option<u64>,
    ) -> Result<Vec<f32>, DataError> {
        let mut rng = seed.map(generator);
        let mut image = with_channels(image, self.channels);
        for transform in &self.transforms {
            image = match (transform, &mut rng) {
                (Transform::Resize { size, interpolation }, _) => {
                    let to = resized(*size, (image.height, image.width));
                    resize(image, to, *interpolation).ok_or_else(|| cannot_resize(name, to))?
                }
                (Transform::RandomCrop { size, padding }, Some(rng)) => {
                    random_crop(&image, height_width(*size), *padding, name, rng)?
                }
                (Transform::CenterCrop { size } | Transform::RandomCrop { size, .. }, _) => {
                    center_crop(image, height_width(*size))
                }
                (Transform::RandomHorizontalFlip { p }, Some(rng)) => {
                    if unit(rng) < *p {
                        flip(&mut image);
                    }
                    image
                }
                (Transform::RandomHorizontalFlip { .. } | Transform::Normalize { .. }, _) => image,
            };
        }
        self.check_size(&image, name)?;
        Ok(to_floats(&image, &self.tables()))
    }

    fn check_size(&self, image: &DecodedImage, name: &str) -> Result<(), DataError> {
        if (image.height, image.width) == (self.height, self.width) {
            return Ok(());
        }
        Err(DataError::Image {
            name: name.into(),
            expected: format!(
                "{} high and {} wide after the transforms, as the first training image",
                self.height, self.width
            ),
            got: format!("{} high and {} wide", image.height, image.width),
            remedy: "add a transform that fixes the size: resize with [height, width], or center_crop".into(),
        })
    }

    fn tables(&self) -> Vec<[f32; 256]> {
        let (mean, std) = self.normalization();
        mean.iter().zip(&std).map(|(&m, &s)| table(m, s)).collect()
    }

    /// Mean and standard deviation a channel; 0 and 1 where nothing is normalised.
    fn normalization(&self) -> (Vec<f32>, Vec<f32>) {
        let found = self.transforms.iter().find_map(|t| match t {
            Transform::Normalize { mean, std } => Some((mean.clone(), std.clone())),
            _ => None,
        });
        found.unwrap_or_else(|| (vec![0.0; self.channels], vec![1.0; self.channels]))
    }

    /// The fields of a Hugging Face image processor that do the same at evaluation, where its order (resize, crop,
    /// rescale, normalise) can say it.
    pub(crate) fn hugging_face(&self) -> Map<String, Value> {
        let (mean, std) = self.normalization();
        let normalized = self.transforms.iter().any(|t| matches!(t, Transform::Normalize { .. }));
        // transformers' processor that has every rule below; the one it would choose by model type may lack some.
        let mut out = object(json!({
            "image_processor_type": "CLIPImageProcessor",
            "do_rescale": true, "rescale_factor": 1.0 / 255.0,
            "do_normalize": normalized, "image_mean": mean, "image_std": std,
            "do_convert_rgb": self.channels == 3,
        }));
        let geometry: Vec<&Transform> = self.transforms.iter().filter(|t| is_geometry(t)).collect();
        let (scale, cut) = match geometry.as_slice() {
            [] => (None, None),
            [t @ Transform::Resize { .. }] => (Some(*t), None),
            [t @ Transform::Resize { .. }, crop] if !matches!(crop, Transform::Resize { .. }) => {
                (Some(*t), Some(*crop))
            }
            [crop] => (None, Some(*crop)),
            _ => return out,
        };
        out.extend(object(hf_resize(scale)));
        out.extend(object(hf_crop(cut)));
        out
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn is_geometry(t: &Transform) -> bool {
    matches!(t, Transform::Resize { .. } | Transform::CenterCrop { .. } | Transform::RandomCrop { .. })
}

fn hf_resize(transform: Option<&Transform>) -> Value {
    let Some(Transform::Resize { size, interpolation }) = transform else {
        return json!({"do_resize": false});
    };
    let size = match size {
        Size::Side(n) => json!({"shortest_edge": n}),
        Size::HeightWidth([h, w]) => json!({"height": h, "width": w}),
    };
    // Pillow's numbers of the filters.
    let resample = match interpolation {
        Interpolation::Bilinear => 2,
        Interpolation::Bicubic => 3,
    };
    json!({"do_resize": true, "size": size, "resample": resample})
}

fn hf_crop(transform: Option<&Transform>) -> Value {
    match transform {
        Some(Transform::CenterCrop { size } | Transform::RandomCrop { size, .. }) => {
            let (h, w) = height_width(*size);
            json!({"do_center_crop": true, "crop_size": {"height": h, "width": w}})
        }
        _ => json!({"do_center_crop": false}),
    }
}

/// Faults between the transforms, each naming its key.
pub(crate) fn validate(channels: usize, transforms: &[Transform]) -> Result<(), DataError> {
    if channels != 1 && channels != 3 {
        return Err(DataError::config(
            "channels",
            format!("expected 1 (grey) or 3 (RGB), got {channels}"),
            "write 1 or 3",
        ));
    }
    for (i, transform) in transforms.iter().enumerate() {
        let field = format!("transforms[{i}]");
        match transform {
            Transform::Resize { size, .. }
            | Transform::CenterCrop { size }
            | Transform::RandomCrop { size, .. } => {
                let (h, w) = height_width(*size);
                if !(1..=65535).contains(&h) || !(1..=65535).contains(&w) {
                    let problem = format!("expected sides from 1 to 65535, got [{h}, {w}]");
                    return Err(DataError::config(
                        &format!("{field}.size"),
                        problem,
                        "write a size in pixels",
                    ));
                }
            }
            Transform::RandomHorizontalFlip { p } if !(0.0..=1.0).contains(p) => {
                return Err(DataError::config(
                    &format!("{field}.p"),
                    format!("expected 0 to 1, got {p}"),
                    "write a probability",
                ));
            }
            Transform::RandomHorizontalFlip { .. } => {}
            Transform::Normalize { mean, std } => {
                normalize_fits(&field, channels, mean, std, i + 1 == transforms.len())?
            }
        }
    }
    Ok(())
}

fn normalize_fits(
    field: &str,
    channels: usize,
    mean: &[f32],
    std: &[f32],
    last: bool,
) -> Result<(), DataError> {
    for (key, values) in [("mean", mean), ("std", std)] {
        if values.len() != channels || values.iter().any(|v| !v.is_finite()) {
            let problem = format!("expected {channels} finite numbers, one a channel, got {values:?}");
            return Err(DataError::config(&format!("{field}.{key}"), problem, "write one number a channel"));
        }
    }
    if std.contains(&0.0) {
        let problem = format!("expected numbers other than zero, got {std:?}");
        return Err(DataError::config(
            &format!("{field}.std"),
            problem,
            "write the standard deviation of x / 255",
        ));
    }
    if !last {
        let remedy = "move normalize to the end: the others act on pixels";
        return Err(DataError::config(field, "normalize stands before another transform", remedy));
    }
    Ok(())
}

fn height_width(size: Size) -> (usize, usize) {
    match size {
        Size::Side(n) => (n, n),
        Size::HeightWidth([h, w]) => (h, w),
    }
}

/// torchvision's rule: the shorter side becomes `n`, the longer keeps the ratio, cut to a whole number.
fn resized(size: Size, (h, w): (usize, usize)) -> (usize, usize) {
    match size {
        Size::HeightWidth([h, w]) => (h, w),
        Size::Side(n) if w <= h => (n * h / w.max(1), n),
        Size::Side(n) => (n, n * w / h.max(1)),
    }
}

fn size_after(transform: &Transform, size: (usize, usize)) -> (usize, usize) {
    match transform {
        Transform::Resize { size: to, .. } => resized(*to, size),
        Transform::CenterCrop { size } | Transform::RandomCrop { size, .. } => height_width(*size),
        Transform::RandomHorizontalFlip { .. } | Transform::Normalize { .. } => size,
    }
}

fn center_crop(image: DecodedImage, (h, w): (usize, usize)) -> DecodedImage {
    if (image.height, image.width) == (h, w) {
        return image;
    }
    crop(&image, center(image.height, h), center(image.width, w), (h, w))
}

fn random_crop(
    image: &DecodedImage,
    (h, w): (usize, usize),
    padding: usize,
    name: &str,
    rng: &mut rand_chacha::ChaCha8Rng,
) -> Result<DecodedImage, DataError> {
    let (high, wide) = (image.height + 2 * padding, image.width + 2 * padding);
    if h > high || w > wide {
        return Err(DataError::Image {
            name: name.into(),
            expected: format!("at least {h}x{w} to cut from, padding of {padding} included"),
            got: format!("{high}x{wide}"),
            remedy: "put a resize before random_crop, or raise its padding".into(),
        });
    }
    let (top, left) = (below(rng, high - h + 1), below(rng, wide - w + 1));
    Ok(crop(image, top as isize - padding as isize, left as isize - padding as isize, (h, w)))
}

fn cannot_resize(name: &str, (h, w): (usize, usize)) -> DataError {
    DataError::Image {
        name: name.into(),
        expected: format!("an image that can be resized to {h}x{w}"),
        got: "one that cannot".into(),
        remedy: "replace the image or change the resize".into(),
    }
}
