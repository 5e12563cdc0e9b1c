"""Writes fixtures/gpt2*.json: what transformers' GPT-2 answers for weights that both sides compute.

Run from this folder: python make_gpt2.py
Needs torch 2, transformers 5. Weights are `wave` of make_models.py under the sorted names; answers are in double precision.
"""

import json

import torch
import transformers

MASK = 0xFFFFFFFF


def wave(n, shape, scale):
    """Tensor number n: hashed indices, uniform in [-scale, scale)."""
    count = 1
    for side in shape:
        count *= side
    bits = (torch.arange(count) * 2654435761 + n * 1013904223) & MASK
    bits = ((bits ^ (bits >> 15)) * 2246822519) & MASK
    bits = bits ^ (bits >> 13)
    return ((bits.double() / 2**31 - 1) * scale).float().reshape(shape)


def fill(model, bias=True):
    """Every parameter by its place among the sorted names; without biases, those are zero and have no place."""
    n = 0
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if not bias and name.endswith(".bias"):
                p.zero_()
                continue
            shape = tuple(p.shape)
            if len(shape) == 1:
                value = wave(n, shape, 0.3) + 1 if name.endswith("weight") else wave(n, shape, 0.1)
            else:
                fan = 1
                for side in shape[1:]:
                    fan *= side
                value = wave(n, shape, (6.0 / fan) ** 0.5)
            p.copy_(value)
            n += 1


def config(**more):
    return transformers.GPT2Config(
        vocab_size=40, n_positions=16, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, classifier_dropout=0.0, bos_token_id=None, eos_token_id=None, attn_implementation="eager", **more)


IDS = [[2, 7, 9, 3, 11, 5], [2, 5, 8, 6, 4, 30]]
LABELS = [[7, 9, 3, 11, 5, -100], [5, 8, -100, 4, 30, 12]]


def loss_of(logits, labels):
    labels = torch.tensor(labels)
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100)


def measured(model, forward, labels):
    """Logits, loss, gradients, and the losses of 20 AdamW steps."""
    model.double().eval()
    logits = forward()
    loss = loss_of(logits, labels)
    loss.backward()
    gradients = {k: p.grad.flatten()[:: max(1, p.numel() // 16)].tolist() for k, p in model.named_parameters() if p.grad is not None}
    largest = max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        step = loss_of(forward(), labels)
        step.backward()
        optimizer.step()
        losses.append(step.item())
    return {"shape": list(logits.shape), "logits": logits.flatten().tolist(), "loss": loss.item(), "largest_gradient": largest,
            "gradients": gradients, "losses": losses}


def language_model():
    model = transformers.GPT2LMHeadModel(config())
    fill(model)
    return {"ids": IDS, "labels": LABELS, **measured(model, lambda: model(torch.tensor(IDS)).logits, LABELS)}


def bias_free():
    """nanoGPT's form: zero biases, exact GELU."""
    model = transformers.GPT2LMHeadModel(config(activation_function="gelu"))
    fill(model, bias=False)
    for name, p in model.named_parameters():
        p.requires_grad_(not name.endswith(".bias"))
    return {"ids": IDS, "labels": LABELS, **measured(model, lambda: model(torch.tensor(IDS)).logits, LABELS)}


def sequences():
    """Two sentences of different lengths, padded on the right."""
    model = transformers.GPT2ForSequenceClassification(config(num_labels=3, pad_token_id=0))
    fill(model)
    ids, mask = [[2, 7, 9, 3, 0, 0], IDS[1]], [[1, 1, 1, 1, 0, 0], [1] * 6]
    forward = lambda: model(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits
    return {"ids": ids, "mask": mask, "labels": [2, 0], **measured(model, forward, [2, 0])}


def tokens():
    model = transformers.GPT2ForTokenClassification(config(num_labels=3))
    fill(model)
    labels = [[0, 1, 2, -100, 1, 1], [2, 2, 0, 1, -100, 0]]
    return {"ids": IDS, "labels": labels, **measured(model, lambda: model(torch.tensor(IDS)).logits, labels)}


def generation():
    """Greedy tokens of `generate`, and what the logits processors leave."""
    model = transformers.GPT2LMHeadModel(config()).eval()
    fill(model)
    prompts = [[3, 17], [2, 9, 30, 4, 11]]
    greedy = [
        model.generate(torch.tensor([p]), attention_mask=torch.ones(1, len(p), dtype=torch.long), max_new_tokens=8,
                       do_sample=False, pad_token_id=0)[0, len(p):].tolist() for p in prompts]
    scores = wave(77, (3, 40), 3.0)
    cases = []
    for temperature, k, p in [(1.0, 5, None), (1.0, None, 0.7), (0.7, 10, 0.9), (1.5, None, 0.2), (1.0, 40, 1.0), (1.0, 1, None)]:
        left = scores.double() / temperature
        if k:
            left = transformers.TopKLogitsWarper(k)(None, left)
        if p and p < 1:
            left = transformers.TopPLogitsWarper(p)(None, left)
        kept = [[i for i, x in enumerate(row) if x != float("-inf")] for row in left.tolist()]
        cases.append({"temperature": temperature, "top_k": k, "top_p": p, "kept": kept})
    return {"prompts": prompts, "greedy": greedy, "scores": scores.tolist(), "cases": cases}


def presets():
    """Parameters of the published sizes."""
    counts = {}
    for name, (layers, heads, width) in {
            "gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280), "gpt2-xl": (48, 25, 1600)}.items():
        with torch.device("meta"):
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=layers, n_head=heads, n_embd=width))
        counts[name] = model.num_parameters()
    return counts


if __name__ == "__main__":
    for name, make in [("gpt2", language_model), ("gpt2_bias_free", bias_free), ("gpt2_sequences", sequences),
                       ("gpt2_tokens", tokens), ("gpt2_generation", generation), ("gpt2_presets", presets)]:
        with open(f"fixtures/{name}.json", "w") as file:
            json.dump(make(), file)
            file.write("\n")
