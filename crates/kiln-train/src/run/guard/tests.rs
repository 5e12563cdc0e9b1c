//! Gradients that are planted in some steps of a real run: a net in the net's place answers NaN for the batches that it is
//! told, known by their pixels. Numbers read at once and numbers read late must leave the same bits.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::{Int, Tensor};
use kiln_core::adapter::Adaptable;
use kiln_core::net::{Adapt, KvCache, Net, ParamInfo, UpdateRule};
use kiln_core::{Gradients, Input, LoadReport, Output, StateDict, WrongInput};

use super::super::ONE_RUN;
use super::{Run, Session};
use crate::checkpoint::{self, Checkpoint};
use crate::error::TrainError;
use crate::finish::Outcome;
use crate::setup::Start;

/// The batches that were trained on, by their pixels.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// What becomes of a planted batch.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// NaN in one gradient.
    Gradient,
    /// The update makes a weight infinite.
    Weight,
    /// The forward pass breaks off, as a GPU's does whose memory runs out.
    Memory,
}

struct Plant {
    net: Box<dyn Net>,
    seen: Seen,
    planted: Arc<Vec<Vec<u8>>>,
    kind: Kind,
    armed: Cell<bool>,
}

impl Net for Plant {
    fn apply(&self, x: Input) -> Result<Output, WrongInput> {
        let Input::Image(images) = &x else { panic!("the test has images") };
        if images.device().is_autodiff() {
            let pixels = images.to_data().as_bytes().to_vec();
            self.armed.set(self.armed.get() || self.planted.contains(&pixels));
            if self.kind == Kind::Memory && self.armed.get() {
                panic!("out of device memory allocating 7 bytes");
            }
            self.seen.lock().unwrap().push(pixels);
        }
        self.net.apply(x)
    }

    fn next(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Option<Tensor<2>> {
        self.net.next(ids, cache)
    }

    fn init(&self) {
        self.net.init();
    }

    fn gradients(&self, loss: Tensor<1>) -> Gradients {
        let mut gradients = self.net.gradients(loss);
        if self.kind == Kind::Gradient && self.armed.replace(false) {
            let (_, first) = gradients.0.iter_mut().next().unwrap();
            *first = first.clone().mul_scalar(f32::NAN);
        }
        gradients
    }

    fn update(self: Box<Self>, rule: &mut UpdateRule<'_>) -> Box<dyn Net> {
        let Self { net, seen, planted, kind, armed } = *self;
        let overflow = kind == Kind::Weight && armed.replace(false);
        let mut first = true;
        let net = net.update(&mut |info, value| {
            let new = rule(info, value);
            match overflow && std::mem::replace(&mut first, false) {
                true => new.mul_scalar(f32::INFINITY),
                false => new,
            }
        });
        Box::new(Self { net, seen, planted, kind, armed })
    }

    fn valid(&self) -> Box<dyn Net> {
        self.net.valid()
    }

    fn parameters(&self) -> Vec<ParamInfo> {
        self.net.parameters()
    }

    fn values(&self) -> Vec<(ParamInfo, Tensor<1>)> {
        self.net.values()
    }

    fn statistics(&self) -> Vec<Tensor<1>> {
        self.net.statistics()
    }

    fn set_statistics(&mut self, values: &[Tensor<1>]) {
        self.net.set_statistics(values);
    }

    fn identities(&self) -> BTreeMap<u64, String> {
        self.net.identities()
    }

    fn state(&self) -> StateDict {
        self.net.state()
    }

    fn load_state(&mut self, state: &StateDict) -> LoadReport {
        self.net.load_state(state)
    }

    fn set_trainable(&mut self, trainable: &dyn Fn(&str) -> bool) {
        self.net.set_trainable(trainable);
    }

    fn adaptable(&self) -> Vec<Adaptable> {
        self.net.adaptable()
    }

    fn adapt(&mut self, choose: &mut Adapt<'_>) {
        self.net.adapt(choose);
    }
}

const STEPS: usize = 12;
const BATCHES: usize = 2; // a step

fn text(out: &Path) -> String {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits");
    format!(
        r#"device = "cpu"
output_dir = {out:?}
[data]
kind = "idx"
path = {digits:?}
loader = {{ batch_size = 8, workers = 0 }}
[model]
kind = "resnet"
preset = "cifar20"
[optimizer]
kind = "adamw"
[schedule]
lr_scheduler_type = "constant"
[average]
kind = "ema"
decay = 0.9
update_after_step = 1
[train]
max_steps = {STEPS}
max_grad_norm = 0.5
gradient_accumulation_steps = {BATCHES}
[checkpoint]
every = "4 steps"
keep_last = 100
"#
    )
}

struct Left {
    run: PathBuf,
    seen: Vec<Vec<u8>>,
    end: Result<Outcome, TrainError>,
    _folder: tempfile::TempDir,
}

impl Left {
    fn at(&self, step: u64) -> Checkpoint {
        checkpoint::load(&checkpoint::folder(&self.run.join("checkpoints"), step)).unwrap()
    }

    /// Weights, running statistics, moments, counts and average.
    fn bits(&self, step: u64) -> Vec<(String, Vec<u8>)> {
        let Checkpoint { model, optimizer, average, .. } = self.at(step);
        let all = [Some(model), Some(optimizer), average];
        all.into_iter().flatten().flatten().map(|(name, data)| (name, data.as_bytes().to_vec())).collect()
    }

    /// Lines of the log without what depends on the clock.
    fn lines(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.run.join("metrics.jsonl")).unwrap();
        let clock = [
            "elapsed",
            "data_wait",
            "samples_per_second",
            "step_p50_ms",
            "step_p95_ms",
            "data_wait_share",
            "model_tflops",
            "memory_mib",
        ];
        let line = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            clock.iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(*key)));
            line
        };
        text.lines().map(line).collect()
    }
}

/// A run of the config with these overrides and planted batches.
fn go(overrides: &[&str], late: bool, planted: &[Vec<u8>], kind: Kind) -> Left {
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let interrupt = AtomicBool::new(false);
    let mut session = Session { callbacks: Vec::new(), interrupt: &interrupt, process_start: Instant::now() };
    let start = Start::Drafted {
        text: text(folder.path()),
        origin: folder.path().join("planted.toml"),
        overrides: overrides.iter().map(ToString::to_string).collect(),
    };
    let mut run = Run::start(&start, &mut session).unwrap();
    run.ledger.late = late;
    let seen = Seen::default();
    let copy = run.net.valid();
    let net = std::mem::replace(&mut run.net, copy);
    let planted = Arc::new(planted.to_vec());
    run.net = Box::new(Plant { net, seen: Arc::clone(&seen), planted, kind, armed: Cell::new(false) });
    let path = run.dir.path().to_path_buf();
    let end = run.finish(&mut session);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    Left { run: path, seen, end, _folder: folder }
}

/// The second batch of each of these steps, from 1.
fn batches(of: &[usize]) -> Vec<Vec<u8>> {
    let whole = go(&[], false, &[], Kind::Gradient);
    assert_eq!(whole.seen.len(), STEPS * BATCHES);
    of.iter().map(|step| whole.seen[step * BATCHES - 1].clone()).collect()
}

fn skipped(left: &Left) -> Vec<u64> {
    let lines = left.lines();
    lines
        .iter()
        .filter(|line| line.get("skipped").is_some())
        .map(|line| line["step"].as_u64().unwrap())
        .collect()
}

#[test]
fn numbers_read_late_leave_the_same_bits_and_lines() {
    let plain = go(&[], false, &[], Kind::Gradient);
    let late = go(&[], true, &[], Kind::Gradient);
    for step in [4, 8, 12] {
        assert_eq!(plain.bits(step), late.bits(step), "step {step}");
    }
    assert_eq!(plain.lines(), late.lines());
    assert_eq!(plain.lines().iter().filter(|line| line.get("grad_norm").is_some()).count(), STEPS);
}

#[test]
fn steps_that_are_left_out_leave_every_bit_whenever_the_numbers_are_read() {
    let planted = batches(&[1, 5, 6, 11]);
    let wish = ["train.on_nonfinite=skip", "checkpoint.every=1 steps"];
    let now = go(&wish, false, &planted, Kind::Gradient);
    assert!(now.end.is_ok(), "{:?}", now.end);
    assert_eq!(skipped(&now), [1, 5, 6, 11]);
    for step in [5, 6, 11] {
        assert_eq!(now.bits(step - 1), now.bits(step), "step {step}");
    }
    assert_ne!(now.bits(6), now.bits(7));
    // Nothing was updated in the first step: there is neither state nor average.
    let first = now.at(1);
    assert!(first.optimizer.is_empty() && first.average.is_none());

    let wish = ["train.on_nonfinite=skip"];
    let (now, late) = (go(&wish, false, &planted, Kind::Gradient), go(&wish, true, &planted, Kind::Gradient));
    for step in [4, 8, 12] {
        assert_eq!(now.bits(step), late.bits(step), "step {step}");
    }
    assert_eq!(now.lines(), late.lines());
    // Steps behind a bad one were taken twice.
    assert!(late.seen.len() > now.seen.len());
    assert_eq!(now.seen.len(), STEPS * BATCHES);
    let names =
        now.lines().iter().find(|line| line["step"] == 5).unwrap()["samples"].as_array().unwrap().len();
    assert_eq!(names, 8 * BATCHES);
}

#[test]
fn the_way_back_leaves_what_leaving_out_leaves_and_is_found_again() {
    let planted = batches(&[2, 6, 7]);
    let skip = go(&["train.on_nonfinite=skip"], false, &planted, Kind::Gradient);
    for late in [false, true] {
        let rewind = go(&["train.on_nonfinite=rewind"], late, &planted, Kind::Gradient);
        assert!(rewind.end.is_ok(), "{:?}", rewind.end);
        assert_eq!(skip.bits(12), rewind.bits(12), "late {late}");
        assert_eq!(skip.lines(), rewind.lines(), "late {late}");
        let steps: Vec<u64> = rewind.at(12).progress.left_out.iter().map(|step| step.step).collect();
        assert_eq!(steps, [2, 6, 7]);
    }
}

#[test]
fn an_update_that_makes_a_weight_infinite_is_undone_by_the_way_back_alone() {
    let planted = batches(&[6]);
    for late in [false, true] {
        let rewind = go(&["train.on_nonfinite=rewind"], late, &planted, Kind::Weight);
        assert!(rewind.end.is_ok(), "{:?}", rewind.end);
        assert_eq!(rewind.at(12).progress.left_out[0].step, 6);
        let skip = go(&["train.on_nonfinite=skip"], false, &planted, Kind::Gradient);
        assert_eq!(skip.bits(12), rewind.bits(12));
        for policy in ["stop", "skip"] {
            let wish = format!("train.on_nonfinite={policy}");
            let stopped = go(&[&wish], late, &planted, Kind::Weight);
            let error = stopped.end.as_ref().unwrap_err();
            assert!(matches!(error, TrainError::NonFiniteWeights { step: 6, .. }), "{policy}: {error}");
            let steps = checkpoint::steps(&stopped.run.join("checkpoints")).unwrap();
            assert_eq!(steps, [4], "{policy}");
        }
    }
}

#[test]
fn a_weight_that_is_infinite_at_a_save_is_never_saved() {
    let planted = batches(&[8]);
    for late in [false, true] {
        let stopped = go(&[], late, &planted, Kind::Weight);
        let error = stopped.end.as_ref().unwrap_err();
        assert!(matches!(error, TrainError::NonFiniteWeights { step: 8, .. }), "{error}");
        assert_eq!(checkpoint::steps(&stopped.run.join("checkpoints")).unwrap(), [4]);
        let rewind = go(&["train.on_nonfinite=rewind"], late, &planted, Kind::Weight);
        assert_eq!(rewind.at(12).progress.left_out[0].step, 8);
    }
}

#[test]
fn a_run_stops_at_the_step_and_names_the_samples_of_all_its_batches() {
    let planted = batches(&[6]);
    for late in [false, true] {
        let stopped = go(&[], late, &planted, Kind::Gradient);
        let Err(TrainError::NonFinite { step, what, samples, .. }) = &stopped.end else {
            panic!("{:?}", stopped.end)
        };
        assert_eq!((*step, *what), (6, "gradient norm"));
        assert_eq!(samples.split(", ").count(), 9, "eight and how many more: {samples}");
        let last = stopped.lines().pop().unwrap();
        assert_eq!((&last["step"], &last["stopped"]), (&6.into(), &"gradient norm is NaN".into()));
        assert_eq!(last["samples"].as_array().unwrap().len(), 16);
        assert!(stopped.seen.len() <= (6 + 10) * BATCHES);
    }
}

#[test]
fn patience_with_bad_steps_ends() {
    let every: Vec<usize> = (1..=STEPS).collect();
    let planted = batches(&every);
    let error = go(&["train.on_nonfinite=skip"], true, &planted, Kind::Gradient).end.unwrap_err();
    let TrainError::NonFinite { step, because, .. } = &error else { panic!("{error}") };
    assert_eq!(*step, 10);
    assert!(because.contains("10 steps in a row"), "{error}");
    let error = go(&["train.on_nonfinite=rewind"], false, &planted, Kind::Gradient).end.unwrap_err();
    assert!(matches!(&error, TrainError::NonFinite { step: 11, .. }), "{error}");
}

#[test]
fn memory_that_runs_out_is_said_with_the_way_on_which_leads_to_the_end() {
    let left = go(&[], false, &batches(&[7]), Kind::Memory);
    let Err(error) = &left.end else { panic!("it went on") };
    let text = error.to_string();
    assert!(
        text.starts_with("memory ran out: out of device memory allocating 7 bytes; the newest"),
        "{text}"
    );
    assert!(text.ends_with("step-00000004"), "{text}");
    let TrainError::OutOfMemory(what) = error else { panic!("{error}") };
    let words = what.smaller.clone().unwrap();
    assert_eq!(words, ["data.loader.batch_size=4", "train.gradient_accumulation_steps=4"]);

    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let interrupt = AtomicBool::new(false);
    let mut session = Session { callbacks: Vec::new(), interrupt: &interrupt, process_start: Instant::now() };
    let start = Start::Resume { run: left.run.clone(), config: None, overrides: words.to_vec() };
    let run = Run::start(&start, &mut session).unwrap();
    // Behind the samples of four steps of two batches of eight.
    assert_eq!((run.progress.step, run.progress.skipped, run.progress.batch), (4, 64, 0));
    let Outcome::Finished(summary) = run.finish(&mut session).unwrap() else { panic!("not finished") };
    assert_eq!(summary.steps, STEPS as u64);
    let changed = crate::changes::read(&left.run).unwrap();
    assert_eq!((changed.len(), changed[0].step, changed[0].changes.len()), (1, 4, 2));
    let steps = left.lines().into_iter().filter(|line| line.get("grad_norm").is_some());
    let samples: Vec<u64> = steps.map(|line| line["samples"].as_u64().unwrap()).collect();
    assert_eq!(samples, [16; STEPS]);
}
