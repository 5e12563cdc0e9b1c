"""Opens the words tokenizer that the test `a_tokenizer_of_the_training_texts_is_kept` left in FOLDER/words.

python transformers_opens_words.py FOLDER; fails unless transformers gives the same ids and knows the padding token.
"""

import json
import sys

import transformers

folder = f"{sys.argv[1]}/words"
with open(f"{folder}/peer.json") as file:
    peer = json.load(file)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
for text, ids in zip(peer["texts"], peer["ids"]):
    got = tokenizer(text)["input_ids"]
    assert got == ids, (text, got, ids)
assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.unk_token_id) == ("[PAD]", 0, 1)
print(f"transformers splits {len(peer['texts'])} texts as kiln does")
