#!/usr/bin/env python3
"""Lets the system calls of one save fail one by one (strace -e inject=...:error=), as a full, broken or read-only disk would.

With checkpoint.on_error = "stop" the run must end with exit 74, name the checkpoint and a path in it, and go on from the one
before to the weights of the run that was left alone. With "continue" it must say so and end with those weights by itself.
Where the older checkpoint cannot be removed, both say so and train on: the save itself is whole.

--errors all lets each of ENOSPC, EIO and EROFS happen at each call under both policies; else they take turns. Needs strace.
Usage: python3 tests/save_faults.py [--kiln BINARY] [--errors turns] [--record FILE]
"""
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
from save_syscalls import CALLS, clear_save, traced, words

ERRORS = ("ENOSPC", "EIO", "EROFS")


def faulty(kiln, config, run, policy, call, count, error):
    """Runs with one call that fails; gives the exit code and what was said."""
    inject = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={count}"]
    command = [*inject, kiln, *words(config, run), f"checkpoint.on_error={policy}"]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def main():
    args = harness.arguments(__doc__, errors=("turns", "or all"), record=("", "file for the table"))
    with tempfile.TemporaryDirectory() as scratch:
        config = harness.digits(scratch)
        home = Path(scratch) / "run"
        home.mkdir()
        lines = traced(args.kiln, config, home / "left-alone", ["-e", "trace=" + ",".join(CALLS)])
        expected = harness.hashed(home / "left-alone" / "model" / "model.safetensors")
        step, calls = clear_save(lines)
        if len(calls) < 10:
            sys.exit(f"expected the calls of a save in the trace, found {len(calls)}")
        both = [(error, policy) for policy in ("stop", "continue") for error in ERRORS]
        turns = itertools.cycle(both)
        cases = [(call, case) for call in calls for case in (both if args.errors == "all" else [next(turns)])]
        table, wrong = [f"{len(calls)} system calls of the save after step {step}, {len(cases)} faults"], 0
        for number, ((call, count, text), (error, policy)) in enumerate(cases, start=1):
            run = home / f"faulty-{number}"
            code, said = faulty(args.kiln, config, run, policy, call, count, error)
            named = f"step {step} could not be saved" in said and ": cannot " in said
            saved = [path.name for path in harness.checkpoints(run)]
            if policy == "stop" and code == 74:
                right = named and "kiln train --resume" in said and bool(saved)
                harness.finish(harness.start(args.kiln, "train", "--resume", run))
                end = "stopped"
            else:
                # An older checkpoint that stays where it was harms nothing, and is said.
                stays = "could not be removed" in said
                right = code == 0 and (stays or policy == "continue" and named and "training goes on" in said)
                end = "stays" if stays else "went on"
            same = harness.hashed(run / "model" / "model.safetensors") == expected
            wrong += not (right and same)
            table.append(f"{number:>3} {'same' if same else 'DIFFERENT'}{'' if right else ' WRONG'} {policy:8} {end:8} {error:6} had "
                         f"{','.join(saved) or 'nothing'}; at {call} {count}: {text}")
            print(table[-1] if right and same else f"{table[-1]}\nexit {code}\n{said}", flush=True)
            harness.remove(run)
        table.append(f"{len(cases)} faults, {wrong} went wrong")
        print(table[-1])
        if args.record:
            Path(args.record).write_text("\n".join(table).replace(scratch, "SCRATCH").replace(os.getcwd(), "HERE") + "\n")
    sys.exit(wrong > 0)


main()
