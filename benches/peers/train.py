"""Times training steps and inference of a net in PyTorch, from the weights and the batch that `kiln bench --keep` left.

    python benches/peers/train.py CASE FOLDER [--compile] [--fused] [--steps N]

CASE is a config's name in benches/cases. Prints one JSON object: medians in milliseconds, the losses of the first steps,
the largest resident memory in MiB. Two threads; no dropout; the optimizer of the case's config with PyTorch's defaults.
"""

import argparse
import json
import pathlib
import resource
import statistics
import sys
import time

import safetensors.torch
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def mlp(weights):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    names = {"layers.0": "1", "head": "3"}
    net.load_state_dict({names[k.rsplit(".", 1)[0]] + "." + k.rsplit(".", 1)[1]: v for k, v in weights.items()})
    return net, lambda batch: net(batch["image"]), sgd(0.0)


def resnet18(weights):
    import torchvision
    net = torchvision.models.resnet18(num_classes=weights["fc.bias"].numel())
    net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    net.load_state_dict(weights)
    return net, lambda batch: net(batch["image"]), sgd(0.9)


def resnet50(weights):
    import torchvision
    net = torchvision.models.resnet50(num_classes=weights["fc.bias"].numel())
    net.load_state_dict(weights)
    return net, lambda batch: net(batch["image"]), sgd(0.9)


def vit_small(weights):
    import timm
    net = timm.create_model("vit_small_patch16_224", num_classes=weights["head.bias"].numel())
    net.load_state_dict(weights)
    return net, lambda batch: net(batch["image"]), adamw(lr=1e-4, weight_decay=0.05)


def minilm(weights):
    import transformers
    net = transformers.AutoModelForSequenceClassification.from_pretrained(ARGS.folder / "model")

    def forward(batch):
        return net(input_ids=batch["ids"], attention_mask=batch["mask"], token_type_ids=batch["types"]).logits

    return net, forward, adamw(lr=5e-5, weight_decay=0.01)


def nanogpt(weights):
    import shakespeare
    net = shakespeare.Net(weights["transformer.wte.weight"].shape[0])
    own = net.state_dict()

    def value(name):  # GPT-2's files hold a linear layer as [IN, OUT]
        found = weights["transformer." + name]
        return found.T if name.startswith("h.") and found.dim() == 2 else found

    net.load_state_dict({name: value(name) for name in own})

    def optimizer(parameters, fused):
        matrices, others = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=fused)

    return net, lambda batch: net(batch["ids"]), optimizer


def sgd(momentum):
    return lambda parameters, fused: torch.optim.SGD(parameters, lr=0.01, momentum=momentum, fused=fused)


def adamw(**settings):
    return lambda parameters, fused: torch.optim.AdamW(parameters, **settings, fused=fused)


def timed(once):
    """Median milliseconds of at least `--steps` calls that take two seconds."""
    times, began = [], time.perf_counter()
    while len(times) < ARGS.steps or time.perf_counter() - began < 2:
        start = time.perf_counter()
        once()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    torch.set_num_threads(2)
    weights = safetensors.torch.load_file(ARGS.folder / "model" / "model.safetensors")
    batch = {k: v.long() if v.dtype == torch.int32 else v for k, v in
             safetensors.torch.load_file(ARGS.folder / "batch.safetensors").items()}
    net, forward, optimizer = globals()[ARGS.case](weights)
    parameters = list(net.parameters())
    optimizer = optimizer(parameters, ARGS.fused)
    limit = 1.0 if ARGS.case == "nanogpt" else float("inf")
    apply = torch.compile(forward) if ARGS.compile else forward
    net.train()
    losses = []

    def step():
        logits = apply(batch)
        loss = F.cross_entropy(logits.flatten(0, -2), batch["target"].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, limit)  # kiln measures the norm at every step
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    for _ in range(3):
        step()
    train_ms, train_mib = timed(step), peak_mib()
    net.eval()
    with torch.inference_mode():
        for _ in range(3):
            apply(batch)
        infer_ms = timed(lambda: apply(batch))
    print(json.dumps({"train_ms": train_ms, "infer_ms": infer_ms, "losses": losses[:20], "train_peak_mib": train_mib}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    ARGS = parser.parse_args()
    main()
