//! A base model's folder and an adapter's folder to one folder without adapters.
//! Owns what the merged folder holds; never the arithmetic (`lora`) or the adapter's format (`peft`).
//! `kiln models merge` calls it.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use kiln_core::files::{self, FileError};

use crate::{
    Card, LoraConfig, Model, ModelError, SaveOptions, families, lora, peft, pretrained, save_as, weights,
};

/// Writes the model of `base` with the adapters of `adapter` merged into its weights to `out`, and answers what a
/// person should know of it. A base without a head gets the one that the adapter holds.
///
/// # Errors
/// There is a model in `out`; the adapter is of another base; folders that cannot be read or written.
pub fn merge(base: &Path, adapter: &Path, out: &Path, device: &Device) -> Result<Vec<String>, ModelError> {
    if out.join(crate::card::FILE).exists() {
        let message = format!("{}: there is a model already", out.display());
        return Err(ModelError::config(message, "name a new folder"));
    }
    let own = peft::headed(Card::read(base)?, adapter)?;
    let family = families::of_card(&own, base)?;
    let card = Card { kiln_input: Some(family.input(&own)?), ..own.clone() };
    let mut net = crate::initialised(family, &card, device, 0)?;
    let fitted = pretrained::fit(&*net, weights::read(base)?, family, &card, base)?;
    let (report, notes) = fitted.load(net.as_mut());
    let missing = report.missing.clone();
    let mut model = Model { net, card, report: Some(report), notes };
    let config = LoraConfig { pretrained: Some(adapter.to_path_buf()), ..LoraConfig::default() };
    let lora = lora::attach(&mut model, &config, 0)?;
    if let Some(absent) = missing.iter().find(|name| !lora.trains(name)) {
        let message = format!("neither it nor the base {} holds {absent}", base.display());
        return Err(peft::another_base(adapter, message));
    }
    let mut state = model.net.state();
    lora.merge(&mut state)?;
    // What the base's weights record goes with the files that it speaks of.
    let notes = weights::metadata(base)?;
    let notes: Vec<(&str, &str)> =
        notes.iter().filter(|(key, _)| *key != "format").map(|(k, v)| (k.as_str(), v.as_str())).collect();
    save_as(out, &own, &state, &SaveOptions::default(), &notes)?;
    for name in files::OF_INPUTS {
        let from = base.join(name);
        if from.is_file() {
            let to = out.join(name);
            files::write_atomic(&to, &fs::read(&from).map_err(FileError::at(&from, "read"))?)?;
        }
    }
    Ok(model.notes)
}
