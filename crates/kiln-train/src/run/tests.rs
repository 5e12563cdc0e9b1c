//! One image, plain and turned by EXIF, reaches the net as the same bits in the trainer's evaluation, in `kiln eval` and in
//! `kiln predict`: a spy in the net's place keeps what it is shown.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kiln_core::adapter::Adaptable;
use kiln_core::net::{Adapt, KvCache, Net, ParamInfo, UpdateRule};
use kiln_core::{Gradients, Input, LoadReport, Output, StateDict, WrongInput};
use kiln_data::{Dataset, inputs};
use kiln_eval::{Answer, Bundle, Evaluation, Predictor, Tta};

use super::{ONE_RUN, Run, Session};
use crate::finish::Outcome;
use crate::setup::Start;

/// What nets were shown, in order.
type Shown = Arc<Mutex<Vec<TensorData>>>;

/// A net that keeps its inputs.
struct Spy {
    net: Box<dyn Net>,
    shown: Shown,
}

impl Net for Spy {
    fn apply(&self, x: Input) -> Result<Output, WrongInput> {
        let Input::Image(images) = &x else { panic!("the test has images") };
        self.shown.lock().unwrap().push(images.to_data());
        self.net.apply(x)
    }

    fn next(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Option<Tensor<2>> {
        self.net.next(ids, cache)
    }

    fn init(&self) {
        self.net.init();
    }

    fn gradients(&self, loss: Tensor<1>) -> Gradients {
        self.net.gradients(loss)
    }

    fn update(self: Box<Self>, rule: &mut UpdateRule<'_>) -> Box<dyn Net> {
        Box::new(Self { net: self.net.update(rule), shown: self.shown })
    }

    fn valid(&self) -> Box<dyn Net> {
        Box::new(Self { net: self.net.valid(), shown: Arc::clone(&self.shown) })
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

/// The bits of each image of all batches that were shown, in order.
fn images(shown: &Shown) -> Vec<Vec<u32>> {
    let rows = |data: &TensorData| {
        let size = data.shape().iter().skip(1).product::<usize>();
        let values: Vec<f32> = data.try_to_vec().unwrap();
        let bits = |image: &[f32]| image.iter().map(|value| value.to_bits()).collect();
        values.chunks_exact(size).map(bits).collect::<Vec<Vec<u32>>>()
    };
    std::mem::take(&mut *shown.lock().unwrap()).iter().flat_map(rows).collect()
}

/// A JPEG with the EXIF orientation `turn`.
fn turned(jpeg: &[u8], turn: u8) -> Vec<u8> {
    let tag = [0x12, 0x01, 3, 0, 1, 0, 0, 0, turn, 0, 0, 0];
    let body = [&b"Exif\0\0II*\0"[..], &8u32.to_le_bytes(), &[1, 0], &tag, &[0; 4]].concat();
    let head = [&[0xFF, 0xE1][..], &(body.len() as u16 + 2).to_be_bytes()].concat();
    [&jpeg[..2], &head, &body, &jpeg[2..]].concat()
}

/// One plain and one turned image to validate on, two others to train on.
fn folder(data: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kiln-data/tests/fixtures");
    let jpeg = std::fs::read(fixtures.join("photo.jpg")).unwrap();
    let files = [
        ("train/a/1.jpg", turned(&jpeg, 1)),
        ("train/b/1.jpg", turned(&jpeg, 8)),
        ("validation/a/plain.jpg", jpeg.clone()),
        ("validation/b/turned.jpg", turned(&jpeg, 6)),
    ];
    for (name, bytes) in files {
        let path = data.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn config(data: &Path, out: &Path) -> String {
    format!(
        r#"device = "cpu"
output_dir = {out:?}
[data]
kind = "image_folder"
path = {data:?}
transforms = [
    {{ kind = "random_resized_crop", size = 16 }},
    {{ kind = "random_horizontal_flip" }},
    {{ kind = "color_jitter", brightness = 0.4 }},
    {{ kind = "normalize", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }},
]
loader = {{ batch_size = 2, eval_batch_size = 3 }}
[model]
kind = "cnn"
channels = [4]
hidden = 8
[optimizer]
kind = "adamw"
[train]
epochs = 1
"#
    )
}

#[test]
fn an_image_is_the_same_bits_in_training_eval_and_predict() {
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    folder(&data);
    let text = config(&data, &temporary.path().join("runs"));
    let interrupt = AtomicBool::new(false);
    let mut session = Session { callbacks: Vec::new(), interrupt: &interrupt, process_start: Instant::now() };
    let start = Start::Drafted { text, origin: temporary.path().join("images.toml"), overrides: Vec::new() };
    let shown: Shown = Arc::default();

    let mut run = Run::start(&start, &mut session).unwrap();
    let copy = run.net.valid();
    let net = std::mem::replace(&mut run.net, copy);
    run.net = Box::new(Spy { net, shown: Arc::clone(&shown) });
    let validation = run.dataset.validation.clone().unwrap();
    run.score(&validation, "validation", &mut session).unwrap().unwrap();
    let trained_on = images(&shown);
    let config = run.config.clone();
    let Outcome::Finished(summary) = run.finish(&mut session).unwrap() else { panic!("not interrupted") };
    shown.lock().unwrap().clear();

    let device = Device::flex();
    let spied = || {
        let mut bundle = Bundle::open(&summary.model, &device).unwrap();
        let copy = bundle.model.net.valid();
        let net = std::mem::replace(&mut bundle.model.net, copy);
        bundle.model.net = Box::new(Spy { net, shown: Arc::clone(&shown) });
        bundle
    };
    let bundle = spied();
    let (preprocessor, task) = (bundle.preprocessor.clone(), bundle.task.kind());
    let dataset = Dataset::open_for(&config.data, preprocessor, &bundle.classes, task).unwrap();
    let evaluation = Evaluation {
        net: &*bundle.model.net.valid(),
        task: bundle.task,
        labels: &bundle.classes,
        split: dataset.validation.as_ref().unwrap(),
        preprocessor: &bundle.preprocessor,
        loader: config.data.loader(),
        device: &device,
        tta: Tta::None,
    };
    evaluation.run(&mut |_, _| true).unwrap().unwrap();
    let scored = images(&shown);

    let bundle = spied();
    let asked =
        inputs::open(&data.join("validation").display().to_string(), &bundle.preprocessor, &[]).unwrap();
    for answer in Predictor::new(bundle, device.clone(), 1).predict(asked.map(inputs::Input::read)) {
        assert!(matches!(answer.unwrap(), Answer::Prediction(_)));
    }
    let predicted = images(&shown);

    assert_eq!((trained_on.len(), trained_on[0].len()), (2, 3 * 16 * 16));
    assert_eq!(trained_on, scored);
    assert_eq!(trained_on, predicted);
    assert_ne!(trained_on[0], trained_on[1], "the turned image must come out turned");
}
