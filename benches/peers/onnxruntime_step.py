"""Times inference of one case of benches/cases in onnxruntime: a peer of `kiln bench --row` beside step.py.

    python benches/peers/onnxruntime_step.py benches/cases/mlp.toml KEPT [--steps 20] [--warmup 3] [--seconds 0] [--threads 2]

KEPT holds the start weights and the batch that `kiln bench --keep` left. The model is PyTorch's, exported once a KEPT; the
CPU provider runs it with its own defaults. Prints one JSON object: all times in milliseconds, how far the answer is from
PyTorch's (the largest difference, relative to the largest value), and the version.
"""

import json
import warnings

import onnxruntime
import step
import torch


class Positional(torch.nn.Module):
    """A net that reads tensors by place instead of by name."""

    def __init__(self, net, names):
        super().__init__()
        self.net, self.names = net, names

    def forward(self, *values):
        return self.net(dict(zip(self.names, values)))


def export(net, inputs, path):
    """Writes the net as ONNX; it is left alone where it was written before."""
    if path.exists():
        return
    named = isinstance(inputs, dict)
    model, values = (Positional(net, list(inputs)), tuple(inputs.values())) if named else (net, (inputs,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing sees sizes as constants, which those of one batch are
        torch.onnx.export(model, values, path, dynamo=False, input_names=list(inputs) if named else ["input"])


def main():
    args = step.words(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    net, inputs, _ = step.opened(args.config, args.kept)
    net.eval()
    path = args.kept / "model.onnx"
    with torch.inference_mode():
        expected = net(inputs)
        export(net, inputs, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    values = inputs if isinstance(inputs, dict) else {"input": inputs}
    feed = {given.name: values[given.name].numpy() for given in session.get_inputs()}
    (answer,) = session.run(None, feed)
    apart = (torch.from_numpy(answer) - expected).abs().max() / expected.abs().max()
    for _ in range(args.warmup):
        session.run(None, feed)
    print(json.dumps({"infer_ms": step.repeat(lambda: session.run(None, feed), args), "apart": apart.item(),
                      "versions": {"onnxruntime": onnxruntime.__version__}}))


if __name__ == "__main__":
    main()
