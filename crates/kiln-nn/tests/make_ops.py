"""Writes fixtures/ops.json: answers and gradients of PyTorch's ops at small and odd sizes.

Run from this folder with PyTorch 2 on the CPU: python make_ops.py
Inputs are not stored but computed, as in make_layers.py: element i of tensor number n is sin(0.7 i + 1.3 n) * scale.
The gradient of an answer is tensor number 9.
"""

import json
import math

import torch
import torch.nn.functional as F


def fill(n, shape, scale=1.0):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (torch.sin(0.7 * i + 1.3 * n) * scale).float().reshape(shape)


def found(y, **leaves):
    """The answer and the gradients of the inputs, which are named as in the test."""
    y.backward(fill(9, tuple(y.shape)))
    tensors = {"y": y} | {f"d{name}": x.grad for name, x in leaves.items()}
    return {name: [float(f"{x:.7g}") for x in t.detach().flatten().tolist()] for name, t in tensors.items()}


def leaf(n, shape, scale=1.0):
    return fill(n, shape, scale).requires_grad_()


def unary(function, shape, scale=1.0):
    x = leaf(1, shape, scale)
    return found(function(x), x=x)


def conv(shape, out, kernel, **options):
    x, weight, bias = leaf(1, shape), leaf(2, (out, shape[1] // options["groups"], *kernel)), leaf(3, (out,))
    return found(F.conv2d(x, weight, bias, **options), x=x, weight=weight, bias=bias)


def batch_norm(then, training):
    shape = (3, 4, 5, 3)
    x, shortcut, weight, bias = leaf(1, shape), leaf(2, shape), leaf(3, (4,), 4.0), leaf(4, (4,))
    y = F.batch_norm(x, fill(5, (4,)), fill(6, (4,)).square() + 0.1, weight, bias, training, 0.0, 1e-3)
    y = {"nothing": lambda y: y, "relu": F.relu, "relu6": F.relu6, "add_relu": lambda y: F.relu(y + shortcut)}[then](y)
    leaves = {"shortcut": shortcut} if then == "add_relu" else {}
    return found(y, x=x, weight=weight, bias=bias, **leaves)


def linear(bias):
    x, weight, shift = leaf(1, (2, 7, 19)), leaf(2, (23, 19)), leaf(3, (23,))
    leaves = {"bias": shift} if bias else {}
    return found(F.linear(x, weight, shift if bias else None), x=x, weight=weight, **leaves)


def attention(shape, hides):
    """Sample b has all but 3 b of its keys."""
    q, k, v = (leaf(n, shape, 2.0) for n in (1, 2, 3))
    b, t = shape[0], shape[2]
    seen = (torch.arange(t) < t - 3 * torch.arange(b)[:, None])[:, None, None, :]
    mask = {"nothing": None, "padding": seen, "future": seen & torch.ones(t, t, dtype=torch.bool).tril()}[hides]
    return found(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), q=q, k=k, v=v)


def cross_entropy(smoothing, ignored):
    x = leaf(1, (9, 21), 8.0)
    classes = torch.arange(9) * 5 % 21
    if ignored:
        classes[::2] = -100
    return found(F.cross_entropy(x, classes, label_smoothing=smoothing), x=x)


def layer_norm():
    x, weight, bias = leaf(1, (5, 3, 37)), leaf(2, (37,)), leaf(3, (37,))
    return found(F.layer_norm(x, (37,), weight, bias, 1e-5), x=x, weight=weight, bias=bias)


def embedding():
    weight = leaf(1, (6, 17))
    return found(F.embedding(torch.tensor([[0, 5, 5], [2, 0, 5]]), weight), weight=weight)


def main():
    ops = {
        "relu": unary(F.relu, (53,)),
        "relu6": unary(F.relu6, (53,), 9.0),
        "silu": unary(F.silu, (53,), 6.0),
        "gelu": unary(F.gelu, (53,), 4.0),
        "gelu_new": unary(lambda x: F.gelu(x, approximate="tanh"), (53,), 4.0),
        # Of ReLU's answer, in which many windows have nothing but zeros.
        "max_pool_3": unary(lambda x: F.max_pool2d(F.relu(x), 3, 2, 1), (2, 2, 9, 11)),
        "max_pool_2": unary(lambda x: F.max_pool2d(F.relu(x), (2, 3), (1, 2)), (1, 3, 6, 7)),
        "global_avg_pool": unary(lambda x: x.mean((2, 3)), (2, 5, 3, 7)),
        "depthwise": conv((2, 3, 9, 19), 3, (3, 3), padding=1, groups=3),
        "depthwise_stride": conv((2, 3, 9, 10), 3, (3, 3), padding=1, stride=2, groups=3),
        "depthwise_dilation": conv((1, 3, 13, 9), 6, (3, 2), padding=(2, 1), stride=(1, 2), dilation=(2, 3), groups=3),
        "depthwise_7": conv((1, 2, 7, 8), 2, (7, 7), padding=3, groups=2),
        "linear": linear(False),
        "linear_bias": linear(True),
        "attention": attention((1, 2, 9, 5), "nothing"),
        "attention_padding": attention((2, 2, 11, 5), "padding"),
        "attention_causal": attention((2, 1, 13, 4), "future"),
        "attention_long": attention((2, 1, 70, 3), "future"),
        "layer_norm": layer_norm(),
        "embedding": embedding(),
    }
    for smoothing in (0.0, 0.1):
        for ignored in (False, True):
            ops[f"cross_entropy_{smoothing}_{str(ignored).lower()}"] = cross_entropy(smoothing, ignored)
    for then in ("nothing", "relu", "relu6", "add_relu"):
        for training in (False, True):
            ops[f"batch_norm_{then}_{str(training).lower()}"] = batch_norm(then, training)
    with open("fixtures/ops.json", "w") as file:
        json.dump(ops, file, separators=(",", ":"))


if __name__ == "__main__":
    main()
