#!/usr/bin/env python3
"""Runs the commands of deploy/Dockerfile's last stage in a bare Debian made by debootstrap, and asks the server that its entry
point starts there, as its user. Needs root, debootstrap and a Debian mirror; nothing of Docker.
Usage: python3 tests/deploy.py [--kiln BINARY] [--root FOLDER]   (a root that is there already is used again)
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import harness
import serving

TOKEN = "0123456789abcdef0123456789abcdef"


def last_stage(text):
    """(word, rest) of each instruction behind the last FROM."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    start = max(i for i, line in enumerate(lines) if line.startswith("FROM "))
    return [line.split(None, 1) for line in lines[start:]]


def main():
    args = harness.arguments(__doc__, root=("", "a Debian root to keep"))
    with tempfile.TemporaryDirectory() as scratch:
        run = serving.trained(args.kiln, harness.texts(scratch), scratch, "train.epochs=1", "evaluate.every=1 epoch")
        root = Path(args.root or Path(scratch) / "root")
        user, entry = "0", None
        for word, rest in last_stage((harness.ROOT / "deploy/Dockerfile").read_text()):
            print(word, rest)
            if word == "FROM":
                suite = rest.removeprefix("debian:").removesuffix("-slim")
                if not (root / "usr").exists():
                    subprocess.run(["debootstrap", "--variant=minbase", suite, str(root)], check=True, stdout=subprocess.DEVNULL)
            elif word == "RUN":
                subprocess.run(["chroot", str(root), "/bin/sh", "-c", rest], check=not args.root)
            elif word == "COPY":
                target = root / rest.split()[-1].lstrip("/")
                shutil.copy(args.kiln, target)
            elif word == "USER":
                user = rest
            elif word == "ENTRYPOINT":
                entry = json.loads(rest)
            else:
                assert word in ("EXPOSE", "STOPSIGNAL"), word
        shutil.copytree(run / "model", root / "models" / "mine", dirs_exist_ok=True)
        os.chmod(root / "models", 0o755)
        entry = [word.replace(":8080", ":18099") for word in entry]
        command = [shutil.which("chroot"), f"--userspec={user}:{user}", str(root), *entry, "/models/mine"]
        refused = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/local/bin:/usr/bin"})
        assert refused.returncode == 2 and "there is no token" in refused.stderr, refused
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
                                   env={"PATH": "/usr/local/bin:/usr/bin", "KILN_TOKEN": TOKEN})
        try:
            print(process.stdout.readline().strip())
            url = "http://127.0.0.1:18099/v1/models/mine/predict"
            request = urllib.request.Request(url, b'{"text": "a good film"}', {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"})
            print(urllib.request.urlopen(request, timeout=30).read().decode())
            owner = Path(f"/proc/{process.pid}").stat().st_uid
            assert owner == int(user), owner
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    print("the image's commands work in a bare Debian")


main()
