"""What the scripts about `kiln serve` share: small models to serve, a server in its own process, and the load that asks it.
Owns no expectation. Python 3.9, no packages.
"""
import gzip
import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import harness


def trained(kiln, config, scratch, *overrides):
    """Trains and gives the run folder."""
    out = harness.finish(harness.start(kiln, "train", config, f"output_dir={scratch}/runs", *overrides))
    return Path(out.splitlines()[-1])


def digit_images(folder, count):
    """Writes test digits as PNG files and gives their paths."""
    images = gzip.decompress((harness.ROOT / "datasets/digits/t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    paths = [Path(folder) / f"digit-{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(harness.png(8, 8, images[64 * i:64 * (i + 1)]))
    return paths


def prose(folder):
    """Writes a little prose and the config of a small GPT-2 of its characters, and gives the config's path."""
    folder = Path(folder)
    (folder / "prose.txt").write_text("".join(["to be ", "or not ", "that is\n"][i * i % 3] for i in range(400)))
    path = folder / "prose.toml"
    path.write_text(f"""device = "cpu"
[task]
kind = "causal_language_modeling"
[data]
kind = "text"
path = "{folder}/prose.txt"
block_size = 24
[data.tokenizer]
kind = "characters"
[model]
kind = "gpt2"
n_layer = 1
n_head = 2
n_embd = 32
[optimizer]
kind = "adamw"
learning_rate = 0.01
[train]
epochs = 3
""")
    return path


class Served:
    """`kiln serve words...` on a free port, until the block ends."""

    def __init__(self, kiln, *words, log=None, prefix=()):
        self.log = open(log, "w+") if log else subprocess.DEVNULL
        command = [*prefix, kiln, "serve", *map(str, words), "--address", "127.0.0.1:0", "--device", "cpu"]
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        self.seconds_to_ready = time.perf_counter() - began
        assert line.startswith("http"), f"{command} did not start"
        self.address = line.split()[0].partition("://")[2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as response:
            return response.read().decode()

    def metric(self, name):
        """The first value under this name and labels."""
        return next(float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").splitlines() if line.startswith(name))

    def terminate(self):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def load_tool(kiln):
    """The load generator, built beside the binary: crates/kiln-serve/examples/load.rs."""
    return str(Path(kiln).parent / "examples" / "load")


def load(kiln, address, path, bodies, prefix=(), **settings):
    """Starts the load generator; `came` waits for what it counted."""
    words = [f"{key}={value}" for key, value in settings.items()]
    command = [*prefix, load_tool(kiln), address, path, str(bodies), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def came(process):
    """What a load generator counted."""
    out, _ = process.communicate()
    assert process.returncode == 0, f"{process.args} ended with {process.returncode}"
    return json.loads(out)


def text_bodies(path, texts):
    """A file of requests to the plain endpoint, and to peers that read the same JSON."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def sentences(count):
    """Sentences of SST-2's dev split; None where KILN_TEST_DATA is not set."""
    data = os.environ.get("KILN_TEST_DATA")
    if not data:
        return None
    lines = (Path(data) / "sst2" / "dev.tsv").read_text().splitlines()[:count]
    return [line.split("\t")[0] for line in lines]
