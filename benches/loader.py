"""The loader beside its peers, case by case, on the same files and cores: median of 5 alternating runs (A B B A ...).

Run: python benches/loader.py BINARY DATA [CASE ...] > benches/results/loader.md
BINARY is target/release/examples/loader_speed (`cargo build --release -p kiln-data --example loader_speed`); DATA is a folder
with cifar10/test/CLASS/*.jpg, sst2/train.tsv and all-MiniLM-L6-v2/tokenizer.json (what the tests read by
KILN_TEST_DATA). Needs torch, torchvision, pillow, tokenizers and pyarrow. Each run is a process of its own that makes a pass to
warm up and then passes of which the median counts; 2 workers or threads on both sides.
"""
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS, WORKERS = 5, 2
HERE = Path(__file__).parent
NUMBERS = [f"x{i}" for i in range(8)]

# case: (what, unit, passes of kiln, passes of the peer, the peer's name, bar)
CASES = {
    "jpeg": ("500x375 JPEG: decode, RandomResizedCrop 224, flip, normalise", "images/s", 5, 5, "torchvision + Pillow, DataLoader", 1.5),
    "cifar": ("CIFAR-10 JPEG folder (10,000 images): decode, crop with padding 4, flip, normalise", "images/s", 4, 3, "torchvision + Pillow, DataLoader", 3.0),
    "text": ("SST-2, WordPiece, at most 128 tokens", "sentences/s", 8, 8, "tokenizers, encode_batch", 1.0),
    "scan": ("Parquet: 8 columns of doubles and one of whole numbers, snappy", "rows/s", 8, 8, "pyarrow, read_table", 1.0),
    "scan_text": ("Parquet: a column of strings and one of whole numbers, snappy", "rows/s", 8, 8, "pyarrow, read_table", 1.0),
}


def make_parquet(folder):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, n = np.random.default_rng(5), 1_000_000
    columns = {name: rng.normal(size=n) for name in NUMBERS} | {"label": rng.integers(0, 10, n)}
    pq.write_table(pa.table(columns), folder / "numbers.parquet", row_group_size=250_000)
    words = np.array("the a film movie is was not very good bad fun dull and but with of story plot cast".split())
    lengths = rng.integers(3, 30, n // 2)
    texts = [" ".join(words[rng.integers(0, len(words), k)]) for k in lengths]
    table = pa.table({"text": texts, "label": rng.integers(0, 2, n // 2)})
    pq.write_table(table, folder / "text.parquet", row_group_size=125_000)


def peer(case, path, passes, tokenizer=None):
    """Prints a rate a pass; for Parquet then what the columns add up to, by which both sides read the same."""
    import time

    if case in ("jpeg", "cifar"):
        import torch
        from torchvision import transforms as T
        from torchvision.datasets import ImageFolder

        crop = T.RandomResizedCrop(224) if case == "jpeg" else T.RandomCrop(32, padding=4)
        norm = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        data = ImageFolder(path, T.Compose([crop, T.RandomHorizontalFlip(), T.ToTensor(), norm]))
        loader = torch.utils.data.DataLoader(data, 64, shuffle=True, num_workers=WORKERS, persistent_workers=True)
        work = lambda: sum(len(labels) for _, labels in loader)
    elif case == "text":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(128)
        texts = [line.rstrip("\n").split("\t")[0] for line in open(path, encoding="utf-8")]
        work = lambda: len(tokenizer.encode_batch(texts))
    else:
        import pyarrow.parquet as pq

        names = NUMBERS + ["label"] if case == "scan" else ["text", "label"]
        work = lambda: pq.read_table(path, columns=names).num_rows
    for _ in range(passes):
        start = time.perf_counter()
        samples = work()
        print(f"{samples / (time.perf_counter() - start):.1f}")
    if case.startswith("scan"):
        import pyarrow.compute as pc

        for name, column in zip(names, pq.read_table(path, columns=names).columns):
            total = pc.sum(pc.binary_length(column) if name == "text" else column)
            print(f"# {len(column)} {float(total.as_py())}")


def run(command):
    env = {**os.environ, "RAYON_NUM_THREADS": str(WORKERS), "TOKENIZERS_PARALLELISM": "true"}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.splitlines()
    rates = [float(line) for line in out if not line.startswith("#")]
    sums = [[float(word) for word in line.split()[1:]] for line in out if line.startswith("#")]
    return statistics.median(rates[1:]), sums


def same(one, other):
    near = lambda a, b: abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b)) * 1e3
    return len(one) == len(other) and all(near(a, b) for x, y in zip(one, other) for a, b in zip(x, y))


def measure(case, binary, data, made):
    _, _, own_passes, peer_passes, _, _ = CASES[case]
    tokenizer = str(data / "all-MiniLM-L6-v2" / "tokenizer.json")
    path = {"jpeg": made / "jpeg", "cifar": data / "cifar10" / "test", "text": data / "sst2" / "train.tsv",
            "scan": made / "numbers.parquet", "scan_text": made / "text.parquet"}[case]
    # torchvision's folder holds the classes, kiln's may too.
    path = str(path / "train" if case == "jpeg" else path)
    more = {"text": [tokenizer], "scan": NUMBERS + ["label"], "scan_text": ["text", "label"]}.get(case, [])
    kind = "scan" if case == "scan_text" else case
    sides = {
        "kiln": [binary, kind, path, str(WORKERS), str(own_passes), *more],
        "peer": [sys.executable, __file__, "--peer", case, path, str(peer_passes), tokenizer],
    }
    rates, sums = {"kiln": [], "peer": []}, {}
    for i in range(RUNS):
        for side in ["kiln", "peer"] if i % 2 == 0 else ["peer", "kiln"]:
            rate, sums[side] = run(sides[side])
            rates[side].append(rate)
    if case.startswith("scan") and not same(sums["kiln"], sums["peer"]):
        sys.exit(f"{case}: the two sides read other values: {sums}")
    return rates


def main(binary, data, cases):
    sys.path.insert(0, str(HERE / "peers"))
    from loader import make

    import importlib.metadata as meta

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{p} {meta.version(p)}" for p in ["torch", "torchvision", "pillow", "tokenizers", "pyarrow"])
    print("# The loader beside its peers\n")
    print(f"`benches/loader.py`: {os.cpu_count()} cores of {cpu[1] if cpu else platform.processor()}, {WORKERS} workers or threads on both")
    print(f"sides, median of {RUNS} alternating runs (least to most in brackets). {versions}.\n")
    print("| case | unit | kiln | peer | ratio | bar |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        made = Path(made)
        if "jpeg" in cases:
            make(made / "jpeg", 640)
        if {"scan", "scan_text"} & set(cases):
            make_parquet(made)
        for case in cases:
            what, unit, _, _, name, bar = CASES[case]
            rates = measure(case, binary, data, made)
            cell = lambda own: f"{statistics.median(own):,.0f} ({min(own):,.0f} to {max(own):,.0f})"
            ratio = statistics.median(rates["kiln"]) / statistics.median(rates["peer"])
            peer_cell = f"{cell(rates['peer'])} {name}"
            print(f"| {what} | {unit} | {cell(rates['kiln'])} | {peer_cell} | {ratio:.2f} | {bar} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        peer(sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
    else:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:] or list(CASES))
