"""What the scripts in tests/ and benches/ share: small configs, starting kiln, and the fingerprint of a run.
Owns nothing of a run: it starts the binary as a user would and reads what the binary wrote. Python 3.9, no packages.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VOLATILE = ("elapsed", "data_wait", "samples_per_second", "tokens_per_second", "step_p50_ms", "step_p95_ms", "data_wait_share",
            "model_tflops", "model_flops_utilisation", "memory_mib")

DIGITS = f"""
seed = 7
device = "cpu"
[data]
kind = "idx"
path = "{ROOT}/datasets/digits"
validation_fraction = 0.1
[[data.transforms]]
kind = "random_crop"
size = 8
padding = 1
[[data.transforms]]
kind = "random_horizontal_flip"
p = 0.1
[[data.transforms]]
kind = "normalize"
mean = [0.01916]
std = [0.0236]
[data.loader]
batch_size = 32
[model]
kind = "cnn"
channels = [16, 32]
hidden = 64
dropout = 0.2
[optimizer]
kind = "adamw"
learning_rate = 2e-3
[schedule]
lr_scheduler_type = "cosine"
warmup_steps = 0.1
[train]
epochs = 4
gradient_accumulation_steps = 2
max_grad_norm = 5.0
[checkpoint]
every = "7 steps"
"""

MINILM = """
seed = 7
device = "cpu"
[data]
kind = "tsv"
train = "{folder}/train.tsv"
validation = "{folder}/validation.tsv"
header = false
text = 0
label = 1
[data.tokenizer]
max_length = 32
[data.loader]
batch_size = 8
length_bucketing = true
[model]
kind = "bert"
pretrained = "{data}/all-MiniLM-L6-v2"
[optimizer]
kind = "adamw"
learning_rate = 5e-5
decay_bias_and_norm = false
[schedule]
lr_scheduler_type = "linear"
warmup_steps = 2
[train]
epochs = 1
gradient_accumulation_steps = 2
max_grad_norm = 1.0
[checkpoint]
every = "4 steps"
"""


def arguments(about, **extra):
    """The command line: --kiln and whatever else, as name=(default, help)."""
    parser = argparse.ArgumentParser(description=about)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    parser.add_argument("--kiln", default=f"{target}/release/kiln", help="the binary")
    for name, (default, text) in extra.items():
        parser.add_argument(f"--{name}", default=default, type=type(default), help=f"{text} (default: {default})")
    return parser.parse_args()


def digits(folder):
    """Writes the config of a small convolutional net on the digits and gives its path."""
    path = Path(folder) / "digits.toml"
    path.write_text(DIGITS)
    return path


def minilm(folder):
    """Writes the config of a short MiniLM tuning on 240 sentences; None where KILN_TEST_DATA is not set."""
    data = os.environ.get("KILN_TEST_DATA")
    if not data:
        return None
    folder = Path(folder)
    for name, source, rows in (("train", "train", 240), ("validation", "dev", 32)):
        lines = (Path(data) / "sst2" / f"{source}.tsv").read_text().split("\n")[:rows]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    path = folder / "minilm.toml"
    path.write_text(MINILM.format(folder=folder, data=data))
    return path


def lora(minilm):
    """Writes beside the MiniLM config one that trains adapters; None where there is no MiniLM."""
    if not minilm:
        return None
    path = minilm.with_name("lora.toml")
    path.write_text('extends = "minilm.toml"\n[lora]\nrank = 4\ndropout = 0.1\ntarget_modules = ["query", "value"]\n')
    return path


def thaw(digits):
    """Writes beside the digits config one that thaws layer by layer, with rates that fall from the head down."""
    path = digits.with_name("thaw.toml")
    path.write_text(f'extends = "{digits.name}"\n[finetune]\nunfreeze_every = "7 steps"\nlayer_decay = 0.8\n')
    return path


def mixup(digits):
    """Writes beside the digits config one that mixes images of two weighted sources by MixUp and CutMix."""
    path = digits.with_name("mixup.toml")
    lines = digits.read_text().replace(f'path = "{ROOT}/datasets/digits"\n', "")
    source = f'[[data.sources]]\npath = "{ROOT}/datasets/digits"\nweight = '
    path.write_text(f"{lines}{source}2\n{source}1\n"
                    "[data.mixup]\nmixup_alpha = 0.8\ncutmix_alpha = 1.0\nmixup_mode = \"elem\"\n")
    return path


def average(digits):
    """Writes beside the digits config one that scores and keeps an average of the weights."""
    path = digits.with_name("average.toml")
    path.write_text(f'extends = "{digits.name}"\n[average]\nkind = "ema"\ndecay = 0.95\nwarmup = true\n')
    return path


def tokens(minilm):
    """Writes beside the MiniLM config one whose batches have at most 200 tokens; None where there is no MiniLM."""
    if not minilm:
        return None
    path = minilm.with_name("tokens.toml")
    text = minilm.read_text().replace("batch_size = 8\nlength_bucketing = true", "max_tokens = 200")
    path.write_text(text)
    return path


# Whatever a run can have that a resume must bring back, in every recipe: an average of the weights, accumulation, a rate that
# falls on plateaus, patience, evaluation and saves within passes.
EVERYTHING = """
[average]
kind = "ema"
decay = 0.95
warmup = true
[schedule]
lr_scheduler_type = "reduce_lr_on_plateau"
warmup_steps = 5
patience = 0
factor = 0.5
[evaluate]
every = "9 steps"
[checkpoint]
every = "7 steps"
keep_best = 2
[train]
epochs = 3
gradient_accumulation_steps = 2
max_grad_norm = 5.0
label_smoothing_factor = 0.1
early_stopping_patience = 6
"""

SHARDS = """
seed = 7
device = "cpu"
[data]
kind = "webdataset"
train = "{folder}/train-{{00..03}}.tar"
validation = "{folder}/validation.tar"
transforms = [{{ kind = "random_crop", size = 8, padding = 1 }}, {{ kind = "random_rotation", degrees = 10 }}]
[data.mixup]
mixup_alpha = 0.8
cutmix_alpha = 1.0
[data.loader]
batch_size = 16
shuffle_by = "shards"
shuffle_buffer = 100
[model]
kind = "cnn"
channels = [8, 16]
hidden = 32
dropout = 0.2
[optimizer]
kind = "adamw"
learning_rate = 2e-3
"""

HALF = f"""
seed = 7
device = "cpu"
precision = "bf16"
[data]
kind = "idx"
path = "{ROOT}/datasets/digits"
validation_fraction = 0.1
transforms = [{{ kind = "random_crop", size = 8, padding = 1 }}, {{ kind = "random_horizontal_flip", p = 0.1 }}]
[data.mixup]
mixup_alpha = 0.4
[data.loader]
batch_size = 32
[model]
kind = "cnn"
channels = [8, 16]
hidden = 32
dropout = 0.2
[optimizer]
kind = "sgd"
learning_rate = 0.05
momentum = 0.9
"""

TEXTS = """
seed = 7
device = "cpu"
[data]
kind = "csv"
train = "{folder}/texts.csv"
validation = "{folder}/checks.csv"
text = "text"
label = "label"
text_transforms = [{{ kind = "random_swap" }}, {{ kind = "random_delete" }}]
[data.tokenizer]
kind = "words"
max_length = 24
[data.loader]
max_tokens = 160
[model]
kind = "bert"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 64
max_position_embeddings = 24
[optimizer]
kind = "lion"
learning_rate = 3e-4
"""


def png(width, height, gray):
    """A picture of so many bytes of gray."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + gray[y * width:(y + 1) * width] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shards(folder):
    """Writes tar shards of the digits and the config that streams through them."""
    folder = Path(folder) / "shard-files"
    folder.mkdir()
    images = gzip.decompress((ROOT / "datasets/digits/train-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((ROOT / "datasets/digits/train-labels-idx1-ubyte.gz").read_bytes())[8:]
    places = [(f"train-{k:02}.tar", range(k * 200, (k + 1) * 200)) for k in range(4)] + [("validation.tar", range(800, 900))]
    for name, samples in places:
        with tarfile.open(folder / name, "w") as tar:
            for i in samples:
                members = ((f"{i:05}.png", png(8, 8, images[64 * i:64 * (i + 1)])), (f"{i:05}.cls", b"%d" % labels[i]))
                for member, content in members:
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    path = folder.parent / "shards.toml"
    path.write_text(SHARDS.format(folder=folder) + EVERYTHING)
    return path


def half(folder):
    """Writes the config of a net on the digits in half precision."""
    path = Path(folder) / "half.toml"
    path.write_text(HALF + EVERYTHING)
    return path


def texts(folder):
    """Writes texts whose class is a word in them, and the config that trains on them in batches by tokens."""
    rng, words = random.Random(1), "a stirring film yuks good movie the very of and bad plot".split()
    for name, count in (("texts", 240), ("checks", 40)):
        rows = [[rng.choice(words) for _ in range(rng.randint(3, 20))] for _ in range(count)]
        lines = [f"{' '.join(row)},{'yes' if 'good' in row else 'no'}" for row in rows]
        (Path(folder) / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    path = Path(folder) / "texts.toml"
    path.write_text(TEXTS.format(folder=folder) + EVERYTHING.replace("[train]", "[train]\nactivation_checkpointing = true"))
    return path


def everything(folder):
    """The recipes with everything on, by name."""
    return {"shards": shards(folder), "half": half(folder), "texts": texts(folder)}


def wait_for(run, process):
    """Waits until a started run has its folder and config."""
    while process.poll() is None and not (Path(run) / "config.toml").exists():
        time.sleep(0.001)


def start(kiln, *words):
    """Starts `kiln words...` with its talk kept for the case that it fails."""
    return subprocess.Popen([kiln, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, expected=0):
    """Waits for the end and gives stdout; any other exit code than expected ends the script with what was said."""
    out, err = process.communicate()
    if process.returncode != expected:
        sys.exit(f"{' '.join(process.args)}\nexpected exit {expected}, got {process.returncode}\n{out}{err}")
    return out


def hashed(path):
    """The first 16 hexadecimal digits of a file's BLAKE2b hash."""
    return hashlib.blake2b(Path(path).read_bytes()).hexdigest()[:16]


def log(run):
    """The lines of metrics.jsonl without the clock's numbers."""
    lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in VOLATILE} for line in lines]


def log_lines(run):
    """Lines in metrics.jsonl, the last perhaps half written; 0 where there is none yet."""
    path = Path(run) / "metrics.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def remove(run):
    """Frees the disk of a run that was compared."""
    shutil.rmtree(run)


def checkpoints(run):
    """The committed checkpoints, oldest first."""
    return sorted((Path(run) / "checkpoints").glob("step-????????"))


def fingerprint(run):
    """What two equal runs have in common: final weights, last checkpoint's weights and optimizer state, the log."""
    newest = checkpoints(run)[-1]
    return {
        "model": hashed(Path(run) / "model" / "model.safetensors"),
        "weights": hashed(newest / "model.safetensors"),
        "optimizer": hashed(newest / "optimizer.safetensors"),
        "losses": log(run),
    }
