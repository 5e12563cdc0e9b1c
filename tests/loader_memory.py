#!/usr/bin/env python3
"""Runs the image loader alone, pass after pass: its resident memory must not grow.

Data are CIFAR's JPEG class folders in KILN_TEST_DATA. The first two passes are left out: threads and allocators settle. What
is resident after a pass depends on which batches were ready, a few MiB up or down; so the median of the first half is
compared with that of the second, and the slope of a line through all is told.
Usage: python3 tests/loader_memory.py [--loader BINARY] [--passes 20] [--split train] [--workers 2] [--record FILE]
"""
import os
import statistics
import subprocess
import sys
from pathlib import Path

import harness

# In KiB between the medians of the halves.
ALLOWED = 4096


def slope(values):
    """Of the least-squares line through equally spaced values."""
    n = len(values)
    middle, mean = (n - 1) / 2, sum(values) / n
    return sum((i - middle) * (v - mean) for i, v in enumerate(values)) / sum((i - middle) ** 2 for i in range(n))


def main():
    target = os.environ.get("CARGO_TARGET_DIR", harness.ROOT / "target")
    args = harness.arguments(
        __doc__, loader=(f"{target}/release/examples/loader_memory", "the example, built"), passes=(20, "over the images"),
        split=("train", "folder of classes"), workers=(2, "threads"), record=("", "file for the table"))
    data = os.environ.get("KILN_TEST_DATA")
    if not data:
        sys.exit("set KILN_TEST_DATA")
    folder = Path(data) / "cifar10" / args.split
    words = [args.loader, str(folder), str(args.workers), str(args.passes)]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [tuple(map(int, line.split())) for line in out.splitlines()]
    resident = [row[2] for row in rows]
    lines = [f"{rows[0][1]} JPEGs a pass, {args.workers} workers; resident memory in MiB after each pass:",
             " ".join(f"{kib / 1024:.1f}" for kib in resident)]
    settled = resident[2:]
    half = len(settled) // 2
    growth = statistics.median(settled[-half:]) - statistics.median(settled[:half])
    lines.append(f"from the third pass on: slope {slope(settled):+.1f} KiB a pass; the second half's median less the first's "
                 f"{growth:+.0f} KiB (allowed: {ALLOWED})")
    print("\n".join(lines))
    if args.record:
        Path(args.record).write_text("\n".join(lines) + "\n")
    sys.exit(growth > ALLOWED)


main()
