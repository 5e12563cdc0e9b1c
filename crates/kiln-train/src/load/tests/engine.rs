//! Rules of memory, sampling and distillation: what is refused, by key and with a remedy, and what is not.

use super::{IMAGES, TEXT, folder, load, refused};

fn loads(text: &str, overrides: &[&str]) {
    let (_folder, path) = folder(text);
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    if let Err(report) = load(&path, &overrides) {
        panic!("{overrides:?}: {report}");
    }
}

#[test]
fn activation_checkpointing_is_for_nets_of_blocks() {
    let on = "train.activation_checkpointing=true";
    loads(TEXT, &[on]);
    loads(IMAGES, &["train.activation_checkpointing=false"]);
    refused(
        IMAGES,
        &[on],
        "`activation_checkpointing` is for nets of blocks, which [model] kind = \"cnn\" is not",
    );
    refused(TEXT, &["train.gradient_checkpointing=true"], "unknown key `gradient_checkpointing`");
}

#[test]
fn balanced_sampling_needs_one_class_a_sample_and_the_choice_of_samples() {
    let on = "data.loader.sampling=balanced";
    loads(IMAGES, &[on]);
    loads(IMAGES, &[on, "data.loader.samples_per_epoch=100", "data.loader.shuffle=false"]);
    loads(TEXT, &[on, "data.loader.length_bucketing=true"]);
    refused(IMAGES, &[on, "data.loader.shuffle_by=shards"], "goes with no shuffle_by");
    refused(TEXT, &[on, "data.loader.max_tokens=100"], "goes with no max_tokens");
    refused(IMAGES, &[on, "loss.class_weights=balanced"], "would balance twice");
    refused(IMAGES, &[on, "data.loader.stopping_strategy=all_exhausted"], "is for sources with weights");
    refused(IMAGES, &["data.loader.samples_per_epoch=100"], "is for sources with weights");
    refused(IMAGES, &["data.loader.sampling=inverse"], "sampling");
    let values = "task.kind=regression";
    let found = super::records(TEXT, &[on, values]);
    assert!(found.iter().any(|fault| fault.message.contains("needs one class a sample")), "{found:#?}");
}

#[test]
fn distillation_is_for_classes_and_names_a_teacher() {
    let words = |more: &str| format!("{IMAGES}[distillation]\nteacher = \"there\"\n{more}");
    loads(&words(""), &[]);
    refused(
        &words("").replace("\"there\"\n", "\"nowhere\"\n").replace("path = \"nowhere\"", "path = \"there\""),
        &[],
        "`distillation.teacher` is not there",
    );
    refused(&words("weight = 0"), &[], "`distillation.weight` = 0");
    refused(&words("weight = 1.5"), &[], "distillation.weight");
    refused(&words("temperature = 0"), &[], "distillation.temperature");
    refused(&words(""), &["task.kind=regression"], "[distillation] is for one class a sample");
    let weighed = "loss.class_weights=balanced";
    loads(&words(""), &[weighed]);
    refused(&words(""), &[weighed, "train.gradient_accumulation_steps=2"], "weigh batches by their labels");
    refused(&format!("{IMAGES}[distillation]\ntemperature = 2.0\n"), &[], "teacher");
}

#[test]
fn batches_to_learn_by_heart_are_counted_from_one() {
    loads(IMAGES, &["train.overfit_batches=1"]);
    refused(IMAGES, &["train.overfit_batches=0"], "overfit_batches");
}
