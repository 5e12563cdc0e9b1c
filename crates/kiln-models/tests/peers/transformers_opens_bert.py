"""Opens a BERT folder that kiln saved with transformers and compares the logits that kiln wrote beside it.

Usage: python transformers_opens_bert.py FOLDER
FOLDER/peer.json holds {"ids", "mask", "types", "logits"}. Exit status 1 if a tensor is missing, unexpected or differs.
"""

import json
import sys

import torch
import transformers

folder = sys.argv[1]
model, info = transformers.AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    if info[kind]:
        sys.exit(f"{folder}: {kind}: {info[kind]}")
with open(f"{folder}/peer.json") as file:
    peer = json.load(file)
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor(peer["ids"]), attention_mask=torch.tensor(peer["mask"]),
                          token_type_ids=torch.tensor(peer["types"])).logits
difference = (logits.flatten() - torch.tensor(peer["logits"])).abs().max().item()
print(f"labels {list(model.config.id2label.values())}, largest difference {difference:.2e}")
if not difference < 1e-4:
    sys.exit(f"{folder}: logits differ by {difference}")
