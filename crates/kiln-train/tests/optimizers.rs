//! AdamW and SGD against `torch.optim`, 100 steps; schedules against `transformers.get_scheduler`, every step.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use kiln_core::{Forward, Gradients, Net};
use kiln_train::config::{OptimizerConfig, ScheduleConfig};
use kiln_train::optim::Optimizer;
use kiln_train::schedule::Schedule;
use serde_json::{Value, json};
use support::{bits, cpu, fixture, floats};

/// The problem of `make_optimizers.py`: 12 numbers in a `[2, 4]` weight and a `[4]` bias.
#[derive(Module, Debug)]
struct Twelve {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Forward for Twelve {
    type In = Tensor<2>;
    type Out = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val()) + self.bias.val().unsqueeze()
    }
}

fn twelve(device: &Device) -> Box<dyn Net> {
    let start: Vec<f32> = (0..12).map(|i| f64::from(i + 1).sin() as f32).collect();
    Box::new(Twelve {
        weight: Param::from_tensor(Tensor::<1>::from_floats(&start[..8], device).reshape([2, 4])),
        bias: Param::from_tensor(Tensor::from_floats(&start[8..], device)),
    })
}

/// All 12 numbers: the weight's, then the bias's.
fn values(net: &dyn Net) -> Vec<f32> {
    let state = net.state();
    ["weight", "bias"].iter().flat_map(|n| state[*n].as_slice::<f32>().unwrap().to_vec()).collect()
}

fn gradients(net: &dyn Net, t: i32) -> Gradients {
    let all: Vec<f32> = (values(net).iter().enumerate())
        .map(|(i, p)| {
            let i = i as f64;
            (0.5 * (f64::from(*p) - i.cos()) + 0.1 * (0.7 * f64::from(t) + i).sin()) as f32
        })
        .collect();
    let flat = |v: &[f32]| Tensor::<1>::from_floats(v, &Device::flex());
    Gradients([("weight".into(), flat(&all[..8])), ("bias".into(), flat(&all[8..]))].into())
}

fn config(case: &Value) -> OptimizerConfig {
    let mut table = case["options"].clone();
    table["kind"] = case["kind"].clone();
    if let Some(decay) = table.as_object_mut().unwrap().remove("decay_bias") {
        table["decay_bias_and_norm"] = decay;
    }
    serde_json::from_value(table).unwrap()
}

fn rate(case: &Value, t: i32) -> f64 {
    case["options"]["learning_rate"].as_f64().unwrap() * (1.0 - f64::from(t - 1) / 200.0)
}

#[test]
fn a_hundred_steps_follow_torch() {
    let fixture = fixture("optimizers.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let (mut optimizer, mut net) = (Optimizer::new(&config(case)), twelve(&cpu()));
        for t in 1..=100 {
            let g = gradients(&*net, t);
            net = optimizer.step(net, g, rate(case, t));
            let Some(expected) = case["after"].get(t.to_string()) else { continue };
            for (got, expected) in values(&*net).iter().zip(floats(expected)) {
                let distance = (f64::from(*got) - expected).abs();
                assert!(distance < 1e-5, "{case}: step {t}: expected {expected}, got {got}");
            }
        }
    }
}

#[test]
fn a_saved_state_continues_to_the_bit() {
    for kind in [json!({"kind": "adamw"}), json!({"kind": "sgd", "momentum": 0.9, "nesterov": true})] {
        let config: OptimizerConfig = serde_json::from_value(kind).unwrap();
        let (mut optimizer, mut net) = (Optimizer::new(&config), twelve(&cpu()));
        for t in 1..=5 {
            let g = gradients(&*net, t);
            net = optimizer.step(net, g, 0.1);
        }
        let mut again = Optimizer::new(&config);
        let mut copy = twelve(&cpu());
        assert!(copy.load_state(&net.state()).is_exact());
        again.load_state(&optimizer.state(), &*copy, &cpu()).unwrap();
        assert_eq!(bits(&again.state()), bits(&optimizer.state()));
        for t in 6..=10 {
            let (g, h) = (gradients(&*net, t), gradients(&*copy, t));
            net = optimizer.step(net, g, 0.1);
            copy = again.step(copy, h, 0.1);
        }
        assert_eq!(bits(&net.state()), bits(&copy.state()));
        assert_eq!(bits(&optimizer.state()), bits(&again.state()));
    }
}

#[test]
fn a_state_keeps_its_dtype_and_values() {
    let config: OptimizerConfig = serde_json::from_value(json!({"kind": "adamw"})).unwrap();
    let mut optimizer = Optimizer::new(&config);
    let net = optimizer.step(twelve(&cpu()), gradients(&*twelve(&cpu()), 1), 0.1);
    let mut state = optimizer.state();
    let half = state["exp_avg.bias"].clone().convert::<half::f16>();
    state.insert("exp_avg.bias".into(), half.clone());
    optimizer.load_state(&state, &*net, &cpu()).unwrap();
    assert_eq!(optimizer.state()["exp_avg.bias"], half);
}

#[test]
fn a_state_of_another_model_or_rule_is_refused() {
    let adamw: OptimizerConfig = serde_json::from_value(json!({"kind": "adamw"})).unwrap();
    let sgd: OptimizerConfig = serde_json::from_value(json!({"kind": "sgd", "momentum": 0.9})).unwrap();
    let mut optimizer = Optimizer::new(&adamw);
    let net = optimizer.step(twelve(&cpu()), gradients(&*twelve(&cpu()), 1), 0.1);
    let good = optimizer.state();
    let error = Optimizer::new(&sgd).load_state(&good, &*net, &cpu()).unwrap_err().to_string();
    assert!(
        error.contains("momentum_buffer.bias is missing") || error.contains("momentum_buffer.weight"),
        "{error}"
    );
    let mut stray = good.clone();
    stray.insert("exp_avg.other".into(), [1.0f32].into());
    let error = optimizer.load_state(&stray, &*net, &cpu()).unwrap_err().to_string();
    assert!(error.contains("1 of 7 tensors"), "{error}");
    let mut short = good.clone();
    short.insert("exp_avg.bias".into(), [1.0f32].into());
    let error = optimizer.load_state(&short, &*net, &cpu()).unwrap_err().to_string();
    assert!(error.contains("exp_avg.bias: expected 4 elements, got 1"), "{error}");
}

#[test]
fn schedules_follow_transformers() {
    let fixture = fixture("schedules.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 12);
    for case in cases {
        let config: ScheduleConfig = serde_json::from_value(json!({
            "lr_scheduler_type": case["lr_scheduler_type"],
            "warmup_steps": case["warmup_steps"],
            "min_lr_rate": case.get("min_lr_rate"),
        }))
        .unwrap();
        let schedule = Schedule::new(&config, 2.0, case["total_steps"].as_u64().unwrap());
        for (step, factor) in floats(&case["factors"]).into_iter().enumerate() {
            let got = schedule.at(step as u64);
            assert!((got - 2.0 * factor).abs() < 1e-12, "{case}: step {step}: {got}");
        }
    }
}

#[test]
fn a_fraction_of_warm_up_is_rounded_up() {
    let fraction = ScheduleConfig { warmup_steps: 0.1, ..ScheduleConfig::default() };
    let steps = ScheduleConfig { warmup_steps: 6.0, ..ScheduleConfig::default() };
    assert_eq!(Schedule::new(&fraction, 1.0, 51), Schedule::new(&steps, 1.0, 51));
}
