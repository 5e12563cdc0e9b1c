#!/usr/bin/env python3
"""`kiln serve` among hostile and too many clients. First: healthy clients alone, then beside idle keep-alive connections,
slow-loris ones and ones that never read an answer; then twice the requests a second that it can answer. Whatever is accepted must be answered or refused, and
memory must stay within bounds. Times are printed; --strict 1 also asserts them (healthy p99 at most 3 times the unloaded, 99 % of
refusals within 10 ms by the server's own clock).
Usage: python3 tests/serve_load.py [--kiln BINARY] [--keepalive 2000] [--loris 1000] [--deaf 50] [--seconds 20] [--strict 0]
The load generator stands beside the binary: cargo build --release --workspace --examples.
"""
import re
import sys
import tempfile
from pathlib import Path

import harness
import serving

# The load generator opens more files than a shell's usual 1,024.
MANY = ("sh", "-c", 'ulimit -n "$(ulimit -H -n)"; exec "$@"', "sh")
PREDICT = "/v1/models/model/predict"
MIB = 2**20


def within(server, status_model, seconds):
    """The share of the requests under this model label that took at most so long, and how many there were."""
    counts = {}
    for line in server.get("/metrics").splitlines():
        found = re.match(r'kiln_request_duration_seconds_bucket\{route="predict",model="%s",le="(.*)"\} (\d+)' % status_model, line)
        if found:
            counts[found[1]] = int(found[2])
    return counts[seconds] / counts["+Inf"], counts["+Inf"]


def healthy(args, server, bodies):
    """p99 of four clients, alone and among the others."""
    one = dict(clients=4, seconds=args.seconds)
    alone = serving.came(serving.load(args.kiln, server.address, PREDICT, bodies, **one))
    memory = server.metric("process_resident_memory_bytes")
    load = serving.load(args.kiln, server.address, PREDICT, bodies, prefix=MANY, keepalive=args.keepalive, loris=args.loris, deaf=args.deaf, warmup=6, **one)
    among = serving.came(load)
    grown = server.metric("process_resident_memory_bytes")
    for name, counted in (("alone", alone), ("among the others", among)):
        of = counted["answered"]["200"]
        print(f"4 clients {name}: {of['per_second']:.0f} req/s, p50 {of['p50_ms']:.1f} ms, p99 {of['p99_ms']:.1f} ms; lost {counted['lost']}, others {sorted(set(counted['answered']) - {'200'})}")
    idle = among["keepalive"]
    print(f"{args.keepalive} keep-alive connections: {idle['answered']}, lost {idle['lost']}, unconnected {idle['unconnected']}; "
          f"{args.loris} slow ones, closed {among['loris_closed']} times; {args.deaf} that never read, closed {among['deaf_closed']} times; memory {memory / MIB:.0f} -> {grown / MIB:.0f} MiB")
    assert set(among["answered"]) == {"200"} and not among["lost"] and not among["unconnected"]
    assert set(idle["answered"]) <= {"200"} and not idle["lost"] and not idle["unconnected"]
    assert args.loris == 0 or among["loris_closed"] > 0
    # Each holds its place for no longer than the time to write: over the run all are closed at least once.
    assert among["deaf_closed"] >= args.deaf
    assert server.metric("kiln_connections_unread_total") >= args.deaf
    assert grown - memory < 512 * MIB
    return among["answered"]["200"]["p99_ms"] <= 3 * alone["answered"]["200"]["p99_ms"]


def overload(args, server, bodies):
    """Twice what it can."""
    capacity = serving.came(serving.load(args.kiln, server.address, PREDICT, bodies, clients=32, seconds=args.seconds))
    rate = 2 * capacity["answered"]["200"]["per_second"]
    counted = serving.came(serving.load(args.kiln, server.address, PREDICT, bodies, prefix=MANY, rate=f"{rate:.1f}", seconds=args.seconds))
    answered = counted["answered"]
    print(f"capacity {rate / 2:.0f} req/s; at {rate:.0f} req/s:")
    for status, of in answered.items():
        print(f"  {status}: {of['count']} ({of['per_second']:.0f} a second), p50 {of['p50_ms']:.1f} ms, p99 {of['p99_ms']:.1f} ms")
    print(f"  lost {counted['lost']} ({counted['reused']} of them on connections used before), late {counted['late']}, unconnected {counted['unconnected']}; memory {server.metric('process_resident_memory_bytes') / MIB:.0f} MiB")
    share, refused = within(server, "", "0.01")
    print(f"  by the server's clock {100 * share:.2f} % of {refused} refusals took at most 10 ms")
    assert set(answered) == {"200", "429"} and not counted["lost"] and not counted["late"] and not counted["unconnected"]
    return share >= 0.99


def main():
    args = harness.arguments(__doc__, keepalive=(2000, "idle connections"), loris=(1000, "slow connections"), deaf=(50, "connections that never read"), seconds=(20, "a measurement"), strict=(0, "1 asserts the times too"))
    with tempfile.TemporaryDirectory() as scratch:
        recipe = harness.minilm(scratch)
        texts = serving.sentences(200) if recipe else ["a good film"]
        run = serving.trained(args.kiln, recipe or harness.texts(scratch), scratch, *([] if recipe else ["train.epochs=1", "evaluate.every=1 epoch"]))
        bodies = serving.text_bodies(Path(scratch) / "bodies", texts)
        # A small model is so fast that the load generator would be what is overloaded: then each request asks 64 times.
        many = bodies if recipe else serving.text_bodies(Path(scratch) / "many", [["a good film"] * 64])
        with serving.Served(args.kiln, f"model={run}", "--header-timeout", 5, "--write-timeout", 3, "--max-queue", 128) as server:
            in_time = [healthy(args, server, bodies)]
        # Short, so that twice the capacity fills it soon on a slow machine too.
        with serving.Served(args.kiln, f"model={run}", "--max-queue", 32 if recipe else 256) as server:
            in_time.append(overload(args, server, many))
    sys.exit(bool(args.strict) and not all(in_time))


main()
