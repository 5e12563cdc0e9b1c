#!/usr/bin/env python3
"""Opens a text model that kiln trained with transformers, tokenizer included, and compares the probabilities of both on
some texts, one of them longer than the model reads: within 1e-4. Needs torch and transformers.
Usage: python3 tests/transformers_agrees.py --kiln BINARY --model RUN/model
"""
import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import harness

TEXTS = ["a moving and funny film", "Dull .", "it 's \"not\" bad ; not at all , café", "so very long " * 100]


def main():
    args = harness.arguments(__doc__, model=("", "a folder that kiln wrote"))
    answers = [json.loads(harness.finish(harness.start(args.kiln, "predict", args.model, text))) for text in TEXTS]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    net = AutoModelForSequenceClassification.from_pretrained(args.model).eval()
    apart = 0.0
    for text, answer in zip(TEXTS, answers):
        with torch.no_grad():
            probabilities = net(**tokenizer(text, truncation=True, return_tensors="pt")).logits.softmax(-1)[0].tolist()
        names = [net.config.id2label[i] for i in range(len(probabilities))]
        apart = max([apart] + [abs(answer["probabilities"][n] - p) for n, p in zip(names, probabilities)])
    print(f"{len(TEXTS)} texts, largest difference of a probability {apart:.2e}")
    sys.exit(not apart < 1e-4)


main()
