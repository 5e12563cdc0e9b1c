"""Writes fixtures/{mlp,ft_transformer,textcnn}.json: what PyTorch answers for weights that both sides compute.

Run from this folder: python make_tables.py
Needs torch 2 and rtdl_revisiting_models 0.0.2 (the authors' FT-Transformer; `pip install --no-deps` it). The MLP and
TextCNN are written out here from their definitions. Each fixture holds, in double precision: logits, loss and every
gradient's norm, and in single precision 20 losses of AdamW on one batch (learning rate 1e-3, weight decay 0.01).
"""

import json

import torch
import torch.nn as nn
import torch.nn.functional as F
from rtdl_revisiting_models import FTTransformer


def wave(n, shape, scale):
    """Tensor number n: hashed indices, uniform in [-scale, scale). As in make_models.py."""
    count = 1
    for side in shape:
        count *= side
    bits = (torch.arange(count) * 2654435761 + n * 1013904223) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 2246822519) & 0xFFFFFFFF
    bits = bits ^ (bits >> 13)
    return ((bits.double() / 2**31 - 1) * scale).float().reshape(shape)


def weights(model):
    state = model.state_dict()
    for n, name in enumerate(sorted(state)):
        shape = tuple(state[name].shape)
        if len(shape) == 1 and name.endswith("weight"):
            value = 1.0 + wave(n, shape, 0.3)
        elif len(shape) == 1:
            value = wave(n, shape, 0.1)
        else:
            fan = 1
            for side in shape[1:]:
                fan *= side
            value = wave(n, shape, (6.0 / fan) ** 0.5)
        state[name].copy_(value)


class Mlp(nn.Module):
    """Numbers and an embedding a category, then linear, ReLU for each hidden width, then the head."""

    def __init__(self, features, cardinalities, hidden, out):
        super().__init__()
        widths = [min(50, (n + 1) // 2) for n in cardinalities]
        self.embeddings = nn.ModuleList(nn.Embedding(n, w) for n, w in zip(cardinalities, widths))
        sizes = [features + sum(widths), *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(sizes[-1], out)

    def forward(self, numbers, categories):
        x = torch.cat([numbers, *(e(categories[:, i]) for i, e in enumerate(self.embeddings))], 1)
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)


class TextCnn(nn.Module):
    """Kim, 2014, without dropout: a sentence at a time, so that there is no padding to be seen."""

    def __init__(self, vocab, d, kernels, filters, out):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d)
        self.convs = nn.ModuleList(nn.Conv1d(d, filters, k, padding=k - 1) for k in kernels)
        self.head = nn.Linear(filters * len(kernels), out)

    def forward(self, sentences):
        pooled = []
        for ids in sentences:
            words = self.embedding(torch.tensor(ids)).T
            pooled.append(torch.cat([F.relu(conv(words[None])).amax(2)[0] for conv in self.convs]))
        return self.head(torch.stack(pooled))


def answers(make, inputs, loss_of):
    model = make()
    with torch.no_grad():
        weights(model)
    model.double()
    forward = lambda model, dtype: model(*(x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs))
    logits = forward(model, torch.float64)
    loss = loss_of(logits)
    loss.backward()
    norms = {k: p.grad.norm().item() for k, p in model.named_parameters()}
    model = make()
    with torch.no_grad():
        weights(model)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01), []
    for _ in range(20):
        optimizer.zero_grad()
        step = loss_of(forward(model, torch.float32))
        step.backward()
        optimizer.step()
        losses.append(step.item())
    return {"logits": logits.flatten().tolist(), "loss": loss.item(), "gradient_norms": norms, "losses": losses}


NUMBERS = wave(1000, (4, 3), 2.0)
CATEGORIES = [[0, 4], [1, 2], [2, 0], [1, 3]]
VALUES = wave(1001, (4, 2), 2.0)
SENTENCES = [[3, 7, 5, 9, 11, 2], [4], [6, 8, 3], [10, 5, 2, 9]]


def mse(logits):
    return F.mse_loss(logits, VALUES.to(logits.dtype))


def cross_entropy(logits):
    return F.cross_entropy(logits, torch.tensor([2, 0, 1, 2]))


def write(name, value):
    with open(f"fixtures/{name}.json", "w") as file:
        json.dump(value, file)


table = (NUMBERS, torch.tensor(CATEGORIES))
write("mlp", {"categories": CATEGORIES, **answers(lambda: Mlp(3, [3, 5], [8, 6], 2), table, mse)})
ft = lambda: FTTransformer(n_cont_features=3, cat_cardinalities=[3, 5], d_out=2, n_blocks=3, d_block=16,
                           attention_n_heads=4, attention_dropout=0.0, ffn_d_hidden=21, ffn_d_hidden_multiplier=None,
                           ffn_dropout=0.0, residual_dropout=0.0)
write("ft_transformer", {"categories": CATEGORIES, **answers(ft, table, mse),
      "default_parameters": sum(p.numel() for p in FTTransformer(
          n_cont_features=3, cat_cardinalities=[3, 5], d_out=2, **FTTransformer.get_default_kwargs()).parameters())})
write("textcnn", {"sentences": SENTENCES,
      **answers(lambda: TextCnn(12, 6, [2, 3, 5], 4, 3), (SENTENCES,), cross_entropy)})
