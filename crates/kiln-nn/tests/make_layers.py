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


def soft_cross_entropy(smoothing):
    logits = fill(1, (5, 4), 30.0).requires_grad_()
    shares = torch.softmax(fill(2, (5, 4), 2.0), 1)
    loss = F.cross_entropy(logits, shares, label_smoothing=smoothing)
    loss.backward()
    return {"loss": loss.item(), "gradient": flat(logits.grad), "shares": flat(shares)}


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


def elementwise(function):
    x = fill(1, (50,), 8.0).requires_grad_()
    y = function(x)
    (y * fill(2, (50,))).sum().backward()
    return {"y": flat(y), "x": flat(x.grad)}


def channels_first():
    """timm's LayerNorm2d."""
    x, w, b = fill(1, (2, 6, 2, 3)).requires_grad_(), fill(2, (6,)).requires_grad_(), fill(3, (6,)).requires_grad_()
    y = F.layer_norm(x.permute(0, 2, 3, 1), (6,), w, b, 1e-6).permute(0, 3, 1, 2)
    (y * fill(4, (2, 6, 2, 3))).sum().backward()
    return {"y": flat(y), "x": flat(x.grad), "weight": flat(w.grad), "bias": flat(b.grad)}


def batch_norm(eps, momentum):
    bn = torch.nn.BatchNorm2d(3, eps=eps, momentum=momentum)
    y = bn(fill(1, (4, 3, 2, 2), 0.1))
    return {"y": flat(y), "mean": flat(bn.running_mean), "variance": flat(bn.running_var)}


def depthwise():
    """A 7x7 and a strided 3x3 depthwise convolution."""
    found = {}
    for kernel, stride in ((7, 1), (3, 2)):
        x, w = fill(1, (2, 4, 9, 8)).requires_grad_(), fill(2, (4, 1, kernel, kernel)).requires_grad_()
        y = F.conv2d(x, w, padding=kernel // 2, stride=stride, groups=4)
        (y * fill(3, tuple(y.shape))).sum().backward()
        found[str(kernel)] = {"y": flat(y), "x": flat(x.grad), "weight": flat(w.grad)}
    return found


fixture = {"cross_entropy": cross_entropy(0.0), "cross_entropy_smooth": cross_entropy(0.1),
           "soft_cross_entropy": soft_cross_entropy(0.0), "soft_cross_entropy_smooth": soft_cross_entropy(0.1), "linear": linear(),
           "layer_norm": layer_norm(), "conv_bn": conv_bn(), "gelu": elementwise(F.gelu),
           "relu6": elementwise(F.relu6), "channels_first": channels_first(),
           "batch_norm": batch_norm(1e-3, 0.997), "depthwise": depthwise()}
with open("fixtures/layers.json", "w") as file:
    json.dump(fixture, file)
