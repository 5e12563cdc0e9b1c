//! A state as one `model.safetensors`, or as shards with an index where it is larger than one file should be.
//! Owns names and division as `transformers` writes them; never a net. `save` calls it, `folder` reads it back.

use std::path::Path;

use burn::tensor::{DType, TensorData};
use kiln_core::StateDict;
use kiln_core::files;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::safetensors::encode;
use super::{INDEX, SAFETENSORS, WeightsError};

/// How a model folder is written: the `[export]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SaveOptions {
    /// Type of the weights on disk. Training computes in float32; scores are those of the float32 weights.
    pub dtype: SaveType,
    /// Largest weights file in MB (1,000,000 bytes); larger models are written as shards with an index.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_shard_mb: u64,
}

/// Types of weights on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaveType {
    /// 32 bits, as trained.
    #[default]
    Float32,
    /// 16 bits with float32's range.
    Bfloat16,
    /// 16 bits, IEEE half precision; values beyond 65504 are refused.
    Float16,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { dtype: SaveType::Float32, max_shard_mb: 5000 } // transformers' 5 GB before its fifth version's 50
    }
}

impl SaveType {
    /// The word in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            SaveType::Float32 => "float32",
            SaveType::Bfloat16 => "bfloat16",
            SaveType::Float16 => "float16",
        }
    }

    fn stored(self) -> DType {
        match self {
            SaveType::Float32 => DType::F32,
            SaveType::Bfloat16 => DType::BF16,
            SaveType::Float16 => DType::F16,
        }
    }
}

/// Writes the weights into `folder`, each file whole and synced, the index last; `notes` stand in the header of each file.
///
/// # Errors
/// The system refuses; a tensor of a type that safetensors lacks, or with a value that the type cannot hold.
pub(crate) fn write(
    folder: &Path,
    state: &StateDict,
    options: &SaveOptions,
    notes: &[(&str, &str)],
) -> Result<(), WeightsError> {
    let cast: Vec<(&String, TensorData)> = state
        .iter()
        .map(|(name, data)| Ok((name, converted(name, data, options.dtype)?)))
        .collect::<Result<_, WeightsError>>()?;
    let shards = divide(&cast, options.max_shard_mb.saturating_mul(1_000_000));
    let metadata = [&[("format", "pt")], notes].concat();
    if let [only] = shards.as_slice() {
        return Ok(files::write_atomic(&folder.join(SAFETENSORS), &encode(only, &metadata)?)?);
    }
    let mut map = Map::new();
    for (k, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", k + 1, shards.len());
        files::write_atomic(&folder.join(&name), &encode(shard, &metadata)?)?;
        map.extend(shard.iter().map(|(tensor, _)| ((*tensor).clone(), json!(name))));
    }
    map.sort_keys();
    let total: usize = cast.iter().map(|(_, data)| data.bytes().len()).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": Value::Object(map)});
    Ok(files::write_atomic(&folder.join(INDEX), format!("{index:#}\n").as_bytes())?)
}

/// Floating point in the type asked for; counters as they are.
fn converted(name: &str, data: &TensorData, to: SaveType) -> Result<TensorData, WeightsError> {
    let float = matches!(data.dtype(), DType::F64 | DType::F32 | DType::F16 | DType::BF16);
    if !float || data.dtype() == to.stored() || to == SaveType::Float32 {
        return Ok(data.clone());
    }
    let cast = data.clone().convert_dtype(to.stored());
    let lost =
        cast.iter::<f32>().zip(data.iter::<f32>()).any(|(new, old)| old.is_finite() && !new.is_finite());
    if lost {
        let message = format!("tensor {name} holds a value that {} cannot", to.name());
        let remedy = "set export.dtype = \"bfloat16\" or \"float32\"";
        return Err(WeightsError::content(Path::new("(to be written)"), message, remedy));
    }
    Ok(cast)
}

type Tensors<'a> = Vec<(&'a String, &'a TensorData)>;

/// In order of names, as many tensors a shard as fit; a tensor that is larger alone has one to itself.
fn divide<'a>(tensors: &'a [(&'a String, TensorData)], limit: u64) -> Vec<Tensors<'a>> {
    let mut shards: Vec<Tensors<'a>> = vec![Vec::new()];
    let mut size = 0;
    for (name, data) in tensors {
        let own = data.bytes().len() as u64;
        if size > 0 && size + own > limit {
            shards.push(Vec::new());
            size = 0;
        }
        size += own;
        if let Some(shard) = shards.last_mut() {
            shard.push((name, data));
        }
    }
    shards
}
