#!/usr/bin/env python3
"""Kills a run at every system call of one save (strace -e inject), and resumes it each time: the newest checkpoint must
always load, and the resumed run must end with the weights of the run that was left alone.

First a run is traced whole; the save is what lies between the making of the second checkpoint's temporary folder and the
removal of what it replaces. Then, for each openat, write, fsync, fdatasync, rename, mkdir and unlink of it, a run is killed
as that call is entered. Needs strace. Usage: python3 tests/save_syscalls.py [--kiln BINARY] [--record FILE]
"""
import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

CALLS = ("openat", "write", "fsync", "fdatasync", "rename", "renameat2", "mkdir", "unlink", "unlinkat", "rmdir", "ftruncate")
SMALL = ("train.epochs=1", "data.loader.workers=0", "train.gradient_accumulation_steps=1", "data.loader.batch_size=128",
         "data.validation_fraction=0.05", "checkpoint.every=3 steps", "checkpoint.keep_last=1", "train.logging_steps=100")


def words(config, run):
    """The command line of the run that is killed: about ten steps, three saves."""
    return ["train", config, f"output_dir={run.parent}", f"run_name={run.name}", *SMALL]


def traced(kiln, config, run, options):
    """Runs under strace and gives the trace's lines."""
    trace = run.parent / f"{run.name}.strace"
    command = ["strace", "-f", "-y", "-s", "120", "-o", trace, *options, kiln, *words(config, run)]
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return trace.read_text(errors="replace").splitlines()


def save_calls(lines, step):
    """(call, how many of its kind its thread has made with it, text) of every call of one save in the run folder."""
    seen = collections.Counter()
    inside, found = False, []
    for line in lines:
        match = re.match(r"(\d+)\s+(\w+)\(", line)
        if not match or match[2] not in CALLS:
            continue
        thread, call = match.groups()
        seen[thread, call] += 1  # strace counts by thread too
        if call == "mkdir" and f".step-{step:08}.tmp" in line:
            inside = True
        if inside and "/run" in line:
            found.append((call, seen[thread, call], line.split(None, 1)[1][:100]))
        if inside and call in ("rmdir", "unlinkat") and "checkpoints" in line and "AT_REMOVEDIR" in line:
            break
    return found


def main():
    args = harness.arguments(__doc__, record=("", "file for the table"))
    with tempfile.TemporaryDirectory() as scratch:
        config = harness.digits(scratch)
        home = Path(scratch) / "run"
        home.mkdir()
        lines = traced(args.kiln, config, home / "left-alone", ["-e", "trace=" + ",".join(CALLS)])
        left_alone = home / "left-alone"
        expected = harness.hashed(left_alone / "model" / "model.safetensors")
        calls = save_calls(lines, 6)
        if len(calls) < 10:
            sys.exit(f"expected the calls of a save in the trace, found {len(calls)}")
        table, wrong = [f"{len(calls)} system calls of one save"], 0
        for number, (call, count, text) in enumerate(calls, start=1):
            run = home / f"killed-{number}"
            traced(args.kiln, config, run, ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={count}"])
            saved = [path.name for path in harness.checkpoints(run)]
            finished = (run / "model").exists()
            harness.finish(harness.start(args.kiln, "train", "--resume", run))
            same = harness.hashed(run / "model" / "model.safetensors") == expected
            wrong += not same or finished or not saved
            table.append(f"{number:>3} {'same' if same else 'DIFFERENT'}  had {','.join(saved) or 'NOTHING'}"
                         f"{' AND HAD FINISHED' if finished else ''}  killed at {call} {count}: {text}")
            print(table[-1], flush=True)
            harness.remove(run)
        table.append(f"{len(calls)} killed and resumed, {wrong} went wrong")
        print(table[-1])
        if args.record:
            Path(args.record).write_text("\n".join(table).replace(scratch, "SCRATCH") + "\n")
    sys.exit(wrong > 0)


main()
