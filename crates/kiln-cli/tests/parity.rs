//! `kiln parity` through the real binary: devices that agree, devices that do not, and words that are refused.
//! Owns no tolerance but its own; what is compared with what is tested where it is written.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::{Path, PathBuf};

use support::{Said, kiln, root, write};

fn quickstart() -> PathBuf {
    root().join("configs/quickstart.toml")
}

fn parity(config: &Path, words: &[&str]) -> Said {
    Said::by(kiln().arg("parity").arg(config).args(words))
}

#[test]
fn the_processors_own_ops_agree_with_burns() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..400).map(|i| ["to be ", "or not ", "that is\n"][i * i % 3]).collect();
    write(folder.path(), "text.txt", text);
    let config = "task = { kind = \"causal_language_modeling\" }\n[data]\nkind = \"text\"\npath = \"text.txt\"\n\
        block_size = 24\n[data.tokenizer]\nkind = \"characters\"\n[model]\nkind = \"gpt2\"\nn_layer = 2\nn_head = 2\n\
        n_embd = 32\ndropout = 0.1\n[optimizer]\nkind = \"adamw\"\n[train]\nepochs = 1\n";
    let decoder = write(folder.path(), "decoder.toml", config);
    for config in [&decoder, &quickstart()] {
        let said = parity(config, &["--tolerance", "1e-4"]).expect(0, &["cpu-plain agrees with cpu"]);
        for part in ["layer", "output", "loss", "gradient of", "update of"] {
            assert!(said.out.contains(part), "{part}: {}", said.out);
        }
    }
    // The forms that GPUs take; attention drops nothing there, or it would be plain.
    for words in
        [[quickstart().to_str().unwrap(), "train.epochs=1"], [decoder.to_str().unwrap(), "model.dropout=0"]]
    {
        let [config, setting] = words;
        let words = ["device=cpu,cpu-by-hand", "--tolerance", "1e-4", setting];
        parity(Path::new(config), &words).expect(0, &["cpu-by-hand agrees with cpu"]);
    }
    // The same device agrees to the bit; the two forms do not, and the first tensor apart is named.
    parity(&decoder, &["device=cpu,cpu", "--tolerance", "0"]).expect(0, &["agrees"]);
    let said = parity(&decoder, &["--tolerance", "0"]).expect(1, &["diverges from cpu: first at layer"]);
    assert!(said.out.contains("DIVERGES"), "{}", said.out);
}

#[test]
fn parity_wants_two_devices() {
    parity(&quickstart(), &["device=cpu"]).expect(2, &["expected two devices"]);
    parity(&quickstart(), &["device=cpu,gpu"]).expect(2, &["not a device"]);
}
