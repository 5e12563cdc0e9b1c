"""The ops of nets for images in PyTorch, as `crates/kiln-nn/examples/ops_bench.rs` times kiln's: medians in ms.

    python ops.py [PART OF A NAME] [--threads 2]
"""

import argparse
import statistics
import time

import torch
from torch.nn import functional as F

REPEATS, LIMIT = 15, 2.0


def conv(b, read, written, size, kernel, stride, groups):
    name = f"conv {b}x{read}x{size}x{size} to {written}, {kernel}x{kernel}/{stride}, {groups} groups"
    shapes = [(b, read, size, size), (written, read // groups, kernel, kernel)]
    return name, shapes, lambda x, w: F.conv2d(x, w, None, stride, (kernel - 1) // 2, 1, groups)


CONVS = [
    (32, 3, 64, 32, 3, 1, 1), (32, 64, 64, 32, 3, 1, 1), (32, 64, 128, 32, 3, 2, 1), (32, 64, 128, 32, 1, 2, 1),
    (32, 128, 128, 16, 3, 1, 1), (32, 256, 256, 8, 3, 1, 1), (32, 512, 512, 4, 3, 1, 1),
    (8, 3, 64, 224, 7, 2, 1), (8, 64, 256, 56, 1, 1, 1), (8, 256, 64, 56, 1, 1, 1), (8, 64, 64, 56, 3, 1, 1),
    (8, 128, 128, 56, 3, 2, 1), (8, 256, 1024, 14, 1, 1, 1), (8, 512, 2048, 7, 1, 1, 1), (8, 2048, 512, 7, 1, 1, 1),
    (8, 512, 512, 7, 3, 1, 1),
    (8, 96, 96, 112, 3, 2, 96), (8, 144, 144, 56, 3, 1, 144), (8, 96, 96, 56, 7, 1, 96), (8, 768, 768, 7, 7, 1, 768),
]


def cases():
    yield from (conv(*sizes) for sizes in CONVS)
    for b, c, size in [(32, 64, 32), (32, 512, 4), (8, 256, 56)]:
        shape, norm = (b, c, size, size), torch.nn.BatchNorm2d(c)
        yield f"batch norm {b}x{c}x{size}x{size}", [shape], norm


def timed(shapes, op):
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    slopes = torch.randn_like(op(*inputs))
    forward, backward = [], []
    started = time.perf_counter()
    while len(forward) <= REPEATS and (len(forward) < 4 or time.perf_counter() - started < LIMIT):
        start = time.perf_counter()
        y = op(*inputs)
        forward.append(time.perf_counter() - start)
        start = time.perf_counter()
        y.backward(slopes)
        backward.append(time.perf_counter() - start)
        for x in inputs:
            x.grad = None
    return [1e3 * statistics.median(times[1:]) for times in (forward, backward)]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("part", nargs="?", default="")
    options.add_argument("--threads", type=int, default=2)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'op':<52}{'forward':>10}{'backward':>10}")
    for name, shapes, op in cases():
        if options.part in name:
            forward, backward = timed(shapes, op)
            print(f"{name:<52}{forward:>10.2f}{backward:>10.2f}")


if __name__ == "__main__":
    main()
