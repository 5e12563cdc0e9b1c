#!/usr/bin/env python3
"""Trains configs/shakespeare_char.toml with several seeds and reports validation loss over the whole split and time.
Usage: KILN_TEST_DATA=DIR python3 benches/shakespeare_seeds.py [--kiln BINARY] [--seeds 3]
The peer is benches/peers/shakespeare.py, mean 1.9150 of seeds 1 to 3; exit status 1 if the mean here is over 0.02 above.
"""
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import harness

PEER = 1.9150


def main():
    args = harness.arguments(__doc__, seeds=(3, "how many"))
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, args.seeds + 1):
            began = time.monotonic()
            out = harness.finish(harness.start(
                args.kiln, "train", harness.ROOT / "configs" / "shakespeare_char.toml", "device=cpu", f"seed={seed}",
                f"output_dir={folder}", f"run_name=seed-{seed}"))
            seconds = time.monotonic() - began
            run = out.strip().splitlines()[-1]
            scores = json.loads(harness.finish(harness.start(args.kiln, "eval", run, "--split", "validation", "--json")))
            losses.append(scores["loss"])
            print(f"seed {seed}: validation loss {losses[-1]:.4f} over {scores['tokens']} characters, {seconds:.0f} s", flush=True)
    mean = statistics.mean(losses)
    print(f"mean of {args.seeds} seeds {mean:.4f}, PyTorch {PEER:.4f}: {mean - PEER:+.4f}")
    sys.exit(mean > PEER + 0.02)


main()
