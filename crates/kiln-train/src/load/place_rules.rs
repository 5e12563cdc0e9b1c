//! Rules of where samples come from: which keys name a split, and whether the files that the config names are there.
//! Owns no look inside a file (`Dataset::check` does that); part of `load`.

use std::path::PathBuf;

use kiln_core::config::MISSING_FILE;
use kiln_data::config::DataConfig;

use super::Rules;

/// The keys that both shapes of `[data]` share.
pub(super) struct Sources<'a> {
    path: &'a Option<PathBuf>,
    train: &'a Option<PathBuf>,
    validation: &'a Option<PathBuf>,
    test: &'a Option<PathBuf>,
    validation_fraction: Option<f64>,
    test_fraction: Option<f64>,
    pub(super) classes: &'a Option<Vec<String>>,
}

macro_rules! sources {
    ($data:expr) => {
        Sources {
            path: &$data.path,
            train: &$data.train,
            validation: &$data.validation,
            test: &$data.test,
            validation_fraction: $data.validation_fraction,
            test_fraction: $data.test_fraction,
            classes: &$data.classes,
        }
    };
}

/// Said of weights that are not there, which may be a name and no path.
const FROM_HUB: &str = "to pull a model org/name from the Hugging Face Hub, build kiln with that: \
                        cargo build --release -p kiln-cli --features hub";

fn sources_of(data: &DataConfig) -> Sources<'_> {
    match data {
        DataConfig::ImageFolder(data)
        | DataConfig::Idx(data)
        | DataConfig::Webdataset(data)
        | DataConfig::Npz(data) => {
            sources!(data)
        }
        DataConfig::Csv(data)
        | DataConfig::Tsv(data)
        | DataConfig::Jsonl(data)
        | DataConfig::Parquet(data) => sources!(data),
        DataConfig::Conll(data) => sources!(data),
        DataConfig::Text(data) => Sources {
            path: &data.path,
            train: &data.train,
            validation: &data.validation,
            test: &data.test,
            validation_fraction: data.validation_fraction,
            test_fraction: None,
            classes: &None,
        },
    }
}

/// Whether a `[data]` without sources brings samples to validate on.
fn validates(data: &DataConfig) -> bool {
    let s = sources_of(data);
    let in_folder =
        |names: &[&str]| s.path.as_ref().is_some_and(|p| names.iter().any(|n| p.join(n).exists()));
    s.validation.is_some()
        || s.validation_fraction.is_some_and(|fraction| fraction > 0.0)
        || match data {
            DataConfig::ImageFolder(_) => in_folder(&["validation", "val", "valid"]),
            DataConfig::Idx(_) => {
                in_folder(&["validation-images-idx3-ubyte", "validation-images-idx3-ubyte.gz"])
            }
            DataConfig::Parquet(_) | DataConfig::Webdataset(_) | DataConfig::Npz(_) => {
                kiln_data::holds_validation(data)
            }
            _ => false,
        }
}

impl<'a> Rules<'a> {
    pub(super) fn sources(&self) -> Sources<'a> {
        sources_of(&self.config.data)
    }

    /// Each split comes from one place.
    pub(super) fn places(&mut self) {
        let s = self.sources();
        let neither = s.path.is_none() && s.train.is_none();
        self.fault_if(
            neither,
            "data",
            "no samples: set `path` or `train`",
            "for example: path = \"my-data\"",
        );
        let both = s.path.is_some() && s.train.is_some();
        self.fault_if(both, "data.train", "both `path` and `train` are set", "keep one of them");
        for (name, file, fraction) in [
            ("validation", s.validation, s.validation_fraction.filter(|&f| f > 0.0)),
            ("test", s.test, s.test_fraction.filter(|&f| f > 0.0)),
        ] {
            let message = format!("both `{name}` and `{name}_fraction` are set");
            let twice = file.is_some() && fraction.is_some();
            self.fault_if(twice, &format!("data.{name}_fraction"), message, "keep one of them");
        }
        let sum = s.validation_fraction.unwrap_or(0.0) + s.test_fraction.unwrap_or(0.0);
        let message =
            format!("`validation_fraction` and `test_fraction` add up to {sum}: nothing is left to train on");
        self.fault_if(sum >= 1.0, "data.test_fraction", message, "make their sum smaller than 1");
        self.classes(s.classes.as_deref());
    }

    fn classes(&mut self, classes: Option<&[String]>) {
        let Some(classes) = classes else { return };
        let task = self.config.task.kind();
        let message =
            format!("`data.classes` does nothing in [task] kind = \"{task}\", which has no classes");
        self.fault_if(!task.has_classes(), "data.classes", message, "leave it out");
        let few = format!("`data.classes` names {} class, at least 2 are needed", classes.len());
        self.fault_if(
            classes.len() < 2,
            "data.classes",
            few,
            "name all classes, or leave the key out to find them",
        );
        let twice = classes.iter().enumerate().find(|(i, name)| classes[..*i].contains(name));
        if let Some((_, name)) = twice {
            self.fault(
                "data.classes",
                format!("`data.classes` names \"{name}\" twice"),
                "name each class once",
            );
        }
    }

    /// Whether there will be samples to validate on. A folder's own splits are looked up on the disk.
    pub(super) fn has_validation(&self) -> bool {
        let data = &self.config.data;
        let own = sources_of(data);
        own.validation.is_some() || data.parts().iter().any(validates)
    }

    /// Files and folders that the config names.
    pub(super) fn files(&mut self) {
        let s = self.sources();
        let tokenizer = match &self.config.data {
            DataConfig::Text(text) => text.tokenizer.path.clone(),
            _ => self.tokenizer_config().and_then(|tokenizer| tokenizer.path.clone()),
        };
        let pretrained = self.config.model.pretrained().cloned();
        let adapter = self.config.lora.as_ref().and_then(|lora| lora.pretrained.clone());
        let teacher = self.config.distillation.as_ref().map(|own| own.teacher.clone());
        let shards = matches!(self.config.data, DataConfig::Webdataset(_));
        let mut paths: Vec<(String, &Option<PathBuf>)> = vec![
            ("data.path".into(), s.path),
            ("data.train".into(), s.train),
            ("data.validation".into(), s.validation),
            ("data.test".into(), s.test),
            ("data.tokenizer.path".into(), &tokenizer),
            ("model.pretrained".into(), &pretrained),
            ("lora.pretrained".into(), &adapter),
            ("distillation.teacher".into(), &teacher),
        ];
        for (k, source) in self.config.data.sources().iter().enumerate() {
            let own = [
                ("path", &source.path),
                ("train", &source.train),
                ("validation", &source.validation),
                ("test", &source.test),
            ];
            paths.extend(own.map(|(key, path)| (format!("data.sources.{k}.{key}"), path)));
        }
        let sources = self.config.data.parts();
        let shards = shards || sources.iter().any(|own| matches!(own, DataConfig::Webdataset(_)));
        for (key, path) in paths {
            let key = key.as_str();
            // A variable that is not set has its own fault, and leaves its name in the path.
            let named = path.as_ref().filter(|path| !path.to_string_lossy().contains("${"));
            let named = named.filter(|path| !(shards && kiln_data::is_pattern(path)));
            if let Some(path) = named.filter(|path| !path.exists()) {
                let message = format!("`{key}` is not there: {}", path.display());
                let relative = "paths in a config are relative to its folder, those on the command line to the current one";
                let remedy = match key.ends_with(".pretrained") {
                    true => format!("{relative}; {FROM_HUB}"),
                    false => relative.into(),
                };
                self.faults.push(self.resolved.fault_of(MISSING_FILE, key, message, remedy));
            }
        }
        let kind = self.config.model.kind();
        let encoder = ["bert", "roberta", "distilbert"].contains(&kind);
        // A run's model is in its `model/`.
        let described = |folder: &PathBuf| {
            ["config.json", "model/config.json"].iter().any(|card| folder.join(card).exists())
        };
        let incomplete = |folder: &PathBuf| encoder && folder.exists() && !described(folder);
        if let Some(folder) = pretrained.filter(incomplete) {
            let message = format!("`model.pretrained` holds no config.json: {}", folder.display());
            let remedy = format!(
                "kind = \"{kind}\" starts from a Hugging Face folder with config.json and model.safetensors"
            );
            self.faults.push(self.resolved.fault_of(MISSING_FILE, "model.pretrained", message, remedy));
        }
    }
}
