"""Opens an adapter of GPT-2 that kiln saved with peft, on the base that kiln saved, and compares logits.

Usage: python peft_opens_gpt2.py FOLDER
FOLDER/adapter-of-gpt2, which kiln-models' tests write, has base/, adapter/ and peer.json with {"ids", "logits"}. Exit
status 1 if a factor is missing or unexpected, or a logit differs.
"""

import json
import sys

import peft
import torch
import transformers
from safetensors.torch import load_file

folder = f"{sys.argv[1]}/adapter-of-gpt2"
model = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/base"), f"{folder}/adapter")
factors = [name for name, _ in model.named_parameters() if "lora_" in name]
saved = load_file(f"{folder}/adapter/adapter_model.safetensors")
if len(factors) != len(saved):
    sys.exit(f"{folder}: {len(saved)} factors in the file, {len(factors)} in peft's model")
peer = json.load(open(f"{folder}/peer.json"))
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor(peer["ids"])).logits.flatten()
expected = torch.tensor(peer["logits"])
difference = ((logits - expected).abs().max() / expected.abs().max()).item()
print(f"GPT-2: adapter: largest difference {difference:.1e} of the largest logit")
if not difference < 1e-4:
    sys.exit(f"{folder}: logits differ by {difference}")
