#!/usr/bin/env python3
"""Sends SIGTERM to runs at random moments: each must save and end with exit code 75 within the grace time, say after which
step, leave that step as its newest checkpoint, and resumed end as the run that was left alone, byte for byte.

A signal that comes after the last step finds nothing to stop; such runs are counted apart, and others made for them.
Usage: python3 tests/terminate.py [--kiln BINARY] [--runs 6] [--seed 1] [--grace 10] [--record FILE]
"""
import itertools
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import harness


def main():
    args = harness.arguments(__doc__, runs=(6, "runs to stop"), seed=(1, "of the moments"), grace=(10.0, "seconds to end in"),
                             record=("", "file for the table"))
    rng = random.Random(args.seed)
    lines, slowest, late, different = [f"{'run':>3} {'recipe':7} {'stopped at':>11} {'took':>8} {'step':>5}  same"], 0.0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        configs, left_alone = harness.everything(scratch), {}
        for name, path in configs.items():
            began = time.monotonic()
            harness.finish(harness.start(args.kiln, "train", path, f"output_dir={scratch}/{name}", "run_name=left-alone"))
            left_alone[name] = harness.fingerprint(Path(scratch) / name / "left-alone"), time.monotonic() - began
        number = 0
        for name in itertools.cycle(configs):
            if number == args.runs:
                break
            expected, seconds = left_alone[name]
            run, wait = Path(scratch) / name / f"stopped-{number}-{late}", rng.uniform(0.0, seconds)
            process = harness.start(args.kiln, "train", configs[name], f"output_dir={run.parent}", f"run_name={run.name}")
            harness.wait_for(run, process)
            time.sleep(wait)
            began = time.monotonic()
            process.terminate()
            said = process.communicate()[1]
            took = time.monotonic() - began
            if process.returncode == 0:
                late += 1
                harness.remove(run)
                continue
            number += 1
            step = re.search(r"stopped after step (\d+);", said)
            saved = int(harness.checkpoints(run)[-1].name.removeprefix("step-")) if (run / "checkpoints").exists() else 0
            right = process.returncode == 75 and took <= args.grace and step and int(step[1]) == saved
            if not right:
                print(f"exit {process.returncode} after {took:.1f} s, newest checkpoint {saved}\n{said}")
            harness.finish(harness.start(args.kiln, "train", "--resume", run))
            same = harness.fingerprint(run) == expected
            different += not (same and right)
            slowest = max(slowest, took)
            lines.append(f"{number:>3} {name:7} {wait:>9.2f} s {took:>6.3f} s {saved:>5}  {'yes' if same and right else 'NO'}")
            print(lines[-1], flush=True)
            harness.remove(run)
    lines.append(f"{args.runs} stopped with exit 75 within {slowest:.3f} s and resumed, {different} went wrong; "
                 f"{late} more were done before the signal")
    print(lines[-1])
    if args.record:
        Path(args.record).write_text("\n".join(lines) + "\n")
    sys.exit(different > 0)


main()
