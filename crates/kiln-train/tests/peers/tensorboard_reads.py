"""Reads event files that kiln wrote with TensorBoard's own readers and compares every scalar with metrics.jsonl, also of
a run that was interrupted and resumed three times.

Usage: python tensorboard_reads.py FOLDER [--runs]
FOLDER/tensorboard holds the run folders (with --runs FOLDER does). Exit status 1 if a number differs. Needs tensorboard.
"""

import json
import struct
import sys
import xml.etree.ElementTree
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator, event_file_loader

THROUGHPUT = ("samples_per_second", "tokens_per_second", "step_p50_ms", "step_p95_ms", "data_wait_share",
              "model_tflops", "model_flops_utilisation", "memory_mib")
TRAIN = ("loss", "learning_rate", "grad_norm", "epoch", "loss_scale", "update_ratio")


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def logged(run):
    """Tag to [(step, value)], from metrics.jsonl."""
    found = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for key, value in line.items():
            if key == "step" or isinstance(value, (bool, str)) or value is None:
                continue
            place = line.get("split") or ("throughput" if key in THROUGHPUT else "train" if key in TRAIN else None)
            if place:
                found.setdefault(f"{place}/{key}", []).append((line["step"], f32(value)))
    return found


def raw(run):
    """The same from the event files one after the other, without any purging."""
    found = {}
    for path in sorted(run.glob("events.out.tfevents.*")):
        for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def check(run):
    expected = logged(run)
    if raw(run) != expected:
        sys.exit(f"{run}: the event files do not hold what metrics.jsonl does")
    everything = {kind: 0 for kind in (event_accumulator.SCALARS, event_accumulator.HISTOGRAMS,
                                       event_accumulator.TENSORS, event_accumulator.IMAGES)}
    reader = event_accumulator.EventAccumulator(str(run), size_guidance=everything)
    reader.Reload()
    got = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    if got != expected:
        wrong = sorted(tag for tag in got.keys() | expected.keys() if got.get(tag) != expected.get(tag))
        sys.exit(f"{run}: TensorBoard reads other numbers in {wrong}")
    # The config is at step 0, which a restart never takes back.
    text = reader.Tensors("config")[0].tensor_proto.string_val[0].decode()
    if not text.startswith("```toml\n") or (run / "config.toml").read_text() not in text:
        sys.exit(f"{run}: the config is not there")
    bins = [h.histogram_value for tag in reader.Tags()["histograms"] for h in reader.Histograms(tag)]
    if any(sum(h.bucket) != h.num or h.bucket_limit[-1] != h.max for h in bins):
        sys.exit(f"{run}: histograms do not sum up")
    for tag in reader.Tags()["images"]:
        for shown in reader.Images(tag):
            if not shown.encoded_image_string.startswith(b"\x89PNG\r\n\x1a\n") or shown.step != 1:
                sys.exit(f"{run}: {tag} is no picture of the first step")
            wide, high = struct.unpack(">II", shown.encoded_image_string[16:24])
            if (wide, high) != (shown.width, shown.height):
                sys.exit(f"{run}: {tag} says another size than its picture has")
    xml.etree.ElementTree.parse(run / "curves.svg")
    print(f"{run.name}: {sum(map(len, got.values()))} scalars in {len(got)} tags, {len(bins)} histograms, equal, "
          f"{len(reader.Tags()['images'])} images")
    return got


folder = Path(sys.argv[1])
runs = sorted(p for p in (folder if "--runs" in sys.argv else folder / "tensorboard").iterdir() if (p / "metrics.jsonl").exists())
if not runs:
    sys.exit(f"{folder}: no runs")
read = {run.name: check(run) for run in runs}
if {"whole", "resumed"} <= read.keys() and read["whole"]["train/loss"] != read["resumed"]["train/loss"]:
    sys.exit("the resumed run's losses differ from those of the run left alone")
