#!/usr/bin/env python3
"""Measures how long kiln takes to begin: medians of `kiln --help` (bar: 20 ms), `kiln check` of the quick start (100 ms)
and from process start to the end of the quick start's first optimizer step (500 ms, `elapsed` in metrics.jsonl).
Usage: python3 benches/startup.py [--kiln BINARY] [--runs 11]
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import harness

QUICKSTART = harness.ROOT / "configs" / "quickstart.toml"


def milliseconds(*command):
    """Wall-clock time of one command that must succeed."""
    began = time.monotonic()
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.monotonic() - began) * 1e3


def first_step(kiln, folder, number):
    """Milliseconds from process start to the end of the first optimizer step."""
    name = f"run-{number}"
    subprocess.run([kiln, "train", QUICKSTART, "device=cpu", "train.epochs=1", f"output_dir={folder}", f"run_name={name}"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    with open(Path(folder) / name / "metrics.jsonl", encoding="utf-8") as lines:
        return json.loads(next(lines))["elapsed"] * 1e3


def main():
    args = harness.arguments(__doc__, runs=(11, "of each"))
    over = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, bar, once in (
            ("kiln --help", 20, lambda n: milliseconds(args.kiln, "--help")),
            ("kiln check configs/quickstart.toml", 100, lambda n: milliseconds(args.kiln, "check", QUICKSTART)),
            ("start to end of first step", 500, lambda n: first_step(args.kiln, folder, n)),
        ):
            times = [once(n) for n in range(args.runs)]
            median = statistics.median(times)
            over += median > bar
            print(f"{name:36} median {median:6.1f} ms  ({min(times):.1f} to {max(times):.1f})  bar {bar} ms")
    sys.exit(over > 0)


main()
