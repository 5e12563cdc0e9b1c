#!/usr/bin/env python3
"""Exports a text model of more weights than one ONNX file may hold (a BERT of random weights, as large as the large multilingual
encoders: 2.2 GB) and looks at what comes out: the weights in a file beside the model, `onnx.checker` content, ONNX Runtime
giving transformers' sentence embeddings within 1e-4, `kiln verify` too, and the memory that each took.
Needs torch, transformers, onnx, onnxruntime; 6 GB of disk in --scratch and 10 GB of memory.
Usage: python3 tests/onnx_big.py --kiln BINARY --data FOLDER [--precision f32|f16] [--scratch FOLDER]
"""
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

import harness

TEXTS = ["A quiet, funny and very human film.", "No.", "The plot does not hold together, but the two leads are good."]
LIMIT = 2**31  # bytes that a protocol buffer may have


def make(folder, tokenizer):
    """A model folder as sentence-transformers lays it out."""
    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=250002, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
    net = BertModel(config, add_pooling_layer=False).eval()
    net.save_pretrained(folder)
    return sum(p.numel() for p in net.parameters())


def embeddings(folder, inputs):
    """Means over the texts' tokens, of length 1."""
    net = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        hidden = net(**{name: torch.from_numpy(value) for name, value in inputs.items()}).last_hidden_state.numpy()
    mask = inputs["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def run(kiln, *words):
    """Runs a command; says how long it took and its peak memory."""
    start, process = time.perf_counter(), harness.start(kiln, *words)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"kiln {words}: failed\n{out}{err}")
    print(f"kiln {words[0]}: {time.perf_counter() - start:.0f} s, peak {usage.ru_maxrss / 1e6:.2f} GB")


def main():
    args = harness.arguments(__doc__, data=("", "the folder of $KILN_TEST_DATA"), precision=("f32", "numbers of the export"),
                             scratch=(tempfile.gettempdir(), "where to make the files"))
    tolerance = {"f32": 1e-4, "f16": 1e-2}[args.precision]
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        model, out = Path(scratch) / "model", Path(scratch) / "onnx"
        count = make(model, Path(args.data) / "all-MiniLM-L6-v2")
        inputs = {k: v.astype(np.int64) for k, v in AutoTokenizer.from_pretrained(model)(TEXTS, padding=True, return_tensors="np").items()}
        wanted = embeddings(model, inputs)
        run(args.kiln, "export", model, "--embed", f"precision={args.precision}", "-o", out)
        shutil.rmtree(model)
        size = {path.name: path.stat().st_size for path in out.iterdir()}
        print(f"{count / 1e6:.0f} M parameters, {args.precision}:", ", ".join(f"{name} {n:,} bytes" for name, n in sorted(size.items())))
        if args.precision == "f32":
            assert size["model.onnx.data"] > LIMIT, "the weights are small enough for one file: this tests nothing"
            assert size["model.onnx"] < 10e6, "weights stayed in the model's file"
        run(args.kiln, "verify", out)
        onnx.checker.check_model(str(out / "model.onnx"))
        session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
        got = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})[0]
        apart = float(np.abs(got - wanted).max())
        print(f"onnx.checker content; ONNX Runtime {onnxruntime.__version__} is {apart:.1e} from transformers")
        sys.exit(not apart <= tolerance)


main()
