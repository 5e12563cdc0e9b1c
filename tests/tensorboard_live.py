#!/usr/bin/env python3
"""Kills a run with SIGKILL at random moments and resumes it, while TensorBoard's reader has it open: what the reader holds in
the end must be what metrics.jsonl holds, every step once. Needs the package tensorboard.
Usage: python3 tests/tensorboard_live.py [--kiln BINARY] [--kills 4] [--seed 1]
"""
import json
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator

import harness


def logged(run):
    """(step, loss) of every training step, in single precision."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], struct.unpack("<f", struct.pack("<f", line["loss"]))[0]) for line in lines if "grad_norm" in line]


def main():
    args = harness.arguments(__doc__, kills=(4, "times to kill"), seed=(1, "of the moments"))
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        process = harness.start(args.kiln, "train", harness.digits(scratch), f"output_dir={scratch}", "run_name=run")
        reader, taken_back, longest = None, 0, 0
        for _ in range(args.kills):
            before = harness.log_lines(run)
            while process.poll() is None and harness.log_lines(run) < before + 5:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.3))
            process.kill()
            process.communicate()
            if reader is None:
                reader = event_accumulator.EventAccumulator(str(run), size_guidance={event_accumulator.SCALARS: 0})
            reader.Reload()
            seen = [e.step for e in reader.Scalars("train/loss")]
            saved = harness.checkpoints(run) if (run / "checkpoints").exists() else []
            step = int(saved[-1].name.removeprefix("step-")) if saved else 0
            taken_back += sum(s > step for s in seen)
            longest = max(longest, seen[-1])
            process = harness.start(args.kiln, "train", "--resume", run)
        harness.finish(process)
        reader.Reload()
        got = [(e.step, e.value) for e in reader.Scalars("train/loss")]
        expected = logged(run)
        print(f"{args.kills} kills up to step {longest}; the open reader had {taken_back} steps that were written again; "
              f"it holds {len(got)} of {len(expected)} steps, {'equal' if got == expected else 'NOT EQUAL'}")
        sys.exit(got != expected)


main()
