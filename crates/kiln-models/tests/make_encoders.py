"""Writes fixtures/encoders.json, encoder_presets.json and minilm_sentences.json: what transformers answers for the
encoders' heads, the presets' parameter counts, and sentence embeddings with token ids.

Run from this folder, with MiniLM and SST-2 under $KILN_TEST_DATA: python make_encoders.py
Needs torch 2 and transformers 5. Weights are computed on both sides (`wave`, `weights`), answers are in double
precision: logits, loss, every gradient's norm and its product with a computed tensor, and 20 losses of AdamW.
"""

import json
import os

import torch
import torch.nn.functional as F
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


def parameters(model):
    """By name, tied ones once and by the original's name, whichever of the two PyTorch meets first."""
    tied = getattr(model, "_tied_weights_keys", None) or {}
    return sorted((tied.get(name, name), value) for name, value in model.named_parameters())


def weights(model):
    """Fills every parameter."""
    for n, (name, value) in enumerate(parameters(model)):
        shape = tuple(value.shape)
        if len(shape) == 1 and name.endswith("weight"):
            value.copy_(1.0 + wave(n, shape, 0.3))
        elif len(shape) == 1:
            value.copy_(wave(n, shape, 0.1))
        else:
            fan = 1
            for side in shape[1:]:
                fan *= side
            value.copy_(wave(n, shape, (6.0 / fan) ** 0.5))


SIZES = dict(vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
             max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
DISTIL = dict(vocab_size=40, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=16, dropout=0.0,
              attention_dropout=0.0, seq_classif_dropout=0.0)
FAMILIES = {
    "bert": ("Bert", SIZES, 0),
    "roberta": ("Roberta", dict(SIZES, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1), 1),
    "xlm-roberta": ("XLMRoberta", dict(SIZES, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1), 1),
    "camembert": ("Camembert", dict(SIZES, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1), 1),
    "distilbert": ("DistilBert", DISTIL, 0),
}
IDS = [[2, 7, 9, 3], [2, 5, 8, 6, 4, 3]]
TAGS = [[-100, 1, 2, -100], [-100, 0, 2, 1, 1, -100]]
HIDDEN = [[-100, 11, -100, -100], [-100, -100, 30, -100, 5, -100]]
HEADS = {
    "classification": ("ForSequenceClassification", [2, 0]),
    "multi_label_classification": ("ForSequenceClassification", [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    "regression": ("ForSequenceClassification", [[0.5, -1.0, 2.0], [0.0, 0.25, -0.5]]),
    "token_classification": ("ForTokenClassification", TAGS),
    "masked_language_modeling": ("ForMaskedLM", HIDDEN),
}


def padded(rows, filler):
    longest = max(map(len, rows))
    return [row + [filler] * (longest - len(row)) for row in rows]


def loss_of(task, logits, target):
    if task == "classification":
        return F.cross_entropy(logits, torch.tensor(target))
    if task == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, torch.tensor(target).double())
    if task == "regression":
        return F.mse_loss(logits, torch.tensor(target).double())
    return F.cross_entropy(logits.flatten(0, 1), torch.tensor(padded(target, -100)).flatten())


def answers(model, task, target, inputs):
    mask = inputs["attention_mask"].bool()
    model.eval()
    with torch.no_grad():
        logits = model(**inputs).logits
    real = logits if logits.dim() == 2 else logits[mask]
    model.train()
    loss = loss_of(task, model(**inputs).logits, target)
    loss.backward()
    gradients = {}
    for name, p in parameters(model):
        probe = wave(7, tuple(p.shape), 1.0).double()
        gradients[name] = [p.grad.norm().item(), (p.grad * probe).sum().item()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        step = loss_of(task, model(**inputs).logits, target)
        step.backward()
        optimizer.step()
        losses.append(step.item())
    return {"logits": real.flatten().tolist(), "loss": loss.item(), "gradients": gradients, "losses": losses}


def encoders():
    found = {}
    for family, (prefix, sizes, pad) in FAMILIES.items():
        inputs = {"input_ids": torch.tensor(padded(IDS, pad)), "attention_mask": torch.tensor(padded([[1] * len(r) for r in IDS], 0))}
        for task, (suffix, target) in HEADS.items():
            config = getattr(transformers, prefix + "Config")(**sizes, num_labels=3)
            model = getattr(transformers, prefix + suffix)(config)
            with torch.no_grad():
                weights(model)
            found[f"{family} {task}"] = answers(model.double(), task, target, inputs)
    # Other activations.
    for family, key, activation in (("bert", "hidden_act", "gelu_new"), ("bert", "hidden_act", "relu"), ("distilbert", "activation", "relu")):
        prefix, sizes, pad = FAMILIES[family]
        inputs = {"input_ids": torch.tensor(padded(IDS, pad)), "attention_mask": torch.tensor(padded([[1] * len(r) for r in IDS], 0))}
        model = getattr(transformers, prefix + "ForMaskedLM")(getattr(transformers, prefix + "Config")(**sizes, **{key: activation}))
        with torch.no_grad():
            weights(model)
        found[f"{family} {activation}"] = answers(model.double(), "masked_language_modeling", HIDDEN, inputs)
    return found


def presets():
    """Parameters of each preset's classifier of two classes and masked language model."""
    found = {}
    shapes = {"bert_tiny": (2, 128, 2), "bert_mini": (4, 256, 4), "bert_small": (4, 512, 8), "bert_medium": (8, 512, 8),
              "bert_base": (12, 768, 12), "bert_large": (24, 1024, 16), "roberta_base": (12, 768, 12),
              "roberta_large": (24, 1024, 16), "distilbert_base": (6, 768, 12)}
    for name, (layers, width, heads) in shapes.items():
        if name.startswith("distil"):
            prefix, config = "DistilBert", transformers.DistilBertConfig(n_layers=layers, dim=width, n_heads=heads, hidden_dim=4 * width)
        else:
            prefix = "Roberta" if name.startswith("roberta") else "Bert"
            more = dict(type_vocab_size=1, max_position_embeddings=514) if prefix == "Roberta" else {}
            config = getattr(transformers, prefix + "Config")(
                num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, **more)
        with torch.device("meta"):
            found[name] = [sum(p.numel() for p in getattr(transformers, prefix + suffix)(config).parameters())
                           for suffix in ("ForSequenceClassification", "ForMaskedLM")]
    return found


def sst2(split):
    with open(f"{DATA}/sst2/{split}.tsv") as file:
        return [line.rstrip("\n").rsplit("\t", 1)[0] for line in file]


def minilm():
    """Embeddings of 100 sentences as sentence-transformers makes them, and a hash of SST-2's token ids."""
    folder = f"{DATA}/all-MiniLM-L6-v2"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = sst2("dev")[:100]
    batch = tokenizer(text, padding="longest", truncation=True, max_length=128, return_tensors="pt")
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(2).float()
    vectors = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    # Rounded to 5 decimals: that changes no cosine by more than 1e-7.
    digest, sentences = 0xCBF29CE484222325, 0
    for split in ("train", "dev", "test"):
        for ids in tokenizer(sst2(split), truncation=True, max_length=128)["input_ids"]:
            for number in (len(ids), *ids):  # FNV-1a, of numbers instead of bytes
                digest = (digest ^ number) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
            sentences += 1
    return {"sentences": text, "embeddings": [[round(v, 5) for v in row] for row in vectors.tolist()],
            "token_ids_hash": f"{digest:016x}", "token_ids_sentences": sentences}


def write(name, value):
    with open(f"fixtures/{name}.json", "w") as file:
        json.dump(value, file)


torch.manual_seed(0)
write("encoders", encoders())
write("encoder_presets", presets())
write("minilm_sentences", minilm())
