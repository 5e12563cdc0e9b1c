"""On a GPU: two runs leave the same bits, and steps that are not finite are masked, found and left out as on the processor.

python3 tests/gpu_guard.py --kiln target/release/kiln --device wgpu:0
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BAD = 37


def hashes(run):
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    files = json.loads((last / "manifest.json").read_text())["files"]
    return {name: entry["blake3"] for name, entry in files.items() if name.endswith(".safetensors")}


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def table(folder):
    rows = "".join(f"{i / 64},{'1e30' if i == BAD else i % 7}\n" for i in range(64))
    (folder / "rows.csv").write_text("x,y\n" + rows)
    config = folder / "rows.toml"
    config.write_text(
        """[task]
kind = "regression"
standardize = false
[model]
kind = "mlp"
hidden = [8]
[optimizer]
kind = "adamw"
[data]
kind = "csv"
train = "rows.csv"
features = ["x"]
label = "y"
loader = { batch_size = 4 }
[average]
kind = "ema"
decay = 0.9
[train]
max_steps = 40
max_grad_norm = 1.0
gradient_accumulation_steps = 2
[checkpoint]
every = "20 steps"
"""
    )
    return config


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--kiln", required=True)
    words.add_argument("--device", required=True)
    words = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def train(config, name, *overrides, code=0):
            command = [words.kiln, "train", str(config), f"output_dir={folder}", f"run_name={name}", *overrides]
            said = subprocess.run(command, capture_output=True, text=True)
            assert said.returncode == code, f"{name}: exit {said.returncode}\n{said.stderr}"
            return folder / name, said.stderr

        # The same bits again: a net with batch norm, and one with dropout.
        for net, model in [("resnet", '{kind="resnet",preset="cifar20"}'), ("cnn", '{kind="cnn",channels=[8,8],hidden=16,dropout=0.2}')]:
            short = [f"device={words.device}", f"model={model}", "train.max_steps=8", "deterministic=true", "train.max_grad_norm=1.0"]
            once, again = (train(ROOT / "configs/quickstart.toml", f"{net}-{i}", *short)[0] for i in (1, 2))
            assert hashes(once) == hashes(again), f"{net}: two runs differ"
            print(f"{net}: two runs of 8 steps on {words.device} leave the same bits")

        # The bad row: what the processor says at once, the device says late, and of the same steps.
        config = table(folder)
        skipped = lambda run: [line["step"] for line in lines(run) if "skipped" in line]
        cpu, _ = train(config, "cpu-skip", "device=cpu", "train.on_nonfinite=skip")
        expected = skipped(cpu)
        assert len(expected) == 5, expected
        _, said = train(config, "stop", f"device={words.device}", code=1)
        assert f"step {expected[0]}: the loss is inf" in said and f"rows.csv:{BAD + 2}" in said, said
        skip, _ = train(config, "skip", f"device={words.device}", "train.on_nonfinite=skip")
        rewind, _ = train(config, "rewind", f"device={words.device}", "train.on_nonfinite=rewind")
        assert skipped(skip) == skipped(rewind) == expected, (skipped(skip), skipped(rewind), expected)
        assert hashes(skip) == hashes(rewind), "skip and rewind differ"
        losses = [[line["loss"] for line in lines(run) if "grad_norm" in line] for run in (cpu, skip)]
        assert len(losses[0]) == len(losses[1]) == 35
        apart = max(abs(a - b) / max(abs(a), 1e-3) for a, b in zip(*losses))
        assert apart < 1e-3, apart
        print(f"steps {expected}: found, named and left out on {words.device} as on the processor; skip and rewind leave the same bits;")
        print(f"the losses of the other {len(losses[0])} steps are the processor's within {apart:.1e}")


if __name__ == "__main__":
    main()
