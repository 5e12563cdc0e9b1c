"""The cache is one: what kiln pulled is found by huggingface_hub, and what huggingface_hub pulled by kiln.

Usage: hub_cache_opens.py CACHE [KILN]. CACHE is what the test of kiln-hub left, with `org/tiny`; KILN is a binary with
the feature `hub`. The Hub of the second half is a server in this script."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading

MODEL, COMMIT = "org/tiny", "f" * 40
FILES = {"config.json": b"{}", "tokenizer.json": b"{ }", "model.safetensors": bytes(1000)}


class Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        path, tag = self.path.split("?")[0], None
        if path == f"/api/models/{MODEL}/revision/main":
            siblings = [{"rfilename": name} for name in FILES]
            content = json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode()
        elif path.startswith(f"/api/models/{MODEL}/tree/{COMMIT}"):
            tree = [{"type": "file", "path": n, "size": len(b), "oid": tag_of(b)} for n, b in FILES.items()]
            content = json.dumps(tree).encode()
        elif path.startswith(f"/{MODEL}/resolve/") and path.rsplit("/", 1)[1] in FILES:
            content = FILES[path.rsplit("/", 1)[1]]
            tag = tag_of(content)
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        if tag:
            self.send_header("ETag", f'"{tag}"')
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def tag_of(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def python_finds(cache):
    """In a process of its own: huggingface_hub reads the environment when it is imported."""
    import huggingface_hub

    folder = huggingface_hub.snapshot_download(MODEL)
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors", "tokenizer.json"], os.listdir(folder)
    for name in os.listdir(folder):
        found = huggingface_hub.try_to_load_from_cache(MODEL, name)
        assert found == os.path.join(folder, name), (name, found)
        assert huggingface_hub.hf_hub_download(MODEL, name) == found
    assert huggingface_hub.hf_hub_download(MODEL, "config.json", revision=os.path.basename(folder))
    scan = huggingface_hub.scan_cache_dir(cache)
    assert not scan.warnings, scan.warnings
    (repo,) = scan.repos
    assert (repo.repo_id, repo.repo_type, set(repo.refs)) == (MODEL, "model", {"main"}), repo
    assert repo.nb_files == 3 and repo.size_on_disk == 400_000 + 22 + 2, repo
    print(f"huggingface_hub {huggingface_hub.__version__} finds {MODEL} as kiln pulled it: {repo.nb_files} files")


def python_pulls():
    import huggingface_hub

    print(huggingface_hub.snapshot_download(MODEL))


def in_python(what, argument, **variables):
    code = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); sys.argv = ['', {argument!r}]; " \
        f"import hub_cache_opens as it; it.{what}"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def main():
    cache = sys.argv[1]
    print(in_python(f"python_finds({cache!r})", cache, HF_HUB_CACHE=cache, HF_HUB_OFFLINE="1"))
    if len(sys.argv) < 3:
        return
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        url = f"http://127.0.0.1:{server.server_port}"
        folder = in_python("python_pulls()", home, HF_HUB_CACHE=home, HF_ENDPOINT=url, HF_HOME=home)
        variables = os.environ | {"HF_HUB_CACHE": home, "HF_HUB_OFFLINE": "1", "HF_HOME": home}
        said = subprocess.run([sys.argv[2], "hub", "pull", MODEL], env=variables, capture_output=True, text=True)
        assert (said.returncode, said.stdout.strip()) == (0, folder), (said, folder)
        # Online it has nothing left to bring.
        variables |= {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"}
        said = subprocess.run([sys.argv[2], "hub", "pull", MODEL], env=variables, capture_output=True, text=True)
        assert (said.returncode, said.stdout.strip()) == (0, folder), (said, folder)
        assert "from the cache" in said.stderr, said.stderr
    print(f"kiln finds {MODEL} as huggingface_hub pulled it")


if __name__ == "__main__":
    main()
