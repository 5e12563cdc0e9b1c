//! Common recipes by name.
//! Owns what each name stands for; a preset is replaced by its transforms before anything reads the list.

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::faults::Faults;
use super::policy::RandAugment;
use super::{
    Erased, ErasedWith, Interpolation, Normalize, Op, Padding, RandomCrop, RandomErasing,
    RandomHorizontalFlip, RandomResizedCrop, Size, Stage, Transform,
};

/// A common recipe, which is replaced by its transforms when the config is read (`kiln config show` prints them).
/// `imagenet`: random_resized_crop, flip, normalize. `cifar`: random_crop with 4 zeros around, flip, normalize. `deit`:
/// random_resized_crop (bicubic), flip, rand_augment, normalize, random_erasing (p 0.25, random).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preset {
    /// The recipe.
    pub name: PresetName,
    /// Side in pixels, or `[height, width]`; by default 224, and 32 for `cifar`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// Recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresetName {
    /// ResNets on ImageNet.
    Imagenet,
    /// ResNets on CIFAR-10.
    Cifar,
    /// DeiT on ImageNet (Touvron et al., 2020), with torchvision's table of RandAugment; its MixUp and CutMix act on
    /// batches and are not part of it.
    Deit,
}

impl Op for Preset {
    fn check(&self, _channels: usize, faults: &mut Faults) {
        if let Some(size) = self.size {
            size.check(faults);
        }
    }

    /// Every recipe normalises.
    fn stage(&self) -> Stage {
        Stage::Normalize
    }

    fn size(&self, size: (usize, usize)) -> (usize, usize) {
        self.transforms(3).iter().fold(size, |size, t| t.op().size(size))
    }
}

impl Preset {
    /// What it stands for. Grey images have the mean of the three channels' numbers.
    fn transforms(&self, channels: usize) -> Vec<Transform> {
        let flip = RandomHorizontalFlip { p: 0.5 };
        match self.name {
            PresetName::Imagenet => vec![
                RandomResizedCrop::new(self.side(224), Interpolation::Bilinear).into(),
                flip.into(),
                imagenet(channels),
            ],
            PresetName::Cifar => vec![
                RandomCrop {
                    size: self.side(32),
                    padding: Padding::All(4),
                    padding_mode: Default::default(),
                    fill: Default::default(),
                    pad_if_needed: false,
                }
                .into(),
                flip.into(),
                normalize(channels, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
            ],
            PresetName::Deit => vec![
                RandomResizedCrop::new(self.side(224), Interpolation::Bicubic).into(),
                flip.into(),
                RandAugment::default().into(),
                imagenet(channels),
                RandomErasing::new(0.25, Erased::With(ErasedWith::Random)).into(),
            ],
        }
    }

    fn side(&self, usual: usize) -> Size {
        self.size.unwrap_or(Size::Side(usual))
    }
}

fn imagenet(channels: usize) -> Transform {
    normalize(channels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
}

fn normalize(channels: usize, mean: [f32; 3], std: [f32; 3]) -> Transform {
    let fitted = |values: [f32; 3]| match channels {
        1 => vec![values.iter().sum::<f32>() / 3.0],
        _ => values.to_vec(),
    };
    Normalize { mean: fitted(mean), std: fitted(std) }.into()
}

/// How `data.transforms` may be written; it is read as a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)] // the schema's words
pub(crate) enum PresetOrList {
    /// One after the other.
    List(Vec<Transform>),
    /// A preset of its usual size.
    Name(PresetName),
}

/// Reads `transforms = "imagenet"` as `transforms = [{ kind = "preset", name = "imagenet" }]`.
pub(crate) fn preset_or_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Transform>, D::Error> {
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Vec<Transform>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of transforms or the name of a preset")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
            let name = PresetName::deserialize(name.into_deserializer())?;
            Ok(vec![Preset { name, size: None }.into()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    from.deserialize_any(Either)
}

/// The same list with every preset replaced by what it stands for.
pub fn expand(transforms: &[Transform], channels: usize) -> Vec<Transform> {
    let own = |t: &Transform| match t {
        Transform::Preset(preset) => preset.transforms(channels),
        other => vec![other.clone()],
    };
    transforms.iter().flat_map(own).collect()
}
