//! `train.token_budget`: the run ends with the step that uses it up, has a model, and goes on with a larger one.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::fs;

use support::bits;
use support::runs::{finished, go, newest, resume, train};

#[test]
fn a_budget_of_tokens_ends_a_run_and_a_larger_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("texts.csv");
    // 64 texts of 2, 4, 6 and 8 words: 4 steps a pass.
    let row = |i: usize| format!("{},{}\n", "good film ".repeat(1 + i % 4).trim_end(), i % 2);
    fs::write(&table, "text,label\n".to_string() + &(0..64).map(row).collect::<String>()).unwrap();
    let text = format!(
        "device = \"cpu\"\noutput_dir = {:?}\n[data]\nkind = \"csv\"\ntrain = {table:?}\ntext = \"text\"\nlabel = \"label\"\n\
         [data.tokenizer]\nkind = \"words\"\nmax_length = 16\n[data.loader]\nbatch_size = 16\n[model]\nkind = \"textcnn\"\n\
         [optimizer]\nkind = \"sgd\"\nlearning_rate = 0.1\n[train]\nepochs = 5\n",
        folder.path().join("runs")
    );
    let path = folder.path().join("texts.toml");
    fs::write(&path, text).unwrap();
    let whole = train(&path, &["run_name=whole"]);
    let pass = newest(&whole.run).progress.tokens / 5;
    assert!(whole.steps == 20 && pass >= 320, "{pass} tokens a pass");

    let budget = 2 * pass + 60;
    let short = train(&path, &["run_name=short", &format!("train.token_budget={budget}")]);
    let tokens = newest(&short.run).progress.tokens;
    assert!((budget..budget + pass / 2).contains(&tokens), "{tokens} of {budget}");
    assert!((9..=10).contains(&short.steps), "{}", short.steps);
    assert!(short.stopped_early.unwrap().contains(&format!("{budget} tokens of train.token_budget")));
    assert!(short.model.join("config.json").exists());
    let more = finished(go(&resume(&short.run, &["train.token_budget=100000"]), 0).unwrap());
    assert_eq!((more.steps, more.stopped_early), (20, None));
    assert_eq!(bits(&newest(&more.run).model), bits(&newest(&whole.run).model));
}
