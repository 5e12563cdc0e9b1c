#!/usr/bin/env python3
"""Writes the digits as four gzipped IDX files beside this script, with the split they are scored on.

Needs scikit-learn. Pixels and split are fixed by a seed; the compressed bytes follow the zlib at hand.
Usage: python3 make.py
"""
import gzip
import struct
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent


def idx(array):
    """An array of bytes in the IDX format: two zeros, type 0x08, the number of dimensions, big-endian sizes, data."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write(name, array):
    (HERE / f"{name}.gz").write_bytes(gzip.compress(idx(array), compresslevel=9, mtime=0))


def main():
    digits = load_digits()
    rows = np.arange(len(digits.target))
    train, test = train_test_split(rows, test_size=0.2, stratify=digits.target, random_state=0)
    for prefix, part in (("train", np.sort(train)), ("t10k", np.sort(test))):
        write(f"{prefix}-images-idx3-ubyte", digits.images[part])
        write(f"{prefix}-labels-idx1-ubyte", digits.target[part])


main()
