"""Writes fixtures/vision/*: what timm, transformers and torchvision answer for small nets whose weights both sides
compute, how they resample positions, and the parameter counts of the presets.

Run from this folder: python make_vision.py. Needs torch 2, torchvision, timm 1, transformers 5. Weights are computed as
in make_models.py (`wave`, `weights`), by the reference's own names; each fixture holds the folder's `config.json` as its
library writes it, the tensors' names and shapes, and answers. All in double precision.
"""

import json
import os
import tempfile

import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from timm.layers import resample_abs_pos_embed
from timm.models._hub import save_config_for_hf

CLASSES, BATCH, STEPS = 5, 4, 20


def wave(n, shape, scale):
    """As in make_models.py."""
    count = 1
    for side in shape:
        count *= side
    bits = (torch.arange(count) * 2654435761 + n * 1013904223) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 2246822519) & 0xFFFFFFFF
    bits = bits ^ (bits >> 13)
    return ((bits.double() / 2**31 - 1) * scale).float().reshape(shape)


def floats(model):
    return {k: v for k, v in sorted(model.state_dict().items()) if v.is_floating_point()}


def weights(model):
    """As in make_models.py."""
    for n, (name, tensor) in enumerate(floats(model).items()):
        shape = tuple(tensor.shape)
        if name.endswith("running_var"):
            value = 1.0 + wave(n, shape, 0.5)
        elif len(shape) == 1 and name.endswith("weight"):
            value = 1.0 + wave(n, shape, 0.3)
        elif len(shape) == 1:
            value = wave(n, shape, 0.1)
        else:
            fan = 1
            for side in shape[1:]:
                fan *= side
            value = wave(n, shape, (6.0 / fan) ** 0.5)
        tensor.copy_(value)


def seen(tensors):
    """Of each tensor its norm and its product with a wave: small, and no two tensors that matter have the same."""
    return {k: [t.norm().item(), (t * wave(7, tuple(t.shape), 1.0)).sum().item()] for k, t in tensors.items()}


def answers(model, forward, image, learn=True):
    with torch.no_grad():
        weights(model)
    model.double()
    shapes = {k: list(v.shape) for k, v in floats(model).items()}
    pixels = lambda step: wave(1000 + step, (BATCH, *image), 1.0).double()
    truth = lambda step: torch.tensor([(step + 2 * b) % CLASSES for b in range(BATCH)])
    model.eval()
    with torch.no_grad():
        evaluated = forward(pixels(0))
    result = {"tensors": shapes, "image": list(image), "eval": evaluated.flatten().tolist()}
    if not learn:
        return result
    model.train()
    # Random nets with batch norm magnify rounding: at 1e-4 PyTorch's own float32 is up to 1.2e-2 off these losses, at
    # 2e-5 up to 3.4e-4, so these learn at 1e-5.
    rate = 1e-5 if any("running" in k for k in shapes) else 1e-4
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    losses, first = [], None
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = forward(pixels(step))
        loss = F.cross_entropy(logits, truth(step))
        loss.backward()
        if first is None:
            first = {"train": logits.flatten().tolist(),
                     "gradients": seen({k: p.grad for k, p in model.named_parameters()})}
        losses.append(loss.item())
        optimizer.step()
    statistics = {k: v for k, v in floats(model).items() if "running" in k}
    return {**result, **first, "rate": rate, "losses": losses, "statistics": seen(statistics)}


def write(name, value):
    os.makedirs("fixtures/vision", exist_ok=True)
    with open(f"fixtures/vision/{name}.json", "w") as file:
        json.dump(value, file, separators=(",", ":"))


def from_timm(name, architecture, image, learn=True, **args):
    model = timm.create_model(architecture, num_classes=CLASSES, **args)
    with tempfile.TemporaryDirectory() as folder:
        save_config_for_hf(model, f"{folder}/config.json", model_config={"label_names": list("abcde")})
        config = json.load(open(f"{folder}/config.json"))
    write(f"timm_{name}", {"config": config, **answers(model, model, image, learn)})


def from_transformers(name, model, image):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.load(open(f"{folder}/config.json"))
        from safetensors import safe_open
        with safe_open(f"{folder}/model.safetensors", "pt") as file:
            saved = {k: list(file.get_slice(k).get_shape()) for k in file.keys()}
    # A file's names differ from the modules'; the weights are numbered by the file's.
    rename = renames(model, saved)
    answer = answers_by(model, rename, image)
    write(f"transformers_{name}", {"config": config, **answer})


def renames(model, saved):
    """From the module's names to the file's, by marking each tensor with its own number."""
    with torch.no_grad():
        for n, (_, tensor) in enumerate(floats(model).items()):
            tensor.fill_(n)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        from safetensors.torch import load_file
        file = load_file(f"{folder}/model.safetensors")
    by_number = {int(t.flatten()[0].item()): k for k, t in file.items() if t.is_floating_point()}
    return {k: by_number[n] for n, k in enumerate(floats(model))}


class Renamed(torch.nn.Module):
    """The model with its file's names."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def state_dict(self):
        return {self.names[k]: v for k, v in self.model.state_dict().items() if k in self.names}

    def named_parameters(self):
        return [(self.names[k], p) for k, p in self.model.named_parameters()]

    def parameters(self):
        return self.model.parameters()

    def double(self):
        self.model.double()

    def train(self, mode=True):
        self.model.train(mode)


def answers_by(model, names, image):
    return answers(Renamed(model, names), lambda x: model(pixel_values=x).logits, image)


def parameters():
    presets = ["vit_tiny_patch16_224", "vit_tiny_patch16_384", "vit_small_patch32_224", "vit_small_patch16_224",
               "vit_small_patch16_384", "vit_base_patch32_224", "vit_base_patch16_224", "vit_base_patch16_384",
               "vit_base_patch8_224", "vit_large_patch16_224", "deit_tiny_patch16_224", "deit_small_patch16_224",
               "deit_base_patch16_224", "deit_base_patch16_384", "deit_tiny_distilled_patch16_224",
               "deit_small_distilled_patch16_224", "deit_base_distilled_patch16_224", "deit_base_distilled_patch16_384",
               "convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano", "convnext_tiny", "convnext_small",
               "convnext_base", "convnext_large", "mobilenetv2_035", "mobilenetv2_050", "mobilenetv2_075",
               "mobilenetv2_100", "mobilenetv2_140", "mobilenetv2_110d", "mobilenetv2_120d", "resnet18", "resnet34",
               "resnet50", "resnet101", "resnet152"]
    counts = {}
    with torch.device("meta"):
        for name in presets:
            model = timm.create_model(name)
            size = model.pretrained_cfg["input_size"][-1]
            counts[name] = [size, sum(p.numel() for p in model.parameters())]
        also = {"mobilenetv2_100": torchvision.models.mobilenet_v2}
        also |= {f"resnet{n}": getattr(torchvision.models, f"resnet{n}") for n in (18, 34, 50, 101, 152)}
        for name, build in also.items():
            assert sum(p.numel() for p in build().parameters()) == counts[name][1], name
    return counts


def positions():
    cases = []
    for side, grid, prefix in ((3, (5, 5), 1), (7, (4, 4), 1), (4, (2, 6), 2), (14, (24, 24), 1), (5, (5, 8), 1)):
        given = wave(3, (1, prefix + side * side, 4), 1.0)
        made = resample_abs_pos_embed(given, list(grid), [side, side], prefix)
        cases.append({"side": side, "grid": grid, "prefix": prefix, "values": made.flatten().tolist()})
    return cases


torch.manual_seed(0)
SMALL = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
STAGES = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}
from_timm("vit", "vit_tiny_patch16_224", (3, 16, 24), img_size=(16, 24), **SMALL)
from_timm("deit_distilled", "deit_tiny_distilled_patch16_224", (3, 24, 24), img_size=24, **SMALL)
from_timm("convnext", "convnext_tiny", (3, 64, 64), **STAGES)
from_timm("convnext_atto", "convnext_atto", (3, 64, 64), **STAGES)
from_timm("mobilenetv2", "mobilenetv2_035", (3, 64, 64))
# PyTorch's own float32 gradients are 9e-3 of the largest off in this one, as in torchvision's below.
from_timm("mobilenetv2_deeper", "mobilenetv2_110d", (1, 64, 64), learn=False, in_chans=1)
from_timm("resnet18", "resnet18", (3, 64, 64))

vit = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 24,
       "patch_size": 8, "num_labels": CLASSES}
square = (3, 24, 24)
from_transformers("vit", transformers.ViTForImageClassification(transformers.ViTConfig(**vit)), square)
deit = transformers.DeiTConfig(**vit, qkv_bias=False)
from_transformers("deit", transformers.DeiTForImageClassification(deit), square)
from_transformers("deit_teacher", transformers.DeiTForImageClassificationWithTeacher(deit), square)
convnext = transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1], num_labels=CLASSES)
from_transformers("convnext", transformers.ConvNextForImageClassification(convnext), (3, 64, 64))
# Where rounding crosses a kink of ReLU6, gradients jump: PyTorch's own float32 gradients are then up to 2e-2 of the
# largest off. These sizes of image are some where it is within 3e-5.
for name, tf_padding, side in (("mobilenet_v2", True, 65), ("mobilenet_v2_even", False, 72)):
    mobilenet = transformers.MobileNetV2Config(
        depth_multiplier=0.35, classifier_dropout_prob=0.0, tf_padding=tf_padding, num_labels=CLASSES)
    from_transformers(name, transformers.MobileNetV2ForImageClassification(mobilenet), (3, side, side))
for layer_type in ("basic", "bottleneck"):
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32, 48], depths=[1, 2, 1],
                                       layer_type=layer_type, num_labels=CLASSES)
    from_transformers(f"resnet_{layer_type}", transformers.ResNetForImageClassification(resnet), (3, 64, 64))

mobile = torchvision.models.mobilenet_v2(num_classes=CLASSES, dropout=0.0)
write("torchvision_mobilenet_v2", answers(mobile, mobile, (3, 56, 56), learn=False))
write("parameters", parameters())
write("positions", positions())
