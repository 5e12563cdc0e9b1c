"""Writes fixtures/layers.json: losses, gradients and 20 training steps of small PyTorch layers.

Run from this folder with PyTorch 2 on the CPU: python make_layers.py
Weights and inputs are not stored but computed: element i of tensor number n is sin(0.7 i + 1.3 n) * scale.
"""

import json

import torch
import torch.nn.functional as F


def fill(n, shape, scale=1.0):
    count = 1
    for side in shape:
        count *= side
    i = torch.arange(count, dtype=torch.float64)
    return (torch.sin(0.7 * i + 1.3 * n) * scale).float().reshape(shape)


def flat(t):
    return t.detach().flatten().double().tolist()


def cross_entropy(smoothing):
    logits = fill(1, (5, 4), 30.0).requires_grad_()
    loss = F.cross_entropy(logits, torch.tensor([3, 0, 1, 1, 2]), label_smoothing=smoothing)
    loss.backward()
    return {"loss": loss.item(), "gradient": flat(logits.grad)}


def linear():
    x, w, b = fill(1, (2, 3, 4)).requires_grad_(), fill(2, (5, 4)).requires_grad_(), fill(3, (5,)).requires_grad_()
    y = F.linear(x, w, b)
    (y * fill(4, (2, 3, 5))).sum().backward()
    return {"y": flat(y), "x": flat(x.grad), "weight": flat(w.grad), "bias": flat(b.grad)}


def layer_norm():
    x, w, b = fill(1, (3, 6)).requires_grad_(), fill(2, (6,)).requires_grad_(), fill(3, (6,)).requires_grad_()
    y = F.layer_norm(x, (6,), w, b, 1e-12)
    (y * fill(4, (3, 6))).sum().backward()
    return {"y": flat(y), "x": flat(x.grad), "weight": flat(w.grad), "bias": flat(b.grad)}


def conv_bn():
    """20 SGD steps of conv + batch norm + mean over pixels + cross entropy."""
    conv, bn = torch.nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        conv.weight.copy_(fill(1, (3, 2, 3, 3), 0.5))
    optimizer = torch.optim.SGD([*conv.parameters(), *bn.parameters()], lr=0.5)
    losses = []
    for step in range(20):
        x, classes = fill(10 + step, (4, 2, 5, 5)), torch.tensor([step % 3, 1, 2, 0])
        loss = F.cross_entropy(torch.relu(bn(conv(x))).mean((2, 3)), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = {"conv.weight": conv.weight, "bn.weight": bn.weight, "bn.bias": bn.bias,
             "bn.running_mean": bn.running_mean, "bn.running_var": bn.running_var}
    bn.eval()
    y = torch.relu(bn(conv(fill(99, (4, 2, 5, 5))))).mean((2, 3))
    return {"losses": losses, "state": {k: flat(v) for k, v in state.items()}, "eval": flat(y)}


fixture = {"cross_entropy": cross_entropy(0.0), "cross_entropy_smooth": cross_entropy(0.1), "linear": linear(),
           "layer_norm": layer_norm(), "conv_bn": conv_bn()}
with open("fixtures/layers.json", "w") as file:
    json.dump(fixture, file)
