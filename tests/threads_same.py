"""Runs of the shipped configs and of other nets leave the same bits on 1, 2 and 3 threads of the CPU.

python3 tests/threads_same.py --kiln target/release/kiln
With KILN_TEST_DATA, text models on real data too.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"
LARGER = 'data.transforms=[{kind="resize",size=32},{kind="normalize",mean=[0.02],std=[0.02]}]'
CASES = [
    ("quickstart.toml", ["train.max_steps=60"], None),
    ("quickstart.toml", ['model={kind="resnet",preset="cifar20"}', "train.max_steps=10"], None),
    ("quickstart.toml", ['model={kind="convnext",preset="convnext_atto"}', LARGER, "train.max_steps=4"], None),
    ("quickstart.toml", ['model={kind="mobilenet_v2",preset="mobilenetv2_100"}', LARGER, "train.max_steps=4"], None),
    ("quickstart.toml", ['model={kind="vit",preset="vit_tiny_patch16_224"}', LARGER, "train.max_steps=4"], None),
    ("quickstart.toml", ["precision=bf16", "train.max_steps=10"], None),
    ("diabetes.toml", ["train.max_steps=60"], None),
    ("diabetes_ft_transformer.toml", ["train.max_steps=20"], None),
    ("sst2_minilm_finetune.toml", ["train.max_steps=6"], "evaluate.every=1000 steps"),
    ("shakespeare_char.toml", ["train.max_steps=6", "schedule.warmup_steps=2"], "evaluate.every=1000 steps"),
]


def hashes(run):
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    files = json.loads((last / "manifest.json").read_text())["files"]
    return {name: entry["blake3"] for name, entry in files.items() if name.endswith(".safetensors")}


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--kiln", required=True)
    words.add_argument("--only", help="cases whose words contain this")
    words = words.parse_args()
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number, (config, overrides, evaluate) in enumerate(CASES):
            text = (CONFIGS / config).read_text()
            name = " ".join([config, *overrides[:1]])
            if words.only and words.only not in name:
                continue
            if "KILN_TEST_DATA" in text and "KILN_TEST_DATA" not in os.environ:
                print(f"{config}: skipped: set KILN_TEST_DATA")
                continue
            seen = set()
            for threads in ["1", "2", "3"]:
                run = folder / f"{number}-{threads}"
                command = [words.kiln, "train", str(CONFIGS / config), *overrides, *([evaluate] if evaluate else []), "device=cpu", "deterministic=true", f"output_dir={folder}", f"run_name={run.name}", "checkpoint.every=100000 steps"]
                said = subprocess.run(command, env=dict(os.environ, RAYON_NUM_THREADS=threads), capture_output=True, text=True)
                assert said.returncode == 0, f"{name}: exit {said.returncode}\n{said.stderr}"
                seen.add(json.dumps(hashes(run), sort_keys=True))
            differ += len(seen) > 1
            print(f"{'the same' if len(seen) == 1 else 'DIFFERENT'} on 1, 2 and 3 threads: {name}", flush=True)
    assert not differ, f"{differ} differ"


if __name__ == "__main__":
    main()
