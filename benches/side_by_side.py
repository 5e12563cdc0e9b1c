"""kiln against PyTorch on this processor: the same net, weights and batch, by turns in one run.

    python benches/side_by_side.py --kiln target/release/kiln [CASE ...] [--repeats 5] [--steps 20] [--compile] [--fused]

The Python must have torch, torchvision, transformers, timm and safetensors. Each repeat runs `kiln bench` and
benches/peers/train.py one after the other, each in a process of its own. A row is void where the first 20 losses differ
by more than a thousandth of themselves (a hundredth for nets with ReLU and batch norm, whose gradients turn on the last
digit of a sum). Ratios above 1 mean that kiln is faster; memory is kiln's share of PyTorch's. Medians of the repeats.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
CASES = ["mlp", "nanogpt", "minilm", "resnet18", "vit_small", "resnet50"]


def kiln(args, case, room):
    command = [args.kiln, "bench", HERE / "cases" / f"{case}.toml", "device=cpu", "--json", "--steps", args.steps,
               "--keep", room, "-o", room / "out"]
    run = subprocess.run(map(str, command), capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{case}: kiln bench failed: {run.stderr or run.stdout}")
    row = json.loads(run.stdout)["rows"][0]["measured"]
    return {"train_ms": row["train"]["p50_ms"], "infer_ms": row["infer"]["p50_ms"], "losses": row["losses"],
            "train_peak_mib": row["train_peak_mib"]}


def torch(args, case, room):
    command = [sys.executable, HERE / "peers" / "train.py", case, room / "0", "--steps", args.steps]
    command += ["--compile"] * args.compile + ["--fused"] * args.fused
    run = subprocess.run(map(str, command), capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{case}: PyTorch failed: {run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def distance(case, ours, theirs):
    """Largest relative distance of the losses that both have, and whether it voids the row."""
    pairs = list(zip(ours["losses"], theirs["losses"]))
    worst = max(abs(a - b) / max(abs(b), 1e-3) for a, b in pairs)
    return worst, worst > (1e-2 if case.startswith("resnet") else 1e-3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kiln", required=True, type=pathlib.Path)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fused", action="store_true")
    args = parser.parse_args()
    peer = "PyTorch" + ", compiled" * args.compile + ", fused optimizer" * args.fused
    print(f"| case | kiln train ms | {peer} | ratio | kiln infer ms | {peer} | ratio | MiB | {peer} | share | losses |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([sys.executable, HERE / "cases" / "make_data.py", folder / "data"], check=True)
        os.environ["KILN_BENCH_DATA"] = str(folder / "data")
        void = False
        for case in args.cases:
            rounds = [(kiln(args, case, folder / case), torch(args, case, folder / case)) for _ in range(args.repeats)]
            worst, is_void = distance(case, *rounds[0])
            void |= is_void
            cells = [case]
            for key, better in (("train_ms", -1), ("infer_ms", -1), ("train_peak_mib", 1)):
                ours, theirs = (statistics.median(r[i][key] for r in rounds) for i in (0, 1))
                ratio = statistics.median((a[key] / b[key]) ** better for a, b in rounds)
                cells += [f"{ours:.2f}", f"{theirs:.2f}", "void" if is_void else f"{ratio:.2f}"]
            print("| " + " | ".join(cells) + f" | {worst:.0e} |", flush=True)
    sys.exit(1 if void else 0)


if __name__ == "__main__":
    main()
