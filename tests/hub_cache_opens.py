"""What kiln pulled, found by huggingface_hub and transformers without a network.

Usage: hub_cache_opens.py CACHE, where CACHE is what the test of kiln-hub left (or any cache with `org/tiny`)."""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = sys.argv[1]

import huggingface_hub  # noqa: E402  (reads the environment)

MODEL = "org/tiny"

folder = huggingface_hub.snapshot_download(MODEL)
assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors", "tokenizer.json"], os.listdir(folder)
for name in os.listdir(folder):
    found = huggingface_hub.try_to_load_from_cache(MODEL, name)
    assert found == os.path.join(folder, name), (name, found)
    assert huggingface_hub.hf_hub_download(MODEL, name) == found
assert huggingface_hub.hf_hub_download(MODEL, "config.json", revision=os.path.basename(folder))

scan = huggingface_hub.scan_cache_dir(sys.argv[1])
assert not scan.warnings, scan.warnings
(repo,) = scan.repos
assert (repo.repo_id, repo.repo_type, set(repo.refs)) == (MODEL, "model", {"main"}), repo
assert repo.nb_files == 3 and repo.size_on_disk == 400_000 + 22 + 2, repo
print(f"huggingface_hub {huggingface_hub.__version__} finds {MODEL} as kiln pulled it: {repo.nb_files} files")
