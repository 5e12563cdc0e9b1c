//! `kiln init` and `kiln train` without a config: for every kind of data a config that passes `kiln check` and trains.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;

use support::{Said, bmp, kiln, root, write};

fn init(folder: &Path, data: &str, more: &[&str]) -> (Said, String) {
    let said =
        Said::by(kiln().current_dir(folder).args(["init", data, "-o", "made.toml", "--force"]).args(more));
    let text = std::fs::read_to_string(folder.join("made.toml")).unwrap_or_default();
    (said, text)
}

/// Inits, which checks, and trains two steps; every phrase must be in the config.
#[track_caller]
fn trains(folder: &Path, data: &str, more: &[&str], phrases: &[&str]) -> String {
    let (said, text) = init(folder, data, more);
    said.expect(0, &["made.toml: ok"]);
    phrases.iter().for_each(|phrase| assert!(text.contains(phrase), "{phrase:?} in\n{text}"));
    let train = ["train", "made.toml", "train.max_steps=2", "device=cpu", "--plain"];
    let run = Said::by(kiln().current_dir(folder).args(train)).expect(0, &["2 steps"]).run();
    assert!(folder.join(&run).join("model/config.json").is_file());
    text
}

/// `n` images of two classes below `root`.
fn images(root: &Path, n: u32, side: u32) {
    for i in 0..n {
        let class = ["cat", "dog"][i as usize % 2];
        write(root, &format!("{class}/{i:03}.bmp"), bmp(side, side, [i as u8, 3, (i / 2) as u8]));
    }
}

#[test]
fn folders_of_images() {
    let dir = tempfile::tempdir().unwrap();
    images(&dir.path().join("photos"), 40, 12);
    let text = trains(
        dir.path(),
        "photos",
        &[],
        &[
            "kind = \"image_folder\"",
            "path = \"photos\"",
            "validation_fraction = 0.1",
            "kind = \"cnn\"",
            "size = 12, padding = 1",
        ],
    );
    assert!(text.contains("all 12 wide and 12 high") && !text.contains("standardize"), "{text}");
    // Splits of their own are kept.
    for split in ["train", "val", "test"] {
        let shift = split.len() as u32; // other images
        for i in 0..8 {
            let class = ["cat", "dog"][i as usize % 2];
            write(
                dir.path(),
                &format!("split/{split}/{class}/{i}.bmp"),
                bmp(60, 70 + shift, [i as u8, shift as u8, 0]),
            );
        }
    }
    let text = trains(
        dir.path(),
        "split",
        &["model.preset=cifar20"],
        &["preset = \"cifar20\"", "random_resized_crop\", size = 32"],
    );
    assert!(!text.contains("_fraction"), "{text}");
}

#[test]
fn tables_of_text() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["alpha", "beta", "gamma", "delta", "epsilon"];
    let sentence = |i: usize| {
        (0..7).map(|k| words[(i * (k + 1) + k * k) % 5]).collect::<Vec<_>>().join(" ") + &format!(" {i}")
    };
    let label = |i: usize| if (i * 3) % 7 < 3 { "neg" } else { "pos" };
    let csv: String = (0..60).map(|i| format!("{i},{},{}\n", sentence(i), label(i))).collect();
    write(dir.path(), "reviews.csv", format!("id,review,sentiment\n{csv}"));
    trains(
        dir.path(),
        "reviews.csv",
        &[],
        &[
            "kind = \"csv\"",
            "text = \"review\"",
            "label = \"sentiment\"",
            "2 classes: neg, pos",
            "kind = \"textcnn\"",
            "left out: id",
        ],
    );
    let jsonl: String = (0..60)
        .map(|i| serde_json::json!({"text": sentence(i), "label": i % 2}).to_string() + "\n")
        .collect();
    write(dir.path(), "rows.jsonl", jsonl);
    trains(dir.path(), "rows.jsonl", &[], &["kind = \"jsonl\"", "text = \"text\"", "label = \"label\""]);
    // A folder of tables without headers: columns by place, splits by name.
    for (name, from) in [("train", 0), ("dev", 100), ("test", 200)] {
        let rows: String = (from..from + 40).map(|i| format!("{}\t{}\n", sentence(i), i % 2)).collect();
        write(dir.path(), &format!("sst/{name}.tsv"), rows);
    }
    trains(
        dir.path(),
        "sst",
        &[],
        &[
            "header = false",
            "text = 0",
            "label = 1",
            "train = \"sst/train.tsv\"",
            "validation = \"sst/dev.tsv\"",
            "test = \"sst/test.tsv\"",
        ],
    );
}

#[test]
fn tables_of_columns() {
    let dir = tempfile::tempdir().unwrap();
    let diabetes = root().join("datasets/diabetes/train.csv").display().to_string();
    let text = trains(
        dir.path(),
        &diabetes,
        &["data.label=progression"],
        &[
            "kind = \"regression\"",
            "standardize = true",
            "categories = [\"sex\"]",
            "label = \"progression\"",
            "kind = \"mlp\"",
        ],
    );
    assert!(text.contains("a regression"), "{text}");
    // Names of a few words are no texts to learn from beside other columns.
    let rows: String = (0..60)
        .map(|i| {
            format!(
                "Villa {i} of the green hills,{},{},{}\n",
                i % 7 + 1,
                ["Rome", "Oslo"][i % 2],
                1000.5 + i as f64
            )
        })
        .collect();
    write(dir.path(), "houses.csv", format!("name,rooms,city,price\n{rows}"));
    let text = trains(
        dir.path(),
        "houses.csv",
        &[],
        &["features = [\"rooms\"]", "categories = [\"city\"]", "label = \"price\""],
    );
    assert!(text.contains("\"name\" has 60 different values and is left out"), "{text}");
    let rows: String = (0..80)
        .map(|i| {
            format!(
                "{i},{},{},{},{}\n",
                i * 37 % 91,
                if i % 9 == 0 { "NA".into() } else { (i % 13).to_string() },
                ["red", "blue", "green"][i % 3],
                ["yes", "no"][(i / 3) % 2]
            )
        })
        .collect();
    write(dir.path(), "rows.csv", format!("id,size,weight,colour,bought\n{rows}"));
    let text = trains(
        dir.path(),
        "rows.csv",
        &[],
        &[
            "features = [\"size\", \"weight\"]",
            "categories = [\"colour\"]",
            "label = \"bought\"",
            "missing = \"mean\"",
            "9 of weight",
        ],
    );
    for said in ["\"id\" only numbers the rows", "no column has a usual name of a label", "it could also be"]
    {
        assert!(text.contains(said), "{said:?} in\n{text}");
    }
}

#[test]
fn parquet_and_hugging_face_folders() {
    let fixtures = root().join("crates/kiln-data/tests/fixtures/parquet");
    let dir = tempfile::tempdir().unwrap();
    let folder = fixtures.join("images").display().to_string();
    trains(dir.path(), &folder, &[], &["kind = \"parquet\"", "image = \"image\"", "label = \"label\""]);
}

#[test]
fn what_cannot_be_guessed_is_refused_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let refused = |data: &str, words: &[&str]| {
        let (said, text) = init(dir.path(), data, &[]);
        said.expect(4, words);
        assert_eq!(text, "", "nothing is written");
    };
    refused("nowhere", &["nowhere", "not found"]);
    write(dir.path(), "flat/1.bmp", bmp(4, 4, [1, 2, 3]));
    refused("flat", &["flat", "side by side", "folder named after it"]);
    write(dir.path(), "odd/notes.md", "hello");
    refused("odd", &["odd", "got notes.md"]);
    write(dir.path(), "two/a.csv", "x,y\n1,2\n");
    write(dir.path(), "two/b.csv", "x,y\n1,2\n");
    refused("two", &["none is called train", "a.csv, b.csv"]);
    write(dir.path(), "x.json", "[]");
    refused("x.json", &["one object a line"]);
    write(dir.path(), "same.csv", "text,label\na b c d e f g,x\nb c d e f g h,x\n");
    refused("same.csv", &["same.csv", "\"label\" has 1 different value", "data.label=COLUMN"]);
    write(dir.path(), "rows.csv", "price,size\n1.5,2\n2.5,3\n");
    let (said, _) = init(dir.path(), "rows.csv", &["data.label=prize"]);
    said.expect(4, &["no column \"prize\"", "price, size", "did you mean \"price\"?"]);
    let (said, _) = init(dir.path(), "rows.csv", &["train.epochs=3"]);
    said.expect(2, &["train.epochs=3", "data.label"]);
    // A config that is there stays.
    let path = write(dir.path(), "mine.toml", "mine");
    Said::by(kiln().args(["init", &at("rows.csv"), "-o", path.to_str().unwrap()]))
        .expect(2, &["is there already", "--force"]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
}

#[test]
fn leakage_that_is_found_at_the_start_is_said() {
    let dir = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        images(&dir.path().join("photos").join(split), 8, 12);
    }
    // Two training samples become the test split; their copies in validation leak no longer.
    let (said, text) = init(dir.path(), "photos", &[]);
    said.expect(0, &["6 of validation have the same content as a training sample"]);
    assert!(text.contains("allow_leakage = true"), "{text}");
    let without = text.replace("allow_leakage = true", "#");
    let path = write(dir.path(), "strict.toml", without);
    let check = |extra: &[&str]| Said::by(kiln().arg("check").arg(&path).args(extra));
    check(&[]).expect(4, &["strict.toml", "6 of validation", "kiln data stats", "allow_leakage = true"]);
    check(&["data.allow_leakage=true"]).expect(0, &["ok"]);
}

#[test]
fn training_without_a_config() {
    let dir = tempfile::tempdir().unwrap();
    images(&dir.path().join("photos"), 40, 12);
    let train = |words: &[&str]| {
        let all = ["device=cpu", "train.max_steps=2", "--plain"];
        Said::by(kiln().current_dir(dir.path()).arg("train").args(words).args(all))
    };
    let said = train(&["data.path=photos/", "model.preset=cifar20"])
        .expect(0, &["no config", "40 images looked at", "2 steps"]);
    let run = dir.path().join(said.run());
    assert!(run.file_name().unwrap().to_string_lossy().starts_with("photos-"), "{}", run.display());
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    for words in ["preset = \"cifar20\"", "validation_fraction = 0.1", "random_resized_crop"] {
        assert!(config.contains(words), "{words:?} in {config}");
    }
    // As any other run it is scored and resumed, from any folder.
    Said::by(kiln().current_dir(root()).arg("eval").arg(&run)).expect(0, &["on the test split"]);
    Said::by(kiln().current_dir(root()).args(["train", "--plain", "--resume"]).arg(&run))
        .expect(0, &["the run is finished"]);
    Said::by(kiln().arg("check").arg(run.join("config.toml"))).expect(0, &["ok"]);

    // What the command line says is not called a guess.
    images(&dir.path().join("held"), 10, 13);
    let said = train(&["data.train=photos", "data.validation=held"])
        .expect(0, &["no test split", "36 train, 10 validation, 4 test samples"]);
    for guess in ["no validation split", "epochs of batches"] {
        assert!(!said.err.contains(guess), "{guess:?} in {}", said.err);
    }

    train(&["data.path=photos", "model.preset=resnet19"])
        .expect(2, &["no preset is called \"resnet19\"", "resnet18"]);
    train(&["data.path=photos", "modle.preset=resnet18"]).expect(2, &["modle"]);
    train(&["data.path=photos", "data.kind=csv"]).expect(2, &["looks like image_folder"]);
    train(&["data.path=photos", "model.kind=bert"]).expect(2, &["does not read images"]);
    train(&["data.path=nowhere"]).expect(4, &["nowhere", "not found"]);
    train(&[]).expect(2, &["no config given", "kiln train data.path=DATA"]);
}

#[test]
fn faults_of_the_data_that_check_tells() {
    let dir = tempfile::tempdir().unwrap();
    images(&dir.path().join("photos/train"), 8, 12);
    std::fs::create_dir_all(dir.path().join("photos/val/cat")).unwrap();
    let head = "[model]\nkind = \"mlp\"\n[optimizer]\nkind = \"sgd\"\n[train]\nepochs = 1\n[data]\n";
    let check = |name: &str, data: &str| {
        let path = write(dir.path(), name, format!("{head}{data}"));
        Said::by(kiln().arg("check").arg(&path))
    };
    check("a.toml", "kind = \"image_folder\"\npath = \"photos\"\n")
        .expect(4, &["photos/val/cat", "empty folder"]);
    write(dir.path(), "photos/val/cow/1.bmp", bmp(12, 12, [9, 9, 9]));
    write(dir.path(), "photos/val/cat/1.bmp", bmp(12, 12, [9, 9, 8]));
    check("b.toml", "kind = \"image_folder\"\npath = \"photos\"\n")
        .expect(4, &["val/cow", "not one of the 2 known classes (cat, dog)"]);
    write(dir.path(), "zero/a/1.bmp", bmp(0, 4, [0, 0, 0]));
    write(dir.path(), "zero/b/1.bmp", bmp(4, 4, [0, 0, 0]));
    check("c.toml", "kind = \"image_folder\"\npath = \"zero\"\n")
        .expect(4, &["zero/a/1.bmp", "expected a whole image"]);
    write(dir.path(), "rows.csv", "size,class\n1,a\n2,b\n3,c\n");
    let rows = "kind = \"csv\"\npath = \"rows.csv\"\nlabel = \"class\"\n";
    check("d.toml", &format!("{rows}features = [\"sise\"]\n"))
        .expect(4, &["no column \"sise\"", "size, class", "did you mean \"size\"?"]);
    let outside =
        format!("{rows}features = [\"size\"]\nclasses = [\"a\", \"b\"]\nvalidation_fraction = 0.3\n");
    check("e.toml", &outside).expect(4, &["rows.csv:4", "class \"c\"", "2 known classes (a, b)"]);
}
