#!/usr/bin/env python3
"""Kills runs with SIGKILL at random moments, resumes each, and compares it with the run that was left alone, byte for
byte: final weights, the last checkpoint's weights and optimizer state, and every logged step and evaluation.

Every run has augmentation or dropout and gradient accumulation; data-loader workers 0, 1 and 4 take turns and are held
against one reference run with 2.
Recipes take turns: the convolutional net on the digits, the same thawing layer by layer, and on mixed images of two weighted
sources, and with an average of the weights; with KILN_TEST_DATA, MiniLM on SST-2, whole, with adapters, and in batches by tokens.
--only NAME takes one of them. --recipes everything takes three others, each with an average, accumulation, mixed or changed
samples, a rate that falls on plateaus, patience, evaluation and saves within passes: tar shards streamed, bf16, and texts in
batches by tokens.
Usage: python3 tests/kill_resume.py [--kiln BINARY] [--kills 5] [--seed 1] [--recipes usual] [--record FILE]
"""
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

import harness

WORKERS = (0, 1, 4)


def reference(kiln, config, folder):
    """Runs undisturbed; gives the fingerprint and the seconds it took."""
    began = time.monotonic()
    harness.finish(harness.start(kiln, "train", config, f"output_dir={folder}", "run_name=left-alone", "data.loader.workers=2"))
    return harness.fingerprint(Path(folder) / "left-alone"), time.monotonic() - began


def killed_run(kiln, config, run, workers, wait):
    """Starts a run, kills it `wait` seconds after its folder holds the config, and gives how far it had come."""
    process = harness.start(
        kiln, "train", config, f"output_dir={run.parent}", f"run_name={run.name}", f"data.loader.workers={workers}")
    harness.wait_for(run, process)
    time.sleep(wait)
    process.kill()
    process.communicate()
    saved = harness.checkpoints(run) if (run / "checkpoints").exists() else []
    logged = harness.log_lines(run)
    return logged, int(saved[-1].name.removeprefix("step-")) if saved else 0


def main():
    args = harness.arguments(__doc__, kills=(5, "runs to kill"), seed=(1, "of the moments"), record=("", "file for the table"),
                             only=("", "recipe"), recipes=("usual", "or everything"))
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        digits, minilm = harness.digits(scratch), harness.minilm(scratch)
        recipes = harness.everything(scratch) if args.recipes == "everything" else {"digits": digits, "minilm": minilm, "thaw": harness.thaw(digits), "lora": harness.lora(minilm),
                   "mixup": harness.mixup(digits), "tokens": harness.tokens(minilm),
                   "average": harness.average(digits)}
        configs = {name: path for name, path in recipes.items() if path and args.only in ("", name)}
        left_alone = {}
        for name, path in configs.items():
            folder = Path(scratch) / name
            folder.mkdir()
            left_alone[name] = reference(args.kiln, path, folder)
        turns = itertools.islice(itertools.cycle(itertools.product(WORKERS, configs)), args.kills)
        lines = [f"{'run':>3} {'net':7} {'workers':>7} {'killed after':>12} {'logged':>6} {'saved':>5}  same model, weights, optimizer, log"]
        different = 0
        for number, (workers, name) in enumerate(turns, start=1):
            expected, seconds = left_alone[name]
            run = Path(scratch) / name / f"killed-{number}"
            wait = rng.uniform(0.02, seconds)
            logged, saved = killed_run(args.kiln, configs[name], run, workers, wait)
            harness.finish(harness.start(args.kiln, "train", "--resume", run))
            got = harness.fingerprint(run)
            same = {key: got[key] == expected[key] for key in expected}
            different += not all(same.values())
            lines.append(f"{number:>3} {name:7} {workers:>7} {wait:>10.2f} s {logged:>6} {saved:>5}  "
                         + " ".join("yes" if equal else "NO" for equal in same.values()))
            print(lines[-1], flush=True)
            harness.remove(run)
        lines.append(f"{args.kills} killed and resumed, {different} differ from the run left alone")
        print("\n".join([lines[0], lines[-1]]))
        if args.record:
            Path(args.record).write_text("\n".join(lines) + "\n")
    sys.exit(different > 0)


main()
