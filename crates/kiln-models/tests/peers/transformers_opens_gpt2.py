"""Opens GPT-2 folders that kiln saved with transformers and compares the logits that kiln wrote beside them.

Usage: python transformers_opens_gpt2.py FOLDER
Reads every FOLDER/gpt2-*; its peer.json holds {"ids", "logits"}. Exit status 1 if a tensor is missing, unexpected or
differs, or if there is no such folder.
"""

import json
import pathlib
import sys

import torch
import transformers

folders = sorted(pathlib.Path(sys.argv[1]).glob("gpt2-*"))
if not folders:
    sys.exit(f"{sys.argv[1]}: no gpt2-* folder")
for folder in folders:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            sys.exit(f"{folder}: {kind}: {info[kind]}")
    peer = json.loads((folder / "peer.json").read_text())
    with torch.no_grad():
        logits = model.eval()(torch.tensor(peer["ids"])).logits
    difference = (logits.flatten() - torch.tensor(peer["logits"])).abs().max().item()
    largest = logits.abs().max().item()
    print(f"{folder.name}: largest difference {difference:.2e} of {largest:.2f}")
    if not difference < 1e-4 * largest:
        sys.exit(f"{folder}: logits differ by {difference}")
