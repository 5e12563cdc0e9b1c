"""What a logged step costs with and without TensorBoard's event files: the quick start, its net and a smaller one, by turns.

The time of a step is from one line of metrics.jsonl to the next (`elapsed`), logging included; medians over all steps of a
run, then over the repeats. Usage: python3 benches/log_overhead.py --kiln target/release/kiln [--repeats 7]
Needs no package.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = ROOT / "benches" / "cases" / "log_overhead.toml"
CONFIGS = {"quickstart": ROOT / "configs" / "quickstart.toml", "small mlp": SMALL}
ON = {"without": "log.tensorboard=false", "with": "log.tensorboard=true"}


def step_time(kiln, config, setting, out):
    """The median step in microseconds, and the bytes of the event files and of metrics.jsonl."""
    words = [kiln, "train", str(config), "device=cpu", f"output_dir={out}", "run_name=run", "train.epochs=10",
             "evaluate.every=10 epochs", "checkpoint.every=10 epochs", setting]
    subprocess.run(words, check=True, capture_output=True)
    run = pathlib.Path(out) / "run"
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    elapsed = [line["elapsed"] for line in lines if "learning_rate" in line]
    events = sum(path.stat().st_size for path in run.glob("events.out.tfevents.*"))
    return statistics.median(b - a for a, b in zip(elapsed, elapsed[1:])) * 1e6, len(elapsed), events, (run / "metrics.jsonl").stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    for name, config in CONFIGS.items():
        times, sizes = {key: [] for key in ON}, None
        for repeat in range(args.repeats):
            for key in sorted(ON, reverse=repeat % 2 == 1):
                with tempfile.TemporaryDirectory() as out:
                    time, steps, events, log = step_time(args.kiln, config, ON[key], out)
                times[key].append(time)
                if key == "with":
                    sizes = f"{events / steps:.0f} bytes a step in event files, {log / steps:.0f} in metrics.jsonl"
        middle = {key: statistics.median(values) for key, values in times.items()}
        spread = max(times["without"]) - min(times["without"])
        print(f"{name}: {middle['without']:.0f} us a logged step without, {middle['with']:.0f} us with: "
              f"{middle['with'] - middle['without']:+.0f} us (the medians without differ by {spread:.0f} us); {sizes}")


if __name__ == "__main__":
    main()
