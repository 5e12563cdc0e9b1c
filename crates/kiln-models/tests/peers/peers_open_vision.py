"""Opens the folders for images that kiln saved with the library whose form each has, and compares the logits that kiln
wrote beside it. timm's folders are opened by transformers too.

Usage: python peers_open_vision.py FOLDER
FOLDER/vision/NAME/peer.json holds {"image": [C, H, W], "logits"}. Exit status 1 if a tensor is missing, unexpected or differs.
"""

import json
import os
import sys

import timm
import torch
import transformers
from safetensors.torch import load_file


def wave(n, shape, scale):
    """As in make_models.py."""
    count = 1
    for side in shape:
        count *= side
    bits = (torch.arange(count) * 2654435761 + n * 1013904223) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 2246822519) & 0xFFFFFFFF
    bits = bits ^ (bits >> 13)
    return ((bits.double() / 2**31 - 1) * scale).float().reshape(shape)


def with_timm(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    names, saved = set(model.state_dict()), set(load_file(f"{folder}/model.safetensors"))
    if names != saved:
        sys.exit(f"{folder}: missing {names - saved}, unexpected {saved - names}")
    return model


def with_transformers(folder):
    teacher = "WithTeacher" in open(f"{folder}/config.json").read()
    auto = transformers.DeiTForImageClassificationWithTeacher if teacher else transformers.AutoModelForImageClassification
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            sys.exit(f"{folder}: {kind}: {info[kind]}")
    return lambda x: model.eval()(pixel_values=x).logits


def same(folder, model, kind):
    peer = json.load(open(f"{folder}/peer.json"))
    if hasattr(model, "eval"):
        model.eval()
    with torch.no_grad():
        logits = model(wave(1000, (2, *peer["image"]), 1.0))
    expected = torch.tensor(peer["logits"])
    difference = ((logits.flatten() - expected).abs().max() / expected.abs().max()).item()
    print(f"{os.path.basename(folder)}: {kind}: largest difference {difference:.1e} of the largest logit")
    if not difference < 1e-4:
        sys.exit(f"{folder}: logits differ by {difference}")


root = os.path.join(sys.argv[1], "vision")
for name in sorted(os.listdir(root)):
    folder = os.path.join(root, name)
    if "architecture" in json.load(open(f"{folder}/config.json")):
        same(folder, with_timm(folder), "timm")
    same(folder, with_transformers(folder), "transformers")
