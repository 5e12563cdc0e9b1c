"""Opens every encoder folder that kiln saved with transformers and compares the answers that kiln wrote beside it.

Usage: python transformers_opens_encoders.py OUT
OUT/encoders/*/peer.json hold {"ids", "pad_id", "task", "logits"}; the logits are those of real tokens, or one row a
text. Exit status 1 if a tensor is missing, unexpected or differs, or if there is no folder.
"""

import glob
import json
import sys

import torch
import transformers

CLASSES = {
    "token_classification": transformers.AutoModelForTokenClassification,
    "masked_language_modeling": transformers.AutoModelForMaskedLM,
}


def check(folder):
    with open(f"{folder}/peer.json") as file:
        peer = json.load(file)
    auto = CLASSES.get(peer["task"], transformers.AutoModelForSequenceClassification)
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            sys.exit(f"{folder}: {kind}: {info[kind]}")
    if type(model).__name__ != model.config.architectures[0]:
        sys.exit(f"{folder}: opened as {type(model).__name__}, saved as {model.config.architectures}")
    wanted = {"multi_label_classification": "multi_label_classification", "regression": "regression"}.get(peer["task"])
    if model.config.problem_type != wanted:
        sys.exit(f"{folder}: problem_type is {model.config.problem_type}, expected {wanted}")
    longest = max(map(len, peer["ids"]))
    ids = torch.tensor([row + [peer["pad_id"]] * (longest - len(row)) for row in peer["ids"]])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in peer["ids"]])
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=mask).logits
    logits = logits[mask.bool()] if logits.dim() == 3 else logits
    difference = (logits.flatten() - torch.tensor(peer["logits"])).abs().max().item()
    print(f"{folder}: {type(model).__name__}, largest difference {difference:.2e}")
    if not difference < 1e-4:
        sys.exit(f"{folder}: logits differ by {difference}")


folders = sorted(path.rsplit("/", 1)[0] for path in glob.glob(f"{sys.argv[1]}/encoders/*/peer.json"))
if len(folders) != 25:
    sys.exit(f"expected 25 folders in {sys.argv[1]}/encoders, got {len(folders)}")
for folder in folders:
    check(folder)
