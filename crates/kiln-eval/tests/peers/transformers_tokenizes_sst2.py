"""Compares the token ids that kiln gave every SST-2 sentence with those of MiniLM's own Python tokenizer.

Usage: python transformers_tokenizes_sst2.py OUT
OUT/sst2_token_ids.bin holds, for each sentence of train, dev and test, the number of its ids and the ids, as
little-endian 32-bit numbers. Needs $KILN_TEST_DATA. Exit status 1 at the first sentence that differs.
"""

import array
import os
import sys

import transformers

data = os.environ["KILN_TEST_DATA"]
numbers = array.array("I")
with open(f"{sys.argv[1]}/sst2_token_ids.bin", "rb") as file:
    numbers.frombytes(file.read())
if sys.byteorder == "big":
    numbers.byteswap()
tokenizer = transformers.AutoTokenizer.from_pretrained(f"{data}/all-MiniLM-L6-v2")
at = sentences = 0
for split in ("train", "dev", "test"):
    with open(f"{data}/sst2/{split}.tsv") as file:
        text = [line.rstrip("\n").rsplit("\t", 1)[0] for line in file]
    for sentence, expected in zip(text, tokenizer(text, truncation=True, max_length=128)["input_ids"]):
        count = numbers[at]
        own = list(numbers[at + 1 : at + 1 + count])
        if own != expected:
            sys.exit(f"{split}: {sentence!r}: kiln has {own}, transformers {expected}")
        at += 1 + count
        sentences += 1
if at != len(numbers):
    sys.exit(f"kiln has {len(numbers) - at} numbers more")
print(f"{sentences} sentences, {at - sentences} token ids, all equal")
