"""Scores a model of tagged words that kiln trained with transformers and seqeval, in the way of transformers'
run_ner.py, and compares with the scores that kiln wrote beside it.

Usage: python transformers_scores_tags.py FOLDER
FOLDER/tags holds model/, test.conll and scores.json. Exit status 1 if a number differs.
"""

import json
import sys
from pathlib import Path

import torch
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from transformers import AutoModelForTokenClassification, AutoTokenizer

folder = Path(sys.argv[1]) / "tags"
model, info = AutoModelForTokenClassification.from_pretrained(folder / "model", output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    if info[kind]:
        sys.exit(f"{folder}: {kind}: {info[kind]}")
tokenizer = AutoTokenizer.from_pretrained(folder / "model")
names = model.config.id2label
truth, answers, loss, tokens, cut = [], [], 0.0, 0, 0
for block in (folder / "test.conll").read_text().split("\n\n"):
    lines = [line.split() for line in block.splitlines() if line.strip()]
    if not lines:
        continue
    words, tags = [line[0] for line in lines], [line[-1] for line in lines]
    made = tokenizer(words, is_split_into_words=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        logits = model.eval()(**made).logits[0]
    before, own, answered = None, [], []
    for place, word in enumerate(made.word_ids()):
        if word is not None and word != before:
            own.append(tags[word])
            answered.append(names[logits[place].argmax().item()])
            target = torch.tensor(model.config.label2id[tags[word]])
            loss += torch.nn.functional.cross_entropy(logits[place], target).item()
            tokens += 1
        before = word
    cut += len(words) - len(own)
    truth.append(own)
    answers.append(answered)
expected = {
    "f1": f1_score(truth, answers),
    "precision": precision_score(truth, answers),
    "recall": recall_score(truth, answers),
    "accuracy": accuracy_score(truth, answers),
    "loss": loss / tokens,
    "words_cut": cut,
    "words": tokens,
}
got = json.loads((folder / "scores.json").read_text())
for name, value in expected.items():
    print(f"{name}: {value} by transformers and seqeval, {got[name]} by kiln")
    if abs(value - got[name]) > 1e-5:
        sys.exit(f"{folder}: {name} differs")
