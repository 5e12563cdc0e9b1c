#!/usr/bin/env python3
"""Every op of kiln's nets beside PyTorch's on the processor: a Markdown table, the slowest beside PyTorch first.

    python benches/audit.py --bench target/release/examples/ops_bench [PART OF A NAME] [--repeats 3]

Each repeat is a process of kiln (`cargo build --release --workspace --examples` makes it) and one of PyTorch
(benches/peers/ops.py, in the Python that runs this script); which comes first changes from one to the next. Times are
medians in ms over the processes, which each give the median of up to 15 runs. A ratio above 1 means that kiln is faster.
The exit status is 1 where an op takes more than twice PyTorch's time, forward or backward.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys

PEER = pathlib.Path(__file__).resolve().parent / "peers" / "ops.py"
ALLOWED = 0.5
# Where one side does less than this, its time is that of the call.
NOTHING_MS = 0.02


def ran(words):
    """Times by name: the last two columns of what a bench prints."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    rows = (line.rsplit(maxsplit=2) for line in done.stdout.splitlines()[1:])
    return {name.rstrip(): (float(forward), float(backward)) for name, forward, backward in rows}


def measured(options):
    """Medians of kiln and of PyTorch by name."""
    sides = {"kiln": [options.bench, options.part, "--fast"],
             "torch": [sys.executable, PEER, options.part, "--threads", options.threads]}
    runs = {side: [] for side in sides}
    for repeat in range(options.repeats):
        for side in sorted(sides, reverse=repeat % 2 == 1):
            runs[side].append(ran(sides[side]))
    names = {side: set(found[0]) for side, found in runs.items()}
    if names["kiln"] != names["torch"]:
        sys.exit(f"only one side has {sorted(names['kiln'] ^ names['torch'])}")
    middle = lambda side, name, i: statistics.median(run[name][i] for run in runs[side])
    return {name: {side: [middle(side, name, i) for i in (0, 1)] for side in sides} for name in runs["kiln"][0]}


def ratio(torch, kiln):
    return None if max(torch, kiln) < NOTHING_MS else torch / kiln


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("part", nargs="?", default="")
    options.add_argument("--bench", required=True, type=pathlib.Path)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options = options.parse_args()
    rows = []
    for name, times in measured(options).items():
        ratios = [ratio(*pair) for pair in zip(times["torch"], times["kiln"])]
        rows.append((min((r for r in ratios if r is not None), default=1.0), name, times, ratios))
    rows.sort(key=lambda row: row[0])
    print("| op | forward, ms | PyTorch | ratio | backward, ms | PyTorch | ratio |")
    print("|---|---|---|---|---|---|---|")
    for _, name, times, ratios in rows:
        cells = [name]
        for i, r in enumerate(ratios):
            cells += [f"{times['kiln'][i]:.2f}", f"{times['torch'][i]:.2f}", "" if r is None else f"{r:.2f}"]
        print(f"| {' | '.join(cells)} |")
    slow = sum(worst < ALLOWED for worst, *_ in rows)
    print(f"\n{len(rows)} ops; {slow} take more than twice PyTorch's time.")
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
