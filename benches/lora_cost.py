"""What a LoRA step costs beside a full fine-tuning step: median step time and peak memory of both, alternating.

Usage: KILN_TEST_DATA=... python benches/lora_cost.py --kiln target/release/kiln [--steps 30] [--repeats 3]
Needs no package. Prints one row per recipe and the ratios.
"""

import argparse
import json
import os
import pathlib
import statistics
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
RECIPES = {"full": "sst2_minilm_finetune.toml", "lora": "sst2_minilm_lora.toml"}


def measure(kiln, recipe, steps, out):
    """Step times in seconds (the first three left out) and the peak resident memory in MiB of one run."""
    config = HERE.parent / "configs" / RECIPES[recipe]
    words = [kiln, "train", str(config), f"output_dir={out}", "run_name=run", f"train.max_steps={steps}",
             "schedule.warmup_steps=0", "data.loader.workers=1", "checkpoint.every=100000 steps", "evaluate.every=100000 steps"]
    # Scoring is no part of a step: one short split to score.
    small = pathlib.Path(out) / "few.tsv"
    rows = (pathlib.Path(os.environ["KILN_TEST_DATA"]) / "sst2" / "dev.tsv").read_text().splitlines()[:8]
    small.write_text("\n".join(rows) + "\n")
    words += [f"data.validation={small}", f"data.test={small}"]
    log = open(pathlib.Path(out) / "log.txt", "w")
    process = os.posix_spawn(kiln, words, os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)])
    _, status, usage = os.wait4(process, 0)
    assert status == 0, (pathlib.Path(out) / "log.txt").read_text()
    lines = [json.loads(line) for line in open(pathlib.Path(out) / "run" / "metrics.jsonl")]
    elapsed = [line["elapsed"] for line in lines if "learning_rate" in line]
    times = [b - a for a, b in zip(elapsed[2:], elapsed[3:])]
    return times, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    times, peaks = {r: [] for r in RECIPES}, {r: [] for r in RECIPES}
    for repeat in range(args.repeats):
        for recipe in sorted(RECIPES, reverse=repeat % 2 == 1):
            with tempfile.TemporaryDirectory() as out:
                seconds, peak = measure(os.path.abspath(args.kiln), recipe, args.steps, out)
            times[recipe] += seconds
            peaks[recipe].append(peak)
    for recipe in RECIPES:
        print(f"{recipe:5} step {statistics.median(times[recipe]) * 1e3:8.0f} ms   peak memory {statistics.median(peaks[recipe]):6.0f} MiB")
    step = statistics.median(times["lora"]) / statistics.median(times["full"])
    peak = statistics.median(peaks["lora"]) / statistics.median(peaks["full"])
    print(f"lora/full: step {step:.2f}, peak memory {peak:.2f}")


if __name__ == "__main__":
    main()
