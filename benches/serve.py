#!/usr/bin/env python3
"""`kiln serve` beside FastAPI with PyTorch (`transformers`) and FastAPI with onnxruntime: one MiniLM classifier, the same weights,
the same sentences, the same load, one after the other in every round. Also: batching against none, and the time from start to
ready. Everything shares the machine's processors, the load generator too (one thread; its share is printed).
Needs torch, transformers, onnx, onnxruntime, fastapi, uvicorn; KILN_TEST_DATA.
Usage: python3 benches/serve.py [--kiln BINARY] [--rounds 3] [--seconds 10] [--clients 8]
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import harness  # noqa: E402
import serving  # noqa: E402

PEER = Path(__file__).resolve().parent / "peers" / "serve_fastapi.py"
EXPORT = """
import sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model, tokenizer = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval(), AutoTokenizer.from_pretrained(sys.argv[1])
tokens = tokenizer(["a text", "another text of words"], padding=True, return_tensors="pt")
names = list(tokens)
axes = {name: {0: "b", 1: "t"} for name in names} | {"logits": {0: "b"}}
torch.onnx.export(model, tuple(tokens[n] for n in names), sys.argv[1] + "/model.onnx", input_names=names, output_names=["logits"],
                  dynamic_axes=axes, dynamo=False)
"""


class Peer:
    """A FastAPI server in its own process."""

    def __init__(self, model, engine, threads, place, port):
        began = time.perf_counter()
        self.address = f"127.0.0.1:{port}"
        self.process = subprocess.Popen([sys.executable, PEER, str(model), str(port), engine, str(threads), place])
        while True:
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/health/ready", timeout=1)
                break
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.02)
        self.seconds_to_ready = time.perf_counter() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def measured(kiln, server, path, bodies, clients, seconds):
    """Requests a second, latencies, and the load generator's processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    counted = serving.came(serving.load(kiln, server.address, path, bodies, clients=clients, seconds=seconds, warmup=2))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert set(counted["answered"]) == {"200"} and not counted["lost"], counted
    of = counted["answered"]["200"]
    of["load_cpu"] = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / (seconds + 2)
    return of


def main():
    args = harness.arguments(__doc__, rounds=(3, "rounds"), seconds=(10, "of load a measurement"), clients=(8, "clients at a time"), only=("", "names to measure, with commas"))
    lines = serving.sentences(400)
    if lines is None:
        sys.exit("set KILN_TEST_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        model = serving.trained(args.kiln, harness.minilm(scratch), scratch) / "model"
        bodies = serving.text_bodies(Path(scratch) / "bodies", lines)
        subprocess.run([sys.executable, "-c", EXPORT, str(model)], check=True, capture_output=True)
        own = "/v1/models/model/predict"
        cases = {
            "kiln": (lambda port: serving.Served(args.kiln, model), own),
            "kiln, no batching": (lambda port: serving.Served(args.kiln, model, "--max-batch", 1), own),
            "FastAPI + torch, 2 threads": (lambda port: Peer(model, "torch", 2, "inline", port), "/predict"),
            "FastAPI + torch, threadpool of 1": (lambda port: Peer(model, "torch", 1, "threadpool", port), "/predict"),
            "FastAPI + onnxruntime, 2 threads": (lambda port: Peer(model, "onnxruntime", 2, "inline", port), "/predict"),
            "FastAPI + onnxruntime, threadpool of 1": (lambda port: Peer(model, "onnxruntime", 1, "threadpool", port), "/predict"),
        }
        chosen = [name for name in cases if not args.only or any(part in name for part in args.only.split(","))]
        found = {name: [] for name in chosen}
        ready = {name: [] for name in chosen}
        port = 18080
        for _ in range(args.rounds):
            for name in chosen:
                start, path = cases[name]
                port += 1
                with start(port) as server:
                    ready[name].append(server.seconds_to_ready)
                    found[name].append(measured(args.kiln, server, path, bodies, args.clients, args.seconds))
        print(f"{args.clients} clients, {len(lines)} sentences of SST-2, {os.cpu_count()} processors, median of {args.rounds} rounds of {args.seconds} s")
        print(f"{'':40} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'ready s':>8} {'load cpu':>8}")
        for name in chosen:
            of = lambda key: statistics.median(one[key] for one in found[name])
            print(f"{name:40} {of('per_second'):8.1f} {of('p50_ms'):8.1f} {of('p99_ms'):8.1f} {statistics.median(ready[name]):8.2f} {of('load_cpu'):8.2f}")
        print(json.dumps({name: {"rounds": found[name], "ready": ready[name]} for name in chosen}), file=sys.stderr)


main()
