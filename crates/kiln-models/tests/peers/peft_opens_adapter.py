"""Opens an adapter that kiln saved with peft on the base it was trained on, and compares the logits beside it.

Usage: python peft_opens_adapter.py FOLDER
FOLDER/adapter, which kiln-models' tests write, has base/, adapter/, merged/ and peer.json with {"ids", "mask", "types", "logits"}. Exit status 1 if a tensor is
missing or unexpected, if logits differ, or if peft's merged model and kiln's differ.
"""

import json
import sys

import peft
import torch
import transformers
from safetensors.torch import load_file

folder = f"{sys.argv[1]}/adapter"
open_model = transformers.AutoModelForSequenceClassification.from_pretrained
base = open_model(f"{folder}/base")
config = peft.PeftConfig.from_pretrained(f"{folder}/adapter")
model = peft.get_peft_model(base, config)
report = peft.set_peft_model_state_dict(model, load_file(f"{folder}/adapter/adapter_model.safetensors"))
missing = [k for k in report.missing_keys if "lora_" in k or "modules_to_save" in k]
if missing or report.unexpected_keys:
    sys.exit(f"{folder}: missing {missing}, unexpected {report.unexpected_keys}")
model = peft.PeftModel.from_pretrained(open_model(f"{folder}/base"), f"{folder}/adapter").eval()
with open(f"{folder}/peer.json") as file:
    peer = json.load(file)
inputs = {"input_ids": torch.tensor(peer["ids"]), "attention_mask": torch.tensor(peer["mask"]),
          "token_type_ids": torch.tensor(peer["types"])}
expected = torch.tensor(peer["logits"])
with torch.no_grad():
    logits = model(**inputs).logits.flatten()
    theirs = model.merge_and_unload()
    merged = theirs(**inputs).logits.flatten()
    ours = open_model(f"{folder}/merged").eval()(**inputs).logits.flatten()
for what, got in (("adapter", logits), ("merged by peft", merged), ("merged by kiln", ours)):
    difference = (got - expected).abs().max().item()
    print(f"{what}: largest difference {difference:.2e}")
    if not difference < 1e-4:
        sys.exit(f"{folder}: {what}: logits differ by {difference}")
