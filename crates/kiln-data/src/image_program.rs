//! The image transforms of a config as one program for training, evaluation and prediction.
//! Owns which operation acts when, and the size of the result; never reads files or computes pixels itself.
//! Hands `[C, H, W]` numbers to the loader.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{Fault, Fill, Transform, expand, faults};
use crate::decode::DecodedImage;
use crate::error::DataError;
use crate::order::generator;
use crate::pixels::{table, to_floats, with_channels};
use crate::preprocessor::{Columns, Preprocessor, Program};
use crate::transforms::{Misfit, fields};

/// What is done to every image, and the shape that comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageProgram {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// What shows behind transparent pixels; `None` drops alpha.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) background: Option<Fill>,
    pub(crate) transforms: Vec<Transform>,
    /// Where a table has the image's path; `None` where samples are no rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Columns>,
}

impl ImageProgram {
    /// For images of which one is `first` high and wide.
    pub(crate) fn new(
        channels: usize,
        background: Option<Fill>,
        transforms: &[Transform],
        first: (usize, usize),
    ) -> Result<Self, DataError> {
        validate(channels, background.as_ref(), transforms)?;
        let transforms = expand(transforms, channels);
        let (height, width) = transforms.iter().fold(first, |size, t| t.op().size(size));
        Ok(Self { channels, height, width, background, transforms, columns: None })
    }

    /// `C * H * W` numbers. With a seed random transforms act, without one their fixed counterparts.
    pub(crate) fn run(
        &self,
        image: DecodedImage,
        name: &str,
        seed: Option<u64>,
    ) -> Result<Vec<f32>, DataError> {
        self.finish(self.begin(image, name)?, name, seed)
    }

    /// The first part of [`run`](Self::run), which is the same for an image each time and may be kept: channels, and the
    /// transforms before the first random one.
    pub(crate) fn begin(&self, image: DecodedImage, name: &str) -> Result<DecodedImage, DataError> {
        let background = self.background.as_ref().map(Fill::levels);
        let image = with_channels(image, self.channels, background.as_ref().map(|b| &b[..]));
        self.opening()
            .try_fold(image, |image, t| t.op().evaluate(image).map_err(|misfit| refused(misfit, name)))
    }

    fn opening(&self) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().take_while(|t| t.op().is_fixed())
    }

    /// What [`begin`](Self::begin) does, in words: images that are kept are of one such text.
    pub(crate) fn begins_with(&self) -> String {
        let transforms: Vec<&Transform> = self.opening().collect();
        json!({"channels": self.channels, "background": self.background, "transforms": transforms})
            .to_string()
    }

    /// Whether [`begin`](Self::begin) does the same for both.
    pub(crate) fn begins_as(&self, other: &Self) -> bool {
        self.channels == other.channels
            && self.background == other.background
            && self.opening().eq(other.opening())
    }

    /// The rest of [`run`](Self::run).
    pub(crate) fn finish(
        &self,
        image: DecodedImage,
        name: &str,
        seed: Option<u64>,
    ) -> Result<Vec<f32>, DataError> {
        let mut rng = seed.map(generator);
        let mut image = image;
        for transform in self.transforms.iter().skip(self.opening().count()) {
            let op = transform.op();
            let done = match &mut rng {
                Some(rng) => op.train(image, rng),
                None => op.evaluate(image),
            };
            image = done.map_err(|misfit| refused(misfit, name))?;
        }
        self.check_size(&image, name)?;
        let mut values = to_floats(&image, &self.tables());
        if let Some(rng) = &mut rng {
            let shape = [self.channels, self.height, self.width];
            self.transforms.iter().for_each(|t| t.op().train_numbers(&mut values, shape, rng));
        }
        Ok(values)
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
        mean.iter().zip(std.iter()).map(|(&m, &s)| table(m, s)).collect()
    }

    /// Mean and standard deviation a channel; 0 and 1 where nothing is normalised.
    pub(crate) fn normalization(&self) -> (Cow<'_, [f32]>, Cow<'_, [f32]>) {
        let found = self.transforms.iter().find_map(|t| match t {
            Transform::Normalize(own) => Some((Cow::from(&own.mean), Cow::from(&own.std))),
            _ => None,
        });
        found.unwrap_or_else(|| (vec![0.0; self.channels].into(), vec![1.0; self.channels].into()))
    }

    /// The fields of a Hugging Face image processor that do the same at evaluation, where its order (resize, crop,
    /// rescale, normalise) can say it.
    pub(crate) fn hugging_face(&self) -> Map<String, Value> {
        let (mean, std) = self.normalization();
        let normalized = self.transforms.iter().any(|t| matches!(t, Transform::Normalize(_)));
        // transformers' processor that has every rule below; the one it would choose by model type may lack some.
        let mut out = json!({
            "image_processor_type": "CLIPImageProcessor",
            "do_rescale": true, "rescale_factor": 1.0 / 255.0,
            "do_normalize": normalized, "image_mean": mean, "image_std": std,
            "do_convert_rgb": self.channels == 3,
        });
        let mut out = out.as_object_mut().map(std::mem::take).unwrap_or_default();
        out.extend(fields(&self.transforms));
        out
    }
}

impl Preprocessor {
    /// What is done to images; `None` where samples are none.
    pub(crate) fn images(&self) -> Option<&ImageProgram> {
        match &self.program {
            Program::Image(program) => Some(program),
            Program::Text { .. } | Program::Corpus(_) | Program::Table(_) => None,
        }
    }
}

/// The first fault between the transforms, naming its key.
pub(crate) fn validate(
    channels: usize,
    background: Option<&Fill>,
    transforms: &[Transform],
) -> Result<(), DataError> {
    if channels != 1 && channels != 3 {
        return Err(DataError::config(
            "channels",
            format!("expected 1 (grey) or 3 (RGB), got {channels}"),
            "write 1 or 3",
        ));
    }
    if let Some(Fill::Color(levels)) = background
        && !matches!(levels.len(), 1 | 3)
    {
        let problem = format!("expected one level or three, got {}", levels.len());
        return Err(DataError::config("background", problem, "for example: background = [255, 255, 255]"));
    }
    match faults(transforms, channels).into_iter().next() {
        None => Ok(()),
        Some((i, Fault { key, problem, remedy })) => {
            let dot = if key.is_empty() { "" } else { "." };
            Err(DataError::config(&format!("transforms[{i}]{dot}{key}"), problem, remedy))
        }
    }
}

fn refused(misfit: Misfit, name: &str) -> DataError {
    let Misfit { expected, got, remedy } = misfit;
    DataError::Image { name: name.into(), expected, got, remedy: remedy.into() }
}
