//! Which of a model's files kiln and its peers read: configuration, tokenizer, and the weights once.
//! Owns the choice; `weights` in kiln-models reads the same names. Never touches a file.

use std::collections::BTreeSet;

use kiln_core::files::OF_INPUTS;
use serde_json::Value;

/// Small files that say what the model is; those that say how its input is made come too.
const OF_MODEL: [&str; 2] = ["adapter_config.json", "config.json"];

/// Weights, the best first; an index stands for its shards.
const WEIGHTS: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
];

/// The end of an index's name.
const INDEX: &str = ".index.json";

/// What is pulled: `weights` is one of the small and large files, and where it is an index its shards follow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) small: Vec<String>,
    pub(crate) weights: String,
}

impl Wanted {
    /// Of all the files that there are.
    pub(crate) fn among(files: &[String]) -> Result<Self, &'static str> {
        let has = |name: &str| files.iter().any(|file| file == name);
        if !has("config.json") && !has("adapter_config.json") {
            return Err("config.json");
        }
        let adapter = !has("config.json");
        let of_kind = |name: &&&str| name.starts_with("adapter_") == adapter;
        let known = WEIGHTS.iter().filter(of_kind).find(|name| has(name)).map(|name| (*name).to_owned());
        // timm's own pages and others: one file of any name
        let single = |end: &str| {
            let mut found = files.iter().filter(|file| !file.contains('/') && file.ends_with(end));
            found.next().filter(|_| found.next().is_none()).cloned()
        };
        let weights = known.or_else(|| single(".safetensors")).or_else(|| single(".bin"));
        let small = OF_MODEL.iter().chain(&OF_INPUTS).filter(|name| has(name));
        let small = small.map(|name| (*name).to_owned()).collect();
        Ok(Self { small, weights: weights.ok_or("safetensors or PyTorch weights")? })
    }

    /// Whether the weights are many files.
    pub(crate) fn is_sharded(&self) -> bool {
        self.weights.ends_with(INDEX)
    }
}

/// The shards that an index names, each a file of the same folder.
pub(crate) fn shards(index: &str) -> Result<BTreeSet<String>, String> {
    let index: Value = serde_json::from_str(index).map_err(|e| e.to_string())?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or("it has no weight_map")?;
    let mut shards = BTreeSet::new();
    for shard in map.values() {
        match shard.as_str() {
            Some(name) if is_plain(name) => shards.insert(name.to_owned()),
            _ => return Err(format!("weight_map names {shard}, expected a file of the same folder")),
        };
    }
    Ok(shards)
}

/// A file name and nothing else.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(files: &[&str]) -> Result<Wanted, &'static str> {
        Wanted::among(&files.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn weights_come_once_and_safetensors_first() {
        let both =
            among(&["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx"]);
        assert_eq!(
            both.unwrap(),
            Wanted { small: vec!["config.json".into()], weights: "model.safetensors".into() }
        );
        let old = among(&["config.json", "pytorch_model.bin", "rust_model.ot"]).unwrap();
        assert_eq!(old.weights, "pytorch_model.bin");
        let large =
            among(&["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json"]);
        assert!(large.unwrap().is_sharded());
        let adapter = among(&["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]).unwrap();
        assert_eq!(adapter.weights, "adapter_model.safetensors");
        let odd = among(&["config.json", "timm.safetensors", "nested/other.safetensors"]).unwrap();
        assert_eq!(odd.weights, "timm.safetensors");
    }

    #[test]
    fn a_model_without_its_parts_is_refused() {
        assert_eq!(among(&["model.safetensors"]), Err("config.json"));
        assert_eq!(among(&["config.json", "tf_model.h5"]), Err("safetensors or PyTorch weights"));
    }

    #[test]
    fn shards_stay_in_their_folder() {
        let index = |shard: &str| format!(r#"{{"weight_map": {{"a": "one.safetensors", "b": "{shard}"}}}}"#);
        assert_eq!(shards(&index("two.safetensors")).unwrap().len(), 2);
        for bad in ["../two.safetensors", "/etc/passwd", "", ".hidden"] {
            assert!(shards(&index(bad)).unwrap_err().contains("same folder"), "{bad}");
        }
        assert!(shards("{}").unwrap_err().contains("weight_map"));
        assert!(shards("[").is_err());
    }
}
