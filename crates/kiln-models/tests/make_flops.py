"""Writes fixtures/flops.json: operations by torch's FlopCounterMode and activation sizes by hooks.

Run from this folder: python make_flops.py. Needs torch 2, torchvision, transformers 5, peft. Sizes alone count:
weights are as drawn. Activations are the answers of linear layers, convolutions, norms and the two attention products.
"""

import json

import peft
import torch
import torch.nn as nn
import torchvision
import transformers
from torch.utils.flop_counter import FlopCounterMode


def measured(model, forward):
    sizes = []

    def see(module, inputs, output):
        sizes.append(output.numel())

    counted = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d)
    hooks = [m.register_forward_hook(see) for m in model.modules() if isinstance(m, counted)]
    model.train()
    with FlopCounterMode(display=False) as pass_, torch.no_grad():
        forward()
    for hook in hooks:
        hook.remove()
    with FlopCounterMode(display=False) as step:
        forward().sum().backward()
    return {"forward": pass_.get_total_flops(), "training": step.get_total_flops(), "activations": sum(sizes)}


def first_alone(layer):
    """In the last layer only the first token asks: what kiln computes where a classifier reads that one."""
    attention = layer.attention

    def forward(hidden, *_, **__):
        split = lambda x: x.unflatten(2, (attention.self.num_attention_heads, -1)).transpose(1, 2)
        first = hidden[:, :1]
        query, key, value = split(attention.self.query(first)), split(attention.self.key(hidden)), split(attention.self.value(hidden))
        mixed = (query @ key.transpose(2, 3)).softmax(3) @ value
        x = attention.output(mixed.transpose(1, 2).flatten(2), first)
        return layer.output(layer.intermediate(x), x)

    layer.forward = forward


def bert(layers, hidden, heads, wide, tokens, batch, targets=None):
    model = transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=1000, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=wide, max_position_embeddings=512, num_labels=2, attn_implementation="eager"))
    first_alone(model.bert.encoder.layer[-1])
    if targets:
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=8, target_modules=targets))
    ids = torch.ones(batch, tokens, dtype=torch.long)
    found = measured(model, lambda: model(input_ids=ids).logits)
    # Scores, and what attention answers: no module's own.
    asking = (layers - 1) * tokens + 1
    found["activations"] += asking * batch * (heads * tokens + hidden)
    return found


def resnet(depth, side, batch):
    model = getattr(torchvision.models, depth)(num_classes=5)
    return measured(model, lambda: model(torch.ones(batch, 3, side, side)))


answers = {
    "bert": bert(2, 64, 4, 128, 24, 3),
    "minilm": bert(6, 384, 12, 1536, 64, 2),
    "minilm-lora": bert(6, 384, 12, 1536, 64, 2, ["query", "value"]),
    "resnet18": resnet("resnet18", 64, 2),
    "resnet50": resnet("resnet50", 224, 1),
}
with open("fixtures/flops.json", "w") as file:
    json.dump(answers, file, indent=1)
