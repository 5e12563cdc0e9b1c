"""The ops of kiln's nets in PyTorch, as `crates/kiln-nn/examples/ops_bench` times kiln's: medians in ms.

    python ops.py [PART OF A NAME] [--threads 2]

The gradient of an answer is a tensor of ones, made while the clock runs, as kiln's tape makes it.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

REPEATS, LIMIT = 15, 2.0
CONVS = [
    (32, 3, 64, 32, 3, 1, 1), (32, 64, 64, 32, 3, 1, 1), (32, 64, 128, 32, 3, 2, 1), (32, 64, 128, 32, 1, 2, 1),
    (32, 128, 128, 16, 3, 1, 1), (32, 256, 256, 8, 3, 1, 1), (32, 512, 512, 4, 3, 1, 1),
    (8, 3, 64, 224, 7, 2, 1), (8, 64, 256, 56, 1, 1, 1), (8, 256, 64, 56, 1, 1, 1), (8, 64, 64, 56, 3, 1, 1),
    (8, 128, 128, 56, 3, 2, 1), (8, 256, 1024, 14, 1, 1, 1), (8, 512, 2048, 7, 1, 1, 1), (8, 2048, 512, 7, 1, 1, 1),
    (8, 512, 512, 7, 3, 1, 1),
    (8, 96, 96, 112, 3, 2, 96), (8, 144, 144, 56, 3, 1, 144), (8, 96, 96, 56, 7, 1, 96), (8, 768, 768, 7, 7, 1, 768),
    (64, 1, 32, 28, 3, 1, 1),
]
LINEARS = [(8, 128, 384, 384), (8, 128, 384, 1536), (8, 128, 1536, 384), (8, 197, 384, 1152), (8, 197, 384, 1536),
           (8, 197, 1536, 384), (12, 64, 128, 512), (1, 128, 784, 512)]


def random(*shape):
    return torch.randn(shape, requires_grad=True)


def sizes(shape):
    return "x".join(map(str, shape))


def conv(b, read, written, size, kernel, stride, groups):
    x, w = random(b, read, size, size), random(written, read // groups, kernel, kernel)
    return lambda: F.conv2d(x, w, None, stride, (kernel - 1) // 2, 1, groups)


def attention(b, heads, t, width, hides):
    q, k, v = (random(b, t, heads, width) for _ in range(3))
    real = (torch.arange(t) < t - torch.arange(b)[:, None] % 4)[:, None, None, :] if hides == ", padding" else None
    def op():
        swapped = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(*swapped, attn_mask=real, is_causal=hides == ", causal")
    return op


def layer(module, *shape, then=lambda y: y):
    """A module's answer to images or tokens, and what follows."""
    x = random(*shape)
    return lambda: then(module(x))


def of(function, *shape):
    x = random(*shape)
    return lambda: function(x)


def batch_norm(shape, then):
    return layer(nn.BatchNorm2d(shape[1]), *shape, then=then)


def added(shape):
    shortcut = random(*shape)
    return batch_norm(shape, lambda y: F.relu(y.add_(shortcut), inplace=True))


def over_channels(shape):
    """timm's LayerNorm2d."""
    norm, x = nn.LayerNorm(shape[1], 1e-6), random(*shape)
    return lambda: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def cross_entropy(rows, classes):
    x, answers = random(rows, classes), torch.randint(classes, (rows,))
    return lambda: F.cross_entropy(x, answers)


def embedding(rows, width, *shape):
    table, places = nn.Embedding(rows, width), torch.randint(rows, shape)
    return lambda: table(places)


def stepped(make, count, n):
    parameters = [nn.Parameter(torch.randn(n)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = torch.randn(n)
    return make(parameters).step


def images():
    for c in CONVS:
        b, read, written, size, kernel, stride, groups = c
        name = f"conv {b}x{read}x{size}x{size} to {written}, {kernel}x{kernel}/{stride}, {groups} groups"
        yield name, lambda: conv(*c)
    for shape in [(32, 64, 32, 32), (32, 512, 4, 4), (8, 256, 56, 56)]:
        yield f"batch norm {sizes(shape)}", lambda: batch_norm(shape, lambda y: y)
        yield f"batch norm, relu {sizes(shape)}", lambda: batch_norm(shape, lambda y: F.relu(y, inplace=True))
        yield f"batch norm, add, relu {sizes(shape)}", lambda: added(shape)
    shape = (8, 144, 56, 56)
    yield f"batch norm, relu6 {sizes(shape)}", lambda: batch_norm(shape, lambda y: F.relu6(y, inplace=True))
    yield "relu 32x64x32x32", lambda: of(F.relu, 32, 64, 32, 32)
    yield "relu6 8x144x56x56", lambda: of(F.relu6, 8, 144, 56, 56)
    yield "gelu 8x197x1536", lambda: of(F.gelu, 8, 197, 1536)
    yield "silu 8x197x1536", lambda: of(F.silu, 8, 197, 1536)
    yield "max pool 3x3/2 8x64x112x112", lambda: of(lambda x: F.max_pool2d(x, 3, 2, 1), 8, 64, 112, 112)
    yield "max pool 2x2/2 64x32x28x28", lambda: of(lambda x: F.max_pool2d(x, 2, 2), 64, 32, 28, 28)
    for shape in [(8, 2048, 7, 7), (32, 512, 4, 4)]:
        yield f"mean of pixels {sizes(shape)}", lambda: of(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), *shape)
    yield "layer norm over channels 8x96x56x56", lambda: over_channels((8, 96, 56, 56))


def words():
    for b, t, read, written in LINEARS:
        yield f"linear {b}x{t}x{read} to {written}", lambda: layer(nn.Linear(read, written), b, t, read)
    for hides, shape in [(", padding", (8, 12, 128, 32)), (", causal", (12, 4, 64, 32)), ("", (8, 6, 197, 64))]:
        yield f"attention {sizes(shape)}{hides}", lambda: attention(*shape, hides)
    for shape in [(8, 128, 384), (8, 197, 384)]:
        yield f"layer norm {sizes(shape)}", lambda: layer(nn.LayerNorm(384, 1e-12), *shape)
    yield "gelu_new 12x64x512", lambda: of(lambda x: F.gelu(x, approximate="tanh"), 12, 64, 512)
    for rows, classes in [(128, 10), (768, 65), (256, 30522)]:
        yield f"cross entropy {rows}x{classes}", lambda: cross_entropy(rows, classes)
    for rows, width, b, t in [(30522, 384, 8, 128), (65, 128, 12, 64)]:
        yield f"embedding {b}x{t} of {rows}x{width}", lambda: embedding(rows, width, b, t)
    yield "dropout 8x128x1536", lambda: of(lambda x: F.dropout(x, 0.1), 8, 128, 1536)
    adamw = lambda parameters: torch.optim.AdamW(parameters, fused=True)
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    for count, n in [(1, 4194304), (100, 384)]:
        yield f"adamw, {count} of {n}", lambda: stepped(adamw, count, n)
    for count, n in [(1, 4194304), (100, 512)]:
        yield f"sgd with momentum, {count} of {n}", lambda: stepped(sgd, count, n)


def timed(op):
    times = []
    started = time.perf_counter()
    while len(times) <= REPEATS and (len(times) < 4 or time.perf_counter() - started < LIMIT):
        start = time.perf_counter()
        y = op()
        forward = time.perf_counter() - start
        start = time.perf_counter()
        if y is not None:
            y.backward(torch.ones_like(y))
        times.append((forward, time.perf_counter() - start if y is not None else 0.0))
        clear(op)
    return [1e3 * statistics.median(column) for column in zip(*times[1:])]


def clear(op):
    """Gradients that a repeat has left, so that the next does not add to them."""
    for x in leaves(op):
        x.grad = None


def leaves(op):
    for cell in getattr(op, "__closure__", None) or ():
        found = cell.cell_contents
        if isinstance(found, torch.Tensor):
            yield found
        elif isinstance(found, nn.Module):
            yield from found.parameters()
        elif callable(found):
            yield from leaves(found)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("part", nargs="?", default="")
    options.add_argument("--threads", type=int, default=2)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'op':<52}{'forward':>10}{'backward':>10}")
    for cases in (images, words):
        for name, make in cases():
            if options.part in name:
                forward, backward = timed(make())
                print(f"{name:<52}{forward:>10.3f}{backward:>10.3f}")


if __name__ == "__main__":
    main()
