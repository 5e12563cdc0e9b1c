#!/usr/bin/env python3
"""How the time of a training step grows with batch, sequence length and width: rows of `kiln bench`, exponents, plots.

    python3 benches/cost_growth.py --kiln target/release/kiln [batch sequence width] [--only minilm] [--rounds 3]

Writes benches/results/cost_growth.json (every row), and from all that it holds cost_growth.md and a plot an axis in SVG.
What an axis leaves out is kept from before, so that a long run can be split. The expected law is that of the counted
operations: a step of n takes as many times longer as it has operations more. Beside it stands the fit of
`fixed + operations / rate`, which tells costs that do not grow (the optimizer's pass over the weights, handing out work)
from those that do. A round is one process a size, sizes one after the other; times are medians of the rounds.
Needs no package.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from plots import log_log

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"


def powers(first, last):
    return [2 ** i for i in range(first, last + 1)]


def bert_width(n):
    return [f"model.hidden_size={n}", f"model.intermediate_size={4 * n}"]


# axis -> net -> (sizes, batch or None for the size itself, overrides of a size)
SWEEPS = {
    "batch": {
        "mlp": (powers(3, 10), None, lambda n: []),
        "nanogpt": (powers(0, 6), None, lambda n: []),
        "minilm": (powers(0, 5), None, lambda n: []),
        "resnet18": (powers(0, 6), None, lambda n: []),
    },
    "sequence": {
        "nanogpt": (powers(5, 11), 2, lambda n: [f"data.block_size={n}"]),
        "minilm": (powers(4, 9), 2, lambda n: [f"data.tokenizer.max_length={n}", "data.train=${LONG}"]),
    },
    "width": {
        "mlp": (powers(6, 12), 128, lambda n: [f"model.hidden=[{n}]"]),
        "nanogpt": (powers(5, 9), 12, lambda n: [f"model.n_embd={n}"]),
        "minilm": ([96, 192, 384, 768], 4, bert_width),
    },
}
AXES = {"batch": "samples in the batch", "sequence": "tokens of a text", "width": "hidden units"}


def long_sentences(data):
    """The sentences of the cases, four in a line."""
    lines = [line.split("\t") for line in (data / "sentences.tsv").read_text().splitlines()]
    path = data / "sentences_long.tsv"
    joined = (" ".join(text for text, _ in lines[i:i + 4]) + f"\t{i // 4 % 2}" for i in range(0, len(lines), 4))
    path.write_text("\n".join(joined) + "\n")
    return path


def measured(args, net, batch, overrides):
    """Milliseconds of a training step, its operations, and the losses' first, by a process of its own."""
    row = {"config": str(HERE / "cases" / f"{net}.toml"), "overrides": overrides, "device": args.device, "precision": args.precision,
           "batch_size": batch, "warmup": 3, "steps": args.steps, "seconds": 0.5, "check_loss": False, "keep": None}
    done = subprocess.run([args.kiln, "bench", "--row", json.dumps({"row": row})], capture_output=True, text=True)
    answer = json.loads(done.stdout)["row"] if done.returncode == 0 else {"status": done.stderr}
    if answer["status"] != "ok":
        sys.exit(f"{net} {overrides} batch {batch}: {answer.get('reason', answer['status'])}")
    return answer


def swept(args, axis, net, data):
    sizes, batch, overrides = SWEEPS[axis][net]
    times, last = {n: [] for n in sizes}, {}
    for turn in range(args.rounds):
        for n in sizes:
            words = [word.replace("${LONG}", str(data / "sentences_long.tsv")) for word in overrides(n)]
            last[n] = measured(args, net, batch or n, words)
            times[n].append(last[n]["measured"]["train"]["p50_ms"])
        print(f"{axis} {net} {turn + 1}/{args.rounds}: " + ", ".join(f"{n}: {times[n][-1]:.2f} ms" for n in sizes), file=sys.stderr, flush=True)
    one = last[sizes[0]]
    return {"axis": axis, "net": net, "batch": batch, "precision": args.precision, "device": args.device, "rounds": args.rounds,
            "hardware": one["hardware"], "threads": one["threads"], "kiln": f"{one['kiln']} ({one['binary']})",
            "points": [{"n": n, "ms": statistics.median(times[n]), "lowest": min(times[n]), "highest": max(times[n]),
                        "gflop": last[n]["measured"]["costs"]["training_flops"] / 1e9} for n in sizes]}


def slope(xs, ys):
    """The exponent: least squares of the logarithms."""
    xs, ys = [math.log(x) for x in xs], [math.log(y) for y in ys]
    x, y = statistics.fmean(xs), statistics.fmean(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


def fixed_and_rate(points):
    """`ms = fixed + gflop / rate` with the least relative error: fixed ms, GFLOP/s, the largest relative error."""
    w = [1 / p["ms"] ** 2 for p in points]
    f, t = [p["gflop"] for p in points], [p["ms"] for p in points]
    mf, mt = (sum(a * b for a, b in zip(w, v)) / sum(w) for v in (f, t))
    per = sum(a * (b - mf) * (c - mt) for a, b, c in zip(w, f, t)) / sum(a * (b - mf) ** 2 for a, b in zip(w, f))
    fixed = mt - per * mf
    if fixed < 0:  # time cannot be given back: the best line through 0
        fixed, per = 0.0, sum(a * b * c for a, b, c in zip(w, f, t)) / sum(a * b * b for a, b in zip(w, f))
    return fixed, 1e3 / per, max(abs(fixed + per * b - c) / c for b, c in zip(f, t))


def summary(sweep):
    points = sweep["points"]
    upper = points[len(points) // 2:]
    fixed, rate, error = fixed_and_rate(points)
    ns, us = [p["n"] for p in points], [p["n"] for p in upper]
    return {"all": slope(ns, [p["ms"] for p in points]), "law": slope(ns, [p["gflop"] for p in points]),
            "upper": slope(us, [p["ms"] for p in upper]), "upper_law": slope(us, [p["gflop"] for p in upper]),
            "fixed": fixed, "share": fixed / points[0]["ms"], "rate": rate, "error": error}


def page(sweeps):
    one = sweeps[0]
    builds = sorted({sweep["kiln"] for sweep in sweeps})
    text = ["# How a training step's time grows", "", f"By `benches/cost_growth.py` on {one['hardware']}, {one['threads']} threads, "
            f"{one['precision']}, kiln {', '.join(builds)}; medians of {one['rounds']} rounds. `notes.md` says why it departs where it does.", "",
            "| axis | net | sizes | exponent of the time: all sizes, upper half | of the operations: all, upper half | fixed ms (share of the smallest step) | "
            "rate beyond it, GFLOP/s | largest error of fixed + operations / rate |", "|---|---|---|---|---|---|---|---|"]
    for sweep in sweeps:
        s, points = summary(sweep), sweep["points"]
        text.append(f"| {sweep['axis']} | {sweep['net']} | {points[0]['n']} to {points[-1]['n']} | {s['all']:.2f}, {s['upper']:.2f} | "
                    f"{s['law']:.2f}, {s['upper_law']:.2f} | {s['fixed']:.2f} ({100 * s['share']:.0f} %) | {s['rate']:.0f} | {100 * s['error']:.0f} % |")
    for axis in AXES:
        ours = [sweep for sweep in sweeps if sweep["axis"] == axis]
        if not ours:
            continue
        text += ["", f"## {axis.capitalize()}", "", f"![{axis}](cost_growth_{axis}.svg)", "", f"| net | {AXES[axis]} | ms (lowest to highest) | GFLOP | GFLOP/s |", "|---|---|---|---|---|"]
        text += [f"| {sweep['net']} | {p['n']} | {p['ms']:.2f} ({p['lowest']:.2f} to {p['highest']:.2f}) | {p['gflop']:.3f} | {1e3 * p['gflop'] / p['ms']:.0f} |"
                 for sweep in ours for p in sweep["points"]]
    return "\n".join(text) + "\n"


def plot(axis, sweeps):
    series = []
    for sweep in sweeps:
        points, s = sweep["points"], summary(sweep)
        last = points[-1]
        series.append({"name": f"{sweep['net']}: time n^{s['all']:.2f}, operations n^{s['law']:.2f}", "points": [(p["n"], p["ms"]) for p in points],
                       "law": [(p["n"], last["ms"] * p["gflop"] / last["gflop"]) for p in points]})
    return log_log(f"A training step by {AXES[axis]}; dashed: as its operations", AXES[axis], "milliseconds", series)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")
    parser.add_argument("--kiln", default=f"{target}/release/kiln")
    parser.add_argument("axes", nargs="*", help=f"of {', '.join(SWEEPS)} (default: all)")
    parser.add_argument("--only", help="one net")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="measured steps of a process at least")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--draw", action="store_true", help="only write page and plots anew")
    args = parser.parse_args()
    unknown = set(args.axes) - set(SWEEPS)
    if unknown:
        parser.error(f"{', '.join(unknown)}: expected {', '.join(SWEEPS)}")
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "cost_growth.json"
    sweeps = {(s["axis"], s["net"]): s for s in (json.loads(kept.read_text()) if kept.exists() else [])}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(os.environ.setdefault("KILN_BENCH_DATA", folder))
        if not args.draw:
            subprocess.run([sys.executable, HERE / "cases" / "make_data.py", data], check=True)
            long_sentences(data)
            for axis in args.axes or SWEEPS:
                for net in [net for net in SWEEPS[axis] if args.only in (None, net)]:
                    sweeps[axis, net] = swept(args, axis, net, data)
                    kept.write_text(json.dumps([sweeps[key] for key in sorted(sweeps)], indent=1) + "\n")
    order = [sweeps[axis, net] for axis in SWEEPS for net in SWEEPS[axis] if (axis, net) in sweeps]
    (RESULTS / "cost_growth.md").write_text(page(order))
    for axis in AXES:
        ours = [sweep for sweep in order if sweep["axis"] == axis]
        if ours:
            (RESULTS / f"cost_growth_{axis}.svg").write_text(plot(axis, ours))


if __name__ == "__main__":
    main()
