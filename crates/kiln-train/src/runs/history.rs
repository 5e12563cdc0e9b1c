//! `metrics.jsonl` read back whole: the training loss by step, and every evaluation.
//! Owns the meaning of its lines; a last line that a killed process left half written is no fault.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use kiln_core::event::Metrics;
use kiln_core::files::FileError;
use serde_json::Value;

use super::unreadable;
use crate::error::TrainError;
use crate::progress::Scored;

/// An evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Which split.
    pub split: String,
    /// Its numbers.
    pub scored: Scored,
    /// Whether it was the best so far.
    pub is_best: bool,
}

/// What a run wrote down.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Training loss by optimizer step.
    pub losses: Vec<(u64, f64)>,
    /// In the order of the file.
    pub evaluations: Vec<Evaluated>,
    /// The newest step's line.
    pub newest: Option<Metrics>,
}

impl History {
    /// Reads a run's `metrics.jsonl`; one that is not there yet is empty.
    ///
    /// # Errors
    /// The file cannot be read, or a line but the last is no JSON object.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let mut history = Self::default();
        let mut file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(history),
            Err(e) => return Err(FileError::at(path, "open")(e).into()),
        };
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let bytes = file.read_until(b'\n', &mut text).map_err(FileError::at(path, "read"))?;
            if bytes == 0 || !text.ends_with(b"\n") {
                break;
            }
            match serde_json::from_slice(&text) {
                Ok(line) => history.add(line),
                Err(e) => return Err(unreadable(path, format!("line {number}: {e}"))),
            }
        }
        Ok(history)
    }

    fn add(&mut self, line: Metrics) {
        if let Some(evaluated) = evaluated(&line) {
            self.evaluations.push(evaluated);
        } else if let Some((step, loss)) = trained(&line) {
            self.losses.push((step, loss));
            self.newest = Some(line);
        }
    }

    /// The evaluations of the validation split.
    pub fn validation(&self) -> impl Iterator<Item = &Evaluated> {
        self.evaluations.iter().filter(|e| e.split == "validation")
    }

    /// The metric to draw beside the loss: `chosen`, or where that is the loss, the first that was evaluated.
    pub fn beside_loss(&self, chosen: &str) -> Option<String> {
        match chosen {
            "loss" => self.validation().find_map(|e| e.scored.metrics.keys().next().cloned()),
            name => Some(name.to_string()),
        }
    }

    /// A number of the validation split by step: `loss` or a metric, where it is defined.
    pub fn curve(&self, name: &str) -> Vec<(u64, f64)> {
        let points = self.validation().map(|e| (e.scored.step, number(&e.scored, name)));
        points.filter_map(|(step, value)| Some((step, value?))).collect()
    }
}

/// `loss` or a metric of an evaluation; `None` where it is not defined.
pub(super) fn number(scored: &Scored, name: &str) -> Option<f64> {
    match name {
        "loss" => Some(scored.loss),
        name => scored.metrics.get(name).and_then(Value::as_f64),
    }
}

/// The evaluation that a line tells of.
pub(super) fn evaluated(line: &Metrics) -> Option<Evaluated> {
    let split = line.get("split")?.as_str()?.to_string();
    let (step, loss) = (line.get("step")?.as_u64()?, line.get("loss")?.as_f64()?);
    let is_best = line.get("is_best").and_then(Value::as_bool).unwrap_or(false);
    let ours = |key: &str| ["step", "split", "loss", "is_best"].contains(&key);
    let metrics = line.iter().filter(|(key, _)| !ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    Some(Evaluated { split, scored: Scored { step, loss, metrics }, is_best })
}

/// Step and loss of a training step's line.
pub(super) fn trained(line: &Metrics) -> Option<(u64, f64)> {
    let of_split = line.contains_key("split");
    (!of_split).then(|| Some((line.get("step")?.as_u64()?, line.get("loss")?.as_f64()?)))?
}

/// At most `columns` points: the mean of each of as many equal parts of the steps from `first` to `last`, at its mean
/// step. What is not finite is left out.
pub fn means(points: &[(u64, f64)], first: u64, last: u64, columns: usize) -> Vec<(f64, f64)> {
    let span = (last.saturating_sub(first) + 1) as f64;
    let mut sums = vec![(0.0, 0.0, 0.0); columns];
    for (step, value) in
        points.iter().filter(|(step, value)| value.is_finite() && (first..=last).contains(step))
    {
        let column = ((step - first) as f64 / span * columns as f64) as usize;
        let sum = &mut sums[column.min(columns.saturating_sub(1))];
        *sum = (sum.0 + *step as f64, sum.1 + value, sum.2 + 1.0);
    }
    sums.into_iter().filter(|sum| sum.2 > 0.0).map(|(step, value, n)| (step / n, value / n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_and_a_half_written_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let good = "{\"step\":1,\"epoch\":0.5,\"loss\":2.0}\n{\"step\":2,\"skipped\":\"x\",\"loss_scale\":2.0}\n\
                    {\"step\":2,\"loss\":1.0,\"epoch\":1.0}\n{\"step\":2,\"split\":\"train\",\"bad_samples\":1}\n\
                    {\"step\":2,\"split\":\"validation\",\"loss\":1.5,\"accuracy\":0.5,\"auc\":null,\"is_best\":true}\n";
        std::fs::write(&path, format!("{good}{{\"step\":3,\"lo")).unwrap();
        let history = History::read(&path).unwrap();
        assert_eq!(history.losses, [(1, 2.0), (2, 1.0)]);
        assert_eq!(history.evaluations.len(), 1);
        assert_eq!((history.curve("loss"), history.curve("accuracy")), (vec![(2, 1.5)], vec![(2, 0.5)]));
        assert!(history.curve("auc").is_empty());
        assert_eq!(history.newest.unwrap()["epoch"], 1.0);
        std::fs::write(&path, good.replace("{\"step\":2,\"loss\"", "\"step\":2,\"loss\"")).unwrap();
        let fault = History::read(&path).unwrap_err().to_string();
        assert!(fault.contains("metrics.jsonl") && fault.contains("line 3"), "{fault}");
        assert_eq!(History::read(&folder.path().join("none")).unwrap(), History::default());
    }

    #[test]
    fn many_points_become_means() {
        let points: Vec<(u64, f64)> = (1..=1000).map(|step| (step, step as f64)).collect();
        let means = means(&points, 1, 1000, 10);
        assert_eq!(means.len(), 10);
        assert_eq!((means[0], means[9]), ((50.5, 50.5), (950.5, 950.5)));
        assert_eq!(super::means(&[(1, f64::NAN), (2, 3.0)], 1, 2, 5), [(2.0, 3.0)]);
    }
}
