"""What `kiln serve` is measured against: a sequence classifier behind FastAPI and uvicorn, by PyTorch (`transformers`) or by
onnxruntime, answering the same JSON. Started by benches/serve.py.
Usage: serve_fastapi.py MODEL PORT torch|onnxruntime THREADS inline|threadpool
"""
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoTokenizer

MODEL, PORT, ENGINE, THREADS, PLACE = sys.argv[1:]
app = FastAPI()
tokenizer = AutoTokenizer.from_pretrained(MODEL)

if ENGINE == "torch":
    import torch
    from transformers import AutoModelForSequenceClassification
    torch.set_num_threads(int(THREADS))
    net = AutoModelForSequenceClassification.from_pretrained(MODEL).eval()
    labels = net.config.id2label

    def probabilities(texts):
        with torch.inference_mode():
            tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            return net(**tokens).logits.softmax(-1).numpy()
else:
    import json
    from pathlib import Path

    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(THREADS)
    session = onnxruntime.InferenceSession(str(Path(MODEL) / "model.onnx"), options, providers=["CPUExecutionProvider"])
    wanted = {tensor.name for tensor in session.get_inputs()}
    labels = {int(k): v for k, v in json.loads((Path(MODEL) / "config.json").read_text())["id2label"].items()}

    def probabilities(texts):
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        logits = session.run(None, {name: array.astype(np.int64) for name, array in tokens.items() if name in wanted})[0]
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)


class Asked(BaseModel):
    text: str


def answer(asked):
    p = probabilities([asked.text])[0]
    best = int(p.argmax())
    return {"predictions": [{"label": labels[best], "score": float(p[best]), "probabilities": {labels[i]: float(x) for i, x in enumerate(p)}}]}


if PLACE == "inline":
    @app.post("/predict")
    async def predict(asked: Asked):
        return answer(asked)
else:
    @app.post("/predict")
    def predict(asked: Asked):
        return answer(asked)


@app.get("/v2/health/ready")
async def ready():
    return {}


uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="warning")
