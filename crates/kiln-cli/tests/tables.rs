//! Regression through the real binary: rows with categories, texts from scratch and images of a table, trained, scored
//! and asked; scores are those of the answers, in the label's own units.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Said, bmp, kiln, write};

/// Pseudo-random in [0, 1).
fn noise(i: u64) -> f64 {
    let x = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 32)) >> 11) as f64 / (1u64 << 53) as f64
}

fn head(folder: &Path) -> String {
    format!("device = \"cpu\"\noutput_dir = \"{}\"\n", folder.join("runs").display())
}

fn trained(config: &Path) -> std::path::PathBuf {
    Said::by(kiln().arg("train").arg(config)).expect(0, &[]).run()
}

fn scores(run: &Path) -> Value {
    serde_json::from_str(&Said::by(kiln().arg("eval").arg(run).arg("--json")).expect(0, &[]).out).unwrap()
}

fn answers(model: &Path, input: &Path) -> Vec<Value> {
    let said = Said::by(kiln().arg("predict").arg(model).arg(input)).expect(0, &[]);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const COLOURS: [(&str, f64); 3] = [("red", 40.0), ("green", 0.0), ("blue", -40.0)];

/// price = 1000 + 30 length - 20 width + colour's share, and twice that.
fn house(i: u64) -> (String, f64) {
    let (length, width) = (10.0 * noise(2 * i), 5.0 * noise(2 * i + 1));
    let (colour, share) = COLOURS[(i % 3) as usize];
    let price = 1000.0 + 30.0 * length - 20.0 * width + share;
    (format!("{length:.4},{width:.4},{colour},{price:.3},{:.3}\n", 2.0 * price), price)
}

fn houses(folder: &Path, model: &str) -> std::path::PathBuf {
    let title = "length,width,colour,price,double\n".to_string();
    let table = |rows: std::ops::Range<u64>| rows.fold(title.clone(), |text, i| text + &house(i).0);
    write(folder, "train.csv", table(0..240));
    write(folder, "test.csv", table(240..300));
    let config = format!(
        r#"{}
[task]
kind = "regression"
standardize = true
[data]
kind = "csv"
train = "train.csv"
test = "test.csv"
validation_fraction = 0.1
features = ["length", "width"]
categories = ["colour"]
label = "price"
[data.loader]
batch_size = 24
[model]
{model}
[optimizer]
kind = "adamw"
learning_rate = 5e-3
[train]
epochs = 25
"#,
        head(folder)
    );
    write(folder, "houses.toml", config)
}

#[test]
fn rows_of_numbers_and_categories() {
    for model in [
        "kind = \"mlp\"\nhidden = [32]",
        "kind = \"ft_transformer\"\nn_blocks = 1\nd_block = 16\nattention_n_heads = 2\nattention_dropout = 0.0",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = trained(&houses(folder.path(), model));
        let scores = scores(&run);
        let number = |key: &str| scores[key].as_f64().unwrap_or_else(|| panic!("{key} in {scores}"));
        assert!(number("r2") > 0.9 && number("pearson") > 0.95 && number("spearman") > 0.95, "{scores}");
        // The answers, in prices, have the error that was scored.
        let lines = answers(&run, &folder.path().join("test.csv"));
        assert_eq!(lines.len(), 60);
        let squares: f64 = lines
            .iter()
            .zip(240..)
            .map(|(line, i)| (line["values"]["price"].as_f64().unwrap() - house(i).1).powi(2))
            .sum();
        let rmse = (squares / 60.0).sqrt();
        assert!((rmse / number("rmse") - 1.0).abs() < 1e-3, "{rmse}, scored {scores}");
        // The loss is of what was learned: standardised prices.
        assert!(number("loss") < 0.1, "{scores}");
        let page = Said::by(kiln().arg("eval").arg(&run)).expect(0, &[]).out;
        assert!(page.contains("rmse") && page.contains("spearman"), "{page}");
    }
}

#[test]
fn several_numbers_and_a_colour_never_seen() {
    let folder = tempfile::tempdir().unwrap();
    let config = houses(folder.path(), "kind = \"mlp\"");
    let words = ["data.label=['price', 'double']", "train.epochs=10"];
    let run = Said::by(kiln().arg("train").arg(&config).args(words)).expect(0, &[]).run();
    let scores = scores(&run);
    assert!(scores["r2"].as_f64().unwrap() > 0.5 && scores.get("pearson").is_none(), "{scores}");
    let unseen = write(folder.path(), "unseen.csv", "length,width,colour\n5,2,violet\n5,2,\n5,2,red\n");
    let lines = answers(&run, &unseen);
    assert_eq!(lines[0]["values"], lines[1]["values"], "unknown and missing are one");
    assert_ne!(lines[0]["values"], lines[2]["values"]);
    assert!(lines[0]["values"]["double"].as_f64().unwrap() > 1500.0, "{lines:?}");
    let broken = write(folder.path(), "broken.csv", "length,width,colour\n5,wide,red\n5,,red\n5,2,red\n");
    let said = Said::by(kiln().arg("predict").arg(&run).arg(&broken)).expect(4, &["2 of 3 inputs"]);
    assert!(said.out.contains("broken.csv:2") && said.out.contains("\\\"wide\\\""), "{}", said.out);
}

#[test]
fn texts_with_words_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: u64| {
        let words = ["bad", "dull", "good", "great", "fine"];
        let pick = |k: u64| (noise(7 * i + k) * 5.0) as usize;
        let chosen: Vec<usize> = (0..1 + i % 4).map(pick).collect();
        let score = *chosen.iter().max().unwrap();
        let text: Vec<&str> = chosen.into_iter().map(|w| words[w]).collect();
        format!("{},{score}\n", text.join(" "))
    };
    let table = |rows: std::ops::Range<u64>| rows.fold("text,score\n".to_string(), |text, i| text + &row(i));
    write(folder.path(), "train.csv", table(0..200));
    write(folder.path(), "test.csv", table(200..250));
    let config = format!(
        r#"{}
[task]
kind = "regression"
[data]
kind = "csv"
train = "train.csv"
test = "test.csv"
text = "text"
label = "score"
[data.tokenizer]
kind = "words"
max_length = 16
[model]
kind = "textcnn"
embedding_size = 16
num_filters = 8
dropout = 0.1
[optimizer]
kind = "adamw"
learning_rate = 1e-2
[train]
epochs = 10
"#,
        head(folder.path())
    );
    let run = trained(&write(folder.path(), "texts.toml", config));
    let scores = scores(&run);
    assert!(scores["r2"].as_f64().unwrap() > 0.7, "{scores}");
    assert!(run.join("model/tokenizer.json").is_file());
    let said = Said::by(kiln().arg("predict").arg(&run).arg("a GREAT film")).expect(0, &[]);
    let line: Value = serde_json::from_str(&said.out).unwrap();
    assert!(line["values"]["score"].as_f64().unwrap() > 1.5, "{line}");
}

#[test]
fn images_of_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = "file,brightness\n".to_string();
    for i in 0..60u64 {
        let light = (250.0 * noise(i)) as u8;
        write(folder.path(), &format!("images/{i}.bmp"), bmp(8, 8, [light; 3]));
        table += &format!("images/{i}.bmp,{light}\n");
    }
    write(folder.path(), "list.csv", table);
    let config = format!(
        r#"{}
[task]
kind = "regression"
standardize = true
[data]
kind = "csv"
path = "list.csv"
test_fraction = 0.2
image = "file"
label = "brightness"
[data.loader]
batch_size = 8
[model]
kind = "cnn"
channels = [4]
hidden = 8
[optimizer]
kind = "adamw"
learning_rate = 1e-2
[train]
epochs = 15
"#,
        head(folder.path())
    );
    let run = trained(&write(folder.path(), "images.toml", config));
    let scores = scores(&run);
    assert!(scores["r2"].as_f64().unwrap() > 0.5, "{scores}");
    let lines = answers(&run, &folder.path().join("images"));
    assert!(lines.iter().all(|line| line["values"]["brightness"].is_f64()), "{lines:?}");
}

#[test]
fn several_classes_of_the_images_of_a_table_and_a_table_to_predict() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = "file,tags\n".to_string();
    for i in 0..60u64 {
        let bright = |channel: u64| noise(3 * i + channel) > 0.5;
        let colour = [0, 1, 2].map(|channel| if bright(channel) { 250 } else { 5 }); // blue, green, red
        write(folder.path(), &format!("images/{i}.bmp"), bmp(8, 8, colour));
        let names = [(2, "red"), (1, "green"), (0, "blue")];
        let tags: Vec<&str> = names.into_iter().filter(|(c, _)| bright(*c)).map(|(_, name)| name).collect();
        table += &format!("images/{i}.bmp,{}\n", tags.join("|"));
    }
    write(folder.path(), "list.csv", table);
    let config = format!(
        r#"{}
[task]
kind = "multi_label_classification"
[data]
kind = "csv"
path = "list.csv"
test_fraction = 0.2
image = "file"
label = "tags"
label_separator = "|"
[data.loader]
batch_size = 8
[model]
kind = "mlp"
hidden = [16]
[optimizer]
kind = "adamw"
learning_rate = 1e-2
[train]
epochs = 20
"#,
        head(folder.path())
    );
    let run = trained(&write(folder.path(), "tags.toml", config));
    let scores = scores(&run);
    assert!(scores["micro_f1"].as_f64().unwrap() > 0.9, "{scores}");

    // A table of paths, beside which the images are, in any order of columns.
    let list = write(folder.path(), "ask.csv", "id,file\n7,images/3.bmp\n8,images/5.bmp\n9,images/3.bmp\n");
    let (rows, alone) = (answers(&run, &list), answers(&run, &folder.path().join("images/3.bmp")));
    assert_eq!(rows.len(), 3);
    for place in [0, 2] {
        assert_eq!(rows[place]["labels"], alone[0]["labels"], "{rows:?} {alone:?}");
        assert_eq!(rows[place]["probabilities"], alone[0]["probabilities"]);
    }
    let expected: Vec<&str> = [(0, "blue"), (1, "green"), (2, "red")]
        .into_iter()
        .filter(|(channel, _)| noise(3 * 5 + channel) > 0.5)
        .map(|(_, name)| name)
        .collect();
    assert_eq!(rows[1]["labels"], serde_json::json!(expected), "{rows:?}");
    let gone = write(folder.path(), "gone.csv", "file\nimages/3.bmp\nimages/none.bmp\n");
    let said = Said::by(kiln().arg("predict").arg(&run).arg(&gone)).expect(4, &["images/none.bmp"]);
    assert!(said.out.lines().count() == 2 && said.out.contains("gone.csv:2"), "{}", said.out);
}
