#!/usr/bin/env python3
"""Kills a job of predictions at random times and goes on with it: the file must be that of the job left alone, to the byte.

A small text classifier answers rows of a JSON Lines file, some of which cannot be read; every format takes its turn, and shards.
Where pandas and pyarrow are installed they read the files back and must find the same answers in each.
Usage: python3 tests/predict_kill.py [--kiln BINARY] [--rows 50000] [--kills 20] [--record FILE]
"""
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

FORMATS = ("jsonl", "csv", "parquet", "db")


def rows_of(path, count, rng):
    """Texts with an id each; one in a thousand lacks its text, one in a thousand is cut off."""
    words = "a stirring film yuks good movie the very of and bad plot".split()
    with path.open("w") as out:
        for i in range(count):
            text = " ".join(rng.choice(words) for _ in range(rng.randint(3, 20)))
            fault = i % 1000
            out.write(f'{{"id": {i}, "text": "{text}"\n' if fault == 500 else
                      f'{{"id": {i}}}\n' if fault == 900 else json.dumps({"id": i, "text": text}) + "\n")


def predict(kiln, model, inputs, output, *more):
    # Batches are cut by position, so that their size is part of the job.
    words = [kiln, "predict", str(model), str(inputs), "-o", str(output), "--keep", "id", "--device", "cpu", *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process, expected):
    said = process.communicate()[1]
    if process.returncode != expected:
        sys.exit(f"{' '.join(process.args)}\nexpected exit {expected}, got {process.returncode}\n{said}")
    return said


def same_answers(folder, truth):
    """Whether pandas, pyarrow and sqlite3 find the answers of the JSON Lines file in the other ones."""
    try:
        import pandas
        import pyarrow.parquet
    except ImportError:
        return "no pandas and pyarrow here"
    flat = pandas.json_normalize(truth)
    frames = {"csv": pandas.read_csv(folder / "whole.csv", dtype={"id": str}),
              "parquet": pyarrow.parquet.read_table(folder / "whole.parquet").to_pandas(),
              "db": pandas.read_sql("SELECT * FROM predictions", sqlite3.connect(folder / "whole.db"))}
    for name, frame in frames.items():
        if list(frame.columns) != list(flat.columns):
            sys.exit(f"{name}: columns {list(frame.columns)}, expected {list(flat.columns)}")
        for column in flat.columns:
            if not (frame[column].reset_index(drop=True) == flat[column]).all():
                sys.exit(f"{name}: column {column} differs")
    return f"pandas {pandas.__version__} and pyarrow {pyarrow.__version__} read the same {len(flat)} answers from every format"


def main():
    args = harness.arguments(__doc__, rows=(50000, "rows"), kills=(20, "kills"), record=("", "file for the table"))
    rng = random.Random(5)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = harness.texts(folder)
        run = harness.finish(harness.start(args.kiln, "train", config, f"output_dir={folder / 'runs'}")).strip().splitlines()[-1]
        inputs = folder / "rows.jsonl"
        rows_of(inputs, args.rows, rng)
        faults = sum(1 for i in range(args.rows) if i % 1000 in (500, 900))
        expected = 4 if faults else 0
        began = time.time()
        for ending in FORMATS:
            ended(predict(args.kiln, run, inputs, folder / f"whole.{ending}"), expected)
        whole = (time.time() - began) / len(FORMATS)
        failures = (folder / "whole.jsonl.failures.jsonl").read_text().splitlines() if faults else []
        truth = [json.loads(line) for line in (folder / "whole.jsonl").read_text().splitlines()]
        order = [line["index"] for line in truth]
        if len(failures) != faults or order != sorted(order) or len(truth) + faults != args.rows or \
                any(int(line["id"]) != line["index"] for line in truth):
            sys.exit(f"expected {args.rows} rows with {faults} failures in order, got {len(truth)} and {len(failures)}")
        table = [f"{args.rows} rows, {faults} of them unreadable, {whole:.2f} s a whole job", same_answers(folder, truth)]
        wrong = 0
        for kill in range(1, args.kills + 1):
            ending = FORMATS[kill % len(FORMATS)]
            output = folder / f"killed-{kill}.{ending}"
            kills, kept = 0, []
            while True:
                process = predict(args.kiln, run, inputs, output, "--resume")
                # One kill in three asks first.
                ask = rng.random() < 1 / 3
                try:
                    process.wait(rng.uniform(0.02, whole * 1.05) if kills < 2 else None)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGTERM if ask else signal.SIGKILL)
                    said = process.communicate()[1]
                    if ask and process.returncode not in (75, expected):
                        sys.exit(f"expected exit 75 after SIGTERM, got {process.returncode}\n{said}")
                    kills += 1
                    parts = list(output.with_name(output.name + ".parts").glob("0*.jsonl"))
                    kept.append(len(parts))
            ended(process, expected)
            same = output.read_bytes() == (folder / f"whole.{ending}").read_bytes()
            same &= not faults or output.with_name(output.name + ".failures.jsonl").read_text().splitlines() == failures
            same &= not output.with_name(output.name + ".parts").exists()
            wrong += not same
            table.append(f"{kill:3} {ending:8} killed {kills} times with {kept} parts kept: {'the same bytes' if same else 'DIFFERS'}")
            output.unlink()
        shards = []
        for k in (1, 2, 3):
            ended(predict(args.kiln, run, inputs, folder / f"shard-{k}.jsonl", "--shard", f"{k}/3"), expected)
            shards += (folder / f"shard-{k}.jsonl").read_text().splitlines()
        merged = {json.loads(line)["index"]: json.loads(line) for line in shards}
        worst = max(abs(merged[line["index"]]["score"] - line["score"]) for line in truth) if len(merged) == len(truth) else 1
        wrong += worst > 1e-5
        table.append(f"3 shards hold the {len(merged)} answers, scores within {worst:.1e}")
        table.append(f"{args.kills} jobs killed and resumed, {wrong} wrong")
    print("\n".join(table))
    if args.record:
        Path(args.record).write_text("\n".join(table) + "\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
