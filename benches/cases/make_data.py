#!/usr/bin/env python3
"""Writes what the configs beside this file train on, from a fixed seed: images as BMP and IDX, sentences, characters.
Usage: python3 benches/cases/make_data.py FOLDER [--large]; then KILN_BENCH_DATA=FOLDER kiln bench benches/cases/mlp.toml
Random content: the configs measure time, not learning. --large adds what the configs for GPUs need. Needs no package.
"""
import json
import pathlib
import random
import struct
import sys

WORDS = 30520  # with [PAD] and [UNK] the 30,522 of BERT's vocabulary


def bmp(random_bytes, side):
    """A 24-bit picture of noise."""
    row = side * 3 + -side * 3 % 4
    size = 54 + row * side
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", size, 0, 54, 40, side, side, 1, 24, 0, row * side, 2835, 2835, 0, 0)
    return head + random_bytes(row * side)


def images(folder, draw, side, classes, per_class):
    for c in range(classes):
        own = folder / f"class{c}"
        own.mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            (own / f"{i:03}.bmp").write_bytes(bmp(draw.randbytes, side))


def digits(folder, draw, count):
    """MNIST's files with noise in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", count), ("t10k", 16)):
        head = struct.pack(">IIII", 0x803, n, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + draw.randbytes(n * 28 * 28))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + bytes(i % 10 for i in range(n)))


def sentences(path, draw):
    """Lines of 160 words that use the whole vocabulary, with two classes."""
    words = [f"w{i}" for i in range(WORDS)]
    draw.shuffle(words)
    lines = []
    for i in range(0, WORDS, 160):
        line = words[i:i + 160]
        line += draw.choices(words, k=160 - len(line))
        lines.append(" ".join(line) + f"\t{len(lines) % 2}")
    path.write_text("\n".join(lines) + "\n")


def characters(path, draw):
    """65 different characters, as tinyshakespeare has."""
    alphabet = [chr(c) for c in range(ord("0"), ord("0") + 64)] + ["\n"]
    path.write_text("".join(alphabet + draw.choices(alphabet, k=100_000)))


def tokens(folder, draw, vocabulary=50257):
    """A text of GPT-2's number of different tokens, and the tokenizer that reads each word as one."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"w{i}" for i in range(vocabulary - 1)]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words + ["[UNK]"])}, "unk_token": "[UNK]"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "text.txt").write_text(" ".join(draw.choices(words, k=1024 * 40)))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    images(folder / "images32", draw, 32, 10, 40)
    images(folder / "images224", draw, 224, 10, 8)
    digits(folder / "digits28", draw, 1024)
    sentences(folder / "sentences.tsv", draw)
    characters(folder / "characters.txt", draw)
    if "--large" in sys.argv[2:]:
        images(folder / "images224_large", draw, 224, 10, 26)
        tokens(folder / "tokens", draw)


if __name__ == "__main__":
    main()
