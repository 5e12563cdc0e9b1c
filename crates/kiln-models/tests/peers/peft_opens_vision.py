"""Opens adapters that kiln saved for nets for images with peft, on their bases in timm and transformers, and compares the
logits that kiln wrote beside them.

Usage: python peft_opens_vision.py FOLDER
FOLDER/vision_adapters/NAME has base/, adapter/ and peer.json with {"image", "batch", "logits"}. Exit status 1 if a tensor
is missing or unexpected, or logits differ.
"""

import json
import os
import sys

import peft
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


def base(folder):
    config = open(f"{folder}/config.json").read()
    if '"architecture"' in config:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    teacher = "WithTeacher" in config
    auto = transformers.DeiTForImageClassificationWithTeacher if teacher else transformers.AutoModelForImageClassification
    return auto.from_pretrained(folder)


root = f"{sys.argv[1]}/vision_adapters"
for name in sorted(os.listdir(root)):
    folder = f"{root}/{name}"
    config = peft.PeftConfig.from_pretrained(f"{folder}/adapter")
    model = peft.get_peft_model(base(f"{folder}/base"), config)
    report = peft.set_peft_model_state_dict(model, load_file(f"{folder}/adapter/adapter_model.safetensors"))
    missing = [k for k in report.missing_keys if "lora_" in k or "modules_to_save" in k]
    if missing or report.unexpected_keys:
        sys.exit(f"{folder}: missing {missing}, unexpected {report.unexpected_keys}")
    peer = json.load(open(f"{folder}/peer.json"))
    with torch.no_grad():
        answer = model.eval()(wave(1000, (peer["batch"], *peer["image"]), 1.0))
    logits, expected = getattr(answer, "logits", answer).flatten(), torch.tensor(peer["logits"])
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    print(f"{name}: adapter: largest difference {difference:.1e} of the largest logit")
    if not difference < 1e-4:
        sys.exit(f"{folder}: logits differ by {difference}")
