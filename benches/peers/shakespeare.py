"""Trains nanoGPT's character model on tinyshakespeare in plain PyTorch: the peer of configs/shakespeare_char.toml.

    python benches/peers/shakespeare.py $KILN_TEST_DATA/tinyshakespeare/input.txt [seed ...]

The recipe of nanoGPT's README for a processor, in full: 4 layers, 4 heads, 128 wide, block 64, batch 12, 2,000 steps,
learning rate 1e-3 to 1e-4 by cosine with 100 warm-up steps (the warm-up of transformers' schedules), AdamW with beta2
0.99, weight decay 0.1 of matrices only, clipping at 1.0, no dropout, no bias, exact GELU, blocks at random offsets.
Prints a JSON line a seed: the loss over the whole validation split by non-overlapping blocks, the last one shorter.
"""

import json
import math
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, HEADS, WIDTH, BLOCK, BATCH, STEPS, WARMUP, PEAK, LOW = 4, 4, 128, 64, 12, 2000, 100, 1e-3, 1e-4


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        b, t, d = x.shape
        query, key, value = (p.view(b, t, HEADS, d // HEADS).transpose(1, 2) for p in self.c_attn(x).split(d, 2))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).reshape(b, t, d))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.attn = Attention()
        self.mlp = nn.Sequential()
        self.mlp.c_fc = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.mlp.gelu = nn.GELU()
        self.mlp.c_proj = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Net(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, WIDTH), nn.Embedding(BLOCK, WIDTH)
        self.h = nn.Sequential(*[Layer() for _ in range(LAYERS)])
        self.ln_f = nn.LayerNorm(WIDTH, bias=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * LAYERS) if name.endswith("c_proj.weight") else 0.02)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        return F.linear(self.ln_f(self.h(x)), self.wte.weight)


def rate(step):
    if step < WARMUP:
        return PEAK * step / WARMUP
    progress = (step - WARMUP) / (STEPS - WARMUP)
    return PEAK * (0.5 * (1 + math.cos(math.pi * progress)) * (1 - LOW / PEAK) + LOW / PEAK)


@torch.no_grad()
def whole_split(net, ids):
    """Mean of -ln p over every character but the first."""
    total, blocks = 0.0, [ids[i:i + BLOCK + 1] for i in range(0, len(ids) - 1, BLOCK)]
    full = [b for b in blocks if len(b) == BLOCK + 1]
    batches = [torch.stack(full[i:i + 64]) for i in range(0, len(full), 64)]
    batches += [b[None] for b in blocks if len(b) <= BLOCK]
    for batch in batches:
        logits = net(batch[:, :-1])
        total += F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
    return total / (len(ids) - 1)


def train(seed, training, validation, vocabulary):
    torch.manual_seed(seed)
    net = Net(vocabulary)
    matrices = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99), eps=1e-8)
    start, times = time.perf_counter(), []
    for step in range(STEPS):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        places = torch.randint(len(training) - BLOCK, (BATCH,))
        x = torch.stack([training[i:i + BLOCK] for i in places])
        y = torch.stack([training[i + 1:i + BLOCK + 1] for i in places])
        loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return {
        "seed": seed, "validation_loss": whole_split(net, validation), "seconds": time.perf_counter() - start,
        "median_step_ms": 1000 * statistics.median(times), "parameters": sum(p.numel() for p in net.parameters())}


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    letters = sorted(set(text))
    ids = torch.tensor([letters.index(c) for c in text])
    cut = int(len(text) * 0.9)
    for seed in [int(s) for s in sys.argv[2:]] or [1, 2, 3]:
        print(json.dumps(train(seed, ids[:cut], ids[cut:], len(letters))), flush=True)


if __name__ == "__main__":
    main()
