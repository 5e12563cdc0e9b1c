#!/usr/bin/env python3
"""Times kiln and PyTorch on the same models, weights and batches, alternating in one run: medians, ratios, peak memory.

    python benches/side_by_side.py --kiln target/release/kiln [mlp minilm ...] [--precision bf16] [--repeats 5] [--compile] [--fused]

The cases are benches/cases/*.toml (those for a GPU only when named), their data are made on the way. kiln builds the start
weights and prepares the batch; PyTorch (benches/peers/step.py, in the Python that runs this script) loads both. Every
repeat is a process of each, which of them comes first changes from one to the next. Times are void where the first 20
losses differ by more than 1e-3 relative (bf16, in PyTorch by autocast: 2e-2); then the exit status is 1. Ratios above 1
mean that kiln is faster; their range is that of the repeats.
On a processor in float32 onnxruntime infers too, where it is installed (with `onnx`, that PyTorch exports with); its
times are void where its answer is more than 1e-3 from PyTorch's.
PyTorch's threads wait for each other and suffer far more from other programs than kiln's: ratios from a machine that is
not quiet flatter kiln. Before every process the script looks how busy the processors are without it, and says so.
Memory is the largest resident one during the training steps, imports and weights included. No dropout in any case.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CASES = ("mlp", "nanogpt", "minilm", "resnet18", "vit_small", "resnet50")
ALLOWED, LOSSES, ANSWERS = {"f32": 1e-3, "bf16": 2e-2}, 20, 1e-3


def ran(words, environment=None):
    """The last line on stdout of a command that must succeed, as JSON."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def kiln(args, case, kept, seconds):
    row = {"config": str(HERE / "cases" / f"{case}.toml"), "overrides": [], "device": args.device, "precision": args.precision,
           "batch_size": args.batch_size, "warmup": args.warmup, "steps": args.steps, "seconds": seconds, "check_loss": False,
           "keep": None if (kept / "batch.safetensors").exists() else str(kept)}
    threads = {"RAYON_NUM_THREADS": str(args.threads)} if args.threads != os.cpu_count() else {}
    answer = ran([args.kiln, "bench", "--row", json.dumps({"row": row})], threads)["row"]
    if answer["status"] != "ok":
        sys.exit(f"{case}: kiln: {answer['reason']}")
    measured = answer["measured"]
    return {"train": measured["train"]["p50_ms"], "infer": measured["infer"]["p50_ms"], "peak": measured["train_peak_mib"],
            "losses": measured["losses"],
            "versions": {"kiln": f"{answer['kiln']} ({answer['binary']})", "burn": answer["burn"], "driver": answer["driver"]}}


def peer(script, args, case, kept, seconds, *more):
    """What a script of benches/peers says, in the Python that runs this one."""
    return ran([sys.executable, HERE / "peers" / script, HERE / "cases" / f"{case}.toml", kept, "--steps", args.steps, "--warmup",
                args.warmup, "--seconds", seconds, "--threads", args.threads, *more])


def torch(args, case, kept, seconds):
    device = "cuda" if args.device.startswith("cuda") else "cpu"
    words = ["--device", device, "--precision", args.precision] + ["--compile"] * args.compile + ["--fused"] * args.fused
    answer = peer("step.py", args, case, kept, seconds, *words)
    return {"train": statistics.median(answer["train_ms"]), "infer": statistics.median(answer["infer_ms"]),
            "peak": answer["train_peak_mib"], "losses": answer["losses"], "versions": answer["versions"]}


def onnxruntime(args, case, kept, seconds):
    answer = peer("onnxruntime_step.py", args, case, kept, seconds)
    return {"infer": statistics.median(answer["infer_ms"]), "apart": answer["apart"], "versions": answer["versions"]}


def chosen(args):
    """The programs that are timed."""
    sides = {"kiln": kiln, "torch": torch}
    absent = [name for name in ("onnxruntime", "onnx") if not importlib.util.find_spec(name)]
    if absent:
        print(f"without {' and '.join(absent)}: inference is compared with PyTorch's only", file=sys.stderr)
    elif args.device == "cpu" and args.precision == "f32":
        sides["onnxruntime"] = onnxruntime
    return sides


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
    sides = chosen(args)
    found = {name: [] for name in sides}
    kiln(args, case, kept, 0)  # leaves weights and batch; counts for nothing
    for repeat in range(args.repeats):
        for name in sorted(sides, reverse=repeat % 2 == 1):
            busy = others()
            once = {**sides[name](args, case, kept, seconds), "others": busy}
            found[name].append(once)
            times = ", ".join(f"{what} {once[what]:.2f} ms" for what in ("train", "infer") if what in once)
            print(f"{case} {repeat + 1}/{args.repeats} {name}: {times}; others had {100 * busy:.0f} % of the processors before",
                  file=sys.stderr, flush=True)
    return found


def compared(what, ours, theirs):
    """Medians of both, and of their ratios a repeat."""
    ratios = [t[what] / k[what] for k, t in zip(ours, theirs)]
    return {"kiln_ms": statistics.median(k[what] for k in ours), "peer_ms": statistics.median(t[what] for t in theirs),
            "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def summed_up(args, case, found):
    ours, theirs = found["kiln"], found["torch"]
    apart = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(ours[0]["losses"], theirs[0]["losses"])]
    agree = len(apart) == LOSSES and max(apart) <= ALLOWED[args.precision]
    row = {"case": case, "precision": args.precision, "losses_compared": len(apart), "losses_apart": max(apart), "agree": agree,
           "others": statistics.median(r["others"] for side in found.values() for r in side)}
    row["train"], row["infer"] = (compared(what, ours, theirs) for what in ("train", "infer"))
    if "onnxruntime" in found:
        answers = max(r["apart"] for r in found["onnxruntime"])
        row["infer_onnxruntime"] = {**compared("infer", ours, found["onnxruntime"]), "apart": answers, "agree": answers <= ANSWERS}
    row["kiln_peak_mib"], row["torch_peak_mib"] = (statistics.median(side["peak"] for side in s) for s in (ours, theirs))
    return row


TITLE = (f"{'case':10}   {'train: kiln ms, PyTorch ms, ratio':>37}   {'infer: kiln ms, PyTorch ms, ratio':>37}   "
         f"{'infer vs onnxruntime: ms, ratio':>32}   peak MiB: both    losses apart   others")


def ratio(times):
    return f"{times['peer_ms']:9.2f}  {times['ratio']:5.2f} ({times['lowest']:.2f}-{times['highest']:.2f})"


def line(row):
    if not row["agree"]:
        return f"{row['case']:10} VOID: {row['losses_compared']} losses compared, largest relative distance {row['losses_apart']:.1e}"
    parts = [f"{row['case']:10}"] + [f"{row[what]['kiln_ms']:9.2f} {ratio(row[what])}" for what in ("train", "infer")]
    onnx = row.get("infer_onnxruntime")
    parts.append(f"{'' if not onnx else ratio(onnx) if onnx['agree'] else 'VOID: answers %.0e apart' % onnx['apart']:>32}")
    parts.append(f"{row['kiln_peak_mib']:7.0f} {row['torch_peak_mib']:7.0f}   {row['losses_apart']:.0e}   {100 * row['others']:4.0f} %")
    return "   ".join(parts)


def agrees(row):
    return row["agree"] and row.get("infer_onnxruntime", {"agree": True})["agree"]


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
    parser.add_argument("--precision", choices=ALLOWED, default="f32", help="of both")
    parser.add_argument("--compile", action="store_true", help="torch.compile, which needs a C++ compiler")
    parser.add_argument("--fused", action="store_true", help="PyTorch's fused optimizer step")
    parser.add_argument("-o", "--output", help="write the rows as JSON")
    args = parser.parse_args()
    args.kiln = os.path.abspath(args.kiln)
    if args.compile and not shutil.which(os.environ.get("CXX", "g++")):
        sys.exit("--compile: no C++ compiler (g++, or the one that CXX names), which torch.compile needs")
    rows, versions = [], {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["KILN_BENCH_DATA"] = str(folder / "data")
        subprocess.run([sys.executable, HERE / "cases" / "make_data.py", folder / "data", "--large"], check=True)
        for case in args.cases:
            found = measured(args, case, folder / case)
            rows.append(summed_up(args, case, found))
            for side in found.values():
                versions |= side[0]["versions"]
            if args.output:
                pathlib.Path(args.output).write_text(json.dumps({"rows": rows, "versions": versions}, indent=1))
    how = "compile" if args.compile else "eager"
    print(f"{args.precision} on {args.device}, PyTorch {how}{', fused optimizer' * args.fused}, {args.threads} threads, "
          f"medians of {args.repeats} alternating repeats of {args.steps} steps or more")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(TITLE)
    print("\n".join(line(row) for row in rows))
    sys.exit(not all(agrees(row) for row in rows))


if __name__ == "__main__":
    main()
