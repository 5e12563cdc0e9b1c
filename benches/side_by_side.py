#!/usr/bin/env python3
"""Times kiln and PyTorch on the same models, weights and batches, alternating in one run: medians, ratios, peak memory.

    python benches/side_by_side.py --kiln target/release/kiln [mlp minilm ...] [--repeats 5] [--compile] [--fused]

The cases are benches/cases/*.toml (those for a GPU only when named), their data are made on the way. kiln builds the start weights and prepares the batch;
PyTorch (benches/peers/step.py, in the Python that runs this script) loads both. Every repeat is a process of each, which
of them comes first changes from one to the next. Times are void where the first 20 losses differ by more than 1e-3
relative; then the exit status is 1. Ratios above 1 mean that kiln is faster; their range is that of the repeats.
PyTorch's threads wait for each other and suffer far more from other programs than kiln's: ratios from a machine that is
not quiet flatter kiln. Before every process the script looks how busy the processors are without it, and says so.
Memory is the largest resident one during the training steps, imports and weights included. No dropout in any case.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CASES = ("mlp", "nanogpt", "minilm", "resnet18", "vit_small", "resnet50")
ALLOWED, LOSSES = 1e-3, 20


def ran(words, environment=None):
    """The last line on stdout of a command that must succeed, as JSON."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def kiln(args, case, kept, seconds):
    row = {"config": str(HERE / "cases" / f"{case}.toml"), "overrides": [], "device": args.device, "precision": "f32",
           "batch_size": args.batch_size, "warmup": args.warmup, "steps": args.steps, "seconds": seconds, "check_loss": False,
           "keep": None if (kept / "batch.safetensors").exists() else str(kept)}
    threads = {"RAYON_NUM_THREADS": str(args.threads)} if args.threads != os.cpu_count() else {}
    answer = ran([args.kiln, "bench", "--row", json.dumps({"row": row})], threads)["row"]
    if answer["status"] != "ok":
        sys.exit(f"{case}: kiln: {answer['reason']}")
    measured = answer["measured"]
    return {"train": measured["train"]["p50_ms"], "infer": measured["infer"]["p50_ms"], "peak": measured["train_peak_mib"],
            "losses": measured["losses"], "version": f"{answer['kiln']} ({answer['binary']})"}


def torch(args, case, kept, seconds):
    words = [sys.executable, HERE / "peers" / "step.py", HERE / "cases" / f"{case}.toml", kept, "--steps", args.steps,
             "--warmup", args.warmup, "--seconds", seconds, "--threads", args.threads,
             "--device", "cuda" if args.device.startswith("cuda") else "cpu"]
    words += ["--compile"] * args.compile + ["--fused"] * args.fused
    answer = ran(words)
    return {"train": statistics.median(answer["train_ms"]), "infer": statistics.median(answer["infer_ms"]),
            "peak": answer["train_peak_mib"], "losses": answer["losses"], "version": answer["torch"]}


def others():
    """The share of the processors' time that other programs take, for half a second."""
    def read():
        numbers = [int(n) for n in open("/proc/stat").readline().split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    total, idle = read()
    time.sleep(0.5)
    total_now, idle_now = read()
    return 1 - (idle_now - idle) / max(total_now - total, 1)


def measured(args, case, kept):
    """A case: what each repeat of each side gave."""
    seconds = 1.0 if case == "mlp" else 0.0
    sides = {"kiln": kiln, "torch": torch}
    found = {name: [] for name in sides}
    kiln(args, case, kept, 0)  # leaves weights and batch; counts for nothing
    for repeat in range(args.repeats):
        for name in sorted(sides, reverse=repeat % 2 == 1):
            busy = others()
            found[name].append({**sides[name](args, case, kept, seconds), "others": busy})
            print(f"{case} {repeat + 1}/{args.repeats} {name:5}: {found[name][-1]['train']:9.2f} ms a training step; others had "
                  f"{100 * busy:.0f} % of the processors before", file=sys.stderr, flush=True)
    return found


def summed_up(case, found):
    ours, theirs = found["kiln"], found["torch"]
    apart = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(ours[0]["losses"], theirs[0]["losses"])]
    row = {"case": case, "losses_compared": len(apart), "losses_apart": max(apart),
           "agree": len(apart) == LOSSES and max(apart) <= ALLOWED, "others": statistics.median(r["others"] for r in ours + theirs)}
    for what in ("train", "infer"):
        ratios = [t[what] / k[what] for k, t in zip(ours, theirs)]
        row[what] = {"kiln_ms": statistics.median(k[what] for k in ours), "torch_ms": statistics.median(t[what] for t in theirs),
                     "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    row["kiln_peak_mib"], row["torch_peak_mib"] = (statistics.median(side["peak"] for side in s) for s in (ours, theirs))
    return row


def line(row):
    if not row["agree"]:
        return f"{row['case']:10} VOID: {row['losses_compared']} losses compared, largest relative distance {row['losses_apart']:.1e}"
    part = [f"{row['case']:10}"]
    for what in ("train", "infer"):
        t = row[what]
        part.append(f"{t['kiln_ms']:9.2f} {t['torch_ms']:9.2f}  {t['ratio']:5.2f} ({t['lowest']:.2f}-{t['highest']:.2f})")
    part.append(f"{row['kiln_peak_mib']:7.0f} {row['torch_peak_mib']:7.0f}   {row['losses_apart']:.0e}   {100 * row['others']:4.0f} %")
    return "   ".join(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")
    parser.add_argument("--kiln", default=f"{target}/release/kiln")
    parser.add_argument("cases", nargs="*", default=CASES, help="names of benches/cases")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="measured steps of a process at least")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="instead of the cases' own")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both (default: all processors)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda:0 for both")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused optimizer step")
    parser.add_argument("-o", "--output", help="write the rows as JSON")
    args = parser.parse_args()
    args.kiln = os.path.abspath(args.kiln)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["KILN_BENCH_DATA"] = str(folder / "data")
        subprocess.run([sys.executable, HERE / "cases" / "make_data.py", folder / "data", "--large"], check=True)
        for case in args.cases:
            found = measured(args, case, folder / case)
            rows.append(summed_up(case, found))
            versions = found["kiln"][0]["version"], found["torch"][0]["version"]
            if args.output:
                pathlib.Path(args.output).write_text(json.dumps({"rows": rows, "versions": versions}, indent=1))
    how = "compile" if args.compile else "eager"
    print(f"kiln {versions[0]} on {args.device}, PyTorch {versions[1]} {how}{', fused optimizer' * args.fused}, {args.threads} threads, "
          f"medians of {args.repeats} alternating repeats of {args.steps} steps or more, float32")
    print(f"{'case':10}   {'train: kiln ms, PyTorch ms, ratio':>37}   {'infer: kiln ms, PyTorch ms, ratio':>37}   peak MiB: both    losses apart   others")
    print("\n".join(line(row) for row in rows))
    sys.exit(not all(row["agree"] for row in rows))


if __name__ == "__main__":
    main()
