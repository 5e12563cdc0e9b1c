"""How long saves and logging keep the loop waiting: a run of a recipe with a checkpoint every 100 steps and a log line each step.

The loop counts both itself (`blocked` in summary.json, beside `seconds`), so that the shares are exact and no other noise is in
them. `saving` holds what the loop waits for: the snapshot, a save before that is not done yet, and at the end the last one.
The default is the MiniLM fine-tune on SST-2; the last save of a run, which nothing can hide, is counted as one of the saves.
Usage: python3 benches/save_overhead.py --kiln target/release/kiln [--config configs/sst2_minilm_finetune.toml] [--steps 200]
Needs no package; the default config needs KILN_TEST_DATA.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--config", default=str(ROOT / "configs" / "sst2_minilm_finetune.toml"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        words = ["train", args.config, "device=cpu", f"output_dir={out}", "run_name=run", f"train.max_steps={args.steps}",
                 f"checkpoint.every={args.every} steps", f"evaluate.every={10 * args.steps} steps", "train.logging_steps=1", *args.overrides]
        subprocess.run([args.kiln, *words], check=True, capture_output=True)
        run = pathlib.Path(out) / "run"
        summary = json.loads((run / "summary.json").read_text())
        newest = sorted((run / "checkpoints").glob("step-????????"))[-1]
        size = sum(path.stat().st_size for path in newest.iterdir()) / 2**20
    seconds, blocked, saves = summary["seconds"], summary["blocked"], args.steps // args.every
    for name in ("saving", "logging"):
        print(f"{name}: {blocked[name]:.4f} s of {seconds:.1f} s, {100 * blocked[name] / seconds:.3f} %")
    print(f"{args.steps} steps of {1000 * seconds / args.steps:.1f} ms, {saves} saves of {size:.0f} MiB")


if __name__ == "__main__":
    main()
