#!/usr/bin/env python3
"""What float16 costs the CIFAR ResNet-20 that kiln exports, and what it costs elsewhere: the file in ONNX Runtime, its float32 twin
turned by onnxconverter-common, the twin with nothing but its weights rounded, the same with the head in float32, and PyTorch's
`.half()`. Differences are of logits, up to a constant a sample, from the float32 file's.
Needs onnxruntime, onnxconverter-common, torch, safetensors, pillow. Usage: python3 benches/onnx_half.py --kiln BINARY --data FOLDER
  --run RUN [--pictures N] (a run of configs/cifar_resnet20_finetune.toml)
"""
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnxconverter_common import float16
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import harness


class Block(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.more = out - inside

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return functional.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def pixels(folder, place, count):
    said = json.loads((folder / "preprocessor_config.json").read_text())
    classes = sorted(p for p in place.iterdir() if p.is_dir())
    files = [p for one in classes for p in sorted(one.iterdir())[:-(-count // len(classes))]][:count]
    levels = np.stack([np.asarray(Image.open(p).convert("RGB"), np.float32) for p in files]) / np.float32(255)
    return ((levels - np.float32(said["image_mean"])) / np.float32(said["image_std"])).transpose(0, 3, 1, 2).astype(np.float32)


def of_onnx(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"pixel_values": x[i:i + 32]})[0] for i in range(0, len(x), 32)])


def of_torch(net, x):
    kind = next(net.parameters()).dtype
    with torch.no_grad():
        return np.concatenate([net(torch.from_numpy(x[i:i + 32]).to(kind)).float().numpy() for i in range(0, len(x), 32)])


def rounded(path, head):
    """The float32 file whose weights are the nearest float16 numbers, the head's where `head`."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and (head or "linear" not in tensor.name):
            near = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(near, tensor.name))
    return model


def main():
    args = harness.arguments(__doc__, data=("", "the folder of $KILN_TEST_DATA"), run=("", "the run"), pictures=(2000, "test images"))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        wide, half = Path(scratch) / "f32", Path(scratch) / "f16"
        for folder in (wide, half):
            harness.finish(harness.start(args.kiln, "export", args.run, f"precision={folder.name}", "-o", folder))
        x = pixels(wide, Path(args.data) / "cifar10/test", int(args.pictures))
        whole = onnx.load(wide / "model.onnx")
        net = ResNet20().eval()
        net.load_state_dict(load_file(Path(args.run) / "model/model.safetensors"))
        wanted = of_onnx(whole, x)
        head = [node.name for node in whole.graph.node if node.name.startswith("linear")]
        answers = {
            "PyTorch, float32": of_torch(net, x),
            "kiln export precision=f16": of_onnx(onnx.load(half / "model.onnx"), x),
            "onnxconverter-common float16": of_onnx(float16.convert_float_to_float16(onnx.load(wide / "model.onnx"), keep_io_types=True), x),
            "the same, the head in float32": of_onnx(float16.convert_float_to_float16(
                onnx.load(wide / "model.onnx"), keep_io_types=True, node_block_list=head), x),
            "weights alone rounded to float16": of_onnx(rounded(wide / "model.onnx", True), x),
            "weights alone, the head in float32": of_onnx(rounded(wide / "model.onnx", False), x),
            "PyTorch, `.half()`": of_torch(net.half(), x),
        }
    centred = [logits - logits.mean(-1, keepdims=True) for logits in (wanted, *answers.values())]
    print(f"{len(x)} pictures, largest logit {np.abs(centred[0]).max():.1f}; ONNX Runtime {onnxruntime.__version__}, PyTorch {torch.__version__}")
    print("| form | largest difference | mean difference | same class |\n|---|---|---|---|")
    for (name, logits), moved in zip(answers.items(), centred[1:]):
        off = np.abs(moved - centred[0])
        print(f"| {name} | {off.max():.1e} | {off.mean():.1e} | {(logits.argmax(-1) == wanted.argmax(-1)).mean():.4f} |")


main()
