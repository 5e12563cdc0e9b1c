#!/usr/bin/env python3
"""deploy/kubernetes.yaml against the JSON Schemas of Kubernetes' API (package kubernetes-validate), unknown keys refused; its
arguments and probes against what `kiln serve` has. Usage: python3 tests/kubernetes_manifest.py [--kiln BINARY]
"""
import re
import subprocess
import sys

import kubernetes_validate
import yaml

import harness

VERSIONS = ("1.30", "1.31")


def main():
    args = harness.arguments(__doc__)
    documents = list(yaml.safe_load_all((harness.ROOT / "deploy/kubernetes.yaml").read_text()))
    for document in documents:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    pod = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    talk = subprocess.run([args.kiln, "serve", "--help"], check=True, capture_output=True, text=True).stdout
    words = [word for word in container["args"] if word.startswith("--")]
    assert all(word in talk for word in words), words
    routes = (harness.ROOT / "crates/kiln-serve/src/routes.rs").read_text()
    probes = {container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert all(f'"{path}"' in routes for path in probes), probes
    drain = int(container["args"][container["args"].index("--drain") + 1])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert drain + pause < pod["terminationGracePeriodSeconds"]
    image = (harness.ROOT / "deploy/Dockerfile").read_text()
    assert int(re.search(r"^USER (\d+)$", image, re.M)[1]) == pod["securityContext"]["runAsUser"]
    assert int(re.search(r"^EXPOSE (\d+)$", image, re.M)[1]) == container["ports"][0]["containerPort"]
    print(f"{len(documents)} objects are Kubernetes {' and '.join(VERSIONS)}'s; arguments, probes, times, user and port fit")


sys.exit(main())
