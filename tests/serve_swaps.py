#!/usr/bin/env python3
"""Replaces a served model under load, and ends the server by SIGTERM under load: no request that was accepted may be lost.
Usage: python3 tests/serve_swaps.py [--kiln BINARY] [--swaps 50] [--stops 20] [--clients 8]
The load generator stands beside the binary: cargo build --release --workspace --examples.
"""
import random
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import harness
import serving


def replace(model, by):
    """Puts another folder in a model folder's place, by two renames as `kiln train` does."""
    fresh, old = model.with_name("fresh"), model.with_name("old")
    shutil.copytree(by, fresh)
    model.rename(old)
    fresh.rename(model)
    shutil.rmtree(old)


def swaps(kiln, model, others, bodies, count, clients):
    """The load's count over so many replacements."""
    with serving.Served(kiln, model) as server:
        load = serving.load(kiln, server.address, "/v1/models/model/predict", bodies, clients=clients, seconds=max(6, 0.5 * count), warmup=0.2)
        slowest = 0
        for i in range(count):
            replace(model, others[i % 2])
            began = time.perf_counter()
            request = urllib.request.Request(f"http://{server.address}/v2/repository/models/model/load", method="POST")
            assert urllib.request.urlopen(request, timeout=60).status == 200
            slowest = max(slowest, time.perf_counter() - began)
        replaced_during_load = load.poll() is None
        counted = serving.came(load)
        assert replaced_during_load, "the load ended before the replacements"
        loads = server.metric("kiln_model_loads_total")
    assert loads == count + 1, loads
    return counted, slowest


def stops(kiln, model, bodies, count, clients, rng):
    """The loads' counts over so many ends."""
    total = {"answered": 0, "refused": 0, "lost": 0, "reused": 0, "late": 0, "other": 0}
    slowest = 0
    for _ in range(count):
        with serving.Served(kiln, model) as server:
            load = serving.load(kiln, server.address, "/v1/models/model/predict", bodies, clients=clients, seconds=5, warmup=0)
            time.sleep(rng.uniform(0.5, 2.5))
            began = time.perf_counter()
            assert server.terminate() == 0
            slowest = max(slowest, time.perf_counter() - began)
            counted = serving.came(load)
        for status, of in counted["answered"].items():
            total["answered" if status == "200" else "other"] += of["count"]
        total["refused"] += counted["unconnected"]
        for key in ("lost", "reused", "late"):
            total[key] += counted[key]
    return total, slowest


def main():
    args = harness.arguments(__doc__, swaps=(50, "replacements"), stops=(20, "ends by SIGTERM"), clients=(8, "clients at a time"), seed=(1, "of the moments"))
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        recipe = harness.texts(scratch)
        runs = [serving.trained(args.kiln, recipe, scratch, "train.epochs=1", "evaluate.every=1 epoch", f"seed={seed}") for seed in (1, 2)]
        model = Path(scratch) / "model"
        shutil.copytree(runs[0] / "model", model)
        bodies = serving.text_bodies(Path(scratch) / "bodies", ["a good film", "the very bad plot of it", "movie"])
        failed = False
        if args.swaps:
            counted, slowest = swaps(args.kiln, model, [run / "model" for run in reversed(runs)], bodies, args.swaps, args.clients)
            answered = counted["answered"]
            print(f"{args.swaps} replacements under {args.clients} clients: {answered['200']['count']} answered, others {sorted(set(answered) - {'200'})}, "
                  f"lost {counted['lost']}, refused {counted['unconnected']}, p99 {answered['200']['p99_ms']} ms, slowest replacement {slowest:.2f} s")
            failed |= set(answered) != {"200"} or any(counted[key] for key in ("lost", "unconnected", "late"))
        if args.stops:
            total, slowest = stops(args.kiln, model, bodies, args.stops, args.clients, rng)
            print(f"{args.stops} ends under {args.clients} clients: {total}; slowest {slowest:.2f} s")
            failed |= any(total[key] for key in ("lost", "late", "other"))
    sys.exit(failed)


main()
