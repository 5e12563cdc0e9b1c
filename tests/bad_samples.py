#!/usr/bin/env python3
"""Plants faults among 2,000 JPEGs (1 % each truncated, empty, no image, CMYK, 16-bit, EXIF-turned, and five bombs) and
trains over them with each policy: every fault must be found, named and counted once, every other sample used, and
the peak memory must stay within 256 MB a loader thread of the run on the same images without faults.

Needs numpy and Pillow. Usage: python3 tests/bad_samples.py [--kiln BINARY] [--images 2000] [--record FILE]
"""
import collections
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import harness
import numpy
from PIL import Image

CONFIG = """
seed = 3
device = "cpu"
[data]
kind = "image_folder"
train = "{train}"
transforms = [{{ kind = "resize", size = 256 }}, {{ kind = "random_crop", size = 224 }}, {{ kind = "resize", size = [32, 32] }}]
[data.loader]
batch_size = 32
workers = {workers}
on_bad_sample = "{policy}"
max_bad_fraction = {allowed}
[model]
kind = "mlp"
hidden = [8]
[optimizer]
kind = "sgd"
learning_rate = 0.01
[train]
epochs = 1
"""
SIDE = 60_000


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bombs():
    """Five small files whose headers promise 3,600 million pixels (the GIF, whose sides have 16 bits, too)."""
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(bytes(1 << 20), 9)) + chunk(b"IEND", b"")
    gif = b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    gif += b"\x2c" + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0) + b"\x02\x02\x4c\x01\x00\x3b"
    bmp = b"BM" + struct.pack("<IIIIIIHH", 70, 0, 54, 40, SIDE, SIDE, 1, 24) + bytes(40)
    tags = [(256, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, SIDE), (279, 16)]
    tiff = b"II*\0" + struct.pack("<I", 24) + bytes(16) + struct.pack("<H", len(tags))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    side = struct.pack("<I", SIDE - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + side + side
    body += b"VP8L" + struct.pack("<I", 16) + b"\x2f" + bytes(15)
    return {"png": png, "gif": gif, "bmp": bmp, "tiff": tiff, "webp": b"RIFF" + struct.pack("<I", len(body)) + body}


def jpeg(rng, mode="RGB", **extra):
    small = rng.integers(0, 255, (12, 16, 4 if mode == "CMYK" else 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(small, mode).resize((500, 375)).save(file, "jpeg", quality=90, **extra)
    return file.getvalue()


def plant(folder, images, faults):
    """Writes the images; gives the paths of those that cannot be used, by fault."""
    rng = numpy.random.default_rng(7)
    good = [jpeg(rng) for _ in range(50)]
    turned = Image.Exif()
    turned[0x0112] = 6
    bad, bomb = {}, iter(bombs().items() if faults else ())
    for i in range(images):
        path = folder / f"class{i % 4}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = good[i % len(good)]
        kind, content = {
            7: ("truncated", whole[: len(whole) // 2]), 20: ("empty", b""), 33: ("no image", b"<html>gone</html>"),
            46: (None, jpeg(rng, "CMYK")), 72: (None, jpeg(rng, exif=turned)), 59: (None, None),
        }.get(i % 100, (None, whole)) if faults else (None, whole)
        if faults and i % (images // 5) == 88 % (images // 5):
            ending, content = next(bomb)
            kind, path = f"bomb ({ending})", path.with_suffix("." + ending)
        if content is None:  # 16 bits
            path = path.with_suffix(".png")
            Image.fromarray(rng.integers(0, 65535, (375, 500), dtype=numpy.uint16)).save(path)
        else:
            path.write_bytes(content)
        if kind:
            bad[str(path)] = kind
    return bad


def train(kiln, scratch, name, expected=0, **config):
    """Trains; gives the run and the peak memory in MiB."""
    path = Path(scratch) / f"{name}.toml"
    path.write_text(CONFIG.format(**config))
    log = Path(scratch) / f"{name}.log"
    with log.open("w") as talk:
        process = subprocess.Popen(
            [kiln, "train", path, f"output_dir={scratch}", f"run_name={name}"], stdout=talk, stderr=talk)
        _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code != expected:
        sys.exit(f"{name}: expected exit {expected}, got {code}\n{log.read_text()}")
    return Path(scratch) / name, usage.ru_maxrss / 1024


def found(run):
    """The samples that a run named, with the reasons."""
    lines = (run / "bad_samples.jsonl").read_text().splitlines()
    named = {line["sample"]: line for line in map(json.loads, lines)}
    if len(named) != len(lines):
        sys.exit(f"{run}: a sample is named twice")
    return named


def main():
    args = harness.arguments(__doc__, images=(2000, "images"), record=("", "file for the table"))
    with tempfile.TemporaryDirectory() as scratch:
        clean, faulty = Path(scratch) / "clean", Path(scratch) / "faulty"
        plant(clean, args.images, False)
        bad = plant(faulty, args.images, True)
        kinds = collections.Counter(bad.values())
        lines = [f"{args.images} images, {len(bad)} that cannot be used: " + ", ".join(f"{n} {k}" for k, n in sorted(kinds.items()))]
        for workers in (1, 2):
            _, before = train(args.kiln, scratch, f"clean-{workers}", train=clean, workers=workers, policy="fail", allowed=0.01)
            for policy in ("skip", "quarantine"):
                run, peak = train(args.kiln, scratch, f"{policy}-{workers}", train=faulty, workers=workers, policy=policy, allowed=0.05)
                named = found(run)
                growth = (peak - before) / workers
                copies = sum(1 for _ in (run / "quarantine").iterdir()) if policy == "quarantine" else 0
                logged = [line["bad_samples"] for line in harness.log(run) if "bad_samples" in line]
                lines.append(f"{policy:10} {workers} workers: {len(named)} found and named, {copies} copies, logged {logged}, "
                             f"peak {peak:.0f} MiB for {before:.0f} without faults: {growth:.0f} MiB a worker")
                if set(named) != set(bad) or logged != [len(bad)] or growth > 256:
                    sys.exit("\n".join([*lines, f"missed {set(bad) - set(named)}, wrongly named {set(named) - set(bad)}"]))
                if policy == "quarantine" and copies != len(bad):
                    sys.exit("\n".join(lines))
        train(args.kiln, scratch, "fail", expected=4, train=faulty, workers=2, policy="fail", allowed=0.01)
        run, _ = train(args.kiln, scratch, "bound", expected=4, train=faulty, workers=2, policy="skip", allowed=0.01)
        bound = -(-args.images // 100)
        lines.append(f"fail ends with exit code 4; skip with 1 % allowed too, after naming {len(found(run))} of {bound} allowed")
        print("\n".join(lines))
        if len(found(run)) != bound + 1:
            sys.exit("the bound is not kept")
        if args.record:
            Path(args.record).write_text("\n".join(lines) + "\n")


main()
