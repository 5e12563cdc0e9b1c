#!/usr/bin/env python3
"""Trains for some minutes with saves, evaluations and a log line each step, and looks at the process every second: memory (RSS),
open descriptors, threads. After the first fifth none may grow: the last fifth's median is held against the second's.

Needs /proc. Usage: python3 tests/soak.py [--kiln BINARY] [--minutes 2] [--record FILE]
"""
import statistics
import sys
import tempfile
import time
from pathlib import Path

import harness

# What a median may grow by: pages that the allocator keeps differ a little from save to save.
ALLOWED = {"rss": 4.0, "descriptors": 0, "threads": 0}


def look(pid):
    """MiB, descriptors, threads of a process."""
    proc = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    return {"rss": int(status["VmRSS"].split()[0]) / 1024, "descriptors": len(list((proc / "fd").iterdir())),
            "threads": int(status["Threads"])}


def main():
    args = harness.arguments(__doc__, minutes=(2.0, "to train"), record=("", "file for the table"))
    with tempfile.TemporaryDirectory() as scratch:
        config, run = harness.shards(scratch), Path(scratch) / "soak"
        process = harness.start(
            args.kiln, "train", config, f"output_dir={scratch}", "run_name=soak", "train.epochs=1000000", "checkpoint.every=50 steps",
            "train.early_stopping_patience=1000000", "evaluate.every=1 epoch", f"train.max_minutes={args.minutes}", "--plain")
        harness.wait_for(run, process)
        began, seen = time.monotonic(), []
        while process.poll() is None and time.monotonic() - began < 60 * args.minutes - 1:
            time.sleep(1)
            try:
                seen.append((time.monotonic() - began, look(process.pid)))
            except (FileNotFoundError, KeyError, ProcessLookupError):
                break
        harness.finish(process)
        steps = harness.log(run)[-1]["step"]
    lines = [f"{'second':>6} {'MiB':>7} {'descriptors':>11} {'threads':>7}"]
    for at, now in seen[::max(1, len(seen) // 20)]:
        lines.append(f"{at:>6.0f} {now['rss']:>7.1f} {now['descriptors']:>11} {now['threads']:>7}")
    fifth, grown = len(seen) // 5, []
    for key, allowed in ALLOWED.items():
        early, late = (statistics.median(now[key] for _, now in part) for part in (seen[fifth:2 * fifth], seen[-fifth:]))
        grown += [key] if late - early > allowed else []
        lines.append(f"{key}: {early:.1f} in the second fifth, {late:.1f} in the last, at most {max(now[key] for _, now in seen):.1f}")
    lines.append(f"{args.minutes:g} minutes, {steps} steps: " + ("flat" if not grown else "GROWN: " + ", ".join(grown)))
    print("\n".join(lines))
    if args.record:
        Path(args.record).write_text("\n".join(lines) + "\n")
    sys.exit(bool(grown))


main()
