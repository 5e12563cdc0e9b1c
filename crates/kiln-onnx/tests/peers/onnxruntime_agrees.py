"""Every folder that kiln-onnx's tests exported, read by onnx's own checker and run by ONNX Runtime: golden answers within the
file's tolerance, the same answers for a row alone and in its batch, and padding that changes nothing. Usage: FOLDER."""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file


def cases(folder):
    found = {}
    for name, value in load_file(folder / "model.golden.safetensors").items():
        case, tensor = name.split("/")
        found.setdefault(case, {})[tensor] = value
    return found


def off(got, wanted):
    return float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max()))


def check(folder):
    path = folder / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    said = {entry.key: entry.value for entry in model.metadata_props}
    golden = json.loads(said["kiln.golden"])
    output, tolerance = golden["output"], golden["tolerance"]
    for key in ("kiln.task", "kiln.labels", "kiln.config", "kiln.preprocessing", "kiln.pipeline"):
        assert key in said, f"{folder}: no {key}"
    json.loads(said["kiln.preprocessing"])
    options = onnxruntime.SessionOptions()
    if said["kiln.precision"] == "int8":  # what the file says, not what fused integer layers make of it on this processor
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    worst = 0.0
    for case, tensors in cases(folder).items():
        wanted = tensors.pop(output)
        assert sorted(tensors) == sorted(names), (folder, case)
        got = session.run([output], tensors)[0]
        worst = max(worst, off(got, wanted))
        for row in range(len(wanted)):
            alone = session.run([output], {name: value[row:row + 1] for name, value in tensors.items()})[0]
            worst = max(worst, off(alone, wanted[row:row + 1]))
    assert worst <= tolerance, f"{folder}: {worst:.1e} from the golden answers, {tolerance} is allowed"
    return worst


def main():
    folders = sorted(p.parent for p in (Path(sys.argv[1]) / "onnx").glob("*/model.onnx"))
    if not folders:
        sys.exit("no export to read: run kiln-onnx's tests with KILN_PEER_OUT first")
    kinds = {"f16": [], "int8": [], "static": [], "f32": []}  # folders without one of these words are f32
    for folder in folders:
        kinds[next((kind for kind in kinds if folder.name.endswith(kind)), "f32")].append((check(folder), folder.name))
    for kind, all_of_it in kinds.items():
        worst = max(all_of_it)
        print(f"{kind}: {len(all_of_it)} exports, largest difference {worst[0]:.1e} ({worst[1]})")
    print(f"{len(folders)} exports pass onnx.checker and answer alike in ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
