//! What the tests of the command share: starting the binary, small configs, and files to feed it.
//! Owns no expectation; each test says what it expects.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests use what they need, and stop at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub mod server;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// `kiln`, to be given words.
pub fn kiln() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kiln"))
}

/// What a command said and ended with.
pub struct Said {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Data.
    pub out: String,
    /// Talk.
    pub err: String,
}

impl Said {
    /// Runs to the end.
    pub fn by(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// It ended so, and said each of these on stderr; nothing panicked.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "expected {word:?} in: {}", self.err);
        }
        self
    }

    /// The last line on stdout, which for `kiln train` is the run folder.
    pub fn run(&self) -> PathBuf {
        PathBuf::from(self.out.lines().last().unwrap_or_default())
    }
}

/// Writes a config for a tiny net on the digits, one epoch of twelve steps on the CPU, run folders in `folder/runs`.
/// `extra` is TOML that comes last.
pub fn digits(folder: &Path, extra: &str) -> PathBuf {
    let text = format!(
        r#"device = "cpu"
output_dir = "{runs}"
[data]
kind = "idx"
path = "{digits}"
validation_fraction = 0.1
[data.loader]
batch_size = 108
[model]
kind = "mlp"
hidden = [512]
[optimizer]
kind = "adamw"
[train]
epochs = 1
{extra}"#,
        runs = folder.join("runs").display(),
        digits = root().join("datasets/digits").display(),
    );
    write(folder, "digits.toml", text)
}

/// Writes a file into a folder and gives its path.
pub fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// A 24-bit BMP file of one colour.
pub fn bmp(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let size = 54 + row * height;
    let mut file = Vec::from(*b"BM");
    for number in [size, 0, 54, 40, width, height, 1 | 24 << 16, 0, row * height, 2835, 2835, 0, 0] {
        file.extend(u32::to_le_bytes(number));
    }
    for _ in 0..height {
        let line: Vec<u8> = colour.repeat(width as usize);
        file.extend(&line);
        file.extend(std::iter::repeat_n(0, row as usize - line.len()));
    }
    file
}

/// Writes `per_class` images for each class into `folder/images/<class>/`, and a config that trains on them.
pub fn images(folder: &Path, classes: &[&str], per_class: usize) -> PathBuf {
    for (c, class) in classes.iter().enumerate() {
        for i in 0..per_class {
            let colour = [(40 * c) as u8, (3 * i) as u8, 128];
            write(folder, &format!("images/{class}/{i:03}.bmp"), bmp(8, 8, colour));
        }
    }
    let text = format!(
        r#"device = "cpu"
output_dir = "{runs}"
[data]
kind = "image_folder"
path = "images"
validation_fraction = 0.2
[data.loader]
batch_size = 4
[model]
kind = "cnn"
channels = [4]
hidden = 8
[optimizer]
kind = "adamw"
[train]
epochs = 1
"#,
        runs = folder.join("runs").display(),
    );
    write(folder, "images.toml", text)
}

/// A regression on two numbers and a category.
pub fn prices(folder: &Path) -> PathBuf {
    let row = |i: usize| format!("{i},{},{},{}\n", i % 7, ["red", "green"][i % 2], 3 * i + i % 7);
    write(folder, "rows.csv", format!("length,width,colour,price\n{}", (0..60).map(row).collect::<String>()));
    let text = format!(
        r#"device = "cpu"
output_dir = "{}"
[task]
kind = "regression"
standardize = true
[data]
kind = "csv"
path = "rows.csv"
features = ["length", "width"]
categories = ["colour"]
label = "price"
validation_fraction = 0.1
[model]
kind = "mlp"
hidden = [8]
[optimizer]
kind = "adamw"
[train]
epochs = 2
"#,
        folder.join("runs").display()
    );
    write(folder, "prices.toml", text)
}

/// A small GPT-2 of characters, and a little prose for it.
pub fn prose(folder: &Path) -> PathBuf {
    let text: String = (0..400).map(|i| ["to be ", "or not ", "that is\n"][i * i % 3]).collect();
    write(folder, "text.txt", text);
    let text = format!(
        r#"device = "cpu"
output_dir = "{}"
[task]
kind = "causal_language_modeling"
[data]
kind = "text"
path = "text.txt"
block_size = 24
[data.tokenizer]
kind = "characters"
[model]
kind = "gpt2"
n_layer = 1
n_head = 2
n_embd = 32
[optimizer]
kind = "adamw"
learning_rate = 0.01
[train]
epochs = 3
"#,
        folder.join("runs").display()
    );
    write(folder, "prose.toml", text)
}

/// A config of one table of text and class, for a tiny BERT with a tokenizer of `words` words.
pub fn texts(folder: &Path, rows: &str, words: usize) -> PathBuf {
    write(folder, "rows.csv", rows);
    tokenizer(&folder.join("tokenizer.json"), words);
    let text = format!(
        r#"device = "cpu"
output_dir = "{}"
[data]
kind = "csv"
path = "rows.csv"
text = "review"
label = "stars"
validation_fraction = 0.2
tokenizer = {{ path = "tokenizer.json", max_length = 16 }}
[data.loader]
batch_size = 4
[model]
kind = "bert"
hidden_size = 8
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
max_position_embeddings = 16
[optimizer]
kind = "adamw"
[train]
epochs = 1
"#,
        folder.join("runs").display()
    );
    write(folder, "texts.toml", text)
}

/// A `tokenizer.json` of whole words `w0`, `w1`, ...
pub fn tokenizer(path: &Path, words: usize) {
    let mut vocabulary: Vec<String> = ["[PAD]", "[UNK]"].map(String::from).to_vec();
    vocabulary.extend((0..words).map(|n| format!("w{n}")));
    let ids: serde_json::Map<_, _> = vocabulary.into_iter().zip((0..).map(serde_json::Value::from)).collect();
    let special = |id: u32, text: &str| {
        serde_json::json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]")],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    });
    std::fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

pub fn reviews(rows: usize) -> String {
    let lines = (0..rows).map(|n| format!("w{} w{},{}\n", n % 5, n % 3, n % 2));
    format!("review,stars\n{}", lines.collect::<String>())
}
