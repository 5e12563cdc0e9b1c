//! Schedules against `transformers.get_scheduler` and `torch.optim.lr_scheduler`, every step; plateaus against
//! ReduceLROnPlateau, every evaluation.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use kiln_train::config::{ScheduleConfig, SchedulerType};
use kiln_train::plateau::{Plateau, PlateauState};
use kiln_train::schedule::Schedule;
use serde_json::{Value, json};
use support::{fixture, floats};

#[test]
fn schedules_follow_the_references() {
    let fixture = fixture("schedules.json");
    let cases = fixture["cases"].as_array().unwrap();
    let mut kinds: Vec<&str> = cases.iter().map(|c| c["lr_scheduler_type"].as_str().unwrap()).collect();
    kinds.dedup();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    for case in cases {
        let mut keys = case.clone();
        let table = keys.as_object_mut().unwrap();
        let peak = table.remove("learning_rate").map_or(1.0, |rate| rate.as_f64().unwrap());
        let per_epoch = table.remove("steps_per_epoch").map_or(1, |n| n.as_u64().unwrap());
        let total = table.remove("total_steps").unwrap().as_u64().unwrap();
        let expected = floats(&table.remove("rates").unwrap());
        assert_eq!(expected.len() as u64, total);
        let config: ScheduleConfig = serde_json::from_value(keys.clone()).unwrap();
        let schedule = Schedule::new(&config, peak, total, per_epoch);
        for (step, expected) in expected.into_iter().enumerate() {
            let got = schedule.at(step as u64);
            assert!((got - expected).abs() < 1e-12, "{keys}: step {step}: expected {expected}, got {got}");
        }
    }
}

#[test]
fn fractions_of_steps_are_rounded_up() {
    let at = |keys: Value| {
        let config: ScheduleConfig = serde_json::from_value(keys).unwrap();
        Schedule::new(&config, 1.0, 51, 51)
    };
    assert_eq!(at(json!({"warmup_steps": 0.1})), at(json!({"warmup_steps": 6})));
    let decay = |decay: f64, stable: f64| {
        at(
            json!({"lr_scheduler_type": "warmup_stable_decay", "num_decay_steps": decay, "num_stable_steps": stable}),
        )
    };
    assert_eq!(decay(0.2, 0.5), decay(11.0, 26.0));
    assert_ne!(decay(0.2, 0.5), decay(10.0, 26.0));
}

#[test]
fn schedules_of_one_or_two_steps_have_finite_rates() {
    for kind in SchedulerType::ALL {
        for total in [1, 2, 3, 10] {
            let mut config = ScheduleConfig { lr_scheduler_type: kind, ..ScheduleConfig::default() };
            // A rise of exactly one step has no length.
            config.pct_start = Some(1.0 / total as f64);
            let schedule = Schedule::new(&config, 0.5, total, 1);
            for step in 0..=total {
                let rate = schedule.at(step);
                assert!((0.0..=0.5).contains(&rate), "{kind:?} of {total}: step {step}: {rate}");
            }
        }
    }
}

#[test]
fn plateaus_follow_torch_and_go_on_from_a_saved_state() {
    let fixture = fixture("plateaus.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let mut keys = case.clone();
        let table = keys.as_object_mut().unwrap();
        let higher_is_better = table.remove("mode").unwrap() == "max";
        let peak = table.remove("learning_rate").unwrap().as_f64().unwrap();
        let (metrics, rates) = (floats(&table["metrics"]), floats(&table["rates"]));
        assert!(rates.iter().any(|rate| *rate < peak), "{case}");
        table.retain(|key, _| !["metrics", "rates"].contains(&key.as_str()));
        table.insert("lr_scheduler_type".into(), "reduce_lr_on_plateau".into());
        let rule = Plateau::of(&serde_json::from_value(keys.clone()).unwrap()).unwrap();
        let mut state = PlateauState::new(peak);
        for (i, (number, expected)) in metrics.into_iter().zip(rates).enumerate() {
            // Saved and read back each time: nothing else may matter.
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            state = rule.after(state, Some(number), higher_is_better);
            let got = state.learning_rate;
            assert!((got - expected).abs() < 1e-15, "{keys}: evaluation {i}: expected {expected}, got {got}");
        }
    }
    let rule = Plateau::of(
        &serde_json::from_value(json!({"lr_scheduler_type": "reduce_lr_on_plateau",
        "patience": 0}))
        .unwrap(),
    );
    let undefined = rule.unwrap().after(PlateauState::new(1.0), None, true);
    assert_eq!(
        (undefined.best, undefined.learning_rate),
        (None, 0.1),
        "a number that is not defined is no progress"
    );
}
