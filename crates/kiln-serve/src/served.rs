//! One version of one model, loaded and warm.
//! Owns what a request needs to know of it, and its batcher; hot swap makes a new one and drops the old.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use kiln_core::TaskKind;
use kiln_data::{DecodedImage, Preprocessor, Raw, Reads};
use kiln_eval::{Bundle, EvalError, Generation, Predictor, Prepared, Takes};

use crate::ServeError;
use crate::batcher::{Batcher, unharmed, within};
use crate::generating::Generating;
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::settings::{Limits, Source};

/// What loading needs beside the folder.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) device: Device,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Lines,
}

/// A model that answers.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) task: TaskKind,
    /// Names of the labels, or of the numbers of a regression.
    pub(crate) classes: Vec<String>,
    pub(crate) preprocessor: Arc<Preprocessor>,
    pub(crate) reads: Reads,
    /// What it takes of clients that have prepared their inputs themselves.
    pub(crate) takes: Option<Takes>,
    pub(crate) work: Work,
}

/// The thread that owns the model.
pub(crate) enum Work {
    /// Labels or numbers, many inputs at a time.
    Batches(Batcher),
    /// Texts that are continued, one at a time.
    Generates(Generating),
}

impl Work {
    /// Inputs that wait.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Work::Batches(batcher) => batcher.depth(),
            Work::Generates(generating) => generating.depth(),
        }
    }
}

impl Served {
    /// Loads, warms up with one input, and starts the batcher.
    pub(crate) fn open(source: &Source, ground: &Ground) -> Result<Self, ServeError> {
        let start = Instant::now();
        let result = Self::opened(source, ground);
        ground.metrics.loaded(&source.name, result.is_ok().then(|| start.elapsed()));
        result
    }

    fn opened(source: &Source, ground: &Ground) -> Result<Self, ServeError> {
        let Source { name, version, folder } = source;
        let fault = |error: EvalError| ServeError::Model {
            name: name.clone(),
            version: *version,
            error: Box::new(error),
        };
        let bundle = Bundle::open(folder, &ground.device).map_err(fault)?;
        let (task, takes) = (bundle.task.kind(), bundle.takes());
        let (classes, preprocessor) = (bundle.classes.clone(), bundle.preprocessor.clone());
        let reads = preprocessor.reads();
        let limits = ground.limits;
        let mut predictor = Predictor::new(bundle, ground.device.clone(), limits.max_batch);
        let generates = task == TaskKind::CausalLanguageModeling;
        let warm = match generates {
            true => warm_up_generation(&mut predictor),
            false => warm_up(&mut predictor, &reads, limits.max_batch),
        };
        warm.map_err(|e| fault(EvalError::Read(e)))?;
        let (metrics, log) = (ground.metrics.clone(), ground.log.clone());
        let work = match generates {
            true => Generating::start(name, predictor, limits.max_queue, metrics, log).map(Work::Generates),
            false => Batcher::start(name, predictor, limits, metrics, log).map(Work::Batches),
        };
        let (name, version, work) = (name.clone(), version.to_string(), work.map_err(ServeError::Start)?);
        Ok(Self { name, version, task, classes, preprocessor, reads, takes, work })
    }
}

/// Continues a made-up token by two, the first by a whole text and the second by what is cached.
fn warm_up_generation(predictor: &mut Predictor) -> Result<(), String> {
    let how = Generation { max_new_tokens: 2, ..Generation::default() };
    let work = || {
        let predictor: &mut Predictor = predictor;
        predictor.generator().tokens(&[vec![0]], &how, &mut |_, _| Ok(false)).map_err(|e| e.to_string())
    };
    unharmed(work).and_then(|tokens| tokens).map(|_| ())
}

/// Answers one made-up input alone and two together, so that the first client does not wait for kernels to be chosen
/// and memory to be had. An input that the program refuses (an image of one fixed size) warms nothing up and is no fault.
fn warm_up(predictor: &mut Predictor, reads: &Reads, max_batch: usize) -> Result<(), String> {
    let raw = match reads {
        Reads::Image => {
            Raw::Image(DecodedImage { height: 64, width: 64, channels: 3, pixels: vec![128; 64 * 64 * 3] })
        }
        Reads::Text { pair: false } => Raw::Text("warm up".into()),
        Reads::Text { pair: true } => Raw::Pair("warm".into(), "up".into()),
        Reads::Row { numbers, categories } => {
            Raw::Row { numbers: vec![0.0; numbers.len()], categories: vec![String::new(); categories.len()] }
        }
    };
    let preprocessor = predictor.bundle().preprocessor.clone();
    let one = || Prepared::new(&preprocessor, raw.clone(), "the warm-up");
    for n in [1, 2.min(max_batch)] {
        let Ok(inputs) = (0..n).map(|_| one()).collect::<Result<Vec<_>, _>>() else { return Ok(()) };
        within(predictor, inputs, false)?;
    }
    Ok(())
}
