#!/usr/bin/env python3
"""Sends `kiln serve` thousands of bodies that no client should send, and names that climb out of folders. Every one must be
refused with 4xx (a mutation may leave a request good: then Python must find it good too), no request may crash the
server or learn a path of its machine, and its memory must stay within bounds.
Usage: python3 tests/serve_malformed.py [--kiln BINARY] [--bodies 10000] [--names 500] [--seed 1]
"""
import json
import random
import re
import socket
import struct
import sys
import tempfile
import urllib.parse
from collections import Counter
from pathlib import Path

import harness
import serving

# What a reply must not hold, beside the folders of this run.
LEAKS = re.compile(r"/(tmp|root|home|usr|etc|work|proc)/|\.rs\b|panicked|root:x|0x[0-9a-f]{9,}")


class Client:
    """One connection, opened anew when the server has closed it."""

    def __init__(self, address):
        self.address, self.socket = address.split(":"), None

    def send(self, request, pieces=()):
        """(status, headers and body) of a request sent as it is; pieces follow until the server has had enough."""
        for attempt in (1, 2):
            if self.socket is None:
                self.socket = socket.create_connection((self.address[0], int(self.address[1])), timeout=60)
            try:
                self.socket.sendall(request)
                for piece in pieces:
                    self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass
            reply = self.read()
            if reply or pieces or attempt == 2:
                return reply
        return None

    def read(self):
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                more = self.socket.recv(65536)
                if not more:
                    self.socket = None
                    return None
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            while len(body) < int(fields.get(b"content-length", 0)):
                body += self.socket.recv(65536)
        except ConnectionResetError:
            self.socket = None
            return None
        if fields.get(b"connection") == b"close":
            self.socket = None
        return int(head.split()[1]), head.decode() + body.decode(errors="replace")


def post(path, body, kind="application/json", *more):
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-type: {kind}", f"content-length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def mutated(rng, body):
    """Cut, with bytes changed, dropped, doubled or put in."""
    body = bytearray(body)
    for _ in range(rng.randint(1, 6)):
        if not body:
            break
        at = rng.randrange(len(body))
        what = rng.randrange(5)
        if what == 0:
            del body[at:]
        elif what == 1:
            body[at] = rng.randrange(256)
        elif what == 2:
            del body[at:at + rng.randint(1, 9)]
        elif what == 3:
            body[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 40)))
        else:
            body[at:at] = rng.choice([b"[", b"{", b'"', b"\\u", b"\xff", b"NaN", b"1e999", b"-", b"null", b"\0"]) * rng.choice([1, 2, 500])
    return bytes(body)


def good_json(body):
    """Whether a strict parser reads it."""
    def no_constant(_):
        raise ValueError
    try:
        json.loads(body.decode(), parse_constant=no_constant)
        return True
    except (ValueError, RecursionError):
        return False


OIP = json.dumps({"id": "1", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a good film", "no"]}],
                  "outputs": [{"name": "label"}]}).encode()
ROW = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}]}).encode()


def bodies(rng, image):
    """(what, request, whether it may be answered) without end."""
    text, pixels = "/v2/models/text/infer", "/v1/models/image/predict"
    while True:
        kind = rng.choice(["json", "json", "plain", "bytes", "image", "image", "nest", "number", "utf8", "shape", "form", "random", "length", "tensor", "csv", "options"])
        if kind == "json":
            body = mutated(rng, OIP)
            yield kind, post(text, body), good_json(body)
        elif kind == "plain":
            body = mutated(rng, b'{"text": ["a good film", "no"]}')
            yield kind, post("/v1/models/text/predict", body), good_json(body)
        elif kind == "bytes":
            elements = mutated(rng, struct.pack("<I", 4) + b"good" + struct.pack("<I", 2) + b"no")
            size = rng.choice([len(elements), 10, 14, 2**31, 2**63, 2**64 - 1, -1])
            head = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": size}}]}
            head = json.dumps(head).encode()
            length = rng.choice([len(head), len(head), len(head) + 1, 0, 10**9])
            yield kind, post(text, head + elements, "application/octet-stream", f"Inference-Header-Content-Length: {length}"), True
        elif kind == "image":
            body = bytearray(image)
            for _ in range(rng.randint(1, 20)):
                body[rng.randrange(8, len(body))] = rng.randrange(256)
            if rng.random() < 0.6:  # a header that promises more than there is
                body[16:24] = struct.pack(">II", rng.choice([0, 1, 2**15, 2**31 - 1]), rng.choice([0, 2**15, 2**20]))
            yield kind, post(pixels, bytes(body[:rng.choice([len(body), rng.randrange(len(body))])]), "image/png"), True
        elif kind == "nest":
            opening = rng.choice([b"[", b'{"inputs":', b'{"a":', b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":' + b"["])
            yield kind, post(rng.choice([text, pixels]), opening * rng.choice([200, 2000, 50_000])), False
        elif kind == "number":
            number = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x1", "1.", "9" * 400, "-0", "1e-999", "true", "null"])
            body = OIP.decode().replace("[2]", f"[{number}]", 1) if rng.random() < 0.5 else '{"numbers": [%s]}' % number
            yield kind, post(rng.choice([text, "/v1/models/text/predict"]), body.encode()), False
        elif kind == "utf8":
            bad = rng.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82", b"\\ud800"])
            yield kind, post(text, OIP.replace(b"good", bad)), False
        elif kind == "shape":
            shape = rng.choice(["[]", "[3]", "[2,2]", "[18446744073709551615,18446744073709551615]", "[-1]", "[1.5]", "{}", "\"2\"", "[0]", "[4294967296,4294967296]"])
            yield kind, post(text, OIP.decode().replace("[2]", shape, 1).encode()), False
        elif kind == "form":
            body = mutated(rng, b"--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n" + image[:60] + b"\r\n--x--\r\n")
            yield kind, post(pixels, body, rng.choice(["multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary="])), False
        elif kind == "tensor":  # token ids, as bytes
            n, t = rng.choice([1, 2, 3]), rng.choice([1, 2, 5, 16, 17, 600])
            numbers = [rng.choice([0, 1, 1, 2, 5, rng.randrange(40), -1, 2**31, 2**63 - 1, -2**63]) for _ in range(n * t)]
            ids, mask = struct.pack(f"<{n * t}q", *numbers), struct.pack(f"<{n * t}q", *[rng.choice([1, 1, 1, 1, 0, 2]) for _ in range(n * t)])
            shape = rng.choice([[n, t], [n, t], [n, t], [t, n], [n * t], [0, t], [2**64 - 1, 0], [2**63, 2], [n, t, 1]])
            inputs = [{"name": name, "datatype": rng.choice(["INT64"] * 5 + ["INT32", "FP32", "BYTES"]), "shape": shape, "parameters": {"binary_data_size": len(ids)}}
                      for name in ("input_ids", "attention_mask")]
            head = json.dumps({"inputs": inputs}).encode()
            yield kind, post(text, head + ids + mask, "application/octet-stream", f"Inference-Header-Content-Length: {len(head)}"), True
        elif kind == "csv":
            body = mutated(rng, b'text,label\r\na good film,yes\r\n"no, ""not"" this",no\r\n')
            yield kind, post("/v1/models/text/predict", body, rng.choice(["text/csv", "text/tab-separated-values"])), True
        elif kind == "options":
            if rng.random() < 0.5:
                path, body = "/v1/models/prose/predict", b'{"text": "to be", "max_new_tokens": 5, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 1, "stop": ["or"], "stream": false}'
            else:
                path, body = "/v1/completions", b'{"model": "prose", "prompt": ["to be", "or"], "max_tokens": 5, "temperature": 0.5, "stop": "or", "n": 1, "stream": false}'
            body = mutated(rng, body)
            yield kind, post(path, body), good_json(body)
        elif kind == "length":
            body = OIP[:rng.randrange(len(OIP))]
            yield kind, post(text, body, "application/json", f"content-encoding: {rng.choice(['gzip', 'br', 'deflate'])}"), False
        else:
            yield kind, post(rng.choice([text, pixels, "/v1/models/text/predict"]), bytes(rng.randrange(256) for _ in range(rng.randrange(2000)))), False


def names(rng):
    """Names that climb, without end."""
    steps = ["../", "..\\", "%2e%2e/", "..%2f", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "..%c0%af", "....//", "/", "..;/", "%00/", "$../", "./", "~/",
             "file:///", "\u2025/"]
    ends = ["etc/passwd", "proc/self/environ", "config.json", "model.safetensors", "root/.ssh/id_rsa", "", "%00", "windows/win.ini"]
    while True:
        yield urllib.parse.quote("".join(rng.choice(steps) for _ in range(rng.randint(1, 9))) + rng.choice(ends), safe="/%\\;$~:.")


def chunked(megabytes):
    """Pieces of a body in chunks of six bytes."""
    piece = b"6\r\n[[[[[[\r\n" * 20_000
    for _ in range(megabytes * (1 << 20) // (6 * 20_000) + 1):
        yield piece
    yield b"0\r\n\r\n"


def main():
    args = harness.arguments(__doc__, bodies=(10_000, "bodies"), names=(500, "names"), seed=(1, "of the generator"))
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        text = serving.trained(args.kiln, harness.texts(scratch), scratch, "train.epochs=1", "evaluate.every=1 epoch")
        image = serving.trained(args.kiln, harness.digits(scratch), scratch, "train.epochs=1")
        prose = serving.trained(args.kiln, serving.prose(scratch), scratch)
        picture = serving.digit_images(scratch, 1)[0].read_bytes()
        counts, wrong = Counter(), []
        with serving.Served(args.kiln, f"text={text}", f"image={image}", f"prose={prose}", "--max-body-mib", 80, log=Path(scratch) / "log") as server:
            client = Client(server.address)
            before = server.metric("process_resident_memory_bytes")

            def judge(what, reply, may_answer):
                status, said = reply or (0, "no reply")
                counts[what, status] += 1
                fine = 400 <= status < 500 or (status == 200 and may_answer)
                if not fine or LEAKS.search(said) or scratch in said:
                    wrong.append((what, status, said[:300]))

            for (what, request, may_answer), _ in zip(bodies(rng, picture), range(args.bodies)):
                judge(what, client.send(request), may_answer)
            for name, _ in zip(names(rng), range(args.names)):
                for path in rng.sample([f"/{name}", f"/v2/models/{name}", f"/v2/models/{name}/infer", f"/v2/models/text/versions/{name}",
                                        f"/v1/models/{name}/predict", f"/v2/repository/models/{name}/load"], 2):
                    judge("name", client.send(f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".encode()), False)
            small = server.metric("process_resident_memory_bytes")
            head = b"POST /v2/models/text/infer HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
            judge("64 MB in chunks of 6 bytes", Client(server.address).send(head, chunked(64)), False)
            judge("96 MB in chunks of 6 bytes", Client(server.address).send(head, chunked(96)), False)
            after = server.metric("process_resident_memory_bytes")
            panics = server.metric("kiln_panics_total")
            assert client.send(post("/v1/models/text/predict", b'{"text": "a good film"}'))[0] == 200
            ended = server.terminate()
            log = (Path(scratch) / "log").read_text()
    for (what, status), n in sorted(counts.items()):
        print(f"{n:6} {what}: {status}")
    print(f"memory: {before / 2**20:.0f} MiB, {small / 2**20:.0f} after small bodies, {after / 2**20:.0f} after large ones")
    print("\n".join(map(str, wrong[:10])))
    assert not wrong and panics == 0 and "panicked" not in log and ended == 0
    assert small - before < 512 * 2**20 and after - small < 512 * 2**20
    print(f"{sum(counts.values())} requests, each refused or good; no panic, no path")


main()
