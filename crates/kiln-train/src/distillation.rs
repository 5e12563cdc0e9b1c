//! `[distillation]`: learning from a teacher's answers beside the labels (Hinton et al., 2015, arXiv 1503.02531).
//! Owns the teacher, what it must share with the run, and how both losses are put together; the formula is kiln-nn's. The
//! teacher answers the very batch that the student learns from, augmented and mixed, and never trains.
//!
//! Shapes: `B` batch, `T` tokens, `K` classes.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use kiln_core::{Input, Net, Output, Table, Target, Tokens};
use kiln_data::Dataset;
use kiln_eval::Bundle;
use kiln_nn::loss::distillation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::TrainError;

/// A trained model whose answers are learned beside the labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DistillationConfig {
    /// The teacher: a model folder, or a run. It has the run's classes and reads what the run's samples become.
    #[schemars(extend("format" = "path"))]
    pub teacher: PathBuf,
    /// What both models' scores are divided by: higher shows more of what the teacher thinks of the other classes.
    #[serde(default = "temperature")]
    #[schemars(range(min = 0.01, max = 1000.0))]
    pub temperature: f64,
    /// Share of the teacher's loss (times the temperature squared); the rest is the labels'.
    #[serde(default = "weight")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
}

fn temperature() -> f64 {
    2.0
}

fn weight() -> f64 {
    0.5
}

/// A net that answers what another one learns.
pub(crate) struct Teacher {
    net: Box<dyn Net>,
    /// The teacher's place of each of the run's classes, where they are in another order.
    places: Option<Tensor<1, Int>>,
    temperature: f64,
    weight: f64,
}

impl Teacher {
    /// The config's teacher, if it has one, on the run's device.
    ///
    /// # Errors
    /// The folder is no model, learned something else, has other classes, or reads other numbers.
    pub(crate) fn open(
        config: &Config,
        dataset: &Dataset,
        device: &Device,
    ) -> Result<Option<Self>, TrainError> {
        let Some(own) = &config.distillation else { return Ok(None) };
        let folder = model_of(&own.teacher);
        let device = device.clone().inner();
        let bundle = Bundle::open(&folder, &device)?;
        let (task, wanted) = (bundle.task.kind(), config.task.kind());
        if task != wanted {
            let problem = format!("{} learned {task}, this run learns {wanted}", folder.display());
            return Err(fault(problem, "give a teacher of the same task"));
        }
        let places = places(&folder, &bundle.classes, &dataset.classes)?;
        if let Some(why) = bundle.preprocessor.cannot_read(&dataset.preprocessor) {
            let problem = format!("{} cannot read the batches of this run: {why}", folder.display());
            return Err(fault(problem, "prepare the samples as the teacher's were, or give another teacher"));
        }
        let places = places.map(|places| Tensor::from_data(places.as_slice(), &device));
        let net = bundle.model.net;
        Ok(Some(Self { net, places, temperature: own.temperature, weight: own.weight }))
    }

    /// The teacher's answer to a batch.
    ///
    /// # Errors
    /// It reads another kind of input.
    pub(crate) fn answer(&self, input: &Input) -> Result<Output, TrainError> {
        Ok(match (self.net.apply(without_graph(input.clone()))?, &self.places) {
            (output, None) => output,
            (Output::Logits(logits), Some(places)) => Output::Logits(logits.select(1, places.clone())),
            (Output::TokenLogits(logits), Some(places)) => {
                Output::TokenLogits(logits.select(2, places.clone()))
            }
        })
    }

    /// The labels' loss and the teacher's, `[1]`.
    ///
    /// # Errors
    /// The answers of both differ in shape.
    pub(crate) fn mixed(
        &self,
        hard: Tensor<1>,
        student: Output,
        teacher: Output,
        target: &Target,
    ) -> Result<Tensor<1>, TrainError> {
        let soft = match (student, teacher) {
            (Output::Logits(student), Output::Logits(teacher)) if student.dims() == teacher.dims() => {
                distillation(student, Tensor::from_inner(teacher), self.temperature, None)
            }
            (Output::TokenLogits(student), Output::TokenLogits(teacher))
                if student.dims() == teacher.dims() =>
            {
                let [b, t, k] = student.dims();
                let counted = match target {
                    Target::Tokens(tags) => {
                        Some(tags.clone().greater_equal_elem(0).float().reshape([b * t, 1]))
                    }
                    _ => None,
                };
                let teacher = Tensor::from_inner(teacher.reshape([b * t, k]));
                distillation(student.reshape([b * t, k]), teacher, self.temperature, counted)
            }
            _ => {
                let problem = "the teacher's answers have another shape than the student's".into();
                return Err(fault(problem, "give a teacher of the same task and classes"));
            }
        };
        Ok(hard.mul_scalar(1.0 - self.weight) + soft.mul_scalar(self.weight))
    }
}

/// Whether a config's teacher has these classes, by its card alone.
///
/// # Errors
/// It has others.
pub(crate) fn check(config: &Config, classes: &[String]) -> Result<(), TrainError> {
    let Some(own) = &config.distillation else { return Ok(()) };
    let folder = model_of(&own.teacher);
    match kiln_models::brought_classes(&folder) {
        Some(theirs) => places(&folder, &theirs, classes).map(drop),
        None => Ok(()),
    }
}

/// A run's model, or the folder itself.
pub(crate) fn model_of(folder: &Path) -> PathBuf {
    let inside = folder.join("model");
    match folder.join("config.toml").is_file() && inside.is_dir() {
        true => inside,
        false => folder.to_path_buf(),
    }
}

/// Where the teacher has each of the run's classes; `None` where it is the same place.
fn places(folder: &Path, teacher: &[String], own: &[String]) -> Result<Option<Vec<i64>>, TrainError> {
    if teacher == own {
        return Ok(None);
    }
    let found = own.iter().map(|class| teacher.iter().position(|other| other == class).map(|at| at as i64));
    match found.collect::<Option<Vec<i64>>>().filter(|_| teacher.len() == own.len()) {
        Some(places) => Ok(Some(places)),
        None => {
            let problem = format!(
                "the classes of {} are [{}], those of this run [{}]",
                folder.display(),
                teacher.join(", "),
                own.join(", ")
            );
            Err(fault(
                problem,
                "the teacher must have learned the same classes, by name; their order may differ",
            ))
        }
    }
}

fn without_graph(input: Input) -> Input {
    match input {
        Input::Image(image) => Input::Image(image.inner()),
        Input::Tokens(Tokens { ids, mask, types }) => {
            Input::Tokens(Tokens { ids: ids.inner(), mask: mask.inner(), types: types.inner() })
        }
        Input::Table(Table { numbers, categories }) => Input::Table(Table {
            numbers: numbers.map(Tensor::inner),
            categories: categories.map(Tensor::inner),
        }),
    }
}

fn fault(problem: String, remedy: &'static str) -> TrainError {
    TrainError::Teacher { problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn classes_are_found_by_name_and_others_are_named() {
        let (own, folder) = (names(&["a", "b", "c"]), Path::new("teacher"));
        assert_eq!(places(folder, &own, &own).unwrap(), None);
        assert_eq!(places(folder, &names(&["c", "a", "b"]), &own).unwrap(), Some(vec![1, 2, 0]));
        for other in [names(&["a", "b"]), names(&["a", "b", "d"]), names(&["a", "b", "c", "d"])] {
            let error = places(folder, &other, &own).unwrap_err().to_string();
            assert!(
                error.contains(&format!("[{}]", other.join(", "))) && error.contains("[a, b, c]"),
                "{error}"
            );
        }
    }
}
