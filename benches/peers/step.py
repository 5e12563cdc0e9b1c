"""Times training and inference of one case of benches/cases in PyTorch: the peer of `kiln bench --row`.

    python benches/peers/step.py benches/cases/mlp.toml KEPT [--precision bf16] [--steps 20] [--warmup 3] [--compile] [--fused]

KEPT holds the start weights and the batch that `kiln bench --keep` left. The optimizer is the config's. A step is
forward, loss, backward, clipping where the config clips, optimizer step, and reading the loss. bf16 is autocast: float32
weights, PyTorch's own choice of ops. Prints one JSON object: the first 20 losses, all times in milliseconds, the peak
resident memory of the steps (reset before the first; with --compile that of compiling too), and versions.
"""

import argparse
import json
import pathlib
import platform
import time
import tomllib

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

LOSSES = 20


def mlp(model, classes):
    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = nn.ModuleList([nn.Linear(784, 512)]), nn.Linear(512, classes)

        def forward(self, image):
            x = image.flatten(1)
            for layer in self.layers:
                x = F.relu(layer(x))
            return self.head(x)

    return loaded(Mlp(), model)


def resnet18(model, classes):
    import torchvision
    net = torchvision.models.resnet18(num_classes=classes)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return loaded(net, model)


def resnet50(model, classes):
    import torchvision
    return loaded(torchvision.models.resnet50(num_classes=classes), model)


def vit(model, classes):
    import timm
    name = json.loads((model / "config.json").read_text())["architecture"]
    return loaded(timm.create_model(name, num_classes=classes), model)


def bert(model, classes):
    from transformers import AutoModelForSequenceClassification
    net = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32)
    return lambda_module(net, lambda net, batch: net(
        input_ids=batch["ids"], attention_mask=batch["mask"], token_type_ids=batch["types"]).logits)


def gpt2(model, classes):
    from transformers import GPT2LMHeadModel
    net = GPT2LMHeadModel.from_pretrained(model, dtype=torch.float32)
    return lambda_module(net, lambda net, batch: net(input_ids=batch["ids"], use_cache=False).logits)


def nanogpt(model, classes):
    import shakespeare
    state = {name.removeprefix("transformer."): value for name, value in load_file(f"{model}/model.safetensors").items()}
    net = shakespeare.Net(state["wte.weight"].shape[0])
    linear = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # stored as [in, out]
    state = {name: value.T.contiguous() if name.endswith(linear) else value for name, value in state.items()}
    expected = net.state_dict().keys()
    assert expected <= state.keys(), expected - state.keys()
    assert all(not value.any() for name, value in state.items() if name.endswith("bias")), "a bias that is not zero"
    net.load_state_dict({name: state[name] for name in expected})
    return net


CASES = {"mlp": mlp, "resnet18": resnet18, "resnet50": resnet50, "resnet50_large": resnet50, "vit_small": vit, "vit_base": vit,
         "minilm": bert, "bert_base": bert, "nanogpt": nanogpt, "gpt2_124m": gpt2}


def loaded(net, model):
    """Every tensor by its name; counters of batches, which PyTorch keeps and no number depends on, may be missing."""
    missing, unexpected = net.load_state_dict(load_file(f"{model}/model.safetensors"), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    assert not missing and not unexpected, (missing, unexpected)
    return net


class lambda_module(nn.Module):
    """A module that reads the batch in its own way."""

    def __init__(self, net, call):
        super().__init__()
        self.net, self.call = net, call

    def forward(self, batch):
        return self.call(self.net, batch)


def optimizer(net, config, fused):
    """The config's, with PyTorch's defaults where it is silent, as kiln has them."""
    table = dict(config["optimizer"])
    kind, decays_all = table.pop("kind"), table.pop("decay_bias_and_norm", True)
    table["lr"] = table.pop("learning_rate", 1e-3)
    if kind == "adamw":
        table.setdefault("weight_decay", 1e-2)
    decay = table.pop("weight_decay", 0.0)
    kept = [p for p in net.parameters() if not (decays_all or p.dim() > 1)]
    groups = [{"params": [p for p in net.parameters() if decays_all or p.dim() > 1], "weight_decay": decay}]
    groups += [{"params": kept, "weight_decay": 0.0}] if kept else []
    return {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind](groups, fused=fused or None, **table)


def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def opened(config, kept, device="cpu"):
    """The case's net with the start weights; what it reads; the target."""
    batch = {name: value.to(device) for name, value in load_file(kept / "batch.safetensors").items()}
    batch = {name: value.long() if not value.is_floating_point() else value for name, value in batch.items()}
    target = batch.pop("target")
    labels = json.loads((kept / "model" / "config.json").read_text())
    classes = labels.get("num_classes") or len(labels.get("id2label", labels.get("label_names", [])))
    net = CASES[config.stem](kept / "model", classes).to(device)
    return net, batch if isinstance(net, lambda_module) else batch.get("image", batch.get("ids")), target


def repeat(once, args):
    times, began = [], time.perf_counter()
    while len(times) < args.steps or time.perf_counter() - began < args.seconds:
        start = time.perf_counter()
        once()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def words(description):
    """The options that every peer has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("kept", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=20, help="measured steps at least")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.0, help="of measured steps at least")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def main():
    parser = words(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fused", action="store_true", help="the fused implementation of the optimizer")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = tomllib.loads(args.config.read_text())
    net, inputs, target = opened(args.config, args.kept, args.device)
    rule, clip = optimizer(net, config, args.fused), config.get("train", {}).get("max_grad_norm")
    call, losses = torch.compile(net) if args.compile else net, []
    autocast = torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16")
    wait = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None

    def step():
        rule.zero_grad()
        with autocast:
            logits = call(inputs)
            loss = F.cross_entropy(logits.flatten(0, -2), target.flatten())
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        rule.step()
        losses.append(loss.item())
        wait()

    @torch.inference_mode()
    def infer():
        with autocast:
            call(inputs)
        wait()

    net.train()
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    for _ in range(args.warmup):
        step()
    train, train_peak = repeat(step, args), peak()
    net.eval()
    for _ in range(args.warmup):
        infer()
    print(json.dumps({"losses": losses[:LOSSES], "train_ms": train, "infer_ms": repeat(infer, args), "train_peak_mib": train_peak,
                      "versions": {"torch": torch.__version__, "python": platform.python_version(),
                                   "vectors": torch.backends.cpu.get_cpu_capability()}}))


if __name__ == "__main__":
    main()
