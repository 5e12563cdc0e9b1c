#!/usr/bin/env python3
"""Kills a run at every system call of one save (strace -e inject), and resumes it each time: the newest checkpoint must
always load, and the resumed run must end with the weights of the run that was left alone.

First a run is traced whole; a save is what its thread does from making the logs durable over the making of a checkpoint's
temporary folder to the removal of the checkpoint it replaces. Then, for each openat, write, fsync, rename, mkdir and unlink of one save, a run is killed as
that call is entered. strace counts calls by thread, so a save is taken that comes after more calls of the saving thread
than any other thread makes. Needs strace. Usage: python3 tests/save_syscalls.py [--kiln BINARY] [--record FILE]
"""
import collections
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

CALLS = ("openat", "write", "fsync", "fdatasync", "rename", "renameat2", "mkdir", "unlink", "unlinkat", "rmdir", "ftruncate")
CALL = re.compile(r"(\d+)\s+(\w+)\(")
SMALL = ("train.epochs=3", "data.loader.workers=0", "train.gradient_accumulation_steps=1", "data.loader.batch_size=128",
         "data.validation_fraction=0.05", "checkpoint.every=1 step", "checkpoint.keep_last=1", "checkpoint.keep_best=false",
         "train.logging_steps=100")


def words(config, run):
    """The command line of the run that is killed: 33 steps, each saved."""
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
    inside, found, saving, logs = False, [], None, []
    for line in lines:
        match = CALL.match(line)
        if not match or match[2] not in CALLS:
            continue
        thread, call = match.groups()
        seen[thread, call] += 1  # strace counts by thread too
        if call == "fdatasync" and not inside:
            logs.append((thread, (call, seen[thread, call], line.split(None, 1)[1][:100])))
        if call == "mkdir" and ".tmp" in line and not inside:
            if f".step-{step:08}.tmp" in line:
                inside, saving, found = True, thread, [entry for by, entry in logs if by == thread]
            logs = []
        if inside and thread == saving and "/run" in line:
            found.append((call, seen[thread, call], line.split(None, 1)[1][:100]))
        if inside and thread == saving and call in ("rmdir", "unlinkat") and "checkpoints" in line and "AT_REMOVEDIR" in line:
            break
    return found


def clear_save(lines):
    """The calls of the first save that no other thread's calls can be mistaken for."""
    by_thread = collections.Counter(match.groups() for line in lines if (match := CALL.match(line)))
    saving = next(line.split()[0] for line in lines if "mkdir(" in line and ".tmp" in line)
    others = {call: max((n for (thread, c), n in by_thread.items() if c == call and thread != saving), default=0)
              for call in CALLS}
    for step in range(2, 33):
        calls = save_calls(lines, step)
        if all(count > others[call] + 10 for call, count, _ in calls):
            return step, calls
    sys.exit("every save comes too early to be told from other threads' calls")


def main():
    args = harness.arguments(__doc__, record=("", "file for the table"))
    with tempfile.TemporaryDirectory() as scratch:
        config = harness.digits(scratch)
        home = Path(scratch) / "run"
        home.mkdir()
        lines = traced(args.kiln, config, home / "left-alone", ["-e", "trace=" + ",".join(CALLS)])
        left_alone = home / "left-alone"
        expected = harness.hashed(left_alone / "model" / "model.safetensors")
        step, calls = clear_save(lines)
        before, after = f"step-{step - 1:08}", f"step-{step:08}"
        if len(calls) < 10:
            sys.exit(f"expected the calls of a save in the trace, found {len(calls)}")
        table, wrong = [f"{len(calls)} system calls of the save after step {step}"], 0
        for number, (call, count, text) in enumerate(calls, start=1):
            run = home / f"killed-{number}"
            traced(args.kiln, config, run, ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={count}"])
            saved = [path.name for path in harness.checkpoints(run)]
            placed = bool(saved) and set(saved) <= {before, after}  # killed in this save, not elsewhere
            harness.finish(harness.start(args.kiln, "train", "--resume", run))
            same = harness.hashed(run / "model" / "model.safetensors") == expected
            wrong += not (same and placed)
            table.append(f"{number:>3} {'same' if same else 'DIFFERENT'}  had {','.join(saved) or 'NOTHING'}"
                         f"{'' if placed else ', NOT IN THIS SAVE'}  killed at {call} {count}: {text}")
            print(table[-1], flush=True)
            harness.remove(run)
        table.append(f"{len(calls)} killed and resumed, {wrong} went wrong")
        print(table[-1])
        if args.record:
            Path(args.record).write_text("\n".join(table).replace(scratch, "SCRATCH").replace(os.getcwd(), "HERE") + "\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
