"""Writes fixtures/lora-*: PEFT adapters on a tiny BERT, and what peft answers with them (fixtures/lora.json).

Run from this folder: python make_lora.py. Needs torch 2, transformers 5, peft 0.21. The base's weights are computed on
both sides, as make_models.py does; an adapter's factors are in its folder.
"""

import json
import pathlib

import peft
import torch
import transformers

IDS = [[2, 7, 9, 3, 0, 0], [2, 5, 8, 6, 4, 3]]
MASK = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
TYPES = [[0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]


def wave(n, shape, scale):
    """As in make_models.py."""
    count = 1
    for side in shape:
        count *= side
    bits = (torch.arange(count) * 2654435761 + n * 1013904223) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 2246822519) & 0xFFFFFFFF
    bits = bits ^ (bits >> 13)
    return ((bits.double() / 2**31 - 1) * scale).float().reshape(shape)


def weights(model):
    """As in make_models.py."""
    state = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    for n, name in enumerate(sorted(state)):
        shape = tuple(state[name].shape)
        if len(shape) == 1 and name.endswith("weight"):
            value = 1.0 + wave(n, shape, 0.3)
        elif len(shape) == 1:
            value = wave(n, shape, 0.1)
        else:
            value = wave(n, shape, (6.0 / shape[1]) ** 0.5)
        state[name].copy_(value)


def bert():
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3)
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        weights(model)
    return model


def adapted(**options):
    """Logits of the base with an adapter of computed factors and head, saved as peft saves it."""
    name = options.pop("name")
    config = peft.LoraConfig(task_type="SEQ_CLS", base_model_name_or_path="tiny-bert", **options)
    model = peft.get_peft_model(bert(), config)
    with torch.no_grad():
        for n, (key, p) in enumerate(sorted((k, p) for k, p in model.named_parameters() if p.requires_grad)):
            p.copy_(wave(500 + n, tuple(p.shape), 0.3))
    model.eval()
    model.save_pretrained(f"fixtures/{name}")
    pathlib.Path(f"fixtures/{name}/README.md").unlink()
    ids, mask, types = (torch.tensor(t) for t in (IDS, MASK, TYPES))
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        merged = model.merge_and_unload()(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    assert torch.allclose(logits, merged, atol=1e-4)
    return logits.flatten().tolist()


def gpt2():
    """Logits `[B, T, V]` of GPT-2 with adapters on its transposed layers."""
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=40, n_positions=16, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    with torch.no_grad():
        for n, (name, p) in enumerate(sorted(model.named_parameters())):
            norm = p.ndim == 1 and name.endswith("weight")
            value = wave(n, tuple(p.shape), (6.0 / p.shape[1]) ** 0.5 if p.ndim > 1 else 0.3 if norm else 0.1)
            p.copy_(1.0 + value if norm else value)
    model = peft.get_peft_model(model, peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True))
    with torch.no_grad():
        for n, (_, p) in enumerate(sorted((k, p) for k, p in model.named_parameters() if p.requires_grad)):
            p.copy_(wave(500 + n, tuple(p.shape), 0.3))
    model.eval().save_pretrained("fixtures/lora-gpt2")
    pathlib.Path("fixtures/lora-gpt2/README.md").unlink()
    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits.flatten().tolist()


answers = {
    "ids": IDS, "mask": MASK, "types": TYPES,
    "lora-attention": adapted(name="lora-attention", r=4, lora_alpha=8, target_modules=["query", "value"]),
    "lora-rslora": adapted(name="lora-rslora", r=4, lora_alpha=8, use_rslora=True,
                           target_modules=r".*\.(dense|key)"),
    "lora-gpt2": gpt2(),
}
with open("fixtures/lora.json", "w") as file:
    json.dump(answers, file)
