"""Counts exact duplicates of an image folder (train/ and test/) and of SST-2 without kiln, and compares `kiln data stats`.

    python tests/duplicates.py --kiln target/release/kiln --data $KILN_TEST_DATA      # needs Pillow

Prints one line a data set and way of comparing; fails where kiln's numbers are others.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import tempfile

from PIL import Image

REST = '\n[model]\nkind = "{model}"\n[optimizer]\nkind = "adamw"\n[train]\nepochs = 1\n'


def counted(splits):
    """(repeats within each split, samples of test that are in train) of {split: [input]}."""
    within = {name: len(all) - len(set(all)) for name, all in splits.items()}
    train = set(splits["train"])
    return within, sum(one in train for one in splits["test"])


def by_kiln(kiln, data, model):
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "config.toml"
        config.write_text(data + REST.format(model=model))
        out = subprocess.run([kiln, "data", "stats", config, "--json"], check=True, capture_output=True, text=True)
    found = json.loads(out.stdout)["duplicates"]
    across = {(one["first"], one["second"]): one["samples"] for one in found["across"]}
    return dict(map(tuple, found["within"])), across.get(("train", "test"), 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    args = parser.parse_args()
    cifar = {split: sorted((args.data / "cifar10" / split).rglob("*.jpg")) for split in ("train", "test")}
    digest = lambda data: hashlib.sha256(data).digest()
    files = counted({split: [digest(path.read_bytes()) for path in all] for split, all in cifar.items()})
    pixels = counted(
        {split: [digest(Image.open(p).convert("RGB").tobytes()) for p in all] for split, all in cifar.items()}
    )
    text = f'[data]\nkind = "image_folder"\npath = "{args.data}/cifar10"\n'
    kiln = by_kiln(args.kiln, text, "cnn")
    print(f"cifar10: files {files}, pixels {pixels}, kiln {kiln}")
    assert kiln == files

    lines = {split: (args.data / f"sst2/{split}.tsv").read_text().split("\n") for split in ("train", "dev", "test")}
    sst2 = {split: [line.split("\t")[0] for line in all if line] for split, all in lines.items()}
    sst2["validation"] = sst2.pop("dev")
    paths = "".join(
        f'{key} = "{args.data}/sst2/{name}.tsv"\n'
        for key, name in (("train", "train"), ("validation", "dev"), ("test", "test"))
    )
    text = f'[data]\nkind = "tsv"\n{paths}header = false\ntext = 0\nlabel = 1\ntokenizer = {{ kind = "words" }}\n'
    kiln = by_kiln(args.kiln, text, "textcnn")
    print(f"sst2: {counted(sst2)}, kiln {kiln}")
    assert kiln == counted(sst2)


if __name__ == "__main__":
    main()
