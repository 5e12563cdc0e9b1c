#!/usr/bin/env python3
"""Trains the first 20 steps of the quick start on the CPU and on another device, and compares the losses: within 1e-3
relative. The binary must have both backends.
Usage: python3 tests/gpu_follows_cpu.py --kiln BINARY --device wgpu:0
"""
import sys
import tempfile
import time
from pathlib import Path

import harness

STEPS, ALLOWED = 20, 1e-3


def losses(kiln, device, folder):
    """The losses of the first steps of one epoch."""
    name = device.replace(":", "-")
    harness.finish(harness.start(
        kiln, "train", harness.ROOT / "configs" / "quickstart.toml", f"device={device}", "train.epochs=1",
        f"output_dir={folder}", f"run_name={name}"))
    steps = [line for line in harness.log(Path(folder) / name) if "learning_rate" in line]
    return [line["loss"] for line in steps[:STEPS]]


def main():
    args = harness.arguments(__doc__, device=("wgpu:0", "the device to compare"))
    with tempfile.TemporaryDirectory() as folder:
        cpu = losses(args.kiln, "cpu", folder)
        began = time.monotonic()
        other = losses(args.kiln, args.device, folder)
        seconds = time.monotonic() - began
    apart = max(abs(a - b) / abs(a) for a, b in zip(cpu, other))
    print(f"{args.device}: {len(other)} steps compared, losses {other[0]:.4f} to {other[-1]:.4f}, "
          f"largest relative distance from the CPU {apart:.2e}, the epoch took {seconds:.0f} s")
    sys.exit(len(cpu) != STEPS or len(other) != STEPS or apart > ALLOWED)


main()
