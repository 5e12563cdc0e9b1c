//! What a pretrained folder says of its images becomes the default of `data.transforms`, where the config says nothing:
//! a checkpoint that is shown other pixels than it learned from answers badly, and nobody is told.
//! Owns that default; a config's own transforms always win. Part of `load`.

use std::path::{Path, PathBuf};

use kiln_data::config::{
    CenterCrop, DataConfig, Interpolation, Normalize, Resize, Size, TextTransform, Transform, expand,
};
use kiln_models::{BroughtPreprocessing, brought_preprocessing};

use crate::config::Config;

/// The transforms that the pretrained folder asks for; `None` where the config has its own or the folder says nothing.
///
/// # Errors
/// The folder asks for what kiln does not have.
pub(super) fn transforms(config: &Config, is_set: bool) -> Result<Option<Vec<Transform>>, String> {
    let parts = config.data.parts();
    let channels = match parts.first().unwrap_or(&config.data) {
        DataConfig::ImageFolder(data) | DataConfig::Webdataset(data) | DataConfig::Npz(data) => {
            data.channels.unwrap_or(3)
        }
        DataConfig::Idx(data) => data.channels.unwrap_or(1),
        DataConfig::Csv(data)
        | DataConfig::Tsv(data)
        | DataConfig::Jsonl(data)
        | DataConfig::Parquet(data)
            if data.image.is_some() =>
        {
            data.channels.unwrap_or(3)
        }
        _ => return Ok(None),
    };
    let Some(folder) = config.model.pretrained().filter(|path| !is_set && path.is_dir()) else {
        return Ok(None);
    };
    let folder = model_folder(folder);
    if let Some(own) = saved_by_kiln(&folder) {
        return Ok(Some(own));
    }
    match brought_preprocessing(&folder) {
        Some(brought) => of(&brought, channels).map(|list| Some(list).filter(|list| !list.is_empty())),
        None => Ok(None),
    }
}

/// The normalisers of a text model that kiln trained; `None` where the config has text transforms of its own or the folder
/// has no such.
pub(super) fn text_transforms(config: &Config, is_set: bool) -> Option<Vec<TextTransform>> {
    config.data.tokenizer()?;
    let folder = config.model.pretrained().filter(|path| !is_set && path.is_dir())?;
    let text = std::fs::read_to_string(model_folder(folder).join("tokenizer_config.json")).ok()?;
    let mut file: serde_json::Value = serde_json::from_str(&text).ok()?;
    let list = file.get_mut("kiln")?.get_mut("text_transforms")?.take();
    let list: Vec<TextTransform> = serde_json::from_value(list).ok()?;
    let own: Vec<TextTransform> = list.into_iter().filter(TextTransform::is_normalizer).collect();
    (!own.is_empty()).then_some(own)
}

/// The config's own transforms with its presets replaced by what they stand for; `None` where it has no preset.
pub(super) fn expanded(data: &DataConfig) -> Option<Vec<Transform>> {
    let (transforms, channels) = match data {
        DataConfig::ImageFolder(images) | DataConfig::Webdataset(images) | DataConfig::Npz(images) => {
            (&images.transforms, images.channels.unwrap_or(3))
        }
        DataConfig::Idx(images) => (&images.transforms, images.channels.unwrap_or(1)),
        DataConfig::Csv(table)
        | DataConfig::Tsv(table)
        | DataConfig::Jsonl(table)
        | DataConfig::Parquet(table) => (&table.transforms, table.channels.unwrap_or(3)),
        DataConfig::Conll(_) | DataConfig::Text(_) => return None,
    };
    let preset = transforms.iter().any(|transform| matches!(transform, Transform::Preset(_)));
    preset.then(|| expand(transforms, channels))
}

/// What a person should know of own transforms: that they leave out a normalisation that the folder asks for.
pub(super) fn not_normalised(config: &Config) -> Option<String> {
    let transforms = match &config.data {
        DataConfig::ImageFolder(data)
        | DataConfig::Idx(data)
        | DataConfig::Webdataset(data)
        | DataConfig::Npz(data) => &data.transforms,
        _ => return None,
    };
    let normalised = transforms.iter().any(|transform| matches!(transform, Transform::Normalize(_)));
    let folder =
        config.model.pretrained().filter(|path| path.is_dir() && !normalised && !transforms.is_empty())?;
    let brought = brought_preprocessing(&model_folder(folder))?;
    let (mean, std) = (brought.mean?, brought.std?);
    Some(format!(
        "data.transforms has no normalize, but the pretrained folder was trained with mean = {mean:?}, std = {std:?}"
    ))
}

/// A run's model is in its `model/`.
fn model_folder(path: &Path) -> PathBuf {
    let model = path.join("model");
    if model.join("config.json").is_file() && !path.join("config.json").is_file() {
        model
    } else {
        path.into()
    }
}

/// The exact transforms of a model that kiln trained.
fn saved_by_kiln(folder: &Path) -> Option<Vec<Transform>> {
    let text = std::fs::read_to_string(folder.join("preprocessor_config.json")).ok()?;
    let mut file: serde_json::Value = serde_json::from_str(&text).ok()?;
    serde_json::from_value(file.get_mut("kiln")?.get_mut("transforms")?.take()).ok()
}

/// Resize, crop, normalise, as the checkpoint's own library evaluates it.
fn of(brought: &BroughtPreprocessing, channels: usize) -> Result<Vec<Transform>, String> {
    let interpolation = match brought.interpolation.as_deref() {
        None | Some("bilinear") => Interpolation::Bilinear,
        Some("bicubic") => Interpolation::Bicubic,
        Some("lanczos") => Interpolation::Lanczos,
        Some(other) => return Err(other.to_string()),
    };
    let resize = |size| Resize { size, interpolation, max_size: None }.into();
    let mut list = Vec::new();
    if let Some([height, width]) = brought.size {
        let whole = Size::HeightWidth([height, width]);
        match brought.crop_fraction {
            Some(share) if share > 0.0 && share < 1.0 => {
                let side = (height.min(width) as f64 / share).floor() as usize;
                list.push(resize(Size::Side(side)));
                list.push(CenterCrop { size: whole }.into());
            }
            _ => list.push(resize(whole)),
        }
    }
    let numbers = |list: &Vec<f64>| list.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    if let (Some(mean), Some(std)) = (&brought.mean, &brought.std)
        && mean.len() == channels
        && std.len() == channels
    {
        list.push(Normalize { mean: numbers(mean), std: numbers(std) }.into());
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_shown_what_it_learned_from() {
        let timm = BroughtPreprocessing {
            mean: Some(vec![0.5; 3]),
            std: Some(vec![0.25; 3]),
            size: Some([224, 224]),
            interpolation: Some("bicubic".into()),
            crop_fraction: Some(0.875),
        };
        let normalize: Transform = Normalize { mean: vec![0.5; 3], std: vec![0.25; 3] }.into();
        let interpolation = Interpolation::Bicubic;
        let crop = CenterCrop { size: Size::HeightWidth([224, 224]) }.into();
        let resize = |size| Transform::from(Resize { size, interpolation, max_size: None });
        assert_eq!(of(&timm, 3).unwrap(), [resize(Size::Side(256)), crop, normalize.clone()]);
        let whole = BroughtPreprocessing { crop_fraction: None, ..timm.clone() };
        let resize = resize(Size::HeightWidth([224, 224]));
        assert_eq!(of(&whole, 3).unwrap(), [resize.clone(), normalize]);
        assert_eq!(of(&whole, 1).unwrap(), [resize], "numbers for three channels are none for one");
        let hamming = BroughtPreprocessing { interpolation: Some("hamming".into()), ..timm };
        assert_eq!(of(&hamming, 3), Err("hamming".to_string()));
    }
}
