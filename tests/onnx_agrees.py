#!/usr/bin/env python3
"""Exports a text model and an image model that kiln trained, in every precision, and runs the files with ONNX Runtime on
real data as somebody else would: the tokenizer and the pixels' numbers from the exported folder, JPEG files by Pillow. Compares with `kiln predict`:
float32 logits (up to a constant a sample) within 1e-4 and the same classes, alone and in batches of 32, padded to the longest
and to a fixed length; float16 within 1e-2 and 99.5 % of the classes; int8 by accuracy, with size and speed. `kiln verify` must agree by the same library,
and the model card's lines of Python must run.
Needs onnxruntime, transformers, pillow. Usage: python3 tests/onnx_agrees.py --kiln BINARY --data FOLDER
  [--text RUN --images RUN] [--sentences N --pictures N]
"""
import json
import os
import shutil
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from transformers import AutoTokenizer

import harness

LIBRARY = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
LENGTHS = (None, 128)  # padded to the longest of a batch, or to so many tokens
FORMS = {"f32": ["precision=f32"], "f16": ["precision=f16"], "int8": ["precision=int8"],
         "int8 static": ["precision=int8", "calibration=static"]}


def centred(logits):
    return logits - logits.mean(-1, keepdims=True)


class Session:
    def __init__(self, folder):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])
        self.names = [i.name for i in self.session.get_inputs()]

    def __call__(self, inputs):
        return self.session.run(["logits"], {name: inputs[name] for name in self.names})[0]


class Texts:
    """Sentences with their classes."""

    def __init__(self, folder, path, count):
        lines = [line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8")][:count]
        self.samples, self.truth = [line[0] for line in lines], np.array([int(line[1]) for line in lines])
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.names = ["0", "1"]

    def inputs(self, samples, length):
        how = {"padding": True} if length is None else {"padding": "max_length", "max_length": length}
        read = self.tokenizer(samples, truncation=True, return_tensors="np", return_token_type_ids=True, **how)
        return {name: value.astype(np.int64) for name, value in read.items()}

    def asked(self, scratch):
        path = scratch / "asked.txt"
        path.write_text("".join(f"{text}\n" for text in self.samples), encoding="utf-8")
        return [path]


class Pictures:
    """Images in class folders, as many of each class."""

    def __init__(self, folder, place, count):
        self.names = sorted(p.name for p in place.iterdir() if p.is_dir())
        each = -(-count // len(self.names))
        self.samples = [p for name in self.names for p in sorted((place / name).iterdir())[:each]][:count]
        self.truth = np.array([self.names.index(p.parent.name) for p in self.samples])
        said = json.loads((folder / "preprocessor_config.json").read_text())
        self.mean, self.std = np.float32(said["image_mean"]), np.float32(said["image_std"])

    def inputs(self, samples, _):
        pixels = np.stack([np.asarray(Image.open(p).convert("RGB"), np.float32) for p in samples]) / np.float32(255)
        return {"pixel_values": ((pixels - self.mean) / self.std).transpose(0, 3, 1, 2).astype(np.float32)}

    def asked(self, _):
        return self.samples


def of_kiln(kiln, run, data, scratch):
    lines = harness.finish(harness.start(kiln, "predict", run, "--device", "cpu", *data.asked(scratch))).splitlines()
    answers = [json.loads(line)["probabilities"] for line in lines]
    assert len(answers) == len(data.samples), f"{len(answers)} answers to {len(data.samples)} samples"
    return np.log(np.array([[answer[name] for name in data.names] for answer in answers]))


def of_onnx(session, data, batch, length):
    """Logits, and the median time of a batch."""
    answers, times = [], []
    for i in range(0, len(data.samples), batch):
        inputs = data.inputs(data.samples[i:i + batch], length)
        start = time.perf_counter()
        answers.append(session(inputs))
        times.append(time.perf_counter() - start)
    return np.concatenate(answers), float(np.median(times))


def compare(what, kiln, run, scratch, data_of):
    failures, rows = [], []
    wanted = None
    for form, words in FORMS.items():
        folder = scratch / f"{what}-{form.replace(' ', '-')}"
        harness.finish(harness.start(kiln, "export", run, *words, "-o", folder))
        harness.finish(harness.start(kiln, "verify", folder / "model.onnx"))
        harness.finish(harness.start(kiln, "verify", folder, f"--onnxruntime={LIBRARY}"))
        data = data_of(folder)
        if wanted is None:
            wanted = of_kiln(kiln, run, data, scratch)
        session, apart, agree = Session(folder), 0.0, 1.0
        times = {}
        for batch in (1, 32):
            for length in LENGTHS if what == "text" else (None,):
                got, times[batch, length] = of_onnx(session, data, batch, length)
                apart = max(apart, float(np.abs(centred(got) - centred(wanted)).max()))
                agree = min(agree, float((got.argmax(-1) == wanted.argmax(-1)).mean()))
        if form == "f32":
            answer = card_runs(folder, data.samples)
            asked = data.samples[:1] if what == "images" else ["A text.", "Another one."]
            alone = session(data.inputs(asked, None))
            if not np.abs(answer - alone).max() <= 1e-4 * max(1.0, np.abs(alone).max()):
                failures.append(f"{what}: the card's Python answers {np.abs(answer - alone).max():.1e} away")
        accuracy = float((got.argmax(-1) == data.truth).mean())
        size = (folder / "model.onnx").stat().st_size / 1e6
        rows.append((form, size, times[1, None] * 1e3, times[32, None] * 1e3, accuracy, agree, apart))
        limits = {"f32": (1e-4, 1.0), "f16": (1e-2, 0.995)}.get(form)
        if limits and not (apart <= limits[0] * max(1.0, float(np.abs(centred(wanted)).max())) and agree >= limits[1]):
            failures.append(f"{what} {form}: {apart:.1e} apart, {agree:.4f} of the classes alike")
        if form.startswith("int8") and rows[0][4] > 0.8 and accuracy < rows[0][4] - 0.01:  # of a model that has learned
            failures.append(f"{what} {form}: accuracy {accuracy:.4f}, float32 has {rows[0][4]:.4f}")
    print(f"{what}: {len(data.samples)} samples, ONNX Runtime {onnxruntime.__version__}")
    print("| form | MB | ms, batch 1 | ms, batch 32 | accuracy | same class | largest difference |\n|---|---|---|---|---|---|---|")
    for form, size, one, many, accuracy, agree, apart in rows:
        print(f"| {form} | {size:.2f} | {one:.2f} | {many:.1f} | {accuracy:.4f} | {agree:.4f} | {apart:.1e} |")
    return failures


def card_runs(folder, samples):
    """What the lines of Python in the model card answer, run as they stand in the folder."""
    code = (folder / "README.md").read_text().split("  ```python\n")[1].split("  ```")[0]
    if isinstance(samples[0], Path):
        shutil.copy(samples[0], folder / "picture.jpg")
    names, place = {}, Path.cwd()
    os.chdir(folder)
    try:
        exec(textwrap.dedent(code), names)
    finally:
        os.chdir(place)
    return names["answer"]


def trained(kiln, config, scratch, *words):
    out = harness.finish(harness.start(kiln, "train", config, "device=cpu", f"output_dir={scratch}", *words))
    return Path(out.splitlines()[-1])


def main():
    args = harness.arguments(__doc__, data=("", "the folder of $KILN_TEST_DATA"), text=("", "a run on SST-2"),
                             images=("", "a run on CIFAR-10"), sentences=(100000, "test sentences"), pictures=(2000, "test images"))
    place = Path(args.data)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        few = scratch / "few.tsv"
        few.write_text("".join((place / "sst2/train.tsv").open(encoding="utf-8").readlines()[:256]), encoding="utf-8")
        text = args.text or trained(args.kiln, harness.ROOT / "configs/sst2_minilm_finetune.toml", scratch,
                                    "train.epochs=1", f"data.train={few}", f"data.validation={few}", f"data.test={few}")
        images = args.images or trained(args.kiln, harness.ROOT / "configs/cifar_resnet20_finetune.toml", scratch, "train.max_steps=4",
                                        "data.path=" + str(place / "cifar10"))
        failures = compare("text", args.kiln, text, scratch,
                           lambda folder: Texts(folder, place / "sst2/test.tsv", int(args.sentences)))
        failures += compare("images", args.kiln, images, scratch,
                            lambda folder: Pictures(folder, place / "cifar10/test", int(args.pictures)))
    print("\n".join(failures) or "all within their limits")
    sys.exit(bool(failures))


main()
