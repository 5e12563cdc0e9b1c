"""Writes fixtures/*: what PyTorch, torchvision and transformers answer for weights that both sides compute.

Run from this folder, with the CIFAR checkpoints and MiniLM under $KILN_TEST_DATA: python make_models.py
Needs torch 2, torchvision, transformers 5. Weights are not stored but computed on both sides (`wave`, `weights`), so
that the fixtures hold answers only. Random-weight answers are computed in double precision: in ResNet-50's batch norms
over few pixels PyTorch's own float32 is off by more than kiln's.
"""

import json
import os

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
import transformers

DATA = os.environ["KILN_TEST_DATA"]


def wave(n, shape, scale):
    """Tensor number n: hashed indices, uniform in [-scale, scale)."""
    count = 1
    for side in shape:
        count *= side
    bits = (torch.arange(count) * 2654435761 + n * 1013904223) & 0xFFFFFFFF
    bits = ((bits ^ (bits >> 15)) * 2246822519) & 0xFFFFFFFF
    bits = bits ^ (bits >> 13)
    return ((bits.double() / 2**31 - 1) * scale).float().reshape(shape)


def weights(model):
    """Fills every parameter and running statistic."""
    state = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    for n, name in enumerate(sorted(state)):
        shape = tuple(state[name].shape)
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
        state[name].copy_(value)


class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, 1 if a == b else 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(b)
        self.pad = (b - a) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)

        def stage(a, b):
            return nn.Sequential(*[Block(a if i == 0 else b, b) for i in range(n)])

        self.layer1, self.layer2, self.layer3 = stage(16, 16), stage(16, 32), stage(32, 64)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def answers(model, forward, classes):
    """In double precision: logits in eval mode; logits, loss and the norm of every gradient in train mode (no dropout)."""
    model.eval()
    with torch.no_grad():
        evaluated = forward()
    model.train()
    logits = forward()
    loss = F.cross_entropy(logits, torch.tensor(classes))
    loss.backward()
    norms = {k: p.grad.double().norm().item() for k, p in model.named_parameters()}
    return {"eval": evaluated.flatten().tolist(), "train": logits.flatten().tolist(), "loss": loss.item(),
            "gradient_norms": norms}


def image_model(model, side, classes):
    with torch.no_grad():
        weights(model)
    model.double()
    return answers(model, lambda: model(wave(1000, (2, 3, side, side), 1.0).double()), classes)


IDS = [[2, 7, 9, 3, 0, 0], [2, 5, 8, 6, 4, 3]]
MASK = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
TYPES = [[0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]


def bert():
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3)
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        weights(model)
    model.double()
    ids, mask, types = (torch.tensor(t) for t in (IDS, MASK, TYPES))
    forward = lambda: model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    return {"ids": IDS, "mask": MASK, "types": TYPES, **answers(model, forward, [2, 0])}


def checkpoints():
    """Logits of the published CIFAR checkpoints on computed pixels."""
    found = {}
    for name, blocks in (("resnet20-12fca82f", 3), ("resnet56-4bfd9763", 9)):
        state = torch.load(f"{DATA}/cifar-resnets/{name}.th", map_location="cpu")["state_dict"]
        model = CifarResNet(blocks)
        model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
        model.eval()
        with torch.no_grad():
            found[name] = model(wave(1000, (4, 3, 32, 32), 1.5)).flatten().tolist()
    return found


def minilm():
    """Pooled output of all-MiniLM-L6-v2 through a computed head, on sentences of different lengths."""
    folder = f"{DATA}/all-MiniLM-L6-v2"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = ["a gripping , well-acted film .", "dull", "it never quite comes together , despite some lovely moments"]
    batch = tokenizer(text, padding="longest", return_tensors="pt")
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        pooled = model(**batch).pooler_output
    logits = F.linear(pooled, wave(0, (2, 384), 0.1), wave(1, (2,), 0.1))
    return {"ids": batch["input_ids"].tolist(), "mask": batch["attention_mask"].tolist(), "logits": logits.flatten().tolist()}


def files():
    """Small tensor files that PyTorch wrote, and one that asks for os.system."""
    state = {"module.layers.0.weight": wave(0, (3, 4), 1.0), "module.layers.0.bias": wave(1, (3,), 1.0),
             "module.head.weight": wave(2, (2, 3), 1.0), "module.head.bias": wave(3, (2,), 1.0)}
    torch.save({"state_dict": state, "epoch": 7, "best_prec1": 91.5}, "fixtures/nested.th")
    torch.save({k.removeprefix("module."): v.half() for k, v in state.items()}, "fixtures/half.pt")
    torch.save({"model": state}, "fixtures/legacy.pth", _use_new_zipfile_serialization=False)

    class Malicious:
        def __reduce__(self):
            return os.system, ("touch kiln-was-attacked",)

    torch.save({"state_dict": Malicious()}, "fixtures/malicious.pt")


def write(name, value):
    with open(f"fixtures/{name}.json", "w") as file:
        json.dump(value, file)


torch.manual_seed(0)
write("cifar20", image_model(CifarResNet(3), 32, [3, 7]))
for depth, build, side in (("18", torchvision.models.resnet18, 64), ("34", torchvision.models.resnet34, 64),
                           ("50", torchvision.models.resnet50, 128)):
    write(f"resnet{depth}", image_model(build(num_classes=5), side, [4, 1]))
write("bert", bert())
write("checkpoints", checkpoints())
write("minilm", minilm())
files()
