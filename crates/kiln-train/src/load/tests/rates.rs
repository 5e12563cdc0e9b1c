//! Rules of `[optimizer]` and `[schedule]`: what is refused, by key and with a remedy, and what is not.

use super::{IMAGES, TEXT, folder, from_resolved_toml, load, records, refused};
use crate::config::{OptimizerConfig, SchedulerType};

#[test]
fn every_kind_of_optimizer_loads_and_is_read_back() {
    for kind in ["adamw", "sgd", "adam", "rmsprop", "adagrad", "adafactor", "lion", "lamb", "muon"] {
        let (_folder, path) = folder(&TEXT.replace("adamw", kind));
        let loaded = load(&path, &[]).unwrap_or_else(|report| panic!("{kind}: {report}"));
        assert_eq!(loaded.config.optimizer.word(), kind);
        let again = from_resolved_toml(&loaded.resolved.to_toml(), &path).unwrap();
        assert_eq!((&again.config, again.resolved.hash()), (&loaded.config, loaded.resolved.hash()));
    }
    let muon = format!("{}\n[optimizer.adamw]\nlearning_rate = 2e-4\n", TEXT.replace("adamw", "muon"));
    let (_folder, path) = folder(&muon);
    let loaded = load(&path, &["optimizer.adamw.weight_decay=0.5".into()]).unwrap();
    let OptimizerConfig::Muon(muon) = loaded.config.optimizer else { panic!("not Muon") };
    assert_eq!((muon.adamw.learning_rate, muon.adamw.weight_decay), (2e-4, 0.5));
    assert_eq!((muon.learning_rate, muon.adamw.betas), (1e-3, [0.9, 0.999]));
}

#[test]
fn numbers_that_an_optimizer_cannot_have_are_refused() {
    let of = |kind: &str| TEXT.replace("adamw", kind);
    for kind in ["adam", "lion", "lamb"] {
        refused(&of(kind), &["optimizer.betas=[1.0, 0.9]"], "`optimizer.betas` must be");
    }
    refused(&of("adam"), &["optimizer.momentum=0.9"], "unknown key `momentum`");
    refused(&of("rmsprop"), &["optimizer.alpha=1.5"], "optimizer.alpha");
    refused(&of("adagrad"), &["optimizer.lr_decay=-1"], "optimizer.lr_decay");
    refused(&of("adafactor"), &["optimizer.eps=[1e-7, 2.0]"], "`optimizer.eps` must be from 0 to 1");
    refused(&of("adafactor"), &["optimizer.beta2_decay=0.8"], "optimizer.beta2_decay");
    refused(&of("adafactor"), &["optimizer.clip_threshold=0.5"], "optimizer.clip_threshold");
    let muon = of("muon");
    refused(&muon, &["optimizer.adamw.betas=[0.9, 1.0]"], "`optimizer.adamw.betas` must be");
    refused(&muon, &["optimizer.learning_rate=0"], "`optimizer.learning_rate` is 0");
    refused(&muon, &["optimizer.adamw.learning_rate=0"], "`optimizer.adamw.learning_rate` is 0");
    refused(&muon, &["optimizer.adamw_parameters=['head.[']"], "is not a pattern");
    refused(&muon, &["optimizer.ns_steps=0"], "optimizer.ns_steps");
    refused(&muon, &["optimizer.adjust_lr_fn=moonshot"], "optimizer.adjust_lr_fn");
}

fn curve(kind: &str, keys: &str) -> String {
    format!("{IMAGES}[schedule]\nlr_scheduler_type = \"{kind}\"\n{keys}")
}

#[test]
fn every_curve_loads_with_its_own_keys_and_no_others() {
    let good = [
        ("constant", vec![]),
        ("cosine_with_min_lr", vec!["min_lr_rate = 0.1"]),
        ("cosine_with_restarts", vec!["num_cycles = 3"]),
        ("polynomial", vec!["lr_end = 1e-5", "power = 2.0"]),
        ("inverse_sqrt", vec!["timescale = 100"]),
        (
            "warmup_stable_decay",
            vec![
                "num_decay_steps = 0.2",
                "num_stable_steps = 10",
                "decay_type = \"1-sqrt\"",
                "min_lr_ratio = 0.1",
            ],
        ),
        ("step", vec!["step_size = \"30 epochs\"", "gamma = 0.5"]),
        ("multistep", vec!["milestones = [\"3 epochs\", \"500 steps\"]", "gamma = 0.5"]),
        ("exponential", vec!["gamma = 0.9", "gamma_per = \"epoch\""]),
        (
            "one_cycle",
            vec![
                "pct_start = 0.2",
                "div_factor = 10",
                "final_div_factor = 100",
                "anneal_strategy = \"linear\"",
                "three_phase = true",
            ],
        ),
        (
            "reduce_lr_on_plateau",
            vec![
                "factor = 0.5",
                "patience = 2",
                "threshold = 0.01",
                "threshold_mode = \"abs\"",
                "cooldown = 1",
                "min_lr = 1e-6",
            ],
        ),
    ];
    for (kind, keys) in &good {
        let (_folder, path) = folder(&curve(kind, &keys.join("\n")));
        let loaded = load(&path, &[]).unwrap_or_else(|report| panic!("{kind}: {report}"));
        let again = from_resolved_toml(&loaded.resolved.to_toml(), &path).unwrap();
        assert_eq!(again.config, loaded.config);
        for (other, foreign) in &good {
            for key in foreign.iter().filter(|key| !keys.contains(key)) {
                let name = key.split(' ').next().unwrap();
                let own =
                    good.iter().find(|(own, _)| own == kind).unwrap().1.iter().any(|k| k.starts_with(name));
                if own {
                    continue;
                }
                let all = format!("{}\n{key}\n", keys.join("\n"));
                let found = records(&curve(kind, &all), &[]);
                assert_eq!(found.len(), 1, "{kind} with {key} of {other}: {found:#?}");
                let expected = format!("`{name}` is of lr_scheduler_type = ");
                assert!(found[0].message.starts_with(&expected), "{found:#?}");
            }
        }
    }
    let owners = records(&curve("cosine", "gamma = 0.5"), &[]);
    let expected = "`gamma` is of lr_scheduler_type = \"step\" or \"multistep\" or \"exponential\" alone";
    assert_eq!(owners[0].message, expected);
    assert_eq!(SchedulerType::ALL.len(), good.len() + 2, "linear and cosine have no keys either");
}

#[test]
fn keys_that_a_curve_cannot_do_without_are_asked_for() {
    for (kind, keys, missing) in [
        ("cosine_with_min_lr", "", "min_lr_rate"),
        ("warmup_stable_decay", "", "num_decay_steps"),
        ("step", "gamma = 0.5", "step_size"),
        ("multistep", "", "milestones"),
        ("exponential", "gamma = 0.9", "gamma_per"),
        ("exponential", "gamma_per = \"step\"", "gamma"),
    ] {
        refused(&curve(kind, keys), &[], &format!("lr_scheduler_type = \"{kind}\" needs `{missing}`"));
    }
}

#[test]
fn curves_that_cannot_be_gone_through_are_refused() {
    refused(&curve("one_cycle", "warmup_steps = 10"), &[], "`warmup_steps` is not for");
    refused(&curve("one_cycle", "three_phase = true\npct_start = 0.6"), &[], "leaves no end");
    refused(&curve("polynomial", "lr_end = 0.5"), &[], "not below the learning rate of 0.001");
    refused(&curve("polynomial", ""), &["optimizer.learning_rate=1e-8"], "not below the learning rate");
    refused(&curve("step", "step_size = \"3 minutes\""), &[], "`step_size` is a time");
    refused(&curve("multistep", "milestones = [\"3 steps\", \"3 minutes\"]"), &[], "`milestones` is a time");
    refused(&curve("multistep", "milestones = []"), &[], "`milestones` is empty");
    let plateau = curve("reduce_lr_on_plateau", "");
    refused(&plateau.replace("validation_fraction = 0.1", ""), &[], "needs validation data");
    refused(&plateau, &["schedule.min_lr=0.5"], "not below the learning rate of 0.001");
    refused(&plateau, &["schedule.factor=1.0"], "schedule.factor");
    refused(&curve("step", "step_size = 30"), &[], "schedule.step_size");
    refused(
        &curve("warmup_stable_decay", "num_decay_steps = 2.5"),
        &[],
        "neither whole steps nor a fraction",
    );
    let long = "num_decay_steps = 0.6\nnum_stable_steps = 0.6";
    refused(&curve("warmup_stable_decay", long), &[], "more than all steps");
    let steps = "warmup_steps = 10\nnum_decay_steps = 50\nnum_stable_steps = 41";
    let steps = curve("warmup_stable_decay", steps).replace("epochs = 1", "max_steps = 100");
    refused(&steps, &[], "more than all steps");
    assert_eq!(records(&steps, &["schedule.num_stable_steps=40"]), []);
}
