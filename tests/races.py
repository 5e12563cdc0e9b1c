#!/usr/bin/env python3
"""Processes that want one run folder at the same moment: one gets it, the others are told so and leave it alone.

By turns a new run of one name (the others end with exit code 2: the folder exists, or 73: it is held) and the resume of a run
that was stopped (the others end with 73), and what the winner leaves is that of a run left alone, byte for byte.
Usage: python3 tests/races.py [--kiln BINARY] [--races 10] [--processes 4] [--record FILE]
"""
import collections
import sys
import tempfile
from pathlib import Path

import harness

USAGE, LOCKED = 2, 73


def race(kiln, words, processes):
    """Starts all at once; their exit codes, and what the losers said."""
    started = [harness.start(kiln, *words) for _ in range(processes)]
    said = [process.communicate()[1] for process in started]
    codes = [process.returncode for process in started]
    return codes, "\n".join(text for code, text in zip(codes, said) if code)


def main():
    args = harness.arguments(__doc__, races=(10, "races"), processes=(4, "in each"), record=("", "file for the result"))
    wrong, codes_seen = 0, {"new": collections.Counter(), "resume": collections.Counter()}
    with tempfile.TemporaryDirectory() as scratch:
        # Long enough that no loser comes when the winner is done.
        config, long = harness.half(scratch), ("train.epochs=6", "checkpoint.every=50 steps")
        harness.finish(harness.start(args.kiln, "train", config, f"output_dir={scratch}", "run_name=left-alone", *long))
        expected = harness.fingerprint(Path(scratch) / "left-alone")
        for number in range(args.races):
            run = Path(scratch) / f"race-{number}"
            new = [config, f"output_dir={scratch}", f"run_name={run.name}", *long]
            kind = ("new", "resume")[number % 2]
            if kind == "resume":
                first = harness.start(args.kiln, "train", *new)
                harness.wait_for(run, first)
                first.terminate()
                harness.finish(first, expected=75)
            words = ["train", *new] if kind == "new" else ["train", "--resume", run]
            codes, said = race(args.kiln, words, args.processes)
            losers = {USAGE, LOCKED} if kind == "new" else {LOCKED}
            told = said.count("exists already") + said.count("the run is held by")
            right = codes.count(0) == 1 and set(codes) <= losers | {0} and told == args.processes - 1
            same = harness.fingerprint(run) == expected
            if not (right and same):
                wrong += 1
                print(f"race {number} ({kind}): exit codes {codes}, {'same' if same else 'DIFFERENT'}\n{said}")
            codes_seen[kind].update(codes)
            harness.remove(run)
    lines = [f"{kind}: {', '.join(f'exit {code} {count} times' for code, count in sorted(seen.items()))}" for kind, seen in codes_seen.items()]
    lines.append(f"{args.races} races of {args.processes} processes, one winner each; {wrong} went wrong")
    print("\n".join(lines))
    if args.record:
        Path(args.record).write_text("\n".join(lines) + "\n")
    sys.exit(wrong > 0)


main()
