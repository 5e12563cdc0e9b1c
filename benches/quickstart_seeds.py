#!/usr/bin/env python3
"""Trains the quick start with several seeds and reports test accuracy and time: mean at least 97.5 %, each under 30 s.
Usage: python3 benches/quickstart_seeds.py [--kiln BINARY] [--seeds 5]
"""
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import harness


def main():
    args = harness.arguments(__doc__, seeds=(5, "how many"))
    scores, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, args.seeds + 1):
            began = time.monotonic()
            out = harness.finish(harness.start(
                args.kiln, "train", harness.ROOT / "configs" / "quickstart.toml", "device=cpu", f"seed={seed}",
                f"output_dir={folder}", f"run_name=seed-{seed}"))
            times.append(time.monotonic() - began)
            run = out.strip().splitlines()[-1]
            answer = harness.finish(harness.start(args.kiln, "eval", run, "--json"))
            scores.append(json.loads(answer)["accuracy"])
            print(f"seed {seed}: test accuracy {100 * scores[-1]:.2f} %, {times[-1]:.1f} s", flush=True)
    mean = statistics.mean(scores)
    print(f"mean of {args.seeds} seeds {100 * mean:.2f} % (lowest {100 * min(scores):.2f} %), at most {max(times):.1f} s")
    sys.exit(mean < 0.975 or max(times) > 30)


main()
