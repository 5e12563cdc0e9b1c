#!/usr/bin/env python3
"""Makes tar shards of JPEGs, larger than what kiln may use, and trains one epoch over them: all samples shuffled, and whole
shards through a buffer. The peak memory must stay within 600 MB beyond that of the same training on 64 images.

Needs numpy and Pillow. Usage: python3 tests/shards_memory.py [--kiln BINARY] [--gigabytes 3] [--record FILE]
"""
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import harness
import numpy
from PIL import Image

CONFIG = """
seed = 3
device = "cpu"
[data]
kind = "webdataset"
train = "{shards}"
transforms = [{{ kind = "resize", size = [64, 64] }}, {{ kind = "random_horizontal_flip" }}]
[data.loader]
batch_size = 64
workers = 2
shuffle_by = "{order}"
[model]
kind = "mlp"
hidden = [32]
[optimizer]
kind = "sgd"
learning_rate = 0.01
[train]
epochs = 1
"""
ALLOWED = 600


def images():
    """64 JPEGs of 250x188 pixels of noise, about 100 kB each: much to read, little to decode."""
    rng = numpy.random.default_rng(7)
    for _ in range(64):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (188, 250, 3), dtype=numpy.uint8)).save(file, "jpeg", quality=97)
        yield file.getvalue()


def write(folder, pictures, total):
    """Shards of about 100 MB; gives samples and bytes."""
    folder.mkdir()
    samples = size = 0
    for shard in range(10**6):
        if size >= total:
            return samples, size
        path = folder / f"train-{shard:04}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            while tar.offset < min(100e6, total - size):
                for name, content in ((f"{samples:08}.jpg", pictures[samples % 64]), (f"{samples:08}.cls", b"%d" % (samples % 10))):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                samples += 1
        size += path.stat().st_size


def train(kiln, scratch, name, shards, order):
    """Trains; gives the peak memory in MiB and the seconds."""
    path = Path(scratch) / f"{name}.toml"
    path.write_text(CONFIG.format(shards=shards, order=order))
    log = Path(scratch) / f"{name}.log"
    began = time.monotonic()
    with log.open("w") as talk:
        words = [kiln, "train", path, f"output_dir={scratch}", f"run_name={name}"]
        process = subprocess.Popen(words, stdout=talk, stderr=talk)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name}: exit {process.returncode}\n{log.read_text()}")
    return usage.ru_maxrss / 1024, time.monotonic() - began


def main():
    args = harness.arguments(__doc__, gigabytes=(3.0, "of shards"), record=("", "file for the table"))
    with tempfile.TemporaryDirectory() as scratch:
        pictures = list(images())
        few, all_ = Path(scratch) / "few", Path(scratch) / "all"
        write(few, pictures, 64 * len(pictures[0]))
        samples, size = write(all_, pictures, args.gigabytes * 1e9)
        before, _ = train(args.kiln, scratch, "run-few", few, "samples")
        lines = [f"{samples} samples in {size / 1e9:.2f} GB of tar shards; {before:.0f} MiB at the peak on 64 samples"]
        for order in ("samples", "shards"):
            peak, seconds = train(args.kiln, scratch, f"run-{order}", all_, order)
            lines.append(f"shuffle_by = \"{order}\": {peak:.0f} MiB, {peak - before:.0f} more, {seconds:.0f} s")
            if (peak - before) * 1.048576 > ALLOWED:
                sys.exit("\n".join(lines))
        print("\n".join(lines))
        if args.record:
            Path(args.record).write_text("\n".join(lines) + "\n")


main()
